//! The counters of places, one for each CPU: read and set many at a time, as a system call for each of a hundred
//! thousand takes seconds.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{maps::MapData, util::nr_cpus};
use lb_common::Counters;

use super::{
    error::Error,
    flows::{Batch, call},
};

/// Places that are read or set at once.
pub(super) const CHUNK: usize = 4096;

const LOOKUP: libc::c_long = 1;
const UPDATE: libc::c_long = 2;
const LOOKUP_BATCH: libc::c_long = 24;
const UPDATE_BATCH: libc::c_long = 26;

/// The counters of all places.
pub(super) struct Steered {
    map: MapData,
    places: u32,
    cpus: usize,
}

/// The part of `union bpf_attr` that single elements take (include/uapi/linux/bpf.h).
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Steered {
    pub(super) fn new(map: MapData) -> Result<Self, Error> {
        let info = map.info().map_err(|error| Error::kernel("map STEERED", &error))?;
        let unknown = |detail: String| Error::Kernel { what: "map STEERED".to_owned(), detail };
        if info.value_size() as usize != size_of::<Counters>() {
            return Err(unknown(format!("values of {} bytes", info.value_size())));
        }
        let cpus = nr_cpus().map_err(|(file, error)| unknown(format!("{file}: {error}")))?;
        Ok(Self { map, places: info.max_entries(), cpus })
    }

    /// How many places there are.
    pub(super) fn places(&self) -> u32 {
        self.places
    }

    /// What this place has counted, over all CPUs.
    pub(super) fn total(&self, place: u32) -> Result<Counters, Error> {
        Ok(self.read(place, 1)?.first().copied().unwrap_or_default())
    }

    /// The same of places in a row, in parts: where there may be many CPUs all of it would be much memory.
    pub(super) fn read(&self, first: u32, count: u32) -> Result<Vec<Counters>, Error> {
        let end = first + count;
        let mut totals = Vec::with_capacity(count as usize);
        for first in (first..end).step_by(CHUNK) {
            totals.extend(self.read_part(first, (end - first).min(CHUNK as u32))?);
        }
        Ok(totals)
    }

    fn read_part(&self, first: u32, count: u32) -> Result<Vec<Counters>, Error> {
        let mut values = vec![Counters::default(); count as usize * self.cpus];
        if !self.read_batch(first, count, &mut values) {
            // Before 5.13 such maps know no batches.
            for (place, value) in (first..).zip(values.chunks_mut(self.cpus)) {
                self.element(LOOKUP, place, value)
                    .map_err(|error| failed("reading counters", &error))?;
            }
        }
        Ok(values.chunks(self.cpus).map(sum).collect())
    }

    fn read_batch(&self, first: u32, count: u32, values: &mut [Counters]) -> bool {
        let mut keys = vec![0u32; count as usize];
        let (before, mut to) = (first.wrapping_sub(1), 0u32);
        let mut batch = Batch {
            // The place before the first, or none.
            from: if first == 0 { 0 } else { &raw const before as u64 },
            to: &raw mut to as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count,
            ..Batch::of(&self.map)
        };
        call(LOOKUP_BATCH, &mut batch).is_ok()
            && batch.count == count
            && keys.first() == Some(&first)
    }

    /// Sets these places' counters to zero.
    pub(super) fn clear(&self, places: &[u32]) -> Result<(), Error> {
        let zeros = vec![Counters::default(); places.len().min(CHUNK) * self.cpus];
        for places in places.chunks(CHUNK) {
            let mut batch = Batch {
                keys: places.as_ptr() as u64,
                values: zeros.as_ptr() as u64,
                count: places.len() as u32,
                ..Batch::of(&self.map)
            };
            if call(UPDATE_BATCH, &mut batch).is_err() {
                places.iter().try_for_each(|place| self.put(*place, Counters::default()))?;
            }
        }
        Ok(())
    }

    /// Sets a place's counters, all of it on the first CPU.
    pub(super) fn put(&self, place: u32, total: Counters) -> Result<(), Error> {
        let mut values = vec![Counters::default(); self.cpus];
        values[0] = total;
        self.element(UPDATE, place, &mut values).map_err(|error| failed("writing counters", &error))
    }

    /// Adds to a place's counters. What the datapath counts there in that moment may be lost.
    pub(super) fn add(&self, place: u32, more: Counters) -> Result<(), Error> {
        let mut values = vec![Counters::default(); self.cpus];
        self.element(LOOKUP, place, &mut values)
            .map_err(|error| failed("reading counters", &error))?;
        values[0] = joined(values[0], more);
        self.element(UPDATE, place, &mut values).map_err(|error| failed("writing counters", &error))
    }

    fn element(
        &self,
        command: libc::c_long,
        place: u32,
        values: &mut [Counters],
    ) -> io::Result<()> {
        let map = self.map.fd().as_fd().as_raw_fd() as u32;
        let (key, value) = (&raw const place as u64, values.as_mut_ptr() as u64);
        let element = Element { map, padding: 0, key, value, flags: 0 };
        // SAFETY: the request is as large as said; the key is a place, and there are values for as many CPUs as
        // there can be, of the size that was compared when this was made. All outlive the call.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, command, &raw const element, size_of::<Element>())
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn sum(of_cpus: &[Counters]) -> Counters {
    of_cpus.iter().fold(Counters::default(), |sum, counters| joined(sum, *counters))
}

/// Both together.
pub(super) fn joined(one: Counters, other: Counters) -> Counters {
    Counters {
        packets: one.packets + other.packets,
        bytes: one.bytes + other.bytes,
        flows: one.flows + other.flows,
        reserved: 0,
    }
}

/// What was counted since `before`.
pub(super) fn since(now: Counters, before: Counters) -> Counters {
    Counters {
        packets: now.packets.saturating_sub(before.packets),
        bytes: now.bytes.saturating_sub(before.bytes),
        flows: now.flows.saturating_sub(before.flows),
        reserved: 0,
    }
}

fn failed(what: &str, error: &io::Error) -> Error {
    Error::Kernel { what: what.to_owned(), detail: error.to_string() }
}
