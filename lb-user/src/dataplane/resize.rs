//! Tables of flows whose configured size has changed: the flows of the former ones are copied.
//!
//! The programs in force go on noting flows while that is done, and the new ones do not know what was
//! noted since. So until all is copied, what begins in tracked slots goes where unknown flows go, to the
//! previous owner, and is not noted ([`Held`]).

use std::{
    collections, fs,
    path::{Path, PathBuf},
};

use aya::maps::{HashMap, Map, MapData, MapError, MapType};
use lb_common::{Flow, FlowKey};

use super::{
    error::Error,
    flows::{Cursor, FlowTable},
    mapped::Mapped,
    pins::{self, Scale, Sizes},
};

/// The copies that are under way.
pub(super) struct Resize(Vec<Transfer>);

/// From one table to another.
struct Transfer {
    name: &'static str,
    former: PathBuf,
    from: FlowTable,
    to: HashMap<MapData, FlowKey, Flow>,
    size: u32,
    /// What was put into the new table.
    copied: collections::HashMap<FlowKey, Flow>,
    /// How many flows were too many.
    left: usize,
}

/// How many flows are read at once.
const BATCH: usize = 4096;

/// Leaves what is there (`BPF_NOEXIST`): the datapath has noted it later.
const NEW: u64 = 1;

/// Replaces what is there (`BPF_EXIST`).
const KNOWN: u64 = 2;

impl Resize {
    /// Finds the tables of other sizes than configured in the directory of maps.
    pub(super) fn find(dir: &Path, sizes: Sizes) -> Result<Option<Self>, Error> {
        let mut copies = Vec::new();
        for pin in pins::maps(sizes).iter().filter(|pin| pin.scale == Scale::Flows) {
            for other in pin.other_sizes(dir)? {
                let (Some(from), Some(to)) = (other.open(dir)?, pin.open(dir)?) else { continue };
                let from = FlowTable::new(from)?;
                copies.push(Transfer::new(pin.name, dir.join(other.file()), from, to)?);
            }
        }
        Ok((!copies.is_empty()).then_some(Self(copies)))
    }

    /// Copies what is not copied yet, or has changed since.
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

/// Until this is dropped, the datapath notes no flow that begins, as when there is no room: the owner of
/// none changes, whether the programs in force know it or not.
pub(super) struct Held<'a> {
    full: &'a mut Mapped,
    was: u64,
}

impl<'a> Held<'a> {
    pub(super) fn new(full: &'a mut Mapped) -> Self {
        let was = full.load(0);
        full.store(0, 1);
        Self { full, was }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.full.store(0, self.was);
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
        Ok(Self { name, former, from, to, size, copied: collections::HashMap::new(), left: 0 })
    }

    fn run(&mut self) -> Result<(), Error> {
        self.left = 0;
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            for (key, flow) in self.from.read(&mut cursor, BATCH)? {
                match self.copied.get(&key) {
                    Some(copied) if *copied == flow => {}
                    Some(_) => self.renew(key, flow)?,
                    None => self.insert(key, flow)?,
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
                Err(error) if !error_is(&error, libc::EEXIST) => return Err(self.failed(&error)),
                _ => true,
            };
        if fits {
            self.copied.insert(key, flow);
        } else {
            self.left += 1;
        }
        Ok(())
    }

    /// A flow has changed after it was copied: its client has used the port for another connection, or
    /// closes it. What the new programs have noted since counts more.
    fn renew(&mut self, key: FlowKey, flow: Flow) -> Result<(), Error> {
        match self.to.get(&key, 0) {
            Ok(there) if is_newer(&flow, &there) => match self.to.insert(key, flow, KNOWN) {
                Err(error) if !error_is(&error, libc::ENOENT) => return Err(self.failed(&error)),
                _ => {}
            },
            Ok(_) | Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(self.failed(&error)),
        }
        self.copied.insert(key, flow);
        Ok(())
    }

    fn failed(&self, error: &MapError) -> Error {
        Error::kernel(format!("copying flows to {}", self.name), error)
    }
}

/// Whether one note of a flow was written after another.
fn is_newer(flow: &Flow, other: &Flow) -> bool {
    other.noted.is_before(flow.noted)
        || other.noted == flow.noted && !flow.seen.is_before(other.seen)
}

/// Whether the kernel refused something with this error number.
fn error_is(error: &MapError, number: libc::c_int) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(number))
}
