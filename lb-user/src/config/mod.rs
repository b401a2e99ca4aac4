//! The configuration file: read, checked, edited in place and replaced atomically.

pub mod change;
