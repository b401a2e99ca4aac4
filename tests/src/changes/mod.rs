//! Changes under load: what an operator does to a pool, and what befalls it, while connections are
//! open; and what broke.

mod events;
mod report;
mod stage;

pub use events::{Event, Events};
pub use report::{Report, Row};
pub use stage::{Memory, Stage, StageOptions};
