//! HTTP and JSON over the control socket.

pub mod client;
pub mod server;
pub mod types;
