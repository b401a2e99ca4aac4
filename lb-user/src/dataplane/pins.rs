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
    Counters, Entry, Flow, FlowKey, FragmentKey, FragmentOwner, LAYOUT, NotedBlock, SlotBlock,
    limits,
};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{error::Error, form::Form};
use crate::model::{FlowTables, Room};

/// The oldest layout whose maps are carried over. Since then each has had the form that it has now, or
/// has not been there. As what is in one says where to read in another, a changed form of any but a
/// table of flows means that nothing older can be carried over.
const CARRIED: u32 = 2;

/// The oldest layout whose services are found as they are now, and which counts what it forwards once (`former`).
const SERVICES: u32 = 4;

/// The sizes that are the loader's to set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sizes {
    /// As the configuration says.
    pub(super) flows: FlowTables,
    /// As the configuration needs.
    pub(super) room: Room,
}

/// What the size of a map depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// Nothing.
    Fixed,
    /// It notes flows, as many as the configuration says.
    Flows,
    /// The slots in the arena, of which so many share a value.
    Slots(u32),
    /// The places.
    Places,
}

/// A map that outlives the daemon.
#[derive(Clone, Copy)]
pub(super) struct Pin {
    /// Its name in the object.
    pub(super) name: &'static str,
    /// What it is like.
    form: Form,
    /// Since which layout it is that, and means that.
    since: u32,
    /// What its size depends on.
    pub(super) scale: Scale,
}

/// All of them.
pub(super) fn maps(sizes: Sizes) -> [Pin; 18] {
    use MapType::{Array, DevMap, Hash, LruHash, PerCpuArray};
    const WORD: usize = size_of::<u64>();
    let pin = |name, kind, key: usize, value: usize, entries, since| Pin {
        name,
        form: Form { kind, key: key as u32, value: value as u32, entries },
        since,
        scale: Scale::Fixed,
    };
    let array = |name, value, entries| pin(name, Array, 4, value, entries, 2);
    let flows = |name, kind, entries| Pin {
        scale: Scale::Flows,
        ..pin(name, kind, size_of::<FlowKey>(), size_of::<Flow>(), entries, 3)
    };
    let slots = |name, value, share, since| Pin {
        scale: Scale::Slots(share),
        ..pin(name, Array, 4, value, sizes.room.slots / share, since)
    };
    let places = |name, kind, value| Pin {
        scale: Scale::Places,
        ..pin(name, kind, 4, value, sizes.room.places, 2)
    };
    let noted = limits::NOTED / limits::NOTED_PER_BLOCK + 1;
    let fragment = (size_of::<FragmentKey>(), size_of::<FragmentOwner>());
    [
        array("PORTS", WORD, limits::PORTS),
        pin("DEVICES", DevMap, 4, 8, limits::PORTS, 2),
        array("INTERFACES", 32, limits::PORTS),
        // These three have had the same form before, but not the same meaning (`former`).
        pin("TABLE", Array, 4, WORD, 1, SERVICES),
        pin("DISPLACE", Array, 4, WORD, limits::TABLE_DISPLACEMENTS * 2, SERVICES),
        pin("ENTRIES", Array, 4, size_of::<Entry>(), limits::TABLE_ENTRIES * 2, SERVICES),
        slots("RINGS", size_of::<SlotBlock>(), limits::SLOTS_PER_BLOCK, 2),
        slots("TIMES", WORD, 1, 3),
        pin("FULL", Array, 4, WORD, 1, 3),
        places("REALS", Array, WORD),
        places("ADDRESSES", Array, 16),
        places("STEERED", PerCpuArray, size_of::<Counters>()),
        pin("OUTCOMES", PerCpuArray, 4, WORD, limits::OUTCOMES, 2),
        pin("FRAGMENTS", LruHash, fragment.0, fragment.1, limits::FRAGMENTS, 2),
        // Where there was none, what is noted is noted without it (`noted`).
        pin("NOTED", Array, 4, size_of::<NotedBlock>(), noted, 5),
        flows("PINNED", Hash, sizes.flows.pinned),
        flows("FRESH", LruHash, sizes.flows.fresh),
        flows("DATAGRAMS", LruHash, sizes.flows.datagrams),
    ]
}

impl Pin {
    /// The number of entries that is the loader's to set.
    pub(super) fn size(&self) -> Option<u32> {
        (self.scale != Scale::Fixed).then_some(self.form.entries)
    }

