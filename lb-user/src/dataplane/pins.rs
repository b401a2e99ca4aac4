//! The maps that outlive the daemon: where they are pinned, and which of them a daemon of another
//! version has left for this one.
//!
//! Maps are in `pin_dir/layout-N`. As long as the directory has another name ([`partial`]) it is being
//! made or removed: so one with that name has everything that could be carried over into it, however
//! a former start has ended.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::{MapData, MapType};
use lb_common::{
    Counters, Entry, Flow, FlowKey, FragmentKey, FragmentOwner, LAYOUT, SlotBlock, limits,
};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{error::Error, form::Form};
use crate::model::FlowTables;

/// The oldest layout whose maps are carried over. Since then each has had the form that it has now, or
/// has not been there. As what is in one says where to read in another, a changed form of any but a
/// table of flows means that nothing older can be carried over.
const CARRIED: u32 = 2;

/// A map that outlives the daemon.
#[derive(Clone, Copy)]
pub(super) struct Pin {
    /// Its name in the object.
    pub(super) name: &'static str,
    /// What it is like.
    form: Form,
    /// Since which layout it is that, and means that.
    since: u32,
    /// Whether it notes flows: its size is the configuration's to say.
    flows: bool,
}

/// All of them.
pub(super) fn maps(tables: FlowTables) -> [Pin; 17] {
    use MapType::{Array, DevMap, Hash, LruHash, PerCpuArray};
    const WORD: usize = size_of::<u64>();
    let pin = |name, kind, key: usize, value: usize, entries, since| Pin {
        name,
        form: Form { kind, key: key as u32, value: value as u32, entries },
        since,
        flows: false,
    };
    let array = |name, value, entries| pin(name, Array, 4, value, entries, 2);
    let counters = |name, value, entries| pin(name, PerCpuArray, 4, value, entries, 2);
    let flows = |name, kind, entries| Pin {
        flows: true,
        ..pin(name, kind, size_of::<FlowKey>(), size_of::<Flow>(), entries, 3)
    };
    let fragment = (size_of::<FragmentKey>(), size_of::<FragmentOwner>());
    [
        array("PORTS", WORD, limits::PORTS),
        pin("DEVICES", DevMap, 4, 8, limits::PORTS, 2),
        array("INTERFACES", 32, limits::PORTS),
        array("TABLE", WORD, 1),
        array("DISPLACE", WORD, limits::TABLE_DISPLACEMENTS * 2),
        array("ENTRIES", size_of::<Entry>(), limits::TABLE_ENTRIES * 2),
        array("RINGS", size_of::<SlotBlock>(), limits::RING_SLOTS / limits::SLOTS_PER_BLOCK),
        pin("TIMES", Array, 4, WORD, limits::RING_SLOTS, 3),
        pin("FULL", Array, 4, WORD, 1, 3),
        array("REALS", WORD, limits::REALS),
        array("ADDRESSES", 16, limits::REALS),
        counters("STEERED", size_of::<Counters>(), limits::REALS),
        counters("OUTCOMES", WORD, limits::OUTCOMES),
        pin("FRAGMENTS", LruHash, fragment.0, fragment.1, limits::FRAGMENTS, 2),
        flows("PINNED", Hash, tables.pinned),
        flows("FRESH", LruHash, tables.fresh),
        flows("DATAGRAMS", LruHash, tables.datagrams),
    ]
}

impl Pin {
    /// The number of entries that is the loader's to set.
    pub(super) fn size(&self) -> Option<u32> {
        self.flows.then_some(self.form.entries)
    }

