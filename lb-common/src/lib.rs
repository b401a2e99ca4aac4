//! What the datapath in the kernel and the daemon in user space must agree on, and nothing else:
//! the limits of the tables, the layout of what stands in them, what is noted of flows, the ways a packet
//! can end, the hash, and what the two address families have in common. Each is written once, here, so
//! that the two planes (and `lbctl trace`) cannot disagree.
#![no_std]

pub mod address;
pub mod capture;
pub mod detour;
pub mod flow;
pub mod hash;
pub mod layout;
pub mod limits;
pub mod outcome;

pub use address::{Address, V4, V6};
pub use flow::{Flow, FlowKey, Tick, Times};
pub use layout::{
    Bucket, Counters, Entrance, Entry, FragmentKey, FragmentOwner, LAYOUT, Member, NotedBlock,
    PortWord, RealWord, Seed, Slot, SlotBlock, TableWord, TraceRecord,
};
pub use outcome::{Action, Outcome};
