//! A day of a large pool in fast time: how many flows lose a real that could have gone on with them, and
//! how many must be noted for that, by this design and by others.
//!
//! What is this project's is asked itself: rings and dealt slots are those of [`lb_user::maglev`], slots
//! follow each other by [`lb_user::plan`], and each packet of a flow in a slot that has moved goes through
//! [`lb_ebpf::flow::owner`]. Time, flows, tables and the sweeper are modelled here.
//!
//! - A packet stands for a burst: nobody's real can change within one.
//! - A client whose connection is lost or broken connects anew, in the same slot (so that a flow's number
//!   means the same to all designs).
//! - Who is broken is counted once for each connection; who dies with its real is counted apart.

mod design;
mod flows;
mod lru;
mod notes;
mod pool;
mod random;
mod report;
mod run;
mod schedule;

pub use design::{Flood, Tally, Why};
pub use lru::Lru;
pub use report::{Report, Row};
pub use run::run;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections that are open at a time.
    pub flows: u32,
    /// Real servers at the beginning.
    pub reals: u16,
    /// How long, in hours.
    pub hours: u32,
    /// What all chance comes from.
    pub seed: u64,
    /// Whether one flow in a thousand is silent for longer than the idle timeout.
    pub sleepers: bool,
    /// Whether to tell of each hour that is over.
    pub progress: bool,
}

/// How long a flow may be silent, in seconds: the default of `idle_timeout`.
pub const IDLE: u32 = 15 * 60;

/// Packets a second of a flood.
pub const FLOOD: u64 = 1_000_000;
