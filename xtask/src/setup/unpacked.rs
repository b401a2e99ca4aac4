//! Programs that only tests and the benchmark run, of other systems' administrators, and other balancers:
//! Debian packages, unpacked below `.tools/debian/root` and never installed, as some would set up this
//! machine's network, or start at boot.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::command;

/// What is asked for; apt adds what these need and this machine lacks.
const PACKAGES: [&str; 17] = [
    "ansible-core",
    "busybox-static",
    "cloud-init",
    "haproxy",
    "ifupdown",
    "libnginx-mod-stream",
    "netplan.io",
    "network-manager",
    "nftables",
    "openssh-client",
    "openssh-server",
    "procps",
    "prometheus",
    "shellcheck",
    "systemd",
    "tshark",
    "wrk",
];

/// The file in the root that says for which packages it was made.
const ASKED: &str = "asked-for";

/// Whether they are all there.
pub fn there() -> bool {
    made_for(&root()).is_some_and(|asked| asked == list())
}

/// Fetches and unpacks them: all of them or none.
pub fn fetch() -> Result<()> {
    eprintln!("fetching programs for tests and the benchmark, of Debian: once");
    let root = root();
    let part = root.with_extension("part");
    clear(&part)?;
    let debs = part.join("deb");
    fs::create_dir_all(debs.join("partial"))?;
    download(&debs).with_context(|| {
        format!(
            "the tests of what lbctl prints for real servers and the benchmark need programs of Debian's \
             packages {}, which could not be fetched; is there a network?",
            PACKAGES.join(", ")
        )
    })?;
    unpack(&debs, &part)?;
    fs::remove_dir_all(&debs)?;
    fs::write(part.join(ASKED), list())?;
    clear(&root)?;
    fs::rename(&part, &root).with_context(|| format!("renaming {}", part.display()))
}

fn root() -> PathBuf {
    command::workspace().join(".tools/debian/root")
}

fn list() -> String {
    PACKAGES.map(|name| format!("{name}\n")).concat()
}

/// The list of packages that a directory was made for, if it was completed.
fn made_for(root: &Path) -> Option<String> {
    fs::read_to_string(root.join(ASKED)).ok()
}

fn clear(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    Ok(())
}

/// With the lists that apt has, which in a container may be none, and else with newer ones.
fn download(debs: &Path) -> Result<()> {
    if command::run(&mut apt(debs)).is_ok() {
        return Ok(());
    }
    eprintln!("updating apt's lists of packages…");
    let mut update = command::as_root("apt-get")?;
    command::run(update.args(["-qq", "-o", "DPkg::Lock::Timeout=300", "update"]))?;
    command::run(&mut apt(debs))
}

/// What fetches the packages, those too that are installed, and what they need beyond what is.
/// Nothing is changed outside the directory, so it needs neither root nor a lock.
fn apt(debs: &Path) -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["-qq", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "-o"])
        .arg(format!("Dir::Cache::archives={}", debs.display()))
        .args(["--yes", "--no-install-recommends", "--reinstall", "--download-only", "install"])
        .args(PACKAGES);
    apt
}

fn unpack(debs: &Path, root: &Path) -> Result<()> {
    let mut count = 0;
    for file in fs::read_dir(debs).with_context(|| format!("reading {}", debs.display()))? {
        let deb = file?.path();
        if deb.extension().is_some_and(|extension| extension == "deb") {
            // Of dozens there is no need to say so.
            let status = Command::new("dpkg-deb").arg("-x").arg(&deb).arg(root).status();
            let status = status.context("running dpkg-deb")?;
            ensure!(status.success(), "unpacking {} failed: {status}", deb.display());
            count += 1;
        }
    }
    ensure!(count > 0, "apt-get downloaded nothing into {}", debs.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_only_downloads_and_only_into_the_given_directory() {
        let apt = apt(Path::new("/own"));
        let words: Vec<_> = apt.get_args().filter_map(|word| word.to_str()).collect();
        assert!(words.contains(&"--download-only"));
        assert!(words.contains(&"Dir::Cache::archives=/own"));
        assert!(words.ends_with(&PACKAGES));
    }

    #[test]
    fn a_directory_that_was_not_completed_is_made_for_nothing() {
        assert_eq!(made_for(Path::new("/no/such/directory")), None);
    }
}
