//! What the datapath reads besides the packet. Two implementations exist: the kernel's maps
//! (`maps`), and the daemon's and the tests' memory.

use lb_common::{
    Entrance, Entry, Flow, FlowKey, FragmentKey, Outcome, PortWord, RealWord, Seed, Slot, Tick,
    Times,
};

/// Where flows of tracked slots are noted. Of three kinds, so that none can drive out another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notes {
    /// TCP connections that are more than a SYN. Nothing is ever driven out; a flow that finds no room
    /// stays where it was.
    Pinned,
    /// TCP connections that have just begun. The oldest make room.
    Fresh,
    /// Flows of all other protocols. The oldest make room.
    Datagrams,
}

/// Where [`Tables::aside`] keeps a value: one at a time on each shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shelf {
    /// What was read of a special packet.
    Datagram,
    /// The key of a look-up.
    Key,
}

/// The tables. Those that a stable slot asks are read by index: no look-up calls a helper in the kernel.
pub trait Tables {
    /// The number of the port that the frame came in on, 1 or more.
    fn port_number(&self) -> u8;
    /// What every packet asks first.
    fn entrance(&self) -> Entrance;
    /// One port; unknown outside of the array.
    fn port(&self, number: u8) -> PortWord;
    /// The seed of the flow hash.
    fn seed(&self) -> Seed;
    /// One displacement of the service table; 0 outside of it.
    fn displacement(&self, index: u32) -> u64;
    /// One entry of the service table.
    fn entry(&self, index: u32) -> Option<&Entry>;
    /// One slot of the arena; empty outside of it.
    fn slot(&self, index: u32) -> Slot;
    /// The real at this place; nobody outside of the array.
    fn real(&self, place: u32) -> RealWord;
    /// The time.
    fn now(&self) -> Tick;
    /// The moments of a tracked slot of the arena.
    fn times(&self, index: u32) -> Times;
    /// A packet of an unknown flow went to the slot's previous owner: leaves [`Times::MARK`].
    fn saw(&self, index: u32);
    /// Whether a TCP flow with this byte ([`hash::noted`](lb_common::hash::noted)) may be noted in a tracked slot.
    fn may_be_noted(&self, byte: u32) -> bool;
    /// Says that one will be, before it is.
    fn will_note(&self, byte: u32);
    /// What is noted of a flow.
    fn find(&self, notes: Notes, key: &FlowKey) -> Option<Flow>;
    /// Notes a flow; returns whether there was room.
    fn note(&self, notes: Notes, key: &FlowKey, flow: &Flow) -> bool;
    /// Changes what is noted of a flow, in place.
    fn renew(&self, notes: Notes, key: &FlowKey, flow: &Flow);
    /// Notes a flow no longer.
    fn forget(&self, notes: Notes, key: &FlowKey);
    /// Whether there is room for the note of one more flow that begins.
    fn has_room(&self) -> bool;
    /// Whether one more flow of the VIP with this pool may be promoted now.
    fn may_promote(&self, pool: u32) -> bool;
    /// Hands on a value from a place that is not the stack, of which there is little in the kernel. There the
    /// verifier forgets what it knows of the value, and with it the many ways in which it came about: what
    /// follows is verified once and not for each of them. (It does not fail; the verifier cannot know.)
    fn aside<T: Copy, R>(
        &self,
        shelf: Shelf,
        value: T,
        then: impl FnOnce(&mut T) -> R,
    ) -> Option<R>;
    /// The place of the real that got the first fragment of this datagram, not too long ago.
    fn fragment(&self, key: &FragmentKey) -> Option<u32>;
    /// Remembers it.
    fn remember_fragment(&self, key: &FragmentKey, place: u32);
    /// Whether one more ping may be answered now.
    fn may_echo(&self) -> bool;
}

/// Where the datapath counts.
pub trait Count {
    /// One more frame ended so, and was not forwarded.
    fn outcome(&self, outcome: Outcome);
    /// One more frame, which was forwarded, of `bytes` bytes went to the real at this place; `begins` a TCP connection.
    fn steered(&self, place: u32, bytes: u64, begins: bool);
}
