//! `virtual_server`.

use std::net::IpAddr;

use lb_common::limits;

use super::{
    Held, Reader, address,
    group::{self, Entries},
    pace::Pace,
    pool::{self, Common, Member},
    tree::Statement,
    words,
};
use crate::{
    import::{DraftCheck, DraftReal, DraftVip, Note, Unreadable},
    model::{Amount, Announce, HashMode, Ports, Protocol, UdpMode, Watermarks},
};

/// How IPVS forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// By the MAC address: as we do.
    Direct,
    /// What keepalived does where nothing is said.
    Nat,
    Tunnel,
    Other,
}

impl Method {
    pub(super) fn of(statement: &Statement) -> Self {
        match statement.word(1).unwrap_or_default().to_ascii_uppercase().as_str() {
            "DR" => Self::Direct,
            "NAT" => Self::Nat,
            "TUN" => Self::Tunnel,
            _ => Self::Other,
        }
    }

    /// Why packets cannot be forwarded so.
    pub(super) fn refused(self) -> Option<&'static str> {
        match self {
            Self::Direct => None,
            Self::Nat => Some(
                "with NAT (which is meant where no lb_kind is said) answers come back through the balancer; here the reals answer clients themselves, with the VIP on lo and on the VIP's port: once they do, write lb_kind DR and import it again",
            ),
            Self::Tunnel => Some(
                "packets are not put into tunnels; the reals must be on a network of the balancer's own: once they are, write lb_kind DR and import it again",
            ),
            Self::Other => Some("this way of forwarding is not known; only DR is"),
        }
    }
}

/// What was read of a virtual server.
struct Server<'t> {
    statement: &'t Statement,
    method: Method,
    protocol: Option<Protocol>,
    pace: Pace,
    hash: HashMode,
    udp: UdpMode,
    quorum: Option<(&'t Statement, u32)>,
    hysteresis: u32,
    sorry: Option<(&'t Statement, IpAddr, u16)>,
    sorry_method: Option<Method>,
    virtualhost: Option<String>,
    reals: Vec<&'t Statement>,
    notes: Vec<Note>,
}

/// Adds the VIPs that a virtual server comes to.
pub(super) fn read<'t>(
    reader: &mut Reader<'t>,
    statement: &'t Statement,
) -> Result<(), Unreadable> {
    let mut entries = group::entries(reader, statement)?;
    let mut server = Server::of(reader, statement)?;
    server.notes.append(&mut entries.notes);
    let refused = match server.protocol {
        None => Some(
            "only TCP and UDP are forwarded by port; ports = [\"any\"] takes all that is sent to an address",
        ),
        Some(_) => server.method.refused(),
    };
    match (server.protocol, refused) {
        (Some(protocol), None) if !entries.services.is_empty() => {
            server.vips(reader, &entries, protocol)
        }
        (_, Some(reason)) if !entries.services.is_empty() => {
            reader.draft.notes.push(statement.note(format!("left out as a whole: {reason}")));
            Ok(())
        }
        _ => {
            reader.draft.notes.append(&mut server.notes);
            Ok(())
        }
    }
}

impl<'t> Server<'t> {
    fn of(reader: &mut Reader<'t>, statement: &'t Statement) -> Result<Self, Unreadable> {
        let mut server = Self {
            statement,
            method: Method::Nat,
            protocol: Some(Protocol::Udp),
            pace: Pace::default(),
            hash: HashMode::Flow,
            udp: UdpMode::Flow,
            quorum: None,
            hysteresis: 0,
            sorry: None,
            sorry_method: None,
            virtualhost: None,
            reals: Vec::new(),
            notes: Vec::new(),
        };
        for it in statement.inner() {
            if let Some(it) = server.pace.take(it, &mut server.notes)
                && !server.take(it)?
                && !server.take_spread(it)
            {
                server.notes.extend(reader.explained(words::SERVER, it));
            }
        }
        server.unsaid();
        Ok(server)
    }

    /// What keepalived takes where nothing is said may not be what was meant.
    fn unsaid(&mut self) {
        let said = |words: [&str; 2]| {
            self.statement.inner().iter().any(|it| words.contains(&it.keyword()))
        };
        let (protocol, algorithm) = (said(["protocol"; 2]), said(["lb_algo", "lvs_sched"]));
        if !protocol {
            self.notes.push(self.statement.note("no protocol is said, which keepalived takes for UDP, and so does this; if TCP is meant write protocol TCP and import it again"));
        }
        if !algorithm {
            self.notes
                .push(self.statement.note(spread("wlc (which is meant where no lb_algo is said)")));
        }
    }

