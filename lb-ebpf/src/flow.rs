//! Which real server owns a flow.
//!
//! A slot that has not moved has one owner, and no table of flows is asked. Of one that has moved, the
//! flows that are older than the move still belong to the previous owner. They need no note: a TCP flow
//! that is in no table and does not begin must be older. So only what begins is noted. And before it is, a byte is set
//! for its hash: so most of the older ones are known by one look into an array ([`plain_owner`]).

use lb_common::{
    Address, Entry, Flow, FlowKey, Member, Outcome, RealWord, Slot, Tick, Times, hash,
    layout::Rule, limits,
};
use network_types::ip::IpProto;

use crate::{
    parse::Datagram,
    tables::{Notes, Shelf, Tables},
};

/// The owner of a flow: a real's place, and the rule that chose it.
#[derive(Clone, Copy)]
pub struct Owner {
    /// Its place in the arrays of reals and of counters.
    pub place: u32,
    /// Why it.
    pub rule: Rule,
}

/// The real that gets this datagram if it takes no look into a table of flows to know: its slot has not moved, or it
/// goes on with a connection whose hash none has that is noted, so that it is older than the move. `None` of all others,
/// which are [`owner`]'s; where both know, they say the same.
///
/// # Errors
///
/// [`Outcome::NoReal`] when nobody owns the slot.
#[inline(always)]
pub fn plain_owner<A: Address>(
    tables: &impl Tables,
    service: &Entry,
    slot: u32,
    hash: u64,
    datagram: &Datagram<A>,
) -> Option<Result<Owner, Outcome>> {
    let index = service.ring.wrapping_add(slot);
    let owners = tables.slot(index);
    let Some(previous) = owners.previous() else {
        return Some(current(service, owners));
    };
    let goes_on = datagram.protocol == IpProto::Tcp as u8 && !datagram.ports.begins;
    if !goes_on || tables.may_be_noted(hash::noted(hash)) {
        return None;
    }
    let place = previous.place(service.pool);
    if tables.real(place).port() == 0 {
        return None;
    }
    saw(tables, index, tables.times(index));
    Some(Ok(Owner { place, rule: Rule::Previous }))
}

/// Leaves a mark in the slot, unless there is one.
#[inline(always)]
fn saw(tables: &impl Tables, index: u32, times: Times) {
    if !times.is_marked() {
        tables.saw(index);
    }
}

#[inline(always)]
fn current(service: &Entry, owners: Slot) -> Result<Owner, Outcome> {
    let current = owners.current().ok_or(Outcome::NoReal)?;
    Ok(Owner { place: current.place(service.pool), rule: Rule::Current })
}

/// The real that gets this datagram, which belongs to this slot of this service by this hash.
///
/// # Errors
///
/// [`Outcome::NoReal`] when nobody owns the slot.
#[inline(always)]
pub fn owner<A: Address>(
    tables: &impl Tables,
    service: &Entry,
    slot: u32,
    hash: u64,
    datagram: &Datagram<A>,
) -> Result<Owner, Outcome> {
    let index = service.ring.wrapping_add(slot);
    let owners = tables.slot(index);
    let is_tcp = datagram.protocol == IpProto::Tcp as u8;
    if !owners.is_tracked() || (!is_tcp && service.has(Entry::PER_PACKET)) {
        return current(service, owners);
    }
    let key = FlowKey {
        source: datagram.source.words(),
        ports: datagram.ports.both,
        service: FlowKey::service(service.ring, datagram.protocol),
    };
    let kind = if datagram.is_quoted {
        Kind::Quoted
    } else if datagram.ports.begins {
        Kind::Begins
    } else if datagram.ports.ends {
        Kind::Ends
    } else {
        Kind::Goes
    };
    let byte = hash::noted(hash);
    let word = tables.aside(Shelf::Key, key, |key| tracked(tables, service, slot, byte, key, kind));
    Owned::unpack(word.unwrap_or_default())
}

/// What a packet says about its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It begins: a SYN.
    Begins,
    /// It goes on, or cannot say.
    Goes,
    /// The client ends it: a FIN or a RST.
    Ends,
    /// Nothing: an ICMP error quotes it. It is looked up and leaves no trace.
    Quoted,
}

