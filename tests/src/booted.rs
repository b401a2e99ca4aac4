//! A machine that systemd has booted: the real one, as process 1 of a process namespace of its own, in a root
//! directory of its own ([`clean`]), which has no other services than its log. Nothing of this machine's starts there.
//!
//! It needs root, and a kernel that has cgroups of version 2; whether this machine's own systemd, if any, uses them
//! does not matter.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{fs::PermissionsExt as _, net::UnixDatagram},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{
    clean, debian,
    netns::Netns,
    process::{Output, Process},
    site, unit, wait,
};

/// What of systemd there is. Of a newer one the third is a part.
const PROGRAMS: [&str; 7] = [
    "usr/lib/systemd/systemd",
    "usr/lib/systemd/systemd-journald",
    "usr/lib/systemd/systemd-executor",
    "usr/bin/systemctl",
    "usr/bin/journalctl",
    "usr/bin/systemd-sysusers",
    "usr/bin/systemd-tmpfiles",
];

/// The units that there are. What they want besides is not there, above all not what would set up this machine:
/// its kernel's parameters, modules, devices and terminals.
const UNITS: [&str; 13] = [
    "basic.target",
    "local-fs.target",
    "multi-user.target",
    "network-pre.target",
    "network.target",
    "shutdown.target",
    "slices.target",
    "sockets.target",
    "sysinit.target",
    "umount.target",
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-journald-dev-log.socket",
];

/// Where the units are.
const SYSTEM: &str = "/usr/lib/systemd/system";

/// Where the test's own cgroup is seen while all is made.
const CGROUP: &str = "/run/cgroup";

/// From within the cgroup `$1`, systemd and all that it starts.
const START: &str = r#"
echo $$ >"$1/cgroup.procs"
exec unshare --pid --fork --kill-child --mount --cgroup --uts --ipc sh -euc "$2" sh "$3" "$4"
"#;

