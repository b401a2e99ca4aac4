//! What a port of the datapath is, as the daemon leaves it to the one that takes over.

use crate::model::Tag;

/// A way out of this machine: an interface, and the outer VLAN tag of everything that leaves this
/// way, if there is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The interface's name.
    pub interface: String,
    /// The tag before the real server's own.
    pub outer: Option<Tag>,
}

/// Where the name ends: the kernel's names have 15 characters at most.
const NAME: usize = 16;

/// The words of 8 bytes that a port takes.
pub(super) const WORDS: usize = 4;

impl Port {
    /// The interface itself, as it is without an outer tag.
    #[must_use]
    pub fn of(interface: &str) -> Self {
        Self { interface: interface.to_owned(), outer: None }
    }

    /// The name, padded with zeros, the tag's VLAN and whether it is an 802.1ad one.
    pub(super) fn encode(&self) -> [u64; WORDS] {
        let mut bytes = [0; WORDS * 8];
        let name = self.interface.as_bytes();
        bytes[..name.len()].copy_from_slice(name);
        if let Some(Tag { vlan, service }) = self.outer {
            bytes[NAME..NAME + 2].copy_from_slice(&vlan.to_le_bytes());
            bytes[NAME + 2] = u8::from(service);
        }
        std::array::from_fn(|word| {
            u64::from_le_bytes(std::array::from_fn(|byte| bytes[word * 8 + byte]))
        })
    }

    /// `None` from words that nobody wrote.
    pub(super) fn decode(words: [u64; WORDS]) -> Option<Self> {
        let bytes = words.map(u64::to_le_bytes).concat();
        let name: Vec<u8> = bytes[..NAME].iter().copied().take_while(|byte| *byte != 0).collect();
        let interface = String::from_utf8(name).ok().filter(|name| !name.is_empty())?;
        let vlan = u16::from_le_bytes([bytes[NAME], bytes[NAME + 1]]);
        let outer = (vlan != 0).then_some(Tag { vlan, service: bytes[NAME + 2] != 0 });
        Some(Self { interface, outer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_read_as_it_was_written() {
        for interface in ["e", "fifteen_letters"] {
            for outer in [
                None,
                Some(Tag { vlan: 1, service: false }),
                Some(Tag { vlan: 4094, service: true }),
            ] {
                let port = Port { interface: interface.to_owned(), outer };
                assert_eq!(Port::decode(port.encode()), Some(port));
            }
        }
        assert_eq!(Port::decode([0; WORDS]), None);
    }
}
