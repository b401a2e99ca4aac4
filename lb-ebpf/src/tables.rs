//! What the datapath reads besides the packet. Two implementations exist: the kernel's maps
//! (`maps`), and the daemon's and the tests' memory.

use lb_common::{Entry, FragmentKey, Outcome, PortWord, RealWord, Seed, Slot, TableWord};

/// The tables, all read by index: no look-up calls a helper in the kernel.
pub trait Tables {
    /// The number of the port that the frame came in on, 1 or more.
    fn port_number(&self) -> u8;
    /// One port; unknown outside of the array.
    fn port(&self, number: u8) -> PortWord;
    /// The seed of the flow hash.
    fn seed(&self) -> Seed;
    /// Which service table is in force.
    fn table(&self) -> TableWord;
    /// One displacement of the service table; 0 outside of it.
    fn displacement(&self, index: u32) -> u32;
    /// One entry of the service table.
    fn entry(&self, index: u32) -> Option<&Entry>;
    /// One slot of the arena; empty outside of it.
    fn slot(&self, index: u32) -> Slot;
    /// The real at this place; nobody outside of the array.
    fn real(&self, place: u32) -> RealWord;
    /// The place of the real that got the first fragment of this datagram, not too long ago.
    fn fragment(&self, key: &FragmentKey) -> Option<u32>;
    /// Remembers it.
    fn remember_fragment(&self, key: &FragmentKey, place: u32);
    /// This very value, of which the verifier forgets what it knows, and with it the many ways in which
    /// it came about: what follows is verified once and not for each of them.
    ///
    /// # Errors
    ///
    /// None on the host. In the kernel, [`Outcome::Malformed`] stands for what cannot happen.
    fn opaque<T: Copy>(&self, value: T) -> Result<T, Outcome> {
        Ok(value)
    }
    /// Whether one more ping may be answered now.
    fn may_echo(&self) -> bool;
}

/// Where the datapath counts.
pub trait Count {
    /// One more frame ended so.
    fn outcome(&self, outcome: Outcome);
    /// One more frame of `bytes` bytes went to the real at this place; `begins` a TCP connection.
    fn steered(&self, place: u32, bytes: u64, begins: bool);
}
