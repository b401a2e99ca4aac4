//! Which real a packet would get, and why: asked of the loaded program, or, for a what-if, of the
//! same code on tables of our own.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use etherparse::PacketBuilder;
use lb_common::{Action, Outcome, RealWord, layout::Rule};

use super::Reconciler;
use crate::{
    api::{
        request::{Candidate, Refusal},
        types::{Trace, TraceQuery},
    },
    dataplane::{Dataplane as _, Memory},
    model::{Mac, Model, Protocol},
    plan::{self, Block, Desired, DesiredVip, Role, State},
};

/// A packet that nobody sent.
struct Probe {
    source: SocketAddr,
    destination: SocketAddr,
    protocol: Protocol,
    syn: bool,
}

/// What was found out about it.
struct Found {
    outcome: Outcome,
    slot: u32,
    place: u32,
    rule: Option<Rule>,
}

impl Reconciler {
    /// Answers a trace.
    pub(super) fn trace(
        &mut self,
        query: &TraceQuery,
        candidate: Option<&Candidate>,
    ) -> Result<Trace, Refusal> {
        let probe = Probe::parse(query)?;
        let down = parse_down(query.down.as_deref())?;
        let own = self.kernel.entrance().map(Mac).ok_or_else(|| {
            Refusal::failed("none of [node] interfaces is there: no packet comes in".to_owned())
        })?;
        let mut frame = probe.frame(own)?;
        if down.is_empty() && candidate.is_none() {
            let record =
                self.kernel.trace(&frame).map_err(|error| Refusal::failed(error.to_string()))?;
            let outcome = Outcome::from_index(record.outcome).ok_or_else(|| {
                Refusal::failed("the loaded program is of another version: restart lbd")
            })?;
            let forwarded = outcome == Outcome::Forwarded;
            let rule = Rule::from_number(record.rule).filter(|_| forwarded);
            let found = Found { outcome, slot: record.slot, place: record.place, rule };
            return Ok(self.explain(&self.state, &found, false));
        }
        let (state, found) = self.predict(&mut frame, own, &down, candidate)?;
        Ok(self.explain(&state, &found, true))
    }

    /// Plans the other world from nothing, on rings of today's lengths, and asks the datapath's
    /// code there. A real that is not known yet counts as usable.
    fn predict(
        &self,
        frame: &mut Vec<u8>,
        own: Mac,
        down: &BTreeSet<IpAddr>,
        candidate: Option<&Candidate>,
    ) -> Result<(State, Found), Refusal> {
        let model = candidate.map_or(&self.config.model, |candidate| &candidate.model);
        let seed = model.node.hash_seed.unwrap_or(self.seed).0;
        let vips = self.what_if(model, down, candidate.is_some())?;
        let desired = Desired { seed, now: super::now(), vips };
        let plan = plan::plan(&State::default(), &desired)
            .map_err(|error| Refusal::conflict(error.to_string()))?;
        let mut memory = Memory::new(own.0, seed);
        for (number, port) in self.ports.iter().filter(|(number, _)| *number != 1) {
            memory.set_port(number, self.port_word(port));
        }
        match memory.apply(&plan.ops) {
            Ok(()) => {}
            Err(never) => match never {},
        }
        let found = match memory.process(frame) {
            Ok(forward) => Found {
                outcome: Outcome::Forwarded,
                slot: forward.slot,
                place: forward.place,
                rule: Some(forward.rule),
            },
            Err(outcome) => Found { outcome, slot: 0, place: 0, rule: None },
        };
        Ok((plan.state, found))
    }

    fn what_if(
        &self,
        model: &Model,
        down: &BTreeSet<IpAddr>,
        other_config: bool,
    ) -> Result<Vec<DesiredVip>, Refusal> {
        let mut vips = self.desired(model, &self.ledger).vips;
        let known: BTreeSet<IpAddr> = vips
            .iter()
            .flat_map(|vip| vip.reals.iter().chain(&vip.sorry))
            .map(|real| real.address)
            .collect();
        if let Some(stranger) = down.difference(&known).next() {
            return Err(Refusal::invalid(format!("--down {stranger}: no VIP has this real")));
        }
        for vip in &mut vips {
            vip.ring_len = self.state.block(&vip.name).map_or(vip.ring_len, Block::ring_len);
            for real in vip.reals.iter_mut().chain(&mut vip.sorry) {
                if other_config && real.word == RealWord::NONE {
                    real.word = RealWord::new(UNKNOWN_MAC, 1);
                    real.role = Role::ACTIVE;
                }
                if down.contains(&real.address) {
                    real.role = Role::Out;
                }
            }
        }
        Ok(vips)
    }

