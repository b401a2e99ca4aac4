//! Files that set a real server up at boot, a module for each kind of system.