    /// Takes what is about the service and its servers.
    fn take(&mut self, it: &'t Statement) -> Result<bool, Unreadable> {
        match it.keyword() {
            "lb_kind" | "lvs_method" => self.method = Method::of(it),
            "sorry_server_lvs_method" => self.sorry_method = Some(Method::of(it)),
            "protocol" => {
                self.protocol = match it.word(1).unwrap_or_default().to_ascii_uppercase().as_str() {
                    "TCP" => Some(Protocol::Tcp),
                    "UDP" => Some(Protocol::Udp),
                    "SCTP" => None,
                    other => {
                        return Err(
                            it.wrong(1, format!("\"{other}\" is not a protocol; write TCP or UDP"))
                        );
                    }
                }
            }
            "real_server" => self.reals.push(it),
            "sorry_server" => {
                self.sorry = Some((it, address::address(it, 1)?, address::port(it, 2)?))
            }
            "quorum" => self.quorum = number(it, &mut self.notes).map(|quorum| (it, quorum)),
            "hysteresis" => self.hysteresis = number(it, &mut self.notes).unwrap_or(0),
            "virtualhost" => self.virtualhost = it.word(1).map(str::to_owned),
            // The addresses say it, too.
            "ip_family" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes what is about how clients are spread.
    fn take_spread(&mut self, it: &'t Statement) -> bool {
        match it.keyword() {
            "lb_algo" | "lvs_sched" => self.algorithm(it),
            "persistence_timeout" => {
                self.hash = HashMode::Source;
                self.notes.push(it.note("here with a difference: hash = \"source\" keeps each client address on one real for as long as the pool stays the same, and not for a time"));
            }
            // See `algorithm`.
            "sh-port" | "mh-port" => {}
            "ops" => self.udp = UdpMode::Packet,
            _ => return false,
        }
        true
    }

    fn algorithm(&mut self, it: &'t Statement) {
        let word = it.word(1).unwrap_or_default();
        let ported = |it: &Statement| matches!(it.keyword(), "sh-port" | "mh-port");
        match word {
            "rr" | "wrr" => {}
            "sh" | "mh" if self.statement.inner().iter().any(ported) => {}
            "sh" | "mh" => self.hash = HashMode::Source,
            _ => self.notes.push(it.note(spread(word))),
        }
    }

    fn vips(
        mut self,
        reader: &mut Reader<'t>,
        entries: &Entries<'t>,
        protocol: Protocol,
    ) -> Result<(), Unreadable> {
        let served = |port: u16| match port {
            0 => Ports::All(protocol),
            port => Ports::One(protocol, port),
        };
        let ports: Vec<Ports> = entries.services.iter().map(|(_, port)| served(*port)).collect();
        let (mut reals, checks) = self.pool(&ports, &entries.services)?;
        reader.reals += reals.len() * entries.services.len();
        let many = reader.draft.vips.len() + entries.services.len() > limits::SERVICE_KEYS as usize;
        if many || reader.reals > limits::REALS_MOST as usize {
            let message = format!(
                "more than {} reals over all VIPs, or than {} VIPs, are more than can be loaded; import it in parts",
                limits::REALS_MOST,
                limits::SERVICE_KEYS
            );
            return Err(self.statement.wrong(0, message));
        }
        reader.leisurely |= self.pace.is_leisurely() && !checks.is_empty();
        let pattern = self.pattern(&mut reals, &entries.services, checks);
        let same = entries.services.iter().all(|(address, _)| *address == entries.services[0].0);
        for ((address, _), ports) in entries.services.iter().zip(ports) {
            let mut vip = pattern.clone();
            vip.vip.address = *address;
            vip.vip.ports = vec![ports];
            vip.vip.name = match entries.group {
                Some(group) if !same => format!("{group}-{address}"),
                group => group.unwrap_or_default().to_owned(),
            };
            vip.reals.clone_from(&reals);
            announced(&mut vip, reader.vrrp.get(address));
            // What is said of a group is said once.
            vip.notes = std::mem::take(&mut self.notes);
            reals.iter_mut().for_each(|real| real.notes.clear());
            reader.draft.vips.push(vip);
        }
        Ok(())
    }

    fn pool(
        &mut self,
        served: &[Ports],
        services: &[(IpAddr, u16)],
    ) -> Result<(Vec<DraftReal>, Vec<DraftCheck>), Unreadable> {
        let first = services.first().map_or(0, |(_, port)| *port);
        let same = services.iter().all(|(_, port)| *port == first);
        let common = Common {
            served,
            port: if same { first } else { 0 },
            method: self.method,
            virtualhost: self.virtualhost.clone(),
            pace: self.pace.clone(),
        };
        let mut members: Vec<Member> = Vec::new();
        for it in &self.reals {
            match pool::member(&common, it)? {
                Ok(member) => members.push(member),
                Err(note) => self.notes.push(note),
            }
        }
        if let Some((it, _, port)) =
            self.sorry.filter(|(_, _, port)| *port != 0 && same && *port != first)
        {
            self.notes.push(it.note(format!("here with a difference: packets keep their port, so the sorry server must listen on {first}; port {port} has no effect")));
        }
        Ok(pool::united(members))
    }

    /// A VIP with all but its address and reals.
    fn pattern(
        &mut self,
        reals: &mut [DraftReal],
        services: &[(IpAddr, u16)],
        checks: Vec<DraftCheck>,
    ) -> DraftVip {
        let address = services.first().map_or(IpAddr::from([0; 4]), |(address, _)| *address);
        let mut vip = DraftVip::new(self.statement.origin.clone(), address, Vec::new());
        vip.vip.hash = self.hash;
        vip.vip.udp = self.udp;
        vip.vip.min_up = self.watermarks(reals);
        vip.vip.sorry = self.sorry_address();
        vip.checks = checks;
        vip
    }

    fn sorry_address(&mut self) -> Option<IpAddr> {
        let (it, address, _) = self.sorry?;
        match self.sorry_method.unwrap_or(self.method).refused() {
            Some(reason) => {
                self.notes.push(it.note(format!("left out: {reason}")));
                None
            }
            None => Some(address),
        }
    }

    /// A quorum counts weights, and we count reals: the same only where all weigh the same.
    fn watermarks(&mut self, reals: &[DraftReal]) -> Option<Watermarks> {
        let (it, quorum) = self.quorum.filter(|(_, quorum)| *quorum > 1)?;
        let low = quorum.saturating_sub(self.hysteresis).max(1);
        let high = quorum.saturating_add(self.hysteresis);
        let mut weights: Vec<u32> =
            reals.iter().map(|real| real.weight).filter(|weight| *weight > 0).collect();
        weights.sort_unstable_by(|a, b| b.cmp(a));
        let [low, high] = [low, high].map(|weight| fewest(&weights, weight));
        if weights.first() != weights.last() {
            self.notes.push(it.note(format!("here with a difference: min_up counts reals and not weights; it takes {low} of the heaviest reals")));
        }
        if self.sorry.is_none() {
            self.notes.push(it.note("here with a difference: below min_up the VIP is no longer announced; keepalived goes on below the quorum where there is no sorry_server"));
        }
        Some(Watermarks { low: Amount::Count(low), high: Amount::Count(high) })
            .filter(|_| low > 1 || high > 1)
    }
}

fn spread(algorithm: &str) -> String {
    format!(
        "here with a difference: {algorithm} looks at connections or orders reals, a hash does not: flows are spread in proportion to the weights"
    )
}

/// How many of the heaviest reals weigh so much together; one more than there are where all do not.
fn fewest(weights: &[u32], wanted: u32) -> u16 {
    let sums = weights.iter().scan(0u64, |sum, weight| {
        *sum += u64::from(*weight);
        Some(*sum)
    });
    let short = sums.take_while(|sum| *sum < u64::from(wanted)).count();
    u16::try_from(short + 1).unwrap_or(u16::MAX)
}

/// An address that VRRP holds is VRRP's to announce.
fn announced(vip: &mut DraftVip, held: Option<&Held<'_>>) {
    if let Some(Held { instance, .. }) = held {
        vip.vip.announce = Announce::None;
        vip.remarks.push(format!("vrrp_instance {instance} holds this address, and goes on to; without it: announce = \"arp\"."));
    }
}

/// A number from 0 on.
pub(super) fn number(it: &Statement, notes: &mut Vec<Note>) -> Option<u32> {
    let number = it.word(1).and_then(|text| text.parse().ok());
    if number.is_none() {
        notes.push(it.note("not carried over: write a whole number"));
    }
    number
}
