//! The array of what was steered to each place, counted on every CPU for itself.

use aya::{
    maps::{Map, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use lb_common::Counters;

use super::error::Error;

/// The array.
pub(super) struct Steered(PerCpuArray<MapData, Counters>);

impl Steered {
    pub(super) fn new(map: Map) -> Result<Self, Error> {
        let array = PerCpuArray::try_from(map);
        array.map(Self).map_err(|error| Error::kernel("map STEERED", &error))
    }

    /// How many places it has.
    pub(super) fn places(&self) -> u32 {
        self.0.len()
    }

    /// What was steered to the real at a place, over all CPUs.
    pub(super) fn total(&self, place: u32) -> Result<Counters, Error> {
        let counters = self.values(place)?;
        Ok(counters.iter().fold(Counters::default(), |sum, counters| joined(sum, *counters)))
    }

    /// Sets a place's counters, all of it on the first CPU.
    pub(super) fn put(&mut self, place: u32, total: Counters) -> Result<(), Error> {
        let failed = |detail: String| Error::Kernel { what: "writing counters".to_owned(), detail };
        let cpus = nr_cpus().map_err(|(file, error)| failed(format!("{file}: {error}")))?;
        let mut values = vec![Counters::default(); cpus];
        values[0] = total;
        self.set(place, values)
    }

    /// Adds to a place's counters. What the datapath counts there in that moment may be lost.
    pub(super) fn add(&mut self, place: u32, more: Counters) -> Result<(), Error> {
        let mut values = self.values(place)?.to_vec();
        values[0] = joined(values[0], more);
        self.set(place, values)
    }

    fn values(&self, place: u32) -> Result<PerCpuValues<Counters>, Error> {
        self.0.get(&place, 0).map_err(|error| Error::kernel("reading counters", &error))
    }

    fn set(&mut self, place: u32, values: Vec<Counters>) -> Result<(), Error> {
        let failed =
            |error: &(dyn std::error::Error + 'static)| Error::kernel("writing counters", error);
        let values = PerCpuValues::try_from(values).map_err(|error| failed(&error))?;
        self.0.set(place, values, 0).map_err(|error| failed(&error))
    }
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
