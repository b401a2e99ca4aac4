//! What the datapath has counted.

use aya::{maps::PerCpuValues, util::nr_cpus};
use lb_common::{Counters, Outcome, limits};

use super::{Kernel, unreadable};
use crate::dataplane::error::Error;

impl Kernel {
    /// What was steered to the real at a place, over all CPUs.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn steered(&self, place: u32) -> Result<Counters, Error> {
        self.steered.total(place)
    }

    /// The same of places in a row.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn steered_to(&self, first: u32, count: u32) -> Result<Vec<Counters>, Error> {
        self.steered.read(first, count)
    }

    /// How many frames ended so, over all CPUs.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn outcome(&self, outcome: Outcome) -> Result<u64, Error> {
        match outcome {
            Outcome::Forwarded => Ok(self.forwarded_before()? + self.steered_in_all()?),
            _ => self.counted(outcome.index()),
        }
    }

    /// How many frames were forwarded to reals whose places have been cleared since.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn forwarded_before(&self) -> Result<u64, Error> {
        self.counted(limits::FORWARDED_BEFORE)
    }

    pub(super) fn counted(&self, index: u32) -> Result<u64, Error> {
        let counters = self.outcomes.get(&index, 0).map_err(|error| unreadable(&error))?;
        Ok(counters.iter().sum())
    }

    pub(super) fn set_forwarded_before(&mut self, frames: u64) -> Result<(), Error> {
        let failed = |detail: String| Error::Kernel { what: "writing counters".to_owned(), detail };
        let cpus = nr_cpus().map_err(|(file, error)| failed(format!("{file}: {error}")))?;
        let mut values = vec![0; cpus];
        values[0] = frames;
        let values = PerCpuValues::try_from(values).map_err(|error| failed(error.to_string()))?;
        let set = self.outcomes.set(limits::FORWARDED_BEFORE, values, 0);
        set.map_err(|error| failed(error.to_string()))
    }

    /// How many frames were forwarded to all places together.
    pub(super) fn steered_in_all(&self) -> Result<u64, Error> {
        let counters = self.steered.read(0, self.room().places)?;
        Ok(counters.iter().map(|counters| counters.packets).sum())
    }

    /// Sets places' counters to zero; what was forwarded to them stays counted.
    pub(super) fn clear_counters(&mut self, places: &[u32]) -> Result<(), Error> {
        let (Some(first), Some(last)) = (places.iter().min(), places.iter().max()) else {
            return Ok(());
        };
        let counters = self.steered.read(*first, last - first + 1)?;
        let packets = places.iter().map(|place| counters[(place - first) as usize].packets);
        let gone: u64 = packets.sum();
        if gone > 0 {
            let before = self.forwarded_before()?;
            self.set_forwarded_before(before + gone)?;
        }
        self.steered.clear(places)
    }
}
