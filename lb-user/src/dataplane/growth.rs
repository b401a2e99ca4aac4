//! Arrays of rings and of pools that have become larger: what stands in the former ones is copied.
//!
//! Only the daemon writes to them, and it writes nothing until the programs on the new ones are in force:
//! until then both hold the same. But the datapath counts, and notes when slots were used last; so that is
//! compared again before the programs are switched, and after.
//!
//! A start that is killed meanwhile leaves arrays of several sizes. The smallest are whole: they were there
//! before. The others may be half copied, or be in force already. So from the smallest everything is taken,
//! and of the others what the datapath has written.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use aya::maps::MapData;
use lb_common::{Counters, Times};

use super::{
    error::Error,
    mapped::Mapped,
    pins::{self, Pin, Sizes},
    steered::{CHUNK, Steered, since},
};

/// The copies that are under way.
pub(super) struct Growth {
    /// The largest first: as long as there are several the smallest is whole.
    former: Vec<PathBuf>,
    times: Vec<Pair<Mapped>>,
    counters: Vec<Counting>,
}

/// A former array and the one in its place.
struct Pair<T> {
    from: T,
    to: T,
}

impl Growth {
    /// Finds arrays of other sizes in the directory of maps, and copies what stands in them.
    pub(super) fn begin(dir: &Path, wanted: Sizes) -> Result<Option<Self>, Error> {
        let sizes = pins::settled(dir, wanted)?;
        let mut growth = Self { former: Vec::new(), times: Vec::new(), counters: Vec::new() };
        for pin in pins::maps(sizes).iter().filter(|pin| pin.grows()) {
            growth.add(dir, pin)?;
        }
        if growth.former.is_empty() {
            return Ok(None);
        }
        growth.former.reverse();
        growth.catch_up()?;
        Ok(Some(growth))
    }

    fn add(&mut self, dir: &Path, pin: &Pin) -> Result<(), Error> {
        for (index, other) in pin.other_sizes(dir)?.iter().enumerate() {
            let (Some(from), Some(to)) = (other.open(dir)?, pin.open(dir)?) else { continue };
            self.former.push(dir.join(other.file()));
            if pin.name == "STEERED" {
                self.counters.push(Counting::new(from, to)?);
                continue;
            }
            let pair = Pair { from: Mapped::of(&from, pin.name)?, to: Mapped::of(&to, pin.name)? };
            if index == 0 && pair.from.words() < pair.to.words() {
                pair.copy(pin.name == "TIMES");
            }
            if pin.name == "TIMES" {
                self.times.push(pair);
            }
        }
        Ok(())
    }

    /// Copies what the datapath has written meanwhile, as long as the former programs are in force.
    pub(super) fn catch_up(&mut self) -> Result<(), Error> {
        self.times.iter().for_each(Pair::renew);
        self.counters.iter_mut().try_for_each(Counting::catch_up)
    }

    /// Copies the last of it, once no packet is with the former programs any more, and removes the former
    /// arrays.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.times.iter().for_each(Pair::renew);
        self.counters.iter_mut().try_for_each(Counting::add_rest)?;
        for path in self.former {
            fs::remove_file(&path).map_err(|source| Error::PinDirectory { path, source })?;
        }
        Ok(())
    }
}

impl Pair<Mapped> {
    /// Copies the words that differ. Where a slot was opened at the same time, the new array may know
    /// better when it was used last.
    fn copy(&self, times: bool) {
        for index in 0..self.from.words().min(self.to.words()) {
            let (from, to) = (self.from.load(index), self.to.load(index));
            let known = times && Times(from).opened() == Times(to).opened();
            if from != to && !known {
                self.to.store(index, from);
            }
        }
    }

    /// Takes over the later moments, and the marks, at which slots were used that were opened at the same time.
    fn renew(&self) {
        for index in 0..self.from.words().min(self.to.words()) {
            let (from, to) = (Times(self.from.load(index)), Times(self.to.load(index)));
            if from.opened() == to.opened() && from.is_later_than(to) {
                self.to.store(index, from.0);
            }
        }
    }
}

/// What was steered to each place, and how much of that was copied.
struct Counting {
    pair: Pair<Steered>,
    copied: HashMap<u32, Counters>,
}

impl Counting {
    fn new(from: MapData, to: MapData) -> Result<Self, Error> {
        let pair = Pair { from: Steered::new(from)?, to: Steered::new(to)? };
        Ok(Self { pair, copied: HashMap::new() })
    }

    /// Nothing counts in the new array yet, or, where a former start had come so far, it has counted on from
    /// what is in the old one.
    fn catch_up(&mut self) -> Result<(), Error> {
        self.each_change(|to, place, _, now| {
            if to.total(place)?.packets < now.packets { to.put(place, now) } else { Ok(()) }
        })
    }

    /// The new array counts already.
    fn add_rest(&mut self) -> Result<(), Error> {
        self.each_change(|to, place, before, now| to.add(place, since(now, before)))
    }

    /// For each place of which more is counted than when this was asked last: what it was then and is now.
    fn each_change(
        &mut self,
        act: impl Fn(&Steered, u32, Counters, Counters) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Pair { from, to } = &self.pair;
        let places = from.places().min(to.places());
        for first in (0..places).step_by(CHUNK) {
            let count = (places - first).min(CHUNK as u32);
            for (place, now) in (first..).zip(from.read(first, count)?) {
                let before = self.copied.get(&place).copied().unwrap_or_default();
                if now != before {
                    act(to, place, before, now)?;
                    self.copied.insert(place, now);
                }
            }
        }
        Ok(())
    }
}