/// What process 1 does before it becomes systemd: kernel file systems of the new namespaces, and a /dev without this
/// machine's disks and terminals. `$1` stays seen at its place, `$2` becomes the console.
const BOOT: &str = r#"
umount /run/cgroup
mkdir /run/dev
mount -t tmpfs -o mode=755 tmpfs /run/dev
cd /run/dev
mkdir pts shm
mount -t tmpfs -o mode=1777 tmpfs shm
mknod -m 666 null c 1 3
mknod -m 666 zero c 1 5
mknod -m 666 full c 1 7
mknod -m 666 random c 1 8
mknod -m 666 urandom c 1 9
mknod -m 666 tty c 5 0
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts pts
ln -s pts/ptmx ptmx
ln -s /proc/self/fd fd
: >console
mount --bind "$2" console
case $1 in
/dev/*)
    mkdir -p "/run$1"
    mount --bind "$1" "/run$1"
    ;;
esac
cd /
umount --lazy /dev /sys /proc
mount --move /run/dev /dev
rmdir /run/dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i container=lb "NOTIFY_SOCKET=$1/booted.sock" PATH=/usr/sbin:/usr/bin TERM=dumb \
    /usr/lib/systemd/systemd --unit=multi-user.target --log-target=journal-or-kmsg --show-status=no </dev/console >/dev/console 2>&1
"#;

/// Such a machine. With the guard end all of its processes.
#[derive(Debug)]
pub struct Booted {
    network: Netns,
    root: Netns,
    manager: Process,
    /// Dropped last, as it must be empty then.
    _cgroup: Cgroup,
}

impl Booted {
    /// Boots systemd with the network of this namespace; `dir` is seen there at its place.
    pub fn boot(network: &Netns, dir: &Path) -> Result<Self> {
        let mut root = clean::root(network, dir)?;
        furnish(&root).context("systemd cannot be put into the root directory")?;
        let cgroup = Cgroup::new(&root, dir)?;
        let notify = UnixDatagram::bind(dir.join("booted.sock"))?;
        let console = Console::new()?;
        let log = dir.join("booted.log");
        let mut command = root.command("sh");
        command.args(["-euc", START, "sh"]).arg(&cgroup.path).arg(BOOT).arg(dir).arg(&console.path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let mut manager = root.spawn(command)?;
        let booted = unit::says(&unit::follow(notify)?, &mut manager, "READY=1");
        booted.with_context(|| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            format!("systemd does not boot here: {said}{}", console.said())
        })?;
        let mounts = File::open(format!("/proc/{}/ns/mnt", manager.id()))?;
        root = network.with_mounts(mounts.into())?;
        Ok(Self { network: network.clone(), root, manager, _cgroup: cgroup })
    }

    /// Its files, and its network.
    #[must_use]
    pub fn root(&self) -> &Netns {
        &self.root
    }

    /// A command that will run there.
    #[must_use]
    pub fn command(&self, program: &str, words: &[&str]) -> Command {
        let id = self.manager.id();
        let mut command = self.network.command("nsenter");
        // Its first process is the child of the one that is known here.
        command.arg(format!("--pid=/proc/{id}/ns/pid_for_children"));
        command.args(["--target", &id.to_string(), "--mount", "--cgroup", "--uts", "--ipc", "--"]);
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("DEBIAN_FRONTEND", "noninteractive").env_remove("NOTIFY_SOCKET");
        command.arg(program).args(words);
        command
    }

    /// Runs a command there, whatever its end.
    pub fn run(&self, program: &str, words: &[&str]) -> Result<Output> {
        Output::of(&mut self.command(program, words))
    }

    /// What a unit's property is, by systemd's name for it.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        let shown = self.run("systemctl", &["show", "--property", name, "--value", unit])?;
        Ok(shown.success()?.stdout.trim_end().to_owned())
    }

    /// What is in the log of a unit: what it said, and what systemd said of it.
    pub fn log(&self, unit: &str) -> Result<String> {
        let words = ["--no-pager", "--quiet", "--output=cat", "--unit", unit];
        Ok(self.run("journalctl", &words)?.success()?.stdout)
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // With it ends process 1, and with that one all others. It may have ended by itself.
        let _ = self.manager.kill();
    }
}

/// Puts systemd where only its own programs and units are.
fn furnish(root: &Netns) -> Result<()> {
    let files = files()?;
    root.run(|| {
        for (path, mode, bytes) in &files {
            let path = Path::new("/").join(path);
            fs::create_dir_all(path.parent().context("a directory")?)?;
            // What is there may be a link to elsewhere.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            fs::write(&path, bytes).with_context(|| path.display().to_string())?;
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
        }
        let wanted = Path::new("/etc/systemd/system/sysinit.target.wants");
        fs::create_dir_all(wanted)?;
        let journal = "systemd-journald.service";
        std::os::unix::fs::symlink(Path::new(SYSTEM).join(journal), wanted.join(journal))?;
        // The log is in memory as all else is, and has all that is said, however much.
        let settings = "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n";
        Ok(fs::write("/etc/systemd/journald.conf", settings)?)
    })
}

/// The files of systemd: their places, modes and contents.
fn files() -> Result<Vec<(PathBuf, u32, Vec<u8>)>> {
    let units = UNITS.map(|name| format!("{}/{name}", SYSTEM.trim_start_matches('/')));
    let mut files = Vec::new();
    for path in PROGRAMS.into_iter().chain(units.iter().map(String::as_str)) {
        let file = match debian::file(path) {
            Err(_) if path.ends_with("executor") => continue,
            file => file?,
        };
        files.push((PathBuf::from(path), file));
    }
    let mut libraries = debian::libraries_of("usr/lib/systemd/systemd")?;
    libraries.extend(debian::libraries_of("usr/bin/systemctl")?);
    libraries.sort();
    libraries.dedup();
    files.extend(libraries);
    let read = |(path, file): (PathBuf, PathBuf)| {
        let mode = fs::metadata(&file)?.permissions().mode();
        Ok((path, mode, fs::read(file)?))
    };
    files.into_iter().map(read).collect()
}

/// A cgroup below that of this process, removed on drop with all below it.
#[derive(Debug)]
struct Cgroup {
    root: Netns,
    path: PathBuf,
}

impl Cgroup {
    /// It is called as the lab's directory is.
    fn new(root: &Netns, dir: &Path) -> Result<Self> {
        let path = Path::new(CGROUP).join(dir.file_name().context("a name")?);
        root.run(|| {
            // A mount from within the first of these namespaces would change the hierarchy's options for all.
            unshare(CloneFlags::CLONE_NEWCGROUP)?;
            fs::create_dir(CGROUP)?;
            let kind = Some("cgroup2");
            mount(kind, CGROUP, kind, MsFlags::empty(), None::<&str>)
                .context("this kernel has no cgroups of version 2, which systemd is booted with")?;
            sweep()?;
            fs::create_dir(&path).context("no cgroup can be made, which systemd is booted with")
        })?;
        Ok(Self { root: root.clone(), path })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes have been killed, and are about to end. There is nobody to tell of anything worse.
        let _ = self.root.run(|| {
            let what = format!("the end of {}", self.path.display());
            wait::until(&what, wait::PATIENCE, || Ok(remove(&self.path).ok()))
        });
    }
}

/// Removes the cgroups of labs whose process was killed.
fn sweep() -> Result<()> {
    for path in fs::read_dir(CGROUP)?.flatten().map(|entry| entry.path()) {
        if site::is_orphan(&path) {
            // Another one may be sweeping too.
            let _ = remove(&path);
        }
    }
    Ok(())
}

/// Removes a cgroup and those below it. Its files are the kernel's.
fn remove(cgroup: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cgroup)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

/// A terminal that nobody sits at, on which systemd says what it cannot say elsewhere.
#[derive(Debug)]
struct Console {
    path: PathBuf,
    said: Receiver<String>,
    /// Without one, there is nothing to read.
    _terminal: OwnedFd,
}

impl Console {
    fn new() -> Result<Self> {
        let (mut master, mut terminal) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: the first two are places for a number each; null is allowed for the others.
        let made = unsafe {
            libc::openpty(&raw mut master, &raw mut terminal, none, none.cast(), none.cast())
        };
        ensure!(made == 0, "no terminal: {}", io::Error::last_os_error());
        // SAFETY: it was opened just now, and nobody else has it.
        let mut master = unsafe { File::from_raw_fd(master) };
        // SAFETY: it was opened just now, and nobody else has it.
        let terminal = unsafe { OwnedFd::from_raw_fd(terminal) };
        for fd in [master.as_fd(), terminal.as_fd()] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        let path = fs::read_link(format!("/proc/self/fd/{}", terminal.as_raw_fd()))?;
        let (sender, said) = mpsc::channel();
        thread::spawn(move || {
            let mut text = [0; 4096];
            while let Ok(length @ 1..) = master.read(&mut text) {
                // Nobody may want to know it any more, but it must be read.
                let _ = sender.send(String::from_utf8_lossy(&text[..length]).into_owned());
            }
        });
        Ok(Self { path, said, _terminal: terminal })
    }

    fn said(&self) -> String {
        self.said.try_iter().collect()
    }
}
