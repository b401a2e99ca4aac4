//! Programs of Debian's packages that `cargo xtask setup` unpacked below `.tools/debian/root` and
//! did not install, so that none touches this machine.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail, ensure};

use crate::process::Output;

/// The directory the packages are unpacked in.
#[must_use]
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).join(".tools/debian/root")
}

/// Where the file is that a package has at this path, `usr/sbin/sshd`, or at the one without
/// `usr/`, as before Debian merged these.
pub fn file(path: &str) -> Result<PathBuf> {
    let root = root();
    let paths = [path, path.strip_prefix("usr/").unwrap_or(path)];
    match paths.iter().map(|path| root.join(path)).find(|file| file.exists()) {
        // Its name is kept, of which some have several.
        Some(file) => Ok(file),
        None => bail!("{path} is not in {}: run `cargo xtask setup`", root.display()),
    }
}

/// The libraries among the packages' that this program, `usr/bin/systemctl`, is linked with: their places, as of an
/// installed package, and where they are.
pub fn libraries_of(program: &str) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut ldd = Command::new("ldd");
    environment(&mut ldd);
    let linked = Output::of(ldd.arg(file(program)?))?.success()?.stdout;
    ensure!(!linked.contains("not found"), "{program} lacks libraries: {linked}");
    let root = root();
    let files = linked.split_whitespace().map(Path::new);
    let own = files.filter_map(|file| Some((file.strip_prefix(&root).ok()?, file)));
    // Since Debian merged these, `lib` is a link.
    let place = |path: &Path| Path::new("usr").join(path.strip_prefix("usr").unwrap_or(path));
    Ok(own.map(|(path, file)| (place(path), file.to_owned())).collect())
}

/// A command that runs this program, `usr/sbin/ifquery`, with what belongs to it.
pub fn program(path: &str) -> Result<Command> {
    let mut command = Command::new(file(path)?);
    environment(&mut command);
    Ok(command)
}

/// Lets the command's program find the libraries, modules and programs of the packages.
pub fn environment(command: &mut Command) {
    let root = root();
    let below = |paths: &[&str]| paths.iter().map(|path| root.join(path)).collect::<Vec<_>>();
    command
        .env("PATH", list(below(&["usr/sbin", "usr/bin", "sbin", "bin"]), "PATH"))
        .env("PYTHONPATH", list(below(&["usr/lib/python3/dist-packages"]), "PYTHONPATH"))
        .env("LD_LIBRARY_PATH", list(libraries(&root), "LD_LIBRARY_PATH"));
}

/// `lib/x86_64-linux-gnu`, and what programs of systemd and NetworkManager keep below it.
fn libraries(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for lib in [root.join("usr/lib"), root.join("lib")] {
        found.push(lib.join("systemd"));
        for entry in fs::read_dir(&lib).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains("-linux-gnu") {
                found.extend([entry.path(), entry.path().join("systemd")]);
            }
        }
    }
    found
}

/// These directories, and after them those that the variable lists here.
fn list(mut dirs: Vec<PathBuf>, variable: &str) -> OsString {
    let here = env::var_os(variable).unwrap_or_default();
    dirs.extend(env::split_paths(&here).filter(|dir| !dir.as_os_str().is_empty()));
    // A directory with a colon cannot be listed; then there is nothing to add either.
    env::join_paths(dirs).unwrap_or(here)
}
