//! Words of the command line, checked here as the daemon would check them.

use std::{
    fmt::Display,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use lb_common::limits;
use lb_user::{
    config::change::NewReal,
    model::{Amount, Mac},
};

/// What removes an option.
const NONE: &str = "none";

/// The name of a VIP: 1 to 63 of `[A-Za-z0-9._-]`.
pub fn name(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    // A path with a segment of dots would name another object.
    if !(1..=63).contains(&text.len()) || !text.bytes().all(allowed) || [".", ".."].contains(&text)
    {
        return Err(format!(
            "\"{text}\" is not a name; use 1 to 63 letters, digits, `.`, `_` and `-`"
        ));
    }
    Ok(text.to_owned())
}

/// An address without a port.
pub fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(bare) = bare.filter(|bare| bare.parse::<Ipv6Addr>().is_ok()) {
        return Err(format!("\"{text}\" has brackets; write {bare}"));
    }
    text.parse().map_err(|_| match text.parse::<SocketAddr>() {
        Ok(endpoint) => format!(
            "\"{text}\" has a port; write {}: under DSR a packet reaches the real with the VIP's port",
            endpoint.ip()
        ),
        Err(_) => format!("\"{text}\" is not an IP address; write 192.0.2.10 or 2001:db8::10"),
    })
}

/// An address with a port.
pub fn endpoint(text: &str) -> Result<SocketAddr, String> {
    let wrong = || {
        format!(
            "\"{text}\" is not an address with a port; write 192.0.2.10:80 or [2001:db8::10]:80"
        )
    };
    text.parse().map_err(|_| wrong())
}

/// An address, or the word that removes it.
pub fn address_or_none(text: &str) -> Result<String, String> {
    or_none(text, address)
}

/// An address that a machine can have.
pub fn machine(text: &str) -> Result<IpAddr, String> {
    address(text).and_then(|_| lb_user::config::parse_address(text))
}

/// A MAC address, or the word that removes it.
pub fn mac_or_none(text: &str) -> Result<String, String> {
    or_none(text, Mac::from_str)
}

/// A number of reals or a share of them, or the word that removes it.
pub fn amount_or_none(text: &str) -> Result<String, String> {
    or_none(text, Amount::from_str)
}

/// A share of the reals, or the word that removes it.
pub fn share_or_none(text: &str) -> Result<String, String> {
    let share = |text: &str| match text.parse() {
        Ok(share @ Amount::Share(_)) => Ok(share),
        _ => Err(format!("\"{text}\" is not a share of the reals; write 1% to 100%")),
    };
    or_none(text, share)
}

fn or_none<T: Display>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<String, String> {
    if text == NONE { Ok(NONE.to_owned()) } else { parse(text).map(|value| value.to_string()) }
}

/// The name of a network card, of letters that mean nothing to a shell.
pub fn interface(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let reserved = [".", "..", "lo", "all", "default"].contains(&text) || text.starts_with('-');
    if !(1..=15).contains(&text.len()) || !text.bytes().all(allowed) || reserved {
        return Err(format!(
            "\"{text}\" is not the name of a network card; write one that `ip link` shows, such as eth0"
        ));
    }
    Ok(text.to_owned())
}

/// A weight within the limits.
pub fn weight(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|weight| *weight <= limits::WEIGHT_MAX).ok_or_else(|| {
        format!("\"{text}\" is not a weight; write a number from 0 to {}", limits::WEIGHT_MAX)
    })
}

/// A part of a whole, 0 to 1: `5%` or `0.05`. A whole number could mean either, so it needs its
/// percent sign.
pub fn part(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%');
    let part = match percent {
        Some(percent) => percent.trim_end().parse().map(|percent: f64| percent / 100.0).ok(),
        None => text.parse().ok().filter(|_| text.contains('.') || text == "0"),
    };
    let part = part.filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| {
        format!(
            "\"{text}\" is not a part of the whole; write 0% to 100%, or a fraction such as 0.05"
        )
    })
}

