//! A root directory that begins as this machine's, with a database of packages of its own, in which a package can be
//! installed without touching this machine.

use std::{
    fs::{self, File},
    os::fd::OwnedFd,
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::{chdir, pivot_root},
};

use crate::netns::{self, Netns};

/// What is seen in it as it is here.
const SEEN: [&str; 3] = ["/proc", "/sys", "/dev"];

/// What begins empty in it.
const EMPTY: [&str; 2] = ["/run", "/tmp"];

/// What a former installation of this machine's own may have left, what keeps packages from starting services, and the
/// services that there are.
const GONE: [&str; 8] = [
    "/etc/lb",
    "/var/lib/lb",
    "/usr/sbin/policy-rc.d",
    "/usr/local/sbin",
    "/etc/systemd",
    "/usr/lib/systemd",
    "/usr/local/lib/systemd",
    "/var/lib/systemd",
];

/// The network of this namespace with such a root directory. Changes are in memory, and gone with it; `dir` is seen at
/// its place.
pub fn root(network: &Netns, dir: &Path) -> Result<Netns> {
    let mounts = netns::in_thread(|| make(dir)).context("making a root directory")?;
    network.with_mounts(mounts)
}

fn make(dir: &Path) -> Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount::<str, _, str, str>(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
    let own = dir.join("clean");
    fs::create_dir(&own)?;
    memory(&own)?;
    let (root, shown) = (own.join("root"), own.display());
    for part in ["upper", "work", "root"] {
        fs::create_dir(own.join(part))?;
    }
    let options = format!("lowerdir=/,upperdir={shown}/upper,workdir={shown}/work");
    let overlay = Some("overlay");
    mount(overlay, &root, overlay, MsFlags::empty(), Some(&*options)).context("an overlay of /")?;
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    for seen in SEEN {
        bind(Path::new(seen), &below(Path::new(seen)))?;
    }
    EMPTY.iter().try_for_each(|empty| memory(&below(Path::new(empty))))?;
    let bpf = below(Path::new("/sys/fs/bpf"));
    mount(Some("bpf"), &bpf, Some("bpf"), MsFlags::empty(), None::<&str>)
        .context("a BPF file system")?;
    fs::create_dir_all(below(dir))?;
    bind(dir, &below(dir))?;
    for gone in GONE.map(|gone| below(Path::new(gone))) {
        match fs::symlink_metadata(&gone) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&gone)?,
            Ok(_) => fs::remove_file(&gone)?,
            Err(_) => {}
        }
    }
    chdir(&root)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    Ok(File::open("/proc/thread-self/ns/mnt")?.into())
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount::<_, _, str, str>(Some(from), to, None, flags, None)
        .with_context(|| format!("binding {}", from.display()))
}

fn memory(at: &Path) -> Result<()> {
    let kind = Some("tmpfs");
    mount(kind, at, kind, MsFlags::empty(), Some("mode=755"))
        .with_context(|| format!("cannot mount on {}", at.display()))
}
