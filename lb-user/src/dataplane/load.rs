//! Loads the object into the kernel, on the maps that are pinned already if there are any.

use std::{
    io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, MapError},
    programs::ProgramError,
};
use lb_common::{Counters, Entry, FragmentOwner, LAYOUT, Seed, SlotBlock, limits};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use thiserror::Error;

/// The BPF object, built from `lb-ebpf`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb"));

/// What keeps the datapath from being loaded or attached. Each says what to do.
#[derive(Debug, Error)]
pub enum Error {
    /// Not root, and no capabilities.
    #[error(
        "no permission to {what}: run lbd as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NoPermission {
        /// What was tried.
        what: &'static str,
    },
    /// The pin directory is elsewhere.
    #[error(
        "pin_dir {path:?} is not on a BPF file system: `mount -t bpf bpf /sys/fs/bpf`, or choose \
         a directory below one"
    )]
    NoBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// The pin directory cannot be used.
    #[error("pin directory {path:?}: {source}")]
    PinDirectory {
        /// The directory or file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A pinned map is not the one that this layout describes.
    #[error(
        "{path:?} is not a map of this program (type {found:?}, expected {expected:?}): \
         run `lbd --config FILE --detach` once to remove what is pinned, then start again"
    )]
    ForeignMap {
        /// Its pin.
        path: PathBuf,
        /// Its value size and number of values.
        found: (u32, u32),
        /// What they should be.
        expected: (u32, u32),
    },
    /// The configuration names an interface that is not there.
    #[error("interface \"{name}\" does not exist; `ip link` shows those that do")]
    NoInterface {
        /// Its name.
        name: String,
    },
    /// Another program has the hook.
    #[error(
        "interface \"{interface}\" is busy: XDP program \"{program}\" (id {id}) is attached; detach it with \
         `ip link set dev {interface} xdp off` or choose another interface"
    )]
    Busy {
        /// The interface.
        interface: String,
        /// The other program's name.
        program: String,
        /// Its id.
        id: u32,
    },
    /// The driver cannot, and generic XDP is not wanted.
    #[error(
        "interface \"{interface}\": the driver has no native XDP ({source}); set xdp = \"auto\" \
         or xdp = \"generic\""
    )]
    NoNative {
        /// The interface.
        interface: String,
        /// What the kernel says.
        source: ProgramError,
    },
    /// The kernel lacks what is needed.
    #[error("this kernel cannot {what} ({detail}); Linux 5.10 or newer is needed")]
    OldKernel {
        /// What is missing.
        what: &'static str,
        /// What the kernel says.
        detail: String,
    },
    /// The kernel refused something.
    #[error("{what}: {detail}")]
    Kernel {
        /// What was tried.
        what: String,
        /// What the kernel says.
        detail: String,
    },
}

impl Error {
    /// The kernel's refusal, with its own words.
    pub(super) fn kernel(
        what: impl Into<String>,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        Self::Kernel { what: what.into(), detail: chain(error) }
    }
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// The maps that outlive the daemon: name, size of a value, number of values.
pub(super) const PINNED: &[(&str, usize, u32)] = &[
    ("PORTS", 8, limits::PORTS),
    ("DEVICES", 8, limits::PORTS),
    ("INTERFACES", 32, limits::PORTS),
    ("TABLE", 8, 1),
    ("DISPLACE", 8, limits::TABLE_DISPLACEMENTS * 2),
    ("ENTRIES", size_of::<Entry>(), limits::TABLE_ENTRIES * 2),
    ("RINGS", size_of::<SlotBlock>(), limits::RING_SLOTS / limits::SLOTS_PER_BLOCK),
    ("REALS", 8, limits::REALS),
    ("ADDRESSES", 16, limits::REALS),
    ("STEERED", size_of::<Counters>(), limits::REALS),
    ("OUTCOMES", 8, limits::OUTCOMES),
    ("FRAGMENTS", size_of::<FragmentOwner>(), limits::FRAGMENTS),
];

/// How the object is loaded.
#[derive(Clone, Debug)]
pub struct Loader {
    /// Where maps are pinned; `None` for tables of nobody else's, which vanish with the process.
    pub pin_dir: Option<PathBuf>,
    /// The seed of the flow hash.
    pub seed: Seed,
    /// Whether the datapath logs rare events.
    pub log: bool,
}

impl Loader {
    /// The directory of this layout's maps: another layout's are never read.
    pub(super) fn map_dir(pin_dir: &Path) -> PathBuf {
        pin_dir.join(format!("layout-{LAYOUT}"))
    }

    /// Loads the object, for the interface at this port.
    ///
    /// # Errors
    ///
    /// Where the directory, the maps in it, the permissions or the kernel do not serve.
    pub(super) fn load(&self, port: u8) -> Result<Ebpf, Error> {
        let seed = self.seed.0;
        let log = if self.log { log::Level::Debug as u8 } else { 0 };
        let mut loader = EbpfLoader::new();
        loader
            .override_global("SEED", &seed, true)
            .override_global("PORT", &port, true)
            .override_global("AYA_LOG_LEVEL", &log, false);
        let map_dir = self.pin_dir.as_deref().map(prepare).transpose()?;
        for (name, ..) in PINNED {
            if let Some(dir) = &map_dir {
                loader.map_pin_path(name, dir.join(name));
            }
        }
        loader.load(OBJECT).map_err(|error| {
            // What was made for nothing goes again; a directory with pins in it stays.
            for dir in map_dir.iter().chain(&self.pin_dir) {
                drop(std::fs::remove_dir(dir));
            }
            refused(&error)
        })
    }
}

/// Makes the directory for the maps and compares those that are there with what they should be: a
/// pinned map is taken over as it is.
fn prepare(pin_dir: &Path) -> Result<PathBuf, Error> {
    let existing = pin_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let on_bpffs = statfs(existing).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
    if !on_bpffs {
        return Err(Error::NoBpffs { path: pin_dir.to_owned() });
    }
    let dir = Loader::map_dir(pin_dir);
    std::fs::create_dir_all(&dir)
        .map_err(|source| Error::PinDirectory { path: dir.clone(), source })?;
    for (name, size, values) in PINNED {
        compare(&dir.join(name), (*size as u32, *values))?;
    }
    Ok(dir)
}

fn compare(path: &Path, expected: (u32, u32)) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    let info = MapData::from_pin(path)
        .and_then(|map| map.info())
        .map_err(|error| Error::kernel(format!("pinned map {path:?}"), &error))?;
    let found = (info.value_size(), info.max_entries());
    if found != expected {
        return Err(Error::ForeignMap { path: path.to_owned(), found, expected });
    }
    Ok(())
}

/// What it means that the kernel refused a map or a program.
fn refused(error: &aya::EbpfError) -> Error {
    let text = chain(error);
    let denied = matches!(
        error,
        aya::EbpfError::MapError(MapError::CreateError { io_error, .. })
            if io_error.kind() == io::ErrorKind::PermissionDenied
    );
    if denied || text.contains("Operation not permitted") || text.contains("Permission denied") {
        return Error::NoPermission { what: "load BPF maps and programs" };
    }
    Error::Kernel { what: "loading the datapath".to_owned(), detail: text }
}
