//! Where a real server is reached by SSH, in the words of the command line.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// Where `sshd` listens if nothing else is said.
const PORT: u16 = 22;

/// `[user@]host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Who to be there; else whom the configuration of `ssh` says.
    pub user: Option<String>,
    /// A name, an alias of `ssh`'s configuration, or an address.
    pub name: String,
    /// Else what the configuration of `ssh` says.
    pub port: Option<u16>,
}

impl Host {
    /// The address, if it is one and no name.
    pub fn address(&self) -> Option<IpAddr> {
        self.name.split('%').next()?.parse().ok()
    }

    /// Whether this is the same server as far as one can tell: two scripts at once would be in each
    /// other's way, whoever runs them.
    pub fn is_same_server(&self, other: &Self) -> bool {
        let port = |host: &Self| host.port.unwrap_or(PORT);
        let name = |host: &Self| match host.name.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => host.name.to_ascii_lowercase(),
        };
        port(self) == port(other) && name(self) == name(other)
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self { user: None, name: address.to_string(), port: None }
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "\"{text}\" {what}; write [user@]host[:port], as in root@10.0.0.11 or \
                 admin@[2001:db8::11]:2222"
            )
        };
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        if user.is_some_and(|user| !is_user(user)) {
            return Err(wrong("has no user that ssh could take"));
        }
        let (name, port) = split(rest).ok_or_else(|| wrong("is no host"))?;
        let port = match port.map(str::parse) {
            None => None,
            Some(Ok(0)) | Some(Err(_)) => return Err(wrong("has no port from 1 to 65535")),
            Some(Ok(port)) => Some(port),
        };
        Ok(Self { user: user.map(str::to_owned), name: name.to_owned(), port })
    }
}

/// A host and its port, if there is one. An IPv6 address with a port has brackets.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
        return is_ipv6(address).then_some((address, port));
    }
    if is_ipv6(text) {
        return Some((text, None));
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    is_name(name).then_some((name, port))
}

/// An IPv6 address, of a link with its zone.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "lo"));
    address.parse::<Ipv6Addr>().is_ok() && is_name(zone)
}

/// A word that no shell, and no program that takes options, would take for anything else.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(allowed)
}

/// The same of a user, who may be one of a domain.
fn is_user(text: &str) -> bool {
    is_name(&text.replace(['@', '\\', '+', '$'], "_"))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, name, port } = self;
        if let Some(user) = user {
            write!(f, "{user}@")?;
        }
        match port {
            Some(port) if name.contains(':') => write!(f, "[{name}]:{port}"),
            Some(port) => write!(f, "{name}:{port}"),
            None => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_may_have_a_user_and_a_port_and_is_shown_as_it_is_written() {
        for (text, user, name, port) in [
            ("real1", None, "real1", None),
            ("root@real1.example.net", Some("root"), "real1.example.net", None),
            ("10.0.0.11:2222", None, "10.0.0.11", Some(2222)),
            ("user@[2001:db8::1]:2222", Some("user"), "2001:db8::1", Some(2222)),
            ("2001:db8::1:2222", None, "2001:db8::1:2222", None),
            ("root@fe80::1%eth0", Some("root"), "fe80::1%eth0", None),
            ("ann@example.net@real1", Some("ann@example.net"), "real1", None),
        ] {
            let user = user.map(str::to_owned);
            assert_eq!(host(text), Host { user, name: name.into(), port }, "{text}");
            assert_eq!(host(text).to_string(), text);
        }
        assert_eq!(host("[2001:db8::1]").to_string(), "2001:db8::1");
    }

    #[test]
    fn what_ssh_or_a_shell_would_take_for_something_else_is_refused() {
        for text in [
            "",
            "root@",
            "@real1",
            "-oProxyCommand=reboot",
            "root@-oProxyCommand=reboot",
            "-l@real1",
            "real1;reboot",
            "real 1",
            "$(reboot)",
            "ssh://real1",
            "real1:0",
            "real1:",
            "real1:ssh",
            "real1:65536",
            "[2001:db8::1",
            "[2001:db8::1]2222",
            "[10.0.0.1]:22",
            "fe80::1%-x",
            "real1\n",
        ] {
            let message = text.parse::<Host>().unwrap_err();
            assert!(message.contains("write [user@]host[:port]"), "{text}: {message}");
        }
    }

    #[test]
    fn one_server_is_recognized_however_it_is_written() {
        for (one, other, same) in [
            ("root@real1", "real1:22", true),
            ("Real1", "real1", true),
            ("2001:db8:0::1", "[2001:db8::1]:22", true),
            ("real1", "real1:2222", false),
            ("10.0.0.11", "10.0.0.12", false),
        ] {
            assert_eq!(host(one).is_same_server(&host(other)), same, "{one} {other}");
        }
    }
}
