//! A service of either form, and the VIP that it becomes.

use std::{cell::Cell, net::IpAddr};

use lb_common::limits;

use super::{
    super::{DraftCheck, DraftReal, DraftVip, Note, Origin, Unreadable, source::Source},
    tree::Node,
};
use crate::model::{Amount, Announce, HashMode, Ports, Protocol, RealState, Watermarks};

const TUNNEL: &str = "left out: reals behind tunnels; reals are reached by their MAC addresses, so bring them \
    into a network of the balancer";

const MAPPED: &str =
    "left out: the reals listen on another port, and direct server return cannot translate ports";

const NO_PERSISTENCE: &str = "hash = \"source\" instead: a client keeps its real while the pool stays the same, \
    however long it is silent";

const COUNTS_CONNECTIONS: &str = "connections are not counted: new flows are spread by their hash";

/// The longest line that is quoted whole, in bytes.
const LINE: usize = 100;

/// What is read, and how to tell of it.
pub(super) struct Reader<'a> {
    pub(super) source: Source<'a>,
    pub(super) lines: Vec<&'a str>,
    pub(super) root: &'a Node,
    /// How many reals may still be read, over all services.
    left: Cell<usize>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, root: &'a Node, source: Source<'a>) -> Self {
        Self {
            source,
            lines: text.lines().collect(),
            root,
            left: Cell::new(limits::REALS_MOST as usize),
        }
    }

    /// Some lines can say that there is every address with every server: more than any balancer has is not
    /// read at all.
    pub(super) fn room(&self, service: &Service<'_>) -> Result<(), Unreadable> {
        let left = self.left.get().checked_sub(service.servers.len() + 1);
        self.left.set(left.ok_or_else(|| {
            self.wrong(
                service.at,
                format!("more than {} servers over all services", limits::REALS_MOST),
            )
        })?);
        Ok(())
    }

    /// Where something stands, with its whole line.
    pub(super) fn origin(&self, node: &Node) -> Origin {
        let line = self.lines.get(node.line - 1).copied().unwrap_or_default();
        // In JSON everything may stand in one line.
        let words = if line.len() <= LINE { line } else { node.text().unwrap_or("a long line") };
        self.source.origin(node.line, words.trim_end_matches([' ', ':', '{', '[', ',']))
    }

    pub(super) fn wrong(&self, node: &Node, reason: impl Into<String>) -> Unreadable {
        self.source.unreadable((node.line, node.column), reason)
    }
}

/// One address with one port.
pub(super) struct Service<'a> {
    /// Where the address stands.
    pub(super) at: &'a Node,
    /// The address, with a star behind it where it is disabled.
    pub(super) address: String,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    /// Where the port stands.
    pub(super) port_at: &'a Node,
    /// On which the reals listen.
    pub(super) bind: u16,
    pub(super) disabled: bool,
    /// Where settings are looked for, the nearest first.
    pub(super) settings: Vec<&'a Node>,
    pub(super) servers: Vec<Server<'a>>,
    pub(super) checks: Vec<DraftCheck>,
    pub(super) notes: Vec<Note>,
}

pub(super) struct Server<'a> {
    pub(super) at: &'a Node,
    pub(super) address: String,
    pub(super) weight: u32,
    pub(super) disabled: bool,
}

impl<'a> Service<'a> {
    fn setting(&self, key: &str) -> Option<&'a Node> {
        self.settings.iter().find_map(|node| node.get(key))
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.setting(key).and_then(Node::text)
    }

    /// The VIP; or why there is none.
    pub(super) fn vip(self, reader: &Reader<'_>) -> Result<DraftVip, Note> {
        let origin = reader.origin(self.at);
        let address: Result<IpAddr, _> = self.address.trim_end_matches('*').parse();
        let Ok(address) = address else {
            return Err(origin.note(format!("left out: {:?} is not an address", self.address)));
        };
        if let Some(tunnel) = self.setting("tunnel-type").filter(|kind| kind.text() != Some("none"))
        {
            return Err(reader.origin(tunnel).note(TUNNEL));
        }
        if self.bind != self.port {
            return Err(reader.origin(self.port_at).note(MAPPED));
        }
        let mut vip = DraftVip::new(origin, address, vec![Ports::One(self.protocol, self.port)]);
        vip.vip.announce = Announce::None;
        vip.vip.enabled = !self.disabled && !self.address.ends_with('*');
        self.text("name").unwrap_or_default().clone_into(&mut vip.vip.name);
        vip.remarks.extend(self.text("description").map(str::to_owned));
        self.need(&mut vip, reader);
        self.spread(&mut vip, reader);
        self.reals(&mut vip, reader);
        vip.checks = self.checks;
        vip.notes.extend(self.notes);
        vip.notes.sort_by_key(|note| note.line);
        Ok(vip)
    }

    fn need(&self, vip: &mut DraftVip, reader: &Reader<'_>) {
        let Some(node) = self.setting("need") else { return };
        match node.text().and_then(|text| text.parse::<u16>().ok()) {
            // One is always needed.
            Some(0 | 1) => {}
            Some(need) => {
                let need = Amount::Count(need);
                vip.vip.min_up = Some(Watermarks { low: need, high: need });
            }
            None => vip.notes.push(reader.origin(node).note("left out: not a number of reals")),
        }
    }

    fn spread(&self, vip: &mut DraftVip, reader: &Reader<'_>) {
        if self.setting("sticky").is_some_and(Node::is_true) {
            vip.vip.hash = HashMode::Source;
        }
        if let Some(node) = self.setting("persist").filter(|node| node.text() != Some("0")) {
            vip.vip.hash = HashMode::Source;
            vip.notes.push(reader.origin(node).note(NO_PERSISTENCE));
        }
        let scheduler = self.setting("scheduler").or(reader.root.get("scheduler"));
        let other = scheduler.filter(|node| {
            let text = node.text().unwrap_or_default();
            !matches!(text, "" | "maglev" | "mh" | "sh" | "roundrobin" | "rr" | "wrr")
        });
        let counts = self.setting("leastconns").filter(|node| node.is_true()).or(other);
        vip.notes.extend(counts.map(|node| reader.origin(node).note(COUNTS_CONNECTIONS)));
        for key in ["reset", "fallback"] {
            let on = self.setting(key).filter(|node| node.is_true());
            vip.notes
                .extend(on.map(|node| reader.origin(node).note("left out: it has no counterpart")));
        }
        let priority = self.setting("priority");
        vip.notes.extend(
            priority.map(|node| reader.origin(node).note("left out: no VIP goes before another")),
        );
    }

    fn reals(&self, vip: &mut DraftVip, reader: &Reader<'_>) {
        for server in &self.servers {
            let origin = reader.origin(server.at);
            match server.address.parse() {
                Ok(address) => {
                    let mut real = DraftReal::new(origin, address);
                    real.weight = server.weight;
                    if server.disabled {
                        real.state = RealState::Disabled;
                    }
                    vip.reals.push(real);
                }
                Err(_) => {
                    let reason = format!("left out: {:?} is not an address", server.address);
                    vip.notes.push(origin.note(reason));
                }
            }
        }
    }
}

/// Of keys that are not known the reader must hear, once.
pub(super) fn unknown(node: &Node, known: &[&str], reader: &Reader<'_>) -> Vec<Note> {
    let unknown = |key: &&Node| !key.text().is_some_and(|key| known.contains(&key));
    let keys = node.entries().iter().map(|(key, _)| key).filter(unknown);
    keys.map(|key| reader.origin(key).note("left out: an unknown key")).collect()
}
