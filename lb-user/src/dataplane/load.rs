//! Loads the object into the kernel, on the maps that are pinned already if there are any.

use std::{io, path::PathBuf};

use aya::{Ebpf, EbpfLoader, maps::MapError};
use lb_common::{Bucket, Seed, limits};

use super::{
    error::{Error, chain},
    pins::{self, Sizes},
};
use crate::model::{FlowTables, Room};

/// The BPF object, built from `lb-ebpf`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb"));

/// The one with the balancer that captures, on the same maps.
pub static CAPTURE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/capture"));

/// How the object is loaded.
#[derive(Clone, Debug)]
pub struct Loader {
    /// Where maps are pinned; `None` for tables of nobody else's, which vanish with the process.
    pub pin_dir: Option<PathBuf>,
    /// The seed of the flow hash.
    pub seed: Seed,
    /// Whether the datapath logs rare events.
    pub log: bool,
    /// The sizes of the tables of noted flows.
    pub tables: FlowTables,
    /// The sizes that the arrays of rings and pools have at least. Those that are pinned already never
    /// become smaller.
    pub room: Room,
}

impl Loader {
    /// The sizes that maps have where nothing is pinned.
    pub(super) fn sizes(&self) -> Sizes {
        Sizes { flows: self.tables, room: self.room }
    }

    /// The directory of a former layout that shares its maps with this one's, but not the service table.
    pub(super) fn former(&self) -> Result<Option<PathBuf>, Error> {
        let former = |pin_dir: &PathBuf| pins::shared(pin_dir, self.sizes());
        self.pin_dir.as_ref().map_or(Ok(None), former)
    }

    /// Loads an object, for the interface at this port.
    ///
    /// # Errors
    ///
    /// Where the directory, the maps in it, the permissions or the kernel do not serve.
    pub(super) fn load(&self, object: &[u8], port: u8) -> Result<Ebpf, Error> {
        let seed = self.seed.0;
        let log = if self.log { log::Level::Debug as u8 } else { 0 };
        let beginnings = self.tables.fresh.div_ceil(limits::FRESH_PART).max(1);
        let beginning = Bucket::cost(beginnings.into());
        let mut loader = EbpfLoader::new();
        loader
            .override_global("SEED", &seed, true)
            .override_global("PORT", &port, true)
            .override_global("BEGINNING", &beginning, true)
            .override_global("AYA_LOG_LEVEL", &log, false);
        let prepare = |pin_dir| pins::prepare(pin_dir, self.sizes());
        let (map_dir, sizes) = match self.pin_dir.as_deref().map(prepare).transpose()? {
            Some((dir, sizes)) => (Some(dir), sizes),
            None => (None, self.sizes()),
        };
        // Each instance has its own.
        loader.map_max_entries("BUDGETS", sizes.room.places);
        for pin in pins::maps(sizes) {
            if let Some(size) = pin.size() {
                loader.map_max_entries(pin.name, size);
            }
            if let Some(dir) = &map_dir {
                loader.map_pin_path(pin.name, dir.join(pin.file()));
            }
        }
        let before = map_dir.as_deref().map(pins::names).transpose()?.unwrap_or_default();
        loader.load(object).map_err(|error| {
            // What was made for nothing goes again; a directory with pins in it stays.
            if let Some(dir) = &map_dir {
                drop(pins::forget_new(dir, &before));
            }
            for dir in map_dir.iter().chain(&self.pin_dir) {
                drop(std::fs::remove_dir(dir));
            }
            if why_no_map(&error) == Some(io::ErrorKind::OutOfMemory) {
                let Room { slots, places } = sizes.room;
                return Error::NoMemory { slots, places };
            }
            refused(&error)
        })
    }
}

/// What it means that the kernel refused a map or a program.
pub(super) fn refused(error: &aya::EbpfError) -> Error {
    let text = chain(error);
    let denied = why_no_map(error) == Some(io::ErrorKind::PermissionDenied);
    if denied || text.contains("Operation not permitted") || text.contains("Permission denied") {
        return Error::NoPermission { what: "load BPF maps and programs" };
    }
    Error::Kernel { what: "loading the datapath".to_owned(), detail: text }
}

/// Why a map could not be made, if that is what has failed.
fn why_no_map(error: &aya::EbpfError) -> Option<io::ErrorKind> {
    match error {
        aya::EbpfError::MapError(MapError::CreateError { io_error, .. }) => Some(io_error.kind()),
        _ => None,
    }
}
