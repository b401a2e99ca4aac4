//! What happens, in words: for the log and for `lbctl events`.

use std::fmt::{self, Display, Formatter};

use super::Happening;

impl Display for Happening {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Health { vip, real, from, to, reason } => {
                write!(f, "vip {vip} real {real}: {}: {reason}", turn(from.as_deref(), to))
            }
            Self::Vip { vip, from, to, reason } => {
                write!(f, "vip {vip}: {}", turn(from.as_deref(), to))?;
                if reason.is_empty() { Ok(()) } else { write!(f, ": {reason}") }
            }
            Self::Config { change, .. } => f.write_str(change),
            Self::Neighbour { real, mac: Some(mac) } => {
                write!(f, "real {real}: its MAC address is {mac}")
            }
            Self::Neighbour { real, mac: None } => {
                write!(f, "real {real}: its MAC address is not known any more")
            }
            Self::Announce { address, interface, announced: true } => {
                write!(f, "{address}: announced on {interface}")
            }
            Self::Announce { address, interface, announced: false } => {
                write!(f, "{address}: no longer announced on {interface}")
            }
            Self::Thief { address, mac, who } => {
                write!(f, "{address}: {mac} answers for it too: {who}")
            }
        }
    }
}

/// From what to what.
fn turn(from: Option<&str>, to: &str) -> String {
    match from {
        Some(from) if from != to => format!("{to}, was {from}"),
        _ => to.to_owned(),
    }
}

impl Happening {
    /// The name of the VIP that it is about, where it says one.
    #[must_use]
    pub fn vip(&self) -> Option<&str> {
        match self {
            Self::Health { vip, .. } | Self::Vip { vip, .. } => Some(vip),
            Self::Config { vip, .. } => vip.as_deref(),
            Self::Neighbour { .. } | Self::Announce { .. } | Self::Thief { .. } => None,
        }
    }

    /// How loudly the log says it: what somebody may have to act on is a warning.
    #[must_use]
    pub fn level(&self) -> log::Level {
        match self {
            Self::Health { to, .. } if to == "down" => log::Level::Warn,
            Self::Vip { to, .. } if to != "up" => log::Level::Warn,
            Self::Thief { .. } => log::Level::Warn,
            _ => log::Level::Info,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use crate::event::samples::{all, health};

    #[test]
    fn every_happening_is_told_in_one_line() {
        let lines: Vec<String> = all().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "vip web real 10.0.0.11: down, was up: connection refused",
                "vip web real 2001:db8:a::11: up: http 200",
                "vip web: degraded, was up: 1 of 2 reals is up",
                "vip \"web\" changed",
                "real 10.0.0.11: its MAC address is 02:00:00:00:00:0b",
                "real 10.0.0.11: its MAC address is not known any more",
                "192.0.2.10: announced on eth0",
                "2001:db8:2::10: no longer announced on eth0",
                "192.0.2.10: 02:00:00:00:00:0c answers for it too: this is real 10.0.0.12: see arp_ignore",
            ]
        );
    }

    #[test]
    fn what_somebody_may_have_to_act_on_is_a_warning() {
        let real: IpAddr = [10, 0, 0, 11].into();
        assert_eq!(health("web", real, "down").level(), log::Level::Warn);
        assert_eq!(health("web", real, "up").level(), log::Level::Info);
        let warnings = all().iter().filter(|what| what.level() == log::Level::Warn).count();
        assert_eq!(warnings, 3, "down, degraded, and somebody else's answers");
    }
}