/// A real of a new VIP: `IP[,weight=N][,mac=M]`.
pub fn real(text: &str) -> Result<NewReal, String> {
    let mut parts = text.split(',');
    let address = address(parts.next().unwrap_or_default())?.to_string();
    let mut real = NewReal { address, ..NewReal::default() };
    for part in parts {
        let twice = || format!("\"{part}\" in \"{text}\": given twice");
        let before = match part.split_once('=') {
            Some(("weight", value)) => real.weight.replace(weight(value)?).is_some(),
            Some(("mac", value)) => real.mac.replace(Mac::from_str(value)?.to_string()).is_some(),
            _ => {
                return Err(format!(
                    "\"{part}\" in \"{text}\" is unknown; write IP[,weight=N][,mac=M]"
                ));
            }
        };
        if before {
            return Err(twice());
        }
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_is_an_address_with_options_in_any_order() {
        let real_with = |weight, mac: Option<&str>| NewReal {
            address: "10.0.0.11".into(),
            weight,
            mac: mac.map(Into::into),
        };
        for (text, expected) in [
            ("10.0.0.11", real_with(None, None)),
            ("10.0.0.11,weight=0", real_with(Some(0), None)),
            ("10.0.0.11,mac=02:00:00:00:00:0B", real_with(None, Some("02:00:00:00:00:0b"))),
            (
                "10.0.0.11,mac=02:00:00:00:00:0b,weight=256",
                real_with(Some(256), Some("02:00:00:00:00:0b")),
            ),
        ] {
            assert_eq!(real(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_real_of_ipv6_needs_no_brackets() {
        let real = real("2001:DB8::11,mac=02:00:00:00:00:0b,weight=2").unwrap();
        assert_eq!((real.address.as_str(), real.weight), ("2001:db8::11", Some(2)));
        assert_eq!(real.mac.as_deref(), Some("02:00:00:00:00:0b"));
    }

    #[test]
    fn a_wrong_real_is_refused_with_the_part_that_is_wrong() {
        for (text, part) in [
            ("", "\"\" is not an IP address"),
            ("web-1", "\"web-1\" is not an IP address"),
            ("10.0.0.11:8080", "has a port; write 10.0.0.11:"),
            ("[2001:db8::11]:8080", "has a port; write 2001:db8::11:"),
            ("[2001:db8::11],weight=2", "\"[2001:db8::11]\" has brackets; write 2001:db8::11"),
            ("2001:db8::11/64", "\"2001:db8::11/64\" is not an IP address"),
            ("10.0.0.11,weight=257", "\"257\" is not a weight; write a number from 0 to 256"),
            ("10.0.0.11,weight=-1", "\"-1\" is not a weight"),
            ("10.0.0.11,weight=1,weight=2", "\"weight=2\" in"),
            ("10.0.0.11,mac=ff:ff:ff:ff:ff:ff", "not the address of one machine"),
            ("10.0.0.11,mac=none", "\"none\" is not a MAC address"),
            ("10.0.0.11,port=80", "\"port=80\" in \"10.0.0.11,port=80\" is unknown"),
            ("10.0.0.11,", "\"\" in \"10.0.0.11,\" is unknown"),
        ] {
            let message = real(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn a_name_that_would_change_the_path_is_refused() {
        for text in ["", ".", "..", "a/b", "a b", "ü", &"a".repeat(64)] {
            assert!(name(text).unwrap_err().contains("is not a name"), "{text}");
        }
        for text in ["web", "a.b_c-D9", "...", &"a".repeat(63)] {
            assert_eq!(name(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_network_card_has_a_name_that_means_nothing_to_a_shell() {
        for text in ["eth0", "eth0.20", "enp3s0f1np1", "bond-0", "br_lan"] {
            assert_eq!(interface(text).as_deref(), Ok(text));
        }
        for text in
            ["", ".", "..", "lo", "all", "eth 0", "eth0;reboot", "$(x)", "a/b", "-x", "*", "eth0\n"]
        {
            assert!(
                interface(text).unwrap_err().contains("is not the name of a network"),
                "{text}"
            );
        }
        assert!(interface(&"e".repeat(16)).is_err());
    }

    #[test]
    fn none_removes_an_option_and_anything_else_is_checked() {
        assert_eq!(address_or_none("none").as_deref(), Ok("none"));
        assert_eq!(address_or_none("2001:DB8::1").as_deref(), Ok("2001:db8::1"));
        assert!(address_or_none("nobody").is_err());
        assert_eq!(mac_or_none("none").as_deref(), Ok("none"));
        assert!(mac_or_none("00:00:00:00:00:00").is_err());
        assert_eq!(share_or_none("none").as_deref(), Ok("none"));
        assert_eq!(amount_or_none("none").as_deref(), Ok("none"));
    }

    #[test]
    fn a_number_of_reals_or_a_share_of_them_is_one_at_least() {
        for text in ["1", "65535", "1%", "100%"] {
            assert_eq!(amount_or_none(text).as_deref(), Ok(text));
            assert_eq!(share_or_none(text).is_ok(), text.ends_with('%'), "{text}");
        }
        for text in ["", "0", "0%", "%", "101%", "-1", "+1", "1.5", "65536", "5 %", "two"] {
            let message = amount_or_none(text).unwrap_err();
            assert!(message.contains("is not a number of reals"), "{text}: {message}");
            assert!(share_or_none(text).unwrap_err().contains("is not a share"), "{text}");
        }
    }

    #[test]
    fn a_part_is_a_fraction_or_has_a_percent_sign() {
        for (text, expected) in [
            ("5%", 0.05),
            ("0.05", 0.05),
            ("100%", 1.0),
            ("0", 0.0),
            ("0%", 0.0),
            ("12.5 %", 0.125),
        ] {
            assert_eq!(part(text), Ok(expected), "{text}");
        }
        for text in ["", "%", "5", "1", "1.5", "101%", "-1%", "-0.5", "nan%", "inf", "five"] {
            assert!(part(text).unwrap_err().contains("is not a part of the whole"), "{text}");
        }
    }

    #[test]
    fn an_endpoint_needs_a_port() {
        for text in ["192.0.2.10", "192.0.2.10:", "192.0.2.10:65536", "2001:db8::1:80x", "web:80"] {
            assert!(
                endpoint(text).unwrap_err().contains("is not an address with a port"),
                "{text}"
            );
        }
        assert!(endpoint("192.0.2.10:80").is_ok() && endpoint("[2001:db8::1]:80").is_ok());
    }
}