/// A result of [`tracked`] that fits the one register in which functions of BPF return.
struct Owned;

impl Owned {
    #[inline(always)]
    fn pack(member: Option<Member>, pool: u32, rule: Rule) -> u64 {
        match member {
            Some(member) => u64::from(member.place(pool)) | (rule as u64) << 32,
            None => 0,
        }
    }

    #[inline(always)]
    fn unpack(word: u64) -> Result<Owner, Outcome> {
        let rule = Rule::from_number((word >> 32) as u32).ok_or(Outcome::NoReal)?;
        Ok(Owner { place: word as u32, rule })
    }
}

/// A flow of a tracked slot, and all that is asked about it.
struct Question<'a> {
    service: &'a Entry,
    slot: u32,
    /// The byte of its hash.
    byte: u32,
    key: &'a FlowKey,
    kind: Kind,
    owners: Slot,
    times: Times,
    now: Tick,
}

/// The owner in a slot that has moved, as [`Owned`]. Not inlined: few packets come here, and they shall
/// not slow down the others.
#[inline(never)]
fn tracked(
    tables: &impl Tables,
    service: &Entry,
    slot: u32,
    byte: u32,
    key: &FlowKey,
    kind: Kind,
) -> u64 {
    let index = service.ring.wrapping_add(slot);
    let question = Question {
        service,
        slot,
        byte,
        key,
        kind,
        owners: tables.slot(index),
        times: tables.times(index),
        now: tables.now(),
    };
    if key.protocol() == IpProto::Tcp as u8 {
        segment(tables, &question)
    } else {
        datagram(tables, &question)
    }
}

/// TCP says when a flow begins: what does not and is not noted is older than the move.
#[inline(always)]
fn segment(tables: &impl Tables, question: &Question) -> u64 {
    let Question { service, kind, .. } = *question;
    let mut gone = None;
    if let Some(flow) = question.find(tables, Notes::Pinned) {
        if question.belongs(tables, &flow) {
            question.touch(tables, Notes::Pinned, &flow);
            return Owned::pack(flow.member(), service.pool, Rule::Pinned);
        }
        gone = Some(Notes::Pinned);
    } else if let Some(flow) = question.find(tables, Notes::Fresh) {
        if question.belongs(tables, &flow) {
            match kind {
                Kind::Goes => promote(tables, question, &flow),
                Kind::Begins | Kind::Ends | Kind::Quoted => {
                    question.touch(tables, Notes::Fresh, &flow);
                }
            }
            return Owned::pack(flow.member(), service.pool, Rule::Fresh);
        }
        gone = Some(Notes::Fresh);
    }
    // One that cannot be noted begins with the previous owner: what is unknown goes there.
    let begins = kind == Kind::Begins && (gone.is_some() || tables.has_room());
    let (owner, rule) =
        if begins { (question.owners.current(), Rule::Current) } else { question.older(tables) };
    match (kind, gone) {
        (Kind::Quoted, _) => {}
        // Its real is gone, or it begins anew: it belongs to somebody else from now on.
        (_, Some(notes)) => question.note(tables, notes, owner),
        (Kind::Begins, None) if begins => question.note(tables, Notes::Fresh, owner),
        (Kind::Begins | Kind::Goes | Kind::Ends, None) => {
            saw(tables, question.index(), question.times);
        }
    }
    Owned::pack(owner, service.pool, rule)
}

/// A flow that goes on is worth a place from which no flood of beginnings drives it out.
#[inline(always)]
fn promote(tables: &impl Tables, question: &Question, flow: &Flow) {
    let flow = Flow { seen: question.now, owner: flow.owner | Flow::ESTABLISHED, ..*flow };
    if tables.may_promote(question.service.pool) && question.put(tables, Notes::Pinned, &flow) {
        tables.forget(Notes::Fresh, question.key);
    } else {
        tables.renew(Notes::Fresh, question.key, &flow);
    }
}

