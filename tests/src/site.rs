//! What a lab stands on: a directory, a BPF file system, and a way to get namespaces; all of it
//! either private and gone with this process, or public and staying.

use std::{
    env,
    fs::{self, File},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::statvfs::{FsFlags, statvfs},
};
use tempfile::TempDir;

use crate::{
    netns::{self, Netns},
    persist::Persist,
    process::{Lifetime, Output},
};

/// Where the kernel pins BPF objects of a lab, within its directory.
pub(crate) const BPF: &str = "bpf";
/// How directories of private labs are called; the id of their process follows.
const PREFIX: &str = "lb-lab-";

/// The ground of one lab.
#[derive(Debug)]
pub(crate) enum Site {
    /// Gone with this process.
    Private(TempDir),
    /// Staying until it is torn down.
    Public(Persist),
}

impl Site {
    /// An own directory.
    pub(crate) fn private() -> Result<Self> {
        sweep();
        let prefix = format!("{PREFIX}{}-", process::id());
        Ok(Self::Private(tempfile::Builder::new().prefix(&prefix).tempdir_in(ground())?))
    }

    /// The place for a lab that stays, which must not exist yet.
    pub(crate) fn public(place: &Persist) -> Result<Self> {
        let exists = || format!("cannot make {}; is the lab up already?", place.dir.display());
        fs::create_dir(&place.dir).with_context(exists)?;
        Ok(Self::Public(place.clone()))
    }

    /// The lab's directory.
    pub(crate) fn dir(&self) -> &Path {
        match self {
            Self::Private(dir) => dir.path(),
            Self::Public(place) => &place.dir,
        }
    }

    /// A new network namespace.
    pub(crate) fn netns(&self, name: &str) -> Result<Netns> {
        match self {
            Self::Private(_) => Netns::anonymous(name, None),
            Self::Public(place) => {
                let full = place.netns(name);
                Output::of(Command::new("ip").args(["netns", "add", &full]))?.success()?;
                let net = File::open(Path::new("/run/netns").join(full))?.into();
                Ok(Netns::held(name, net, None, Lifetime::Recorded(place.pids())))
            }
        }
    }

    /// A new network namespace in which a BPF file system is seen in this directory.
    ///
    /// Of a private site it is seen nowhere else: it is mounted in a mount namespace that exists as
    /// long as its file descriptor, and the pins with it.
    pub(crate) fn netns_with_bpf(&self, name: &str, dir: &Path) -> Result<Netns> {
        let bpf = dir.join(BPF);
        fs::create_dir(&bpf)?;
        match self {
            Self::Private(_) => Netns::anonymous(name, Some(mount_namespace(&bpf)?)),
            Self::Public(_) => {
                mount_bpf(&bpf)?;
                self.netns(name)
            }
        }
    }
}

/// A mount namespace that differs from this one by a BPF file system.
fn mount_namespace(bpf: &Path) -> Result<OwnedFd> {
    netns::in_thread(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount::<str, _, str, str>(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
        mount_bpf(bpf)?;
        Ok(File::open("/proc/thread-self/ns/mnt")?.into())
    })
    .context("cannot make a mount namespace (root is needed)")
}

fn mount_bpf(at: &Path) -> Result<()> {
    let kind = Some("bpf");
    mount(kind, at, kind, MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount a BPF file system on {}", at.display()))
}

/// Where private labs have their directories: in memory, if there is room and programs may be run from there.
/// The daemon waits until what it writes is on the disk, and no test shall depend on how busy that is.
fn ground() -> PathBuf {
    const ROOM: u64 = 1 << 30;
    let memory = Path::new("/dev/shm");
    let fits = statvfs(memory).is_ok_and(|found| {
        let room = found.blocks_available().saturating_mul(found.fragment_size());
        room >= ROOM && !found.flags().intersects(FsFlags::ST_NOEXEC | FsFlags::ST_RDONLY)
    });
    if fits { memory.to_owned() } else { env::temp_dir() }
}

/// Removes the directories of labs whose process was killed. They hold logs and nothing that lives.
fn sweep() {
    let entries = [ground(), env::temp_dir()].map(fs::read_dir).into_iter().flatten().flatten();
    for path in entries.flatten().map(|entry| entry.path()) {
        if is_orphan(&path) {
            // Another lab may be sweeping too.
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// Whether this is called as the directory of a private lab whose process is gone.
pub(crate) fn is_orphan(path: &Path) -> bool {
    owner(path).is_some_and(|id| !Path::new("/proc").join(id).exists())
}

/// The process id in a private lab's directory name.
fn owner(path: &Path) -> Option<PathBuf> {
    let (id, _) = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
    id.parse::<u32>().ok().map(|_| id.into())
}