    /// The name of its file. That of a table of flows says its size, so that one of another size can
    /// stand beside it until its flows are copied.
    pub(super) fn file(&self) -> String {
        match self.size() {
            Some(size) => format!("{}-{size}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// Whatever is in a directory of this map's files, by size: one, but for tables of flows.
    fn files(&self, dir: &Path) -> Result<Vec<Self>, Error> {
        if !self.flows {
            return Ok(vec![*self]);
        }
        let sized = |file: &str| -> Option<Self> {
            let entries = file.strip_prefix(self.name)?.strip_prefix('-')?.parse().ok()?;
            Some(Self { form: Form { entries, ..self.form }, ..*self })
        };
        Ok(names(dir)?.iter().filter_map(|file| sized(file)).collect())
    }

    /// Tables of flows of other sizes.
    pub(super) fn other_sizes(&self, dir: &Path) -> Result<Vec<Self>, Error> {
        let mut others = self.files(dir)?;
        others.retain(|other| other.form != self.form);
        Ok(others)
    }

    /// The map that is pinned in this directory, if one is.
    ///
    /// # Errors
    ///
    /// Where that is not this map.
    pub(super) fn open(&self, dir: &Path) -> Result<Option<MapData>, Error> {
        let path = dir.join(self.file());
        if !path.exists() {
            return Ok(None);
        }
        let unreadable = |error| Error::kernel(format!("pinned map {path:?}"), &error);
        let map = MapData::from_pin(&path).map_err(unreadable)?;
        let found = Form::of(&map).map_err(unreadable)?;
        if found != self.form {
            return Err(Error::ForeignMap { path, found, expected: self.form });
        }
        Ok(Some(map))
    }
}

/// The directory of this layout's maps.
pub(super) fn map_dir(pin_dir: &Path) -> PathBuf {
    pin_dir.join(format!("layout-{LAYOUT}"))
}

/// What a directory of maps is called while it is made or removed.
fn partial(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push("-partial");
    name.into()
}

/// Makes the directory for the maps, with what a daemon of another version has left in it, and
/// compares those that are there with what they should be: a pinned map is taken over as it is.
pub(super) fn prepare(pin_dir: &Path, tables: FlowTables) -> Result<PathBuf, Error> {
    let existing = pin_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let on_bpffs = statfs(existing).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
    if !on_bpffs {
        return Err(Error::NoBpffs { path: pin_dir.to_owned() });
    }
    let dir = map_dir(pin_dir);
    if !dir.exists() {
        make(pin_dir, &dir, tables)?;
    }
    maps(tables).iter().try_for_each(|pin| pin.open(&dir).map(drop))?;
    Ok(dir)
}

fn make(pin_dir: &Path, dir: &Path, tables: FlowTables) -> Result<(), Error> {
    let partial = partial(dir);
    let failed = |source| Error::PinDirectory { path: partial.clone(), source };
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(failed)?;
    }
    fs::create_dir_all(&partial).map_err(failed)?;
    carry_over(pin_dir, &partial, tables)?;
    fs::rename(&partial, dir).map_err(failed)
}

/// Removes a directory of maps; one that is half removed has another name.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    let partial = partial(dir);
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::rename(dir, &partial)?;
    fs::remove_dir_all(&partial)
}

/// Pins the maps of a former version in the directory that is being made, too: both versions' programs
/// share them until the former's are replaced.
fn carry_over(pin_dir: &Path, to: &Path, tables: FlowTables) -> Result<(), Error> {
    let others = layouts(pin_dir)?;
    let Some((layout, from)) = others.range(..LAYOUT).next_back().or(others.iter().next()) else {
        return Ok(());
    };
    match left(*layout, from, tables)? {
        Left::Maps(maps) => {
            log::info!("{} maps of layout {layout} are carried over to {LAYOUT}", maps.len());
            maps.iter().try_for_each(|(pin, map)| {
                let path = to.join(pin.file());
                map.pin(&path).map_err(|error| Error::kernel(format!("pinning {path:?}"), &error))
            })
        }
        Left::Nothing(reason) => {
            log::warn!(
                "the pinned maps of layout {layout} cannot be carried over to layout {LAYOUT} of this \
                 version ({reason}): the tables are built anew from the configuration, and open \
                 connections may move"
            );
            Ok(())
        }
    }
}

/// What a former version has left for this one: all or nothing, as maps name each other's places.
enum Left {
    Maps(Vec<(Pin, MapData)>),
    /// The reason.
    Nothing(String),
}

fn left(layout: u32, dir: &Path, tables: FlowTables) -> Result<Left, Error> {
    if layout > LAYOUT {
        return Ok(Left::Nothing("they are a newer version's".to_owned()));
    }
    if layout < CARRIED {
        return Ok(Left::Nothing("they have another form".to_owned()));
    }
    let mut found = Vec::new();
    for pin in maps(tables).into_iter().filter(|pin| pin.since <= layout) {
        for pin in pin.files(dir)? {
            match pin.open(dir) {
                Ok(Some(map)) => found.push((pin, map)),
                Ok(None) => return Ok(Left::Nothing(format!("{} is missing", pin.name))),
                Err(error @ Error::ForeignMap { .. }) => {
                    return Ok(Left::Nothing(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(Left::Maps(found))
}

/// The directories of other layouts.
fn layouts(pin_dir: &Path) -> Result<BTreeMap<u32, PathBuf>, Error> {
    let layout = |name: &String| {
        let layout = name.strip_prefix("layout-")?.parse().ok()?;
        (layout != LAYOUT).then(|| (layout, pin_dir.join(name)))
    };
    Ok(names(pin_dir)?.iter().filter_map(layout).collect())
}

/// The names in a directory; none if there is no such directory.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::PinDirectory { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let name = |entry: io::Result<fs::DirEntry>| {
        Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_map_has_a_form_that_is_older_than_what_is_carried_over() {
        let maps = maps(FlowTables::default());
        assert!(maps.iter().all(|pin| (CARRIED..=LAYOUT).contains(&pin.since)));
        assert!(maps.iter().all(|pin| !pin.file().contains('.')), "bpffs allows no dots");
    }
}