    /// The name of its file. Where its size varies it says that, so that one of another size can stand
    /// beside it until what is in it is copied.
    pub(super) fn file(&self) -> String {
        match self.size() {
            Some(size) => format!("{}-{size}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// Whatever is in a directory of this map's files, and what the map should be like: one, or, where its
    /// size varies, one for each size, the smallest first.
    fn files(&self, dir: &Path) -> Result<Vec<(PathBuf, Self)>, Error> {
        if self.scale == Scale::Fixed {
            return Ok(vec![(dir.join(self.name), *self)]);
        }
        let sized = |file: String| -> Option<(PathBuf, Self)> {
            let entries = match file.strip_prefix(self.name)? {
                // As all of them were up to layout 3, whose names did not say it.
                "" => self.least()?,
                rest => rest.strip_prefix('-')?.parse().ok()?,
            };
            let form = Form { entries, ..self.form };
            Some((dir.join(file), Self { form, ..*self }))
        };
        let mut files: Vec<_> = names(dir)?.into_iter().filter_map(sized).collect();
        files.sort_by_key(|(_, pin)| pin.form.entries);
        Ok(files)
    }

    /// Whether it is an array that the configuration may need larger.
    pub(super) fn grows(&self) -> bool {
        self.least().is_some()
    }

    /// The size that it has at least; none of a table of flows.
    fn least(&self) -> Option<u32> {
        match self.scale {
            Scale::Fixed | Scale::Flows => None,
            Scale::Slots(share) => Some(Room::LEAST.slots / share),
            Scale::Places => Some(Room::LEAST.places),
        }
    }

    /// The room that a map of this size gives.
    fn room(&self) -> Room {
        let none = Room { slots: 0, places: 0 };
        match self.scale {
            Scale::Fixed | Scale::Flows => none,
            Scale::Slots(share) => Room { slots: self.form.entries.saturating_mul(share), ..none },
            Scale::Places => Room { places: self.form.entries, ..none },
        }
    }

    /// Those of other sizes, the smallest first.
    pub(super) fn other_sizes(&self, dir: &Path) -> Result<Vec<Self>, Error> {
        let others = self.files(dir)?.into_iter().map(|(_, other)| other);
        Ok(others.filter(|other| other.form != self.form).collect())
    }

    /// The map that is pinned in this directory, if one is.
    ///
    /// # Errors
    ///
    /// Where that is not this map.
    pub(super) fn open(&self, dir: &Path) -> Result<Option<MapData>, Error> {
        self.open_file(dir.join(self.file()))
    }

    fn open_file(&self, path: PathBuf) -> Result<Option<MapData>, Error> {
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
/// Says which sizes they shall have, too, see [`settled`].
pub(super) fn prepare(pin_dir: &Path, wanted: Sizes) -> Result<(PathBuf, Sizes), Error> {
    let existing = pin_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let on_bpffs = statfs(existing).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
    if !on_bpffs {
        return Err(Error::NoBpffs { path: pin_dir.to_owned() });
    }
    let dir = map_dir(pin_dir);
    if !dir.exists() {
        make(pin_dir, &dir, wanted)?;
    }
    let sizes = settled(&dir, wanted)?;
    maps(sizes).iter().try_for_each(|pin| pin.open(&dir).map(drop))?;
    Ok((dir, sizes))
}

/// The sizes that the maps in a directory shall have: as wanted, but none of the arrays smaller than it is.
///
/// Where one has several sizes the smallest counts: a start that has not come to its end has left the
/// others, and they may be empty.
pub(super) fn settled(dir: &Path, wanted: Sizes) -> Result<Sizes, Error> {
    let mut sizes = wanted;
    for pin in maps(wanted).iter().filter(|pin| pin.grows()) {
        if let Some((_, smallest)) = pin.files(dir)?.first() {
            sizes.room = sizes.room.max(smallest.room());
        }
    }
    Ok(sizes)
}

fn make(pin_dir: &Path, dir: &Path, sizes: Sizes) -> Result<(), Error> {
    let partial = partial(dir);
    let failed = |source| Error::PinDirectory { path: partial.clone(), source };
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(failed)?;
    }
    fs::create_dir_all(&partial).map_err(failed)?;
    carry_over(pin_dir, &partial, sizes)?;
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

/// Removes the maps of a directory whose names are not among these.
pub(super) fn forget_new(dir: &Path, known: &[String]) -> Result<(), Error> {
    for name in names(dir)?.iter().filter(|name| !known.contains(name)) {
        let path = dir.join(name);
        fs::remove_file(&path).map_err(|source| Error::PinDirectory { path, source })?;
    }
    Ok(())
}

/// Pins the maps of a former version in the directory that is being made, too: both versions' programs
/// share them until the former's are replaced.
fn carry_over(pin_dir: &Path, to: &Path, sizes: Sizes) -> Result<(), Error> {
    let others = layouts(pin_dir)?;
    let Some((layout, from)) = others.range(..LAYOUT).next_back().or(others.iter().next()) else {
        return Ok(());
    };
    match left(*layout, from, sizes)? {
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

/// The directory of a former layout whose maps but the service table are shared with this one's, as long as its
/// programs may be in force.
pub(super) fn shared(pin_dir: &Path, sizes: Sizes) -> Result<Option<PathBuf>, Error> {
    let others = layouts(pin_dir)?;
    let former = others.range(..LAYOUT).next_back();
    let Some((layout, from)) = former.filter(|(layout, _)| **layout < SERVICES) else {
        return Ok(None);
    };
    Ok(match left(*layout, from, sizes)? {
        Left::Maps(_) => Some(from.clone()),
        Left::Nothing(_) => None,
    })
}

/// What a former version has left for this one: all or nothing, as maps name each other's places.
enum Left {
    Maps(Vec<(Pin, MapData)>),
    /// The reason.
    Nothing(String),
}

fn left(layout: u32, dir: &Path, sizes: Sizes) -> Result<Left, Error> {
    if layout > LAYOUT {
        return Ok(Left::Nothing("they are a newer version's".to_owned()));
    }
    if layout < CARRIED {
        return Ok(Left::Nothing("they have another form".to_owned()));
    }
    let mut found = Vec::new();
    for pin in maps(sizes).into_iter().filter(|pin| pin.since <= layout) {
        let files = pin.files(dir)?;
        if files.is_empty() && pin.scale != Scale::Flows {
            return Ok(Left::Nothing(format!("{} is missing", pin.name)));
        }
        for (path, pin) in files {
            match pin.open_file(path) {
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

    fn sizes(room: Room) -> Sizes {
        Sizes { flows: FlowTables::default(), room }
    }

    #[test]
    fn arrays_that_depend_on_the_configuration_say_their_size_in_their_names() {
        let room = Room { slots: 1 << 23, places: 1 << 17 };
        let maps = maps(sizes(room));
        let names: Vec<String> = maps.iter().filter(|pin| pin.grows()).map(Pin::file).collect();
        let expected =
            ["RINGS-524288", "TIMES-8388608", "REALS-131072", "ADDRESSES-131072", "STEERED-131072"];
        assert_eq!(names, expected);
        for pin in maps.iter().filter(|pin| pin.grows()) {
            let Room { slots, places } = pin.room();
            assert!([(1 << 23, 0), (0, 1 << 17)].contains(&(slots, places)), "{}", pin.name);
        }
        assert_eq!(maps.iter().filter(|pin| pin.scale == Scale::Flows).count(), 3);
    }

    #[test]
    fn the_smallest_of_several_sizes_counts_and_more_is_made_where_more_is_wanted() {
        let dir = tempfile::tempdir().expect("a directory");
        let settled = |wanted| settled(dir.path(), sizes(wanted)).expect("names").room;
        assert_eq!(settled(Room::LEAST), Room::LEAST);
        for file in ["RINGS-1048576", "RINGS-524288", "TIMES-16777216", "TIMES-8388608", "REALS"] {
            fs::write(dir.path().join(file), "").expect("a file");
        }
        let there = Room { slots: 1 << 23, ..Room::LEAST };
        assert_eq!(settled(Room::LEAST), there, "none becomes smaller");
        assert_eq!(settled(Room::MOST), Room::MOST);
        // A start was killed while it removed what it had replaced.
        fs::remove_file(dir.path().join("RINGS-524288")).expect("the file");
        assert_eq!(settled(Room::LEAST), Room { slots: 1 << 24, ..Room::LEAST });
    }

    #[test]
    fn no_map_has_a_form_that_is_older_than_what_is_carried_over() {
        let maps = maps(sizes(Room::LEAST));
        assert!(maps.iter().all(|pin| (CARRIED..=LAYOUT).contains(&pin.since)));
        assert!(maps.iter().all(|pin| !pin.file().contains('.')), "bpffs allows no dots");
    }
}
