//! A table of noted flows, read and thinned out in batches: it may have millions, and a system call for
//! each would take seconds.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::maps::MapData;
use lb_common::{Flow, FlowKey};

use super::error::Error;

/// A table of flows in the kernel.
pub struct FlowTable {
    map: MapData,
    size: u32,
}

/// How far a table has been read. A table that changes meanwhile may show a flow twice, or, if it was noted
/// meanwhile, not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cursor {
    /// Not at all.
    #[default]
    Start,
    /// Up to a place that only the kernel understands.
    At(u32),
    /// To its end.
    End,
}

/// The part of `union bpf_attr` that batches take (include/uapi/linux/bpf.h).
#[repr(C)]
pub(super) struct Batch {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) count: u32,
    pub(super) map: u32,
    pub(super) element_flags: u64,
    pub(super) flags: u64,
}

impl Batch {
    /// Nothing of a map.
    pub(super) fn of(map: &MapData) -> Self {
        let map = map.fd().as_fd().as_raw_fd() as u32;
        Self { from: 0, to: 0, keys: 0, values: 0, count: 0, map, element_flags: 0, flags: 0 }
    }
}

const LOOKUP: libc::c_long = 24;
const DELETE: libc::c_long = 27;

impl FlowTable {
    pub(super) fn new(map: MapData) -> Result<Self, Error> {
        let info = map.info().map_err(|error| Error::kernel("a table of flows", &error))?;
        Ok(Self { size: info.max_entries(), map })
    }

    /// The most flows that it can hold.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The next flows after the cursor, about as many as `most`; moves the cursor.
    ///
    /// # Errors
    ///
    /// When the table cannot be read.
    pub fn read(&self, cursor: &mut Cursor, most: usize) -> Result<Vec<(FlowKey, Flow)>, Error> {
        let mut room = most.max(1);
        loop {
            match self.batch(*cursor, room) {
                // The kernel's buckets are read whole.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => room *= 2,
                Err(error) => return Err(failed("reading", &error)),
                Ok((flows, next)) => {
                    *cursor = next;
                    return Ok(flows);
                }
            }
        }
    }

    fn batch(&self, cursor: Cursor, room: usize) -> io::Result<(Vec<(FlowKey, Flow)>, Cursor)> {
        let from = match cursor {
            Cursor::Start => None,
            Cursor::At(place) => Some(place),
            Cursor::End => return Ok((Vec::new(), Cursor::End)),
        };
        let mut keys = vec![FlowKey::default(); room];
        let mut values = vec![Flow::default(); room];
        let mut to = 0u32;
        let mut batch = Batch {
            from: from.as_ref().map_or(0, |place| &raw const *place as u64),
            to: &raw mut to as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: room as u32,
            ..self.request()
        };
        let ended = match call(LOOKUP, &mut batch) {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        let flows = keys.into_iter().zip(values).take(batch.count as usize).collect();
        Ok((flows, if ended { Cursor::End } else { Cursor::At(to) }))
    }

    /// Forgets these flows, as far as they are there.
    ///
    /// # Errors
    ///
    /// When the table cannot be written.
    pub fn delete(&self, keys: &[FlowKey]) -> Result<(), Error> {
        let mut rest = keys;
        while !rest.is_empty() {
            let mut batch =
                Batch { keys: rest.as_ptr() as u64, count: rest.len() as u32, ..self.request() };
            match call(DELETE, &mut batch) {
                Ok(()) => break,
                // It stops at the first that is not there.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    rest = rest.get(batch.count as usize + 1..).unwrap_or_default();
                }
                Err(error) => return Err(failed("thinning out", &error)),
            }
        }
        Ok(())
    }

    fn request(&self) -> Batch {
        Batch::of(&self.map)
    }
}

pub(super) fn call(command: libc::c_long, batch: &mut Batch) -> io::Result<()> {
    // SAFETY: the request is as large as said; the buffers that it names have room for `count` values of
    // the map's sizes, which the loader has compared, and outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *batch, size_of::<Batch>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn failed(what: &str, error: &io::Error) -> Error {
    Error::Kernel { what: format!("{what} a table of flows"), detail: error.to_string() }
}
