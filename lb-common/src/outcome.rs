//! Every way in which the datapath can end with a frame: one enum that is its error, its counter,
//! its label and its documentation.

/// What XDP does with the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it, rewritten, out of the interface it came in on.
    Transmit,
    /// Hand it, untouched, to this machine's own network stack.
    Pass,
    /// Discard it.
    Drop,
}

/// Builds the enum and its table, so that no outcome can exist without a label, an action and a
/// line of documentation.
macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $name:ident = $label:literal => $action:ident,)+) => {
        /// How the datapath ended with a frame.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Outcome {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Outcome {
            /// All outcomes, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The name in counters, status and metrics.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// What becomes of the frame.
            #[inline(always)]
            #[must_use]
            pub const fn action(self) -> Action {
                match self { $(Self::$name => Action::$action,)+ }
            }

            /// The outcome in one line, for people.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

// New ones go to the end: an outcome's index is the place of its counter in a map that outlives the
// daemon.
outcomes! {
    /// Steered to a real server.
    Forwarded = "forwarded" => Transmit,
    /// The frame is addressed to another machine, or to many (broadcast, multicast).
    NotForUs = "not_for_us" => Pass,
    /// Neither IPv4 nor IPv6 (ARP, for instance), or behind more than two VLAN tags.
    NotIp = "not_ip" => Pass,
    /// The destination address is not a VIP.
    NotVip = "not_vip" => Pass,
    /// The address is a VIP, no service matches, and the address is assigned to this machine.
    VipLocal = "vip_local" => Pass,
    /// The address is a VIP, no service matches, and the address is not assigned to this machine.
    NoService = "no_service" => Drop,
    /// The frame ends within a header.
    Truncated = "truncated" => Drop,
    /// A header contradicts itself or the frame's length.
    Malformed = "malformed" => Drop,
    /// A later fragment of a datagram to a VIP, whose first one did not come before.
    Fragment = "fragment" => Drop,
    /// A ping of a VIP, answered.
    EchoAnswered = "echo_answered" => Transmit,
    /// A ping of a VIP beyond the rate at which they are answered.
    EchoLimited = "echo_limited" => Drop,
    /// No real server of the VIP is usable.
    NoReal = "no_real" => Drop,
    /// The ring names a real server whose MAC address was never written.
    Unresolved = "unresolved" => Drop,
    /// IPv6 neighbour discovery with a VIP, which this machine's own stack does.
    NeighbourDiscovery = "neighbour_discovery" => Pass,
    /// More IPv6 extension headers than are looked through.
    ExtensionHeaders = "extension_headers" => Drop,
    /// The frame comes from the very real server that it would go to, which does not have the VIP.
    Bounced = "bounced" => Drop,
    /// The real server is behind an interface that is not there.
    InterfaceGone = "interface_gone" => Drop,
    /// No room before the frame for the VLAN tag of the real server.
    NoRoom = "no_room" => Drop,
    /// A TCP segment of a flow whose real has been drained, answered with a reset.
    Reset = "reset" => Transmit,
}

impl Outcome {
    /// The index of its counter.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// The outcome with this index.
    #[must_use]
    pub fn from_index(index: u32) -> Option<Self> {
        Self::ALL.get(index as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_run_from_zero_without_gaps() {
        for (position, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(outcome.index() as usize, position);
            assert_eq!(Outcome::from_index(outcome.index()), Some(*outcome));
        }
        assert_eq!(Outcome::from_index(Outcome::ALL.len() as u32), None);
    }

    #[test]
    fn labels_are_unique_metric_names() {
        for (i, outcome) in Outcome::ALL.iter().enumerate() {
            let label = outcome.label();
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{label}");
            assert!(Outcome::ALL[..i].iter().all(|other| other.label() != label), "{label}");
        }
    }
}
