//! The script that sets a real server up.
