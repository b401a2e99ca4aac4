//! The kernel's own word that a cable is gone or back: nobody can know it sooner.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    time::Instant,
};

use anyhow::Result;
use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv,
            setsockopt, socket, sockopt::ReceiveTimeout,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

use crate::{Lab, wait::PATIENCE};

/// Of `struct nlmsghdr` and of the `struct ifinfomsg` behind it.
const HEADER: usize = 16;
const INDEX: usize = HEADER + 4;
const FLAGS: usize = HEADER + 8;

/// Hears what the kernel tells everybody of the balancer's second interface.
pub(super) struct Carrier {
    socket: OwnedFd,
    index: u32,
}

impl Carrier {
    pub(super) fn of(lab: &Lab) -> Result<Self> {
        lab.in_balancer(|| {
            let socket = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::NetlinkRoute,
            )?;
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, libc::RTMGRP_LINK as u32))?;
            setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(PATIENCE.as_secs() as i64))?;
            Ok(Self { socket, index: if_nametoindex("eth1")? })
        })
    }

    /// Forgets what was told until now.
    pub(super) fn forget(&self) -> Result<()> {
        let mut buffer = [0; 8192];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// When the kernel says that the cable is there, or is not.
    pub(super) fn wait(&self, there: bool) -> Result<Instant> {
        let mut buffer = [0; 8192];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let now = Instant::now();
            if self.is_it(&buffer[..length], there) {
                return Ok(now);
            }
        }
    }

    /// Whether one of these messages says so.
    fn is_it(&self, mut messages: &[u8], there: bool) -> bool {
        let word = |of: &[u8], at: usize| -> u32 {
            of.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_ne_bytes)
        };
        while messages.len() >= HEADER {
            let kind = word(messages, 4) as u16;
            let running = word(messages, FLAGS) & libc::IFF_RUNNING as u32 != 0;
            if kind == libc::RTM_NEWLINK && word(messages, INDEX) == self.index && running == there
            {
                return true;
            }
            let length = (word(messages, 0) as usize).max(HEADER).next_multiple_of(4);
            messages = messages.get(length..).unwrap_or_default();
        }
        false
    }
}
