//! What `GET /v1/flows` says.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_common::{Flow, FlowKey, Tick};
use lb_ebpf::tables::Notes;

use super::{Reconciler, now, sweep::Ring};
use crate::{
    api::{
        request::Refusal,
        types::{self, Flows, FlowsQuery, TableStatus},
    },
    dataplane::{self, Cursor},
    model::{Protocol, Vip},
};

/// Flows that are read at once.
const BATCH: usize = 16_384;

/// What of the flows is wanted.
struct Wanted<'a> {
    query: &'a FlowsQuery,
    rings: BTreeMap<u32, (&'a Vip, Ring<'a>)>,
    now: Tick,
}

impl Reconciler {
    /// The flows that are noted now.
    pub(super) fn flows(&self, query: &FlowsQuery) -> Result<Flows, Refusal> {
        let read = || -> Result<Flows, dataplane::Error> {
            let vips = self.config.model.vips.iter();
            let rings = vips.filter_map(|vip| {
                let block = self.state.block(&vip.name)?;
                Some((block.ring, (vip, Ring::of(block))))
            });
            let wanted = Wanted { query, rings: rings.collect(), now: now() };
            let (mut flows, mut more) = (Vec::new(), false);
            let mut table = |notes| self.list(notes, &wanted, &mut flows, &mut more);
            let pinned = table(Notes::Pinned)?;
            let fresh = table(Notes::Fresh)?;
            let datagrams = table(Notes::Datagrams)?;
            Ok(Flows { flows, pinned, fresh, datagrams, more })
        };
        read().map_err(|error| Refusal::failed(error.to_string()))
    }

    /// Lists a table's flows that are wanted, as long as there is room, and counts all.
    fn list(
        &self,
        notes: Notes,
        wanted: &Wanted<'_>,
        flows: &mut Vec<types::Flow>,
        more: &mut bool,
    ) -> Result<TableStatus, dataplane::Error> {
        let table = self.kernel.notes(notes);
        let (mut cursor, mut used) = (Cursor::Start, 0);
        while cursor != Cursor::End {
            let batch = table.read(&mut cursor, BATCH)?;
            used += batch.len() as u64;
            for flow in batch.iter().filter_map(|(key, flow)| self.flow(notes, wanted, key, flow)) {
                if flows.len() < wanted.query.limit() {
                    flows.push(flow);
                } else {
                    *more = true;
                }
            }
        }
        Ok(TableStatus { used, size: table.size().into() })
    }

    /// A flow in people's words; `None` of one that is not asked for, or that means nothing any more.
    fn flow(
        &self,
        notes: Notes,
        wanted: &Wanted<'_>,
        key: &FlowKey,
        flow: &Flow,
    ) -> Option<types::Flow> {
        let Wanted { query, rings, now } = wanted;
        let (vip, ring) = rings.get(&key.ring())?;
        let member = self.heeded(ring, key, flow)?;
        let mut members = ring.block.members.iter();
        let real = *members.find(|(_, occupant)| occupant.member == member)?.0;
        let asked = query.vip.as_ref().is_none_or(|name| *name == vip.name)
            && query.real.is_none_or(|address| address == real);
        if !asked {
            return None;
        }
        let seconds = |ticks: u32| (u64::from(ticks) << 20) / 1_000_000_000;
        let port = |shift: u32| u16::from_be((key.ports >> shift) as u16);
        Some(types::Flow {
            vip: vip.name.clone(),
            protocol: protocol(key.protocol()),
            source: SocketAddr::new(client(vip, key), port(0)).to_string(),
            destination: SocketAddr::new(vip.address, port(16)).to_string(),
            real,
            table: table(notes).to_owned(),
            slot: flow.slot,
            age_seconds: seconds(now.since(flow.noted)),
            idle_seconds: seconds(now.since(flow.seen)),
        })
    }
}

fn client(vip: &Vip, key: &FlowKey) -> IpAddr {
    let [first, second] = key.source;
    match vip.address {
        IpAddr::V4(_) => Ipv4Addr::from((second as u32).to_le_bytes()).into(),
        IpAddr::V6(_) => {
            let words = u128::from(first) | u128::from(second) << 64;
            Ipv6Addr::from(words.to_le_bytes()).into()
        }
    }
}

fn protocol(number: u8) -> String {
    let known = [Protocol::Tcp, Protocol::Udp].into_iter().find(|known| known.number() == number);
    known.map_or_else(|| number.to_string(), |known| known.to_string())
}

fn table(notes: Notes) -> &'static str {
    match notes {
        Notes::Pinned => "pinned",
        Notes::Fresh => "fresh",
        Notes::Datagrams => "datagram",
    }
}
