//! Directories that a machine of the lab has for itself.

use std::{
    fs::{self, File},
    os::fd::OwnedFd,
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::netns;

/// What begins empty, where there is such a directory.
const OWN: [&str; 5] = ["/var/lib", "/run", "/root", "/usr/local/sbin", "/sys/fs/bpf"];

/// A mount namespace with directories of its own: an `/etc` that begins as this machine's, and others that begin
/// empty. They are in memory, and gone with it; `dir` is where the first is put together. `furnish` is run
/// there.
pub(crate) fn own(dir: &Path, furnish: impl FnOnce() -> Result<()> + Send) -> Result<OwnedFd> {
    netns::in_thread(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount::<str, _, str, str>(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
        etc(&dir.join("files"))?;
        OWN.into_iter().map(Path::new).filter(|place| place.is_dir()).try_for_each(memory)?;
        furnish()?;
        Ok(File::open("/proc/thread-self/ns/mnt")?.into())
    })
    .context("cannot make a mount namespace (root is needed)")
}

fn etc(files: &Path) -> Result<()> {
    fs::create_dir(files)?;
    memory(files)?;
    for part in ["upper", "work"] {
        fs::create_dir(files.join(part))?;
    }
    let files = files.display();
    let options = format!("lowerdir=/etc,upperdir={files}/upper,workdir={files}/work");
    let overlay = Some("overlay");
    mount(overlay, "/etc", overlay, MsFlags::empty(), Some(&*options)).context("/etc")
}

fn memory(at: &Path) -> Result<()> {
    let kind = Some("tmpfs");
    mount(kind, at, kind, MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount on {}", at.display()))
}
