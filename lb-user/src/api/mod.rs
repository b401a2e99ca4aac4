//! HTTP and JSON over the control socket.

pub mod client;
pub mod request;
pub mod server;
pub mod types;
