//! How health is checked.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, path::PathBuf, time::Duration};

use super::Protocol;

/// A check of the reals of a VIP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// What is probed.
    pub kind: CheckKind,
    /// Which address is probed.
    pub via: CheckVia,
    /// From one probe to the next.
    pub interval: Duration,
    /// From a probe with another result than those before to the next; not longer than the interval.
    pub fast_interval: Duration,
    /// For a whole probe; not longer than the interval.
    pub timeout: Duration,
    /// Passed probes in a row until a real is up, 1 or more.
    pub rise: u32,
    /// Failed probes in a row until a real is down, 1 or more.
    pub fall: u32,
    /// What a real counts as until then.
    pub initial: Initial,
}

/// What a check probes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// That a TCP connection is accepted.
    Tcp {
        /// Where.
        port: u16,
    },
    /// That a SYN is answered with a SYN-ACK; the connection is never opened.
    Syn {
        /// Where.
        port: u16,
    },
    /// That an HTTP request gets the answer that is expected.
    Http(HttpCheck),
    /// That a DNS query gets the answer that is expected.
    Dns(DnsCheck),
    /// That a datagram is answered.
    Udp {
        /// Where.
        port: u16,
        /// What is sent.
        send: Vec<u8>,
        /// With what the answer must begin; nothing where any answer will do.
        expect: Vec<u8>,
    },
    /// That a ping is answered (RFC 792, RFC 4443).
    Icmp,
    /// That a gRPC server says SERVING (grpc.health.v1.Health/Check).
    Grpc {
        /// Where.
        port: u16,
        /// With TLS, and how; in plain text where there is none.
        tls: Option<Tls>,
        /// The service that is asked for; empty for the server as a whole.
        service: String,
    },
    /// That a program exits with 0.
    Exec(ExecCheck),
}

/// An HTTP request and the answer that is expected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    /// Where.
    pub port: u16,
    /// With TLS (https), and how.
    pub tls: Option<Tls>,
    /// The method: GET, HEAD, ….
    pub method: String,
    /// The path with its query, starting with `/`.
    pub path: String,
    /// The `Host` header; the address that is probed where none is given.
    pub host: Option<String>,
    /// The status codes that pass.
    pub status: Vec<RangeInclusive<u16>>,
    /// What the body must contain.
    pub body: Option<String>,
    /// The version of the protocol.
    pub version: HttpVersion,
}

/// How TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The server's name: what is asked for (SNI) and what its certificate must be for. Without one the
    /// address is.
    pub name: Option<String>,
    /// Whether the certificate is verified.
    pub verify: bool,
    /// A file of certificates in PEM that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
}

/// A DNS query and the answer that is expected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsCheck {
    /// Where.
    pub port: u16,
    /// Over which protocol.
    pub transport: Protocol,
    /// The name that is asked for.
    pub name: String,
    /// The type of record: `A`, `AAAA`, `SOA`, ….
    pub record: String,
    /// What one of the answers must be, as zone files write it; where none is given NOERROR will do.
    pub answer: Option<String>,
}

/// A program that checks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExecCheck {
    /// The program, an absolute path, and its arguments.
    pub command: Vec<String>,
    /// What is added to its environment.
    pub environment: BTreeMap<String, String>,
}

words! {
    /// Which address a check probes.
    CheckVia, "check path" {
        /// The VIP at the real's MAC address: the clients' path.
        Vip = "vip",
        /// The real's own address.
        Rip = "rip",
    }
}

words! {
    /// What a real counts as until its checks have said so often enough.
    #[derive(Default)]
    Initial, "initial state" {
        /// It must prove itself first.
        #[default]
        Down = "down",
        /// It is taken for good.
        Up = "up",
    }
}

words! {
    /// A version of HTTP.
    #[derive(Default)]
    HttpVersion, "HTTP version" {
        /// HTTP/1.1.
        #[default]
        One = "1.1",
        /// HTTP/2, by ALPN over TLS and with prior knowledge without (RFC 9113, section 3.3).
        Two = "2",
    }
}

impl fmt::Display for Check {
    /// As in `http:80/healthz via vip every 2s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = humantime::format_duration(self.interval);
        write!(f, "{} via {} every {interval}", self.kind, self.via)
    }
}

impl CheckKind {
    /// The word for it in the configuration.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Syn { .. } => "syn",
            Self::Http(HttpCheck { tls: None, .. }) => "http",
            Self::Http(_) => "https",
            Self::Dns(_) => "dns",
            Self::Udp { .. } => "udp",
            Self::Icmp => "icmp",
            Self::Grpc { .. } => "grpc",
            Self::Exec(_) => "exec",
        }
    }
}

impl fmt::Display for CheckKind {
    /// As `lbctl vip set --check` takes it; what cannot be said there is left out, and so is a query, as many
    /// may read this and there may be a token in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Tcp { port } | Self::Syn { port } | Self::Udp { port, .. } => {
                write!(f, ":{port}")
            }
            Self::Http(check) => match check.path.split_once('?') {
                Some((path, _)) => write!(f, ":{}{path}?…", check.port),
                None => write!(f, ":{}{}", check.port, check.path),
            },
            Self::Dns(check) => write!(f, ":{}", check.name),
            Self::Icmp => Ok(()),
            Self::Grpc { port, service, .. } if service.is_empty() => write!(f, ":{port}"),
            Self::Grpc { port, service, .. } => write!(f, ":{port}/{service}"),
            Self::Exec(check) => {
                write!(f, ":{}", check.command.first().map_or("", String::as_str))
            }
        }
    }
}

impl HttpCheck {
    /// Whether a status passes.
    #[must_use]
    pub fn passes(&self, status: u16) -> bool {
        self.status.iter().any(|range| range.contains(&status))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    #[test]
    fn a_query_is_not_shown() {
        for (path, shown) in [("/healthz?token=t0&a=?b", "/healthz?…"), ("/a/b", "/a/b")] {
            let vip = "name = \"a\", address = \"192.0.2.1\", ports = [\"tcp/80\"]";
            let check = format!("{{ type = \"http\", path = \"{path}\" }}");
            let text = format!("node.interfaces = [\"e\"]\nvip = [{{ {vip}, check = {check} }}]");
            let kind = &parse(&text).unwrap().vips[0].checks[0].kind;
            assert_eq!(kind.to_string(), format!("http:80{shown}"));
        }
    }
}
