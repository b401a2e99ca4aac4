//! A kernel's packages: found, fetched and unpacked below `target/kernels`, and never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{
    image,
    initramfs::{self, Archive},
    release::{Suite, Wanted},
};
use crate::command;

/// What the guest loads, and whatever these need, before that: for its files, and for the tests'
/// networks and the programs at them.
const MODULES: [&str; 10] = [
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "overlay",
    "bridge",
    "veth",
    "dummy",
    "8021q",
    "sch_ingress",
    "cls_bpf",
];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel that is ready to start.
#[derive(Debug)]
pub struct Kernel {
    /// What it calls itself: `6.1.0-56-amd64`.
    pub release: String,
    /// What QEMU starts.
    pub image: PathBuf,
    /// The modules, in the order in which they are to be loaded, as an initramfs.
    pub modules: Archive,
}

/// The kernel, fetched if it is not there yet. One that is there stays until it is removed by hand,
/// or by `cargo clean`.
pub fn prepare(wanted: &Wanted) -> Result<Kernel> {
    let place = command::workspace().join("target/kernels");
    let home = place.join(wanted.to_string());
    if !home.exists() {
        // Whole or not at all.
        let half = place.join(format!("{wanted}.part"));
        if half.exists() {
            fs::remove_dir_all(&half)?;
        }
        fetch(wanted, &place, &half).with_context(|| format!("fetching Linux {wanted}"))?;
        fs::rename(&half, &home)?;
    }
    let modules = home.join("root/lib/modules");
    let release = only(entries(&modules)?.into_iter(), "directory of modules")?;
    let release = release.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let modules = modules_of(&home.join("root"), &release)?;
    Ok(Kernel { image: home.join("kernel"), modules, release })
}

fn fetch(wanted: &Wanted, place: &Path, home: &Path) -> Result<()> {
    let apt = Apt::new(wanted.suite(), &place.join(wanted.suite().name))?;
    command::run(apt.command("apt-get").args(["-qq", "update"]))?;
    let names = printed(apt.command("apt-cache").args(["pkgnames", "linux-"]))?;
    let packages = wanted.packages(&names)?;
    let debs = home.join("deb");
    fs::create_dir_all(&debs)?;
    let mut download = apt.command("apt-get");
    download.args(["-qq", "download"]).args(&packages).current_dir(&debs);
    command::run(&mut download)?;
    let root = home.join("root");
    fs::create_dir(&root)?;
    for deb in entries(&debs)? {
        command::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&root))?;
    }
    fs::remove_dir_all(&debs)?;
    // Newer packages have their modules where a merged /usr has them, and the kernel among them.
    let merged = root.join("usr/lib/modules");
    if merged.exists() {
        fs::create_dir_all(root.join("lib"))?;
        fs::rename(&merged, root.join("lib/modules"))?;
    }
    let modules = only(entries(&root.join("lib/modules"))?.into_iter(), "directory of modules")?;
    let release = modules.file_name().unwrap_or_default();
    command::run(tool("depmod")?.arg("-b").arg(&root).arg(release))?;
    let images = [root.join("boot"), modules.clone()].into_iter().flat_map(|dir| {
        let names = entries(&dir).unwrap_or_default().into_iter();
        names.filter(|file| {
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
        })
    });
    image::unpack(&only(images, "kernel")?, &home.join("kernel"))
}

/// The modules that are wanted and those they need, unpacked.
fn modules_of(root: &Path, release: &str) -> Result<Archive> {
    let mut order: Vec<PathBuf> = Vec::new();
    for module in MODULES {
        let mut modprobe = tool("modprobe")?;
        // Not as this machine is configured.
        modprobe.args(["-C", "/dev/null", "-S", release, "--show-depends", module]);
        let needed = printed(modprobe.arg("-d").arg(root))
            .with_context(|| format!("Linux {release} has no module {module}"))?;
        for file in needed.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let file = PathBuf::from(file.trim_end());
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    let mut archive = Archive::default();
    archive.directory(initramfs::MODULES);
    for (number, file) in order.iter().enumerate() {
        let module = match file.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => output(tool("xz")?.arg("-dc").arg(file))?,
            Some("zst") => output(tool("zstd")?.arg("-dcq").arg(file))?,
            _ => fs::read(file).with_context(|| format!("reading {}", file.display()))?,
        };
        archive.file(&format!("{}/{number:03}.ko", initramfs::MODULES), 0o644, &module);
    }
    Ok(archive)
}

/// An apt of its own: neither this machine's sources nor its lists have to do with it.
struct Apt {
    config: PathBuf,
}

impl Apt {
    fn new(suite: &Suite, dir: &Path) -> Result<Self> {
        ensure!(
            Path::new(KEYRING).exists(),
            "{KEYRING} is missing, which vouches for Debian's packages: \
             install debian-archive-keyring"
        );
        fs::create_dir_all(dir.join("lists/partial"))?;
        fs::create_dir_all(dir.join("archives/partial"))?;
        fs::write(dir.join("status"), "")?;
        fs::write(dir.join("sources.list"), sources(suite))?;
        let config = dir.join("apt.conf");
        fs::write(&config, configuration(&dir.display().to_string()))?;
        Ok(Self { config })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.config);
        command
    }
}

fn sources(suite: &Suite) -> String {
    let line = |source| format!("deb [signed-by={KEYRING}] http://deb.debian.org/{source} main\n");
    suite.sources.iter().map(line).collect()
}

/// The machine's own configuration is read before, for its proxies; its hooks are none of ours.
fn configuration(dir: &str) -> String {
    format!(
        r#"#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
Dir::Etc::sourcelist "{dir}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{dir}";
Dir::State::lists "{dir}/lists";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}";
Dir::Cache::archives "{dir}/archives";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
"#
    )
}

fn tool(name: &str) -> Result<Command> {
    Ok(Command::new(command::find(name).with_context(|| format!("{name} is not installed"))?))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>();
    read().with_context(|| format!("reading {}", dir.display()))
}

/// The only one there is.
fn only<T>(mut all: impl Iterator<Item = T>, what: &str) -> Result<T> {
    let first = all.next().with_context(|| format!("no {what}"))?;
    ensure!(all.next().is_none(), "more than one {what}");
    Ok(first)
}

fn printed(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8(output(command)?)?)
}

/// What a command that must succeed prints.
pub(super) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, complaint.trim_end());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_reads_only_the_suites_sources_and_believes_only_debian() -> Result<()> {
        let suite = "6.1".parse::<Wanted>()?.suite();
        let text = sources(suite);
        assert_eq!(text.lines().count(), 2);
        for line in text.lines() {
            assert!(line.starts_with("deb [signed-by=/usr/share/keyrings/debian-"), "{line}");
            assert!(line.contains("bookworm"), "{line}");
        }
        Ok(())
    }

    #[test]
    fn apt_writes_nowhere_but_in_its_own_directory() {
        let text = configuration("/own");
        for line in text.lines().filter(|line| line.starts_with("Dir::")) {
            assert!(line.contains("\"/own") || line.contains("\"/dev/null\""), "{line}");
        }
    }
}
