//! Tables of flows whose configured size has changed: the flows of the former ones are copied.
//!
//! The programs in force go on noting flows while that is done, and the new ones do not know what was
//! noted since. So until all is copied, new flows of tracked slots go where unknown ones go, to the
//! previous owner ([`Held`]): it makes no difference then whether they are known.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use aya::maps::{HashMap, Map, MapData, MapError, MapType};
use lb_common::{Flow, FlowKey, Slot, limits};

use super::{
    error::Error,
    flows::{Cursor, FlowTable},
    mapped::Mapped,
    pins,
};
use crate::model::FlowTables;

/// The copies that are under way.
pub(super) struct Resize(Vec<Transfer>);

/// From one table to another.
struct Transfer {
    name: &'static str,
    former: PathBuf,
    from: FlowTable,
    to: HashMap<MapData, FlowKey, Flow>,
    size: u32,
    /// What is in the new table.
    copied: HashSet<FlowKey>,
    /// How many flows were too many.
    left: usize,
}

/// How many flows are read at once.
const BATCH: usize = 4096;

/// Leaves what is there (`BPF_NOEXIST`): the datapath has noted it later.
const NEW: u64 = 1;

impl Resize {
    /// Finds the tables of other sizes than configured in the directory of maps.
    pub(super) fn find(dir: &Path, tables: FlowTables) -> Result<Option<Self>, Error> {
        let mut copies = Vec::new();
        for pin in pins::maps(tables) {
            for other in pin.other_sizes(dir)? {
                let (Some(from), Some(to)) = (other.open(dir)?, pin.open(dir)?) else { continue };
                let from = FlowTable::new(from)?;
                copies.push(Transfer::new(pin.name, dir.join(other.file()), from, to)?);
            }
        }
        Ok((!copies.is_empty()).then_some(Self(copies)))
    }

    /// Copies what is not copied yet.
    pub(super) fn copy(&mut self) -> Result<(), Error> {
        self.0.iter_mut().try_for_each(Transfer::run)
    }

    /// Says what has become of the flows, and removes the former tables.
    pub(super) fn finish(self) -> Result<(), Error> {
        for Transfer { name, former, from, size, copied, left, .. } in self.0 {
            let (before, copied) = (from.size(), copied.len());
            log::info!("{name} has {size} entries instead of {before}: {copied} flows are copied");
            if left > 0 {
                log::warn!(
                    "{name}: {left} noted flows do not fit into {size} entries and may move"
                );
            }
            fs::remove_file(&former)
                .map_err(|source| Error::PinDirectory { path: former, source })?;
        }
        Ok(())
    }
}

/// Tracked slots whose new flows go to the previous owner until this is dropped.
pub(super) struct Held<'a> {
    rings: &'a Mapped,
    /// The slots as they were.
    slots: Vec<(usize, Slot)>,
}

impl<'a> Held<'a> {
    pub(super) fn new(rings: &'a Mapped) -> Self {
        let slot = |index| (index, Slot(rings.half_word(index).load(Ordering::Relaxed)));
        let slots = (0..limits::RING_SLOTS as usize).map(slot);
        let slots: Vec<_> = slots.filter(|(_, slot)| slot.is_tracked()).collect();
        for (index, slot) in &slots {
            let held = Slot::new(slot.previous(), slot.previous());
            rings.half_word(*index).store(held.0, Ordering::Release);
        }
        Self { rings, slots }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        for (index, slot) in &self.slots {
            self.rings.half_word(*index).store(slot.0, Ordering::Release);
        }
    }
}

impl Transfer {
    fn new(
        name: &'static str,
        former: PathBuf,
        from: FlowTable,
        to: MapData,
    ) -> Result<Self, Error> {
        let failed = |error| Error::kernel(format!("map {name}"), &error);
        let info = to.info().map_err(failed)?;
        let map = match info.map_type().map_err(failed)? {
            MapType::LruHash => Map::LruHashMap(to),
            _ => Map::HashMap(to),
        };
        let to = HashMap::try_from(map).map_err(failed)?;
        let size = info.max_entries();
        Ok(Self { name, former, from, to, size, copied: HashSet::new(), left: 0 })
    }

    fn run(&mut self) -> Result<(), Error> {
        self.left = 0;
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            for (key, flow) in self.from.read(&mut cursor, BATCH)? {
                if !self.copied.contains(&key) {
                    self.insert(key, flow)?;
                }
            }
        }
        Ok(())
    }

    /// A table that forgets would, once full, forget flows for others.
    fn insert(&mut self, key: FlowKey, flow: Flow) -> Result<(), Error> {
        let fits = self.copied.len() < self.size as usize
            && match self.to.insert(key, flow, NEW) {
                Err(error) if error_is(&error, libc::E2BIG) => false,
                Err(error) if !error_is(&error, libc::EEXIST) => {
                    return Err(Error::kernel(format!("copying flows to {}", self.name), &error));
                }
                _ => true,
            };
        if fits {
            self.copied.insert(key);
        } else {
            self.left += 1;
        }
        Ok(())
    }
}

/// Whether the kernel refused something with this error number.
fn error_is(error: &MapError, number: libc::c_int) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(number))
}
