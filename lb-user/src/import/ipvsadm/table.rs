//! The table that rules make, as the kernel would have it.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    super::{Unreadable, services, source::Source},
    NUMBERS,
    words::{Rule, Word},
};

/// What a virtual service is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Tcp(IpAddr, u16),
    Udp(IpAddr, u16),
    Sctp(IpAddr, u16),
    /// By the mark that the firewall puts on a packet.
    Mark(u32),
}

pub(super) struct Service<'t> {
    pub(super) key: Key,
    pub(super) rule: Rule<'t>,
    pub(super) servers: Vec<Server<'t>>,
}

pub(super) struct Server<'t> {
    pub(super) address: IpAddr,
    /// The service's where the rule has none.
    pub(super) port: u16,
    pub(super) weight: u32,
    pub(super) rule: Rule<'t>,
}

#[derive(Default)]
pub(super) struct Table<'t> {
    pub(super) services: Vec<Service<'t>>,
    /// The timeouts of TCP, of TCP after a FIN, and of UDP, in seconds; 0 for one that is not set.
    pub(super) timeouts: Option<(Rule<'t>, [u32; 3])>,
    /// Rules that say nothing of services.
    pub(super) others: Vec<Rule<'t>>,
    touched: bool,
}

impl<'t> Table<'t> {
    /// Whether no rule has been applied.
    pub(super) fn is_untouched(&self) -> bool {
        !self.touched
    }

    pub(super) fn apply(&mut self, rule: Rule<'t>, source: Source<'_>) -> Result<(), Unreadable> {
        self.touched = true;
        match rule.command {
            "add-service" => self.add_service(rule, source),
            "edit-service" => self.edit_service(rule, source),
            "delete-service" => {
                let key = key(&rule, source)?;
                self.services.retain(|service| service.key != key);
                Ok(())
            }
            "add-server" | "edit-server" => self.put_server(rule, source),
            "delete-server" => self.delete_server(&rule, source),
            "clear" => {
                self.services.clear();
                Ok(())
            }
            "set" => self.set(rule, source),
            "start-daemon" | "stop-daemon" => {
                self.others.push(rule);
                Ok(())
            }
            // What only shows something, or how it is counted.
            _ => Ok(()),
        }
    }

    fn add_service(&mut self, rule: Rule<'t>, source: Source<'_>) -> Result<(), Unreadable> {
        let key = key(&rule, source)?;
        if let Some(first) = self.services.iter().find(|service| service.key == key) {
            let reason = format!("line {} adds this service already; remove one", first.rule.line);
            return Err(source.unreadable((rule.line, 1), reason));
        }
        self.services.push(Service { key, rule, servers: Vec::new() });
        Ok(())
    }

    fn edit_service(&mut self, rule: Rule<'t>, source: Source<'_>) -> Result<(), Unreadable> {
        let service = self.service(&rule, source)?;
        service.rule = rule;
        Ok(())
    }

    fn put_server(&mut self, rule: Rule<'t>, source: Source<'_>) -> Result<(), Unreadable> {
        let (address, port) = server(&rule, source)?;
        let weight = rule.value("weight").map_or(Ok(1), |word| number(word, source))?;
        let service = self.service(&rule, source)?;
        let server = Server { address, port, weight, rule };
        let same = |other: &&mut Server<'_>| (other.address, other.port) == (address, port);
        match service.servers.iter_mut().find(same) {
            Some(place) => *place = server,
            None => service.servers.push(server),
        }
        Ok(())
    }

    fn delete_server(&mut self, rule: &Rule<'t>, source: Source<'_>) -> Result<(), Unreadable> {
        let gone = server(rule, source)?;
        let servers = &mut self.service(rule, source)?.servers;
        servers.retain(|server| (server.address, server.port) != gone);
        Ok(())
    }

