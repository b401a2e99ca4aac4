//! A frame on the host, in tests and in the daemon's predictions: all of it in one buffer, room
//! before it, and an interface at every port.

use lb_common::Outcome;

use crate::packet::{Frame, Packet};

impl Frame for Vec<u8> {
    fn packet(&mut self) -> Packet<'_> {
        Packet::from_slice(self)
    }

    fn whole(&self) -> u64 {
        self.len() as u64
    }

    fn move_start(&mut self, by: i32) -> Result<(), Outcome> {
        let distance = by.unsigned_abs() as usize;
        if by < 0 {
            self.splice(..0, vec![0; distance]);
        } else {
            self.drain(..distance);
        }
        Ok(())
    }

    fn cut_end(&mut self, length: u64) {
        self.truncate(length as usize);
    }

    fn redirect(&mut self, _: u8) -> Result<(), Outcome> {
        Ok(())
    }
}
