//! An interface in a namespace: what it counted, what passes, and frames of one's own.

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{MsgFlags, send};
use std::os::fd::AsRawFd as _;

use crate::{
    capture::{self, Capture},
    counters::Counters,
    netns::Netns,
};

/// An interface in a namespace.
#[derive(Clone, Debug)]
pub struct Port {
    netns: Netns,
    interface: String,
}

impl Port {
    /// The interface of this name.
    #[must_use]
    pub fn new(netns: &Netns, interface: &str) -> Self {
        Self {
            netns: netns.clone(),
            interface: interface.to_owned(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its name.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// What it has counted so far.
    pub fn counters(&self) -> Result<Counters> {
        Counters::from_ip(
            &self
                .netns
                .ip(&format!("-j -s link show dev {}", self.interface))?,
        )
    }

    /// Captures the frames that match a filter of pcap-filter(7) from now on.
    pub fn capture(&self, filter: &str) -> Result<Capture> {
        Capture::start(&self.netns, &self.interface, filter)
    }

    /// Sends these frames, Ethernet header and all, one after another.
    pub fn send<F: AsRef<[u8]>>(&self, frames: &[F]) -> Result<()> {
        let socket = capture::packet_socket(&self.netns, &self.interface, 0, &[])?;
        for frame in frames.iter().map(AsRef::as_ref) {
            let sent = send(socket.as_raw_fd(), frame, MsgFlags::empty()).with_context(|| {
                format!(
                    "cannot send {} bytes through {}",
                    frame.len(),
                    self.interface
                )
            })?;
            ensure!(sent == frame.len(), "sent {sent} of {} bytes", frame.len());
        }
        Ok(())
    }
}