    fn set(&mut self, rule: Rule<'t>, source: Source<'_>) -> Result<(), Unreadable> {
        let mut timeouts = [0; 3];
        for (index, timeout) in timeouts.iter_mut().enumerate() {
            let Some(word) = rule.rest.get(index) else {
                let reason = "--set has three timeouts: of TCP, after a FIN, of UDP, in seconds";
                return Err(source.unreadable((rule.line, 1), reason));
            };
            *timeout = number(*word, source)?;
        }
        self.timeouts = Some((rule, timeouts));
        Ok(())
    }

    fn service(
        &mut self,
        rule: &Rule<'t>,
        source: Source<'_>,
    ) -> Result<&mut Service<'t>, Unreadable> {
        let key = key(rule, source)?;
        self.services.iter_mut().find(|service| service.key == key).ok_or_else(|| {
            let reason = "no line above adds this service; begin with -A";
            source.unreadable((rule.line, 1), reason)
        })
    }
}

fn key(rule: &Rule<'_>, source: Source<'_>) -> Result<Key, Unreadable> {
    if let Some(word) = rule.value("fwmark-service") {
        return match number(word, source)? {
            0 => Err(source.unreadable(word.place, "a firewall mark is from 1 to 4294967295")),
            mark => Ok(Key::Mark(mark)),
        };
    }
    let kinds = [
        ("tcp-service", Key::Tcp as fn(IpAddr, u16) -> Key),
        ("udp-service", Key::Udp),
        ("sctp-service", Key::Sctp),
    ];
    let found = kinds.iter().find_map(|(name, kind)| Some((rule.value(name)?, kind)));
    let Some((word, kind)) = found else {
        let reason = "no service named; write -t, -u or -f";
        return Err(source.unreadable((rule.line, 1), reason));
    };
    let (address, port) = endpoint(word, source)?;
    Ok(kind(address, port))
}

fn server(rule: &Rule<'_>, source: Source<'_>) -> Result<(IpAddr, u16), Unreadable> {
    let Some(word) = rule.value("real-server") else {
        return Err(source.unreadable((rule.line, 1), "no real server named; write -r"));
    };
    let (address, port) = endpoint(word, source)?;
    let own = match key(rule, source)? {
        Key::Tcp(_, own) | Key::Udp(_, own) | Key::Sctp(_, own) => own,
        Key::Mark(_) => 0,
    };
    Ok((address, if port == 0 { own } else { port }))
}

fn number(word: Word<'_>, source: Source<'_>) -> Result<u32, Unreadable> {
    let hex = word.text.strip_prefix("0x").map(|digits| u32::from_str_radix(digits, 16));
    let number = hex.unwrap_or_else(|| word.text.parse());
    let wrong = |_| source.unreadable(word.place, format!("{:?} is not a number", word.text));
    number.map_err(wrong)
}

/// An address and a port, 0 where there is none.
fn endpoint(word: Word<'_>, source: Source<'_>) -> Result<(IpAddr, u16), Unreadable> {
    let (host, port) = split(word.text);
    let reason = match (host, port.map(services::port)) {
        (Some(address), None) => return Ok((address, 0)),
        (Some(address), Some(Some(port))) => return Ok((address, port)),
        (None, _) if word.text.contains('$') => {
            format!("{:?} is a variable of a shell; {NUMBERS}", word.text)
        }
        (None, _) => format!(
            "{:?} is not an address with a port, such as 192.0.2.10:80 or [2001:db8::10]:80; {NUMBERS}",
            word.text
        ),
        (Some(_), Some(None)) => {
            format!("the port in {:?} is neither a number nor a usual name; {NUMBERS}", word.text)
        }
    };
    Err(source.unreadable(word.place, reason))
}

fn split(text: &str) -> (Option<IpAddr>, Option<&str>) {
    if let Some((host, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let host = host.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
        return match (port, port.strip_prefix(':')) {
            ("", _) => (host, None),
            (_, Some(port)) => (host, Some(port)),
            _ => (None, None),
        };
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host.parse().ok(), Some(port)),
        _ => (text.parse().ok(), None),
    }
}
