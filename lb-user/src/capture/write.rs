//! Makes the file, piece by piece.

use std::{borrow::Cow, collections::BTreeMap, io, time::Duration};

use lb_common::capture::{Captured, SNAP, Sight};
use pcap_file::{
    DataLink, PcapError,
    pcapng::{
        PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
        },
    },
};

use super::Names;

/// The resolution of times: units of 10^-9 seconds (`if_tsresol`).
const NANOSECONDS: u8 = 9;

/// Which way a frame went (`epb_flags`, bits 0 and 1).
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Inbound = 0b01,
    Outbound = 0b10,
}

/// Writes a capture, which begins with the interfaces.
pub struct Writer {
    file: PcapNgWriter<Vec<u8>>,
    /// The number of each port's interface in the file.
    interfaces: BTreeMap<u8, u32>,
}

impl Writer {
    /// A file of frames on these ports.
    ///
    /// # Errors
    ///
    /// None that a buffer in memory would have.
    pub fn new(names: &Names) -> io::Result<Self> {
        let file = PcapNgWriter::new(Vec::new()).map_err(failed)?;
        let mut writer = Self { file, interfaces: BTreeMap::new() };
        for (port, name) in &names.ports {
            writer.interface(*port, name)?;
        }
        Ok(writer)
    }

    /// Adds a frame that came in on this port: as it came, and, if it was sent on, as it left. `time` is when,
    /// since 1970, and `missed` how many were not taken since the last one.
    ///
    /// # Errors
    ///
    /// As in [`new`](Self::new).
    pub fn add(
        &mut self,
        names: &Names,
        port: u8,
        captured: &Captured,
        (time, missed): (Duration, u64),
    ) -> io::Result<()> {
        let verdict = names.verdict(captured);
        self.sight(names, port, &captured.came, time, Direction::Inbound, (&verdict, missed))?;
        if captured.left.taken == 0 {
            return Ok(());
        }
        let port = if captured.port == 0 { port } else { captured.port as u8 };
        self.sight(names, port, &captured.left, time, Direction::Outbound, ("sent on", 0))
    }

    /// What was written since this was asked last.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.file.get_mut())
    }

    fn sight(
        &mut self,
        names: &Names,
        port: u8,
        sight: &Sight,
        timestamp: Duration,
        direction: Direction,
        (comment, missed): (&str, u64),
    ) -> io::Result<()> {
        let interface_id = match self.interfaces.get(&port) {
            Some(number) => *number,
            None => self.interface(port, names.ports.get(&port).map_or("?", String::as_str))?,
        };
        let mut options = vec![
            EnhancedPacketOption::Comment(Cow::Borrowed(comment)),
            EnhancedPacketOption::Flags(direction as u32),
        ];
        if missed > 0 {
            options.push(EnhancedPacketOption::DropCount(missed));
        }
        self.file
            .write_pcapng_block(EnhancedPacketBlock {
                interface_id,
                timestamp,
                original_len: sight.length,
                data: Cow::Borrowed(sight.seen()),
                options,
            })
            .map(drop)
            .map_err(failed)
    }

    /// Says that there is this interface; gives its number.
    fn interface(&mut self, port: u8, name: &str) -> io::Result<u32> {
        let mut block = InterfaceDescriptionBlock::new(DataLink::ETHERNET, SNAP as u32);
        block.options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        let number = self.interfaces.len() as u32;
        self.file.write_pcapng_block(block).map_err(failed)?;
        self.interfaces.insert(port, number);
        Ok(number)
    }
}

fn failed(error: PcapError) -> io::Error {
    io::Error::other(error.to_string())
}
