//! The machine in the machine: a kernel, this machine's files, which it cannot change, and a job.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::package::Kernel;
use crate::command;

/// How long it may say nothing.
const SILENCE: Duration = Duration::from_secs(300);

/// What runs first: it loads the modules, puts a file system in memory over the host's, and goes
/// there, to the job.
const INIT: &str = r#"#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in /modules/*; do insmod "$module" || echo "cannot load $module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host &&
mount -t tmpfs -o size=90%,mode=755 memory /memory &&
mkdir /memory/upper /memory/work &&
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work files /root ||
    { echo "cannot mount the host's files"; poweroff -f; }
cd /root
mkdir -p proc sys dev run tmp
mount -t proc proc proc
mount -t sysfs sys sys
mount -t bpf bpf sys/fs/bpf
mount -t devtmpfs dev dev
mkdir -p dev/pts dev/shm
mount -t devpts pts dev/pts
mount -t tmpfs memory dev/shm
mount -t tmpfs -o mode=755 memory run
mkdir run/guest run/lock
cp /bin/busybox /job run/guest/
umount /proc
exec switch_root /root /run/guest/job
"#;

/// The beginning of the job: what it prints goes to the second serial port.
const JOB: &str = r#"#!/run/guest/busybox sh
busybox=/run/guest/busybox
$busybox stty -F /dev/ttyS1 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
$busybox hostname guest
$busybox ip link set lo up
"#;

const END: &str = "
$busybox sync
$busybox sleep 0.2
$busybox poweroff -f
";

/// A word for a shell.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Boots the kernel, runs these lines of shell as root, and hands on what they print, line by line.
pub fn run(kernel: &Kernel, job: &str, console: &Path, mut line: impl FnMut(&[u8])) -> Result<()> {
    let initramfs = console.with_extension("initramfs");
    fs::write(&initramfs, archive(kernel, job)?)?;
    File::create(console)?;
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(arguments(has_kvm(), kernel, &initramfs, console));
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut guest = Guest(qemu.spawn().context("running qemu-system-x86_64")?);
    let output = guest.0.stdout.take().context("QEMU's output is piped")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            // Nobody listens any more where it is not received.
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    loop {
        match lines.recv_timeout(SILENCE) {
            Ok(text) => line(&text.context("reading QEMU's output")?),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                bail!("silent for {SILENCE:?}; its console is in {}", console.display())
            }
        }
    }
    let status = guest.0.wait().context("waiting for QEMU")?;
    ensure!(status.success(), "QEMU failed: {status}");
    fs::remove_file(initramfs)?;
    Ok(())
}

/// QEMU, which ends with this guard.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // It has ended by itself, unless something went wrong before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn archive(kernel: &Kernel, job: &str) -> Result<Vec<u8>> {
    let busybox = command::find("busybox").context("busybox is not installed")?;
    let busybox = fs::read(busybox).context("reading busybox")?;
    let dynamic = b"/ld-linux";
    ensure!(
        !busybox[..busybox.len().min(4096)].windows(dynamic.len()).any(|bytes| bytes == dynamic),
        "busybox wants shared libraries, which a guest does not have: install busybox-static"
    );
    let mut archive = kernel.modules.clone();
    for name in ["bin", "dev", "proc", "host", "memory", "root"] {
        archive.directory(name);
    }
    archive.file("bin/busybox", 0o755, &busybox);
    archive.link("bin/sh", "busybox");
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("job", 0o755, format!("{JOB}{job}{END}").as_bytes());
    Ok(archive.finish())
}

/// Whether KVM has hardware to run on: a /dev/kvm without interprets every instruction, slower
/// than QEMU.
fn has_kvm() -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let hardware = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    hardware && File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

/// One processor: two that QEMU emulates at a time disagree with kernels that patch themselves.
fn arguments(kvm: bool, kernel: &Kernel, initramfs: &Path, console: &Path) -> Vec<OsString> {
    let (accelerator, cpu) =
        if kvm { ("kvm", "host") } else { ("tcg,thread=single,tb-size=512", "max,la57=off") };
    // A comma in a file's name would begin the next option.
    let file = OsString::from(format!("file:{}", console.display().to_string().replace(',', ",,")));
    let mut all: Vec<OsString> = [
        ["-machine", "q35"],
        ["-accel", accelerator],
        ["-cpu", cpu],
        ["-smp", "1"],
        ["-m", "2048"],
        ["-display", "none"],
        ["-monitor", "none"],
        ["-nic", "none"],
        ["-append", "console=ttyS0 panic=-1 oops=panic mitigations=off tsc=reliable quiet"],
        ["-virtfs", "local,path=/,mount_tag=host,security_model=none,multidevs=remap,readonly=on"],
        ["-chardev", "stdio,id=output,signal=off"],
    ]
    .into_iter()
    .flatten()
    .map(OsString::from)
    .collect();
    all.extend(["-nodefaults", "-no-reboot"].map(OsString::from));
    all.extend(["-kernel".into(), kernel.image.clone().into()]);
    all.extend(["-initrd".into(), initramfs.into()]);
    all.extend(["-serial".into(), file, "-serial".into(), "chardev:output".into()]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::initramfs::Archive;

    #[test]
    fn a_word_survives_the_shell() {
        let words = ["plain", "two words", "it's", "$HOME `x` \"y\" \\"];
        for word in words {
            let script = format!("printf %s {}", quoted(word));
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(output.stdout, word.as_bytes());
        }
    }

    #[test]
    fn what_a_guest_runs_is_proper_shell() {
        for script in [INIT, JOB, END] {
            let status = Command::new("sh").args(["-n", "-c", script]).status().unwrap();
            assert!(status.success());
        }
    }

    #[test]
    fn the_hosts_files_are_never_written() {
        let kernel =
            Kernel { release: "6.1".into(), image: "kernel".into(), modules: Archive::default() };
        let arguments = arguments(false, &kernel, Path::new("initramfs"), Path::new("console"));
        let shares: Vec<_> = arguments
            .iter()
            .filter_map(|argument| argument.to_str().filter(|text| text.contains("mount_tag")))
            .collect();
        assert_eq!(shares.len(), 1);
        assert!(shares.iter().all(|share| share.ends_with(",readonly=on")));
    }
}
