//! HTTP and JSON over the control socket.

pub mod access;
mod audit;
pub mod client;
pub mod doctor;
pub mod request;
pub mod serve;
pub mod server;
pub mod types;

#[cfg(test)]
mod tests;

/// What both ends are of; `lbd` says it in [`VERSION_HEADER`] of every answer.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The header that says the daemon's version.
pub const VERSION_HEADER: &str = "lb-version";
