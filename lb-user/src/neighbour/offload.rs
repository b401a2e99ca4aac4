//! What a network card does to frames before any program sees them.

use std::{io, net::UdpSocket, os::fd::AsRawFd as _};

/// Commands and flags of linux/ethtool.h.
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Whether the interface takes VLAN tags out of the frames that it receives, and keeps them beside:
/// XDP takes such a frame for an untagged one.
///
/// # Errors
///
/// Where the interface is missing or does not say.
pub fn hides_tags(interface: &str) -> io::Result<bool> {
    let mut value = Value { command: ETHTOOL_GFLAGS, data: 0 };
    // SAFETY: integers, arrays of them and pointers, for all of which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // All but the zero that ends it.
    let name = &mut request.ifr_name[..libc::IFNAMSIZ - 1];
    if interface.len() > name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the request and the value that it points to are as this command wants them, and live
    // through the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value.data & ETH_FLAG_RXVLAN != 0) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::neighbour::netns::Cable;

    #[test]
    fn it_is_as_ethtool_has_set_it() {
        let Cable { balancer, machine: _there } = Cable::new();
        for (word, hides) in [("on", true), ("off", false), ("on", true)] {
            let set = || Command::new("ethtool").args(["-K", "eth0", "rxvlan", word]).status();
            assert!(balancer.run(set).expect("ethtool").success());
            assert_eq!(balancer.run(|| hides_tags("eth0")).expect("an answer"), hides);
        }
        assert!(balancer.run(|| hides_tags("eth7")).is_err());
        assert!(hides_tags("a-name-that-no-interface-can-have").is_err());
    }
}