/// No other protocol says when a flow begins. For a time after the move whatever comes counts as older;
/// then all older flows that are alive have been noted, and the unknown ones are new.
#[inline(always)]
fn datagram(tables: &impl Tables, question: &Question) -> u64 {
    let pool = question.service.pool;
    if let Some(flow) = question.find(tables, Notes::Datagrams)
        && question.serves(tables, flow.member())
    {
        question.touch(tables, Notes::Datagrams, &flow);
        return Owned::pack(flow.member(), pool, Rule::Pinned);
    }
    let (owner, rule) = if question.now.since(question.times.opened()) <= question.service.grace {
        question.older(tables)
    } else {
        (question.owners.current(), Rule::Current)
    };
    if question.kind != Kind::Quoted {
        question.note(tables, Notes::Datagrams, owner);
    }
    Owned::pack(owner, pool, rule)
}

impl Question<'_> {
    #[inline(always)]
    fn index(&self) -> u32 {
        self.service.ring.wrapping_add(self.slot)
    }

    /// What is noted of the flow since the slot was opened.
    #[inline(always)]
    fn find(&self, tables: &impl Tables, notes: Notes) -> Option<Flow> {
        tables.find(notes, self.key).filter(|flow| !flow.noted.is_before(self.times.opened()))
    }

    /// Whether a packet belongs to a flow that is noted: its real serves, and it does not begin another
    /// connection with the addresses and ports of one that has ended. While there is no room, that one
    /// goes where the ended one went, as whatever begins then goes where it would go had it begun before.
    #[inline(always)]
    fn belongs(&self, tables: &impl Tables, flow: &Flow) -> bool {
        let begins_another = self.kind == Kind::Begins && flow.is_ending() && tables.has_room();
        !begins_another && self.serves(tables, flow.member())
    }

    /// Whether a real can go on with the flow: it has a way to it, or it is one whose connections are
    /// to be reset, and this is a segment of one.
    #[inline(always)]
    fn serves(&self, tables: &impl Tables, member: Option<Member>) -> bool {
        let Some(member) = member else {
            return false;
        };
        let real = tables.real(member.place(self.service.pool));
        let is_tcp = self.key.protocol() == IpProto::Tcp as u8;
        real.port() != 0
            || real == RealWord::RESET && is_tcp && matches!(self.kind, Kind::Goes | Kind::Ends)
    }

    /// The owner of a flow that is older than the move.
    #[inline(always)]
    fn older(&self, tables: &impl Tables) -> (Option<Member>, Rule) {
        let previous = self.owners.previous();
        if self.serves(tables, previous) {
            (previous, Rule::Previous)
        } else {
            (self.owners.current(), Rule::Current)
        }
    }

    #[inline(always)]
    fn note(&self, tables: &impl Tables, notes: Notes, owner: Option<Member>) {
        let Some(owner) = owner else {
            return;
        };
        let (noted, seen) = (self.now, self.now);
        let flow = Flow { noted, seen, slot: self.slot, owner: u32::from(owner.number()) };
        self.put(tables, notes, &flow);
    }

    /// Puts a note into a table; returns whether there was room. Of TCP the byte says so before: whoever finds 0 there has
    /// a packet that came before this one, whose client knows of no connection that began with this one.
    #[inline(always)]
    fn put(&self, tables: &impl Tables, notes: Notes, flow: &Flow) -> bool {
        if notes != Notes::Datagrams {
            tables.will_note(self.byte);
        }
        tables.note(notes, self.key, flow)
    }

    /// Says that the flow is alive, now and then, and at once that it ends or begins again.
    #[inline(always)]
    fn touch(&self, tables: &impl Tables, notes: Notes, flow: &Flow) {
        let is_old = self.now.since(flow.seen) > limits::TOUCH;
        let mut flow = *flow;
        let owner = flow.owner;
        match self.kind {
            Kind::Begins => flow.owner &= !Flow::ENDING,
            Kind::Ends => flow.owner |= Flow::ENDING,
            Kind::Goes | Kind::Quoted => {}
        }
        if self.kind != Kind::Quoted && (owner != flow.owner || is_old) {
            flow.seen = self.now;
            tables.renew(notes, self.key, &flow);
        }
    }
}
