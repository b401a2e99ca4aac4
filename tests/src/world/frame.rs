//! A frame as it arrives at the engine on the host, with whatever a network card or a missing
//! interface may do to the datapath.

use lb_common::Outcome;
use lb_ebpf::packet::{Frame, Packet};

use super::PORTS;

/// A frame in one buffer or several, with or without room before it.
pub struct Arrived {
    /// What the datapath sees. Of exactly this size, so that a sanitizer sees every byte read beyond
    /// it.
    first: Vec<u8>,
    rest: Vec<u8>,
    room: usize,
    interfaces: bool,
    redirected: Option<u8>,
}

impl Arrived {
    /// A frame in one buffer, with room for more than two tags, and the interfaces of the
    /// [world](super).
    #[must_use]
    pub fn new(frame: &[u8]) -> Self {
        Self {
            first: frame.to_vec(),
            rest: Vec::new(),
            room: 256,
            interfaces: true,
            redirected: None,
        }
    }

    /// The same with only so many bytes, or all there are, in the first buffer.
    #[must_use]
    pub fn in_buffers(mut self, first: usize) -> Self {
        let frame = self.bytes();
        let (first, rest) = frame.split_at(first.min(frame.len()));
        (self.first, self.rest) = (first.to_vec(), rest.to_vec());
        self
    }

    /// The same with room for so many bytes before it.
    #[must_use]
    pub fn with_room(self, room: usize) -> Self {
        Self { room, ..self }
    }

    /// The same where no interface is left but the one that it came in by.
    #[must_use]
    pub fn without_interfaces(self) -> Self {
        Self { interfaces: false, ..self }
    }

    /// The whole frame as it is now.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [&self.first[..], &self.rest].concat()
    }

    /// The length of its first buffer.
    #[must_use]
    pub fn first_buffer(&self) -> usize {
        self.first.len()
    }

    /// The port that it shall leave by, if it is another than it came in by.
    #[must_use]
    pub fn redirected(&self) -> Option<u8> {
        self.redirected
    }
}

impl Frame for Arrived {
    fn packet(&mut self) -> Packet<'_> {
        self.first.packet()
    }

    fn whole(&self) -> u64 {
        (self.first.len() + self.rest.len()) as u64
    }

    fn move_start(&mut self, by: i32) -> Result<(), Outcome> {
        let missing = usize::try_from(-by).is_ok_and(|more| more > self.room);
        if missing { Err(Outcome::NoRoom) } else { self.first.move_start(by) }
    }

    fn cut_end(&mut self, length: u64) {
        let first = self.first.len();
        self.rest.truncate((length as usize).saturating_sub(first));
        self.first.truncate(length as usize);
    }

    fn redirect(&mut self, port: u8) -> Result<(), Outcome> {
        if !self.interfaces || PORTS.iter().all(|known| known.number != port) {
            return Err(Outcome::InterfaceGone);
        }
        self.redirected = Some(port);
        Ok(())
    }
}