    /// The interface by which a real is reached; the only one, if there is one, for a real that the
    /// kernel was never asked about.
    fn interface_to(&self, address: IpAddr) -> Option<String> {
        let known = self.servers().into_iter().find(|real| real.address == address);
        match self.network.interfaces.configured() {
            [only] if known.is_none() => Some(only.clone()),
            _ => known.and_then(|real| self.network.device(&real)),
        }
    }

    fn explain(&self, state: &State, found: &Found, predicted: bool) -> Trace {
        let verdict = match found.outcome.action() {
            Action::Transmit => "forward",
            Action::Pass => "pass",
            Action::Drop => "drop",
        };
        let forwarded = found.outcome == Outcome::Forwarded;
        let place = forwarded.then(|| state.occupant(found.place)).flatten();
        let real = place.and_then(|(_, real)| real);
        let word = place.zip(real).map(|((block, _), real)| block.members[&real].word);
        let sorry = self.config.model.vips.iter().any(|vip| {
            real.is_some()
                && vip.sorry == real
                && place.is_some_and(|(block, _)| block.name.as_deref() == Some(&vip.name))
        });
        Trace {
            verdict: verdict.to_owned(),
            outcome: found.outcome.label().to_owned(),
            explanation: found.outcome.describe().to_owned(),
            vip: place.and_then(|(block, _)| block.name.clone()),
            slot: forwarded.then_some(found.slot),
            real,
            mac: word
                .filter(|word| word.mac() != UNKNOWN_MAC)
                .map(|word| Mac(word.mac()).to_string()),
            interface: real.and_then(|real| self.interface_to(real)),
            by: found.rule.map(|rule| if sorry { "sorry" } else { rule.label() }.to_owned()),
            predicted,
        }
    }
}

/// Stands for the MAC address of a real that nobody has resolved, in a what-if. Never on a wire.
const UNKNOWN_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0];

fn parse_down(list: Option<&str>) -> Result<BTreeSet<IpAddr>, Refusal> {
    let parts = list.unwrap_or_default().split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            part.parse().map_err(|_| Refusal::invalid(format!("--down {part}: not an address")))
        })
        .collect()
}

impl Probe {
    fn parse(query: &TraceQuery) -> Result<Self, Refusal> {
        let protocol = query.proto.as_deref().unwrap_or("tcp").parse().map_err(Refusal::invalid)?;
        if query.syn && protocol != Protocol::Tcp {
            return Err(Refusal::invalid("--syn: only TCP has it"));
        }
        let (source, destination) =
            (endpoint("--src", &query.src)?, endpoint("--dst", &query.dst)?);
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(Refusal::invalid(format!(
                "--src {source} and --dst {destination}: not of one address family"
            )));
        }
        Ok(Self { source, destination, protocol, syn: query.syn })
    }

    /// The packet as a frame to the interface with the MAC address `own`: headers only. It comes
    /// from no machine's MAC address, and so from no real's.
    fn frame(&self, own: Mac) -> Result<Vec<u8>, Refusal> {
        let link = PacketBuilder::ethernet2([0; 6], own.0);
        let network = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                link.ipv4(source.octets(), destination.octets(), TTL)
            }
            (source, destination) => link.ipv6(octets(source), octets(destination), TTL),
        };
        let (from, to) = (self.source.port(), self.destination.port());
        let mut frame = Vec::new();
        let written = match (self.protocol, self.syn) {
            (Protocol::Tcp, true) => network.tcp(from, to, 0, WINDOW).syn().write(&mut frame, &[]),
            (Protocol::Tcp, false) => {
                network.tcp(from, to, 0, WINDOW).ack(0).write(&mut frame, &[])
            }
            (Protocol::Udp, _) => network.udp(from, to).write(&mut frame, &[]),
        };
        written.map_err(|error| Refusal::failed(format!("building the packet: {error}")))?;
        Ok(frame)
    }
}

/// Of no consequence for where a packet goes.
const TTL: u8 = 64;
const WINDOW: u16 = u16::MAX;

/// The address as one of IPv6.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn endpoint(option: &str, text: &str) -> Result<SocketAddr, Refusal> {
    text.parse().map_err(|_| {
        Refusal::invalid(format!(
            "{option} {text}: not an address and port; write 198.51.100.7:40000 or \
             [2001:db8::7]:40000"
        ))
    })
}
