//! `lbd.service`, and `lbd` run with the capabilities and the system calls of the unit, where another one kills it: under
//! systemd it would see an error, which it might not tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io,
    os::unix::{net::UnixDatagram, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use seccompiler::{BpfProgram, TargetArch};

use crate::{
    debian,
    netns::Netns,
    process::{Output, Process},
    wait,
};

/// The settings of the unit file.
#[derive(Clone, Debug)]
pub struct Unit {
    path: PathBuf,
    text: String,
}

impl Unit {
    /// The one that is packaged.
    pub fn packaged() -> Result<Self> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = own.parent().unwrap_or(own).join("packaging/lbd.service");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, text })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The words of all lines that set this, in their order.
    #[must_use]
    pub fn words(&self, key: &str) -> Vec<&str> {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.flat_map(str::split_whitespace).collect()
    }

    /// The system calls that are allowed, as systemd understands the words for them.
    pub fn system_calls(&self) -> Result<BTreeSet<String>> {
        let groups = groups()?;
        let mut allowed = BTreeSet::new();
        let lines = self.text.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
        for line in lines {
            let (words, taken_away) = match line.strip_prefix('~') {
                Some(words) => (words, true),
                None => (line, false),
            };
            for word in words.split_whitespace() {
                let calls = system_calls(&groups, word)?;
                match taken_away {
                    true => allowed.retain(|call| !calls.contains(call)),
                    false => allowed.extend(calls),
                }
            }
        }
        ensure!(!allowed.is_empty(), "the unit allows no system calls");
        Ok(allowed)
    }

    /// What kills a process that makes another system call.
    fn filter(&self) -> Result<BpfProgram> {
        // Some of the names are of other architectures.
        let known = |call: &&String| compile(std::slice::from_ref(*call)).is_ok();
        let calls: Vec<_> = self.system_calls()?.iter().filter(known).cloned().collect();
        compile(&calls)
    }

    /// The command with the unit's capabilities and group.
    pub fn confined(&self, netns: &Netns, program: &[&str]) -> Result<Command> {
        let capabilities = self.words("CapabilityBoundingSet");
        ensure!(!capabilities.is_empty(), "the unit bounds no capabilities");
        let names = capabilities.iter().map(|name| name.trim_start_matches("CAP_").to_lowercase());
        let set = names.fold("-all".to_owned(), |set, name| set + ",+" + &name);
        let mut command = netns.command("setpriv");
        command.args(["--no-new-privs", "--bounding-set", &set, "--inh-caps=-all"]);
        for group in self.words("SupplementaryGroups") {
            // It is there where the package is installed.
            if Output::of(netns.command("getent").args(["group", group]))?.code == 0 {
                command.args(["--groups", group]);
            }
        }
        command.args(program);
        Ok(command)
    }

    /// Starts the program as the unit's process, and waits until it is ready. What it logs goes to a file in
    /// the directory.
    pub fn start(&self, netns: &Netns, dir: &Path, program: &[&str]) -> Result<Service> {
        let socket = dir.join("unit-notify.sock");
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let notify = UnixDatagram::bind(&socket)?;
        let mut command = self.confined(netns, program)?;
        let filter = self.filter()?;
        let refused = |_| io::Error::from_raw_os_error(libc::EINVAL);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; this makes plain system
        // calls and neither allocates nor takes locks unless it fails, when the child ends.
        unsafe {
            command.pre_exec(move || seccompiler::apply_filter(&filter).map_err(refused));
        }
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let log = dir.join("unit.log");
        command.stderr(OpenOptions::new().create(true).append(true).open(&log)?);
        let process = netns.spawn(command)?;
        let mut service = Service { process, said: follow(notify)?, log };
        service.says("READY=1").with_context(|| service.log().unwrap_or_default())?;
        Ok(service)
    }
}

/// What one word of a filter stands for: a group, which has others in it, or a system call.
fn system_calls(groups: &BTreeMap<String, Vec<String>>, word: &str) -> Result<BTreeSet<String>> {
    if !word.starts_with('@') {
        return Ok([word.to_owned()].into());
    }
    let members = groups.get(word).with_context(|| format!("systemd knows no {word}"))?;
    members.iter().try_fold(BTreeSet::new(), |mut calls, member| {
        calls.extend(system_calls(groups, member)?);
        Ok(calls)
    })
}

/// The groups of system calls that systemd knows.
fn groups() -> Result<BTreeMap<String, Vec<String>>> {
    let mut analyze = debian::program("usr/bin/systemd-analyze")?;
    let all = Output::of(analyze.args(["--no-pager", "syscall-filter"]))?.success()?;
    let mut groups = BTreeMap::<String, Vec<String>>::new();
    let mut group = None;
    for line in all.stdout.lines() {
        match line.strip_prefix("    ").map(str::trim) {
            Some(member) if !member.is_empty() && !member.starts_with('#') => {
                let name: &String = group.as_ref().context("a member of no group")?;
                groups.entry(name.clone()).or_default().push(member.to_owned());
            }
            Some(_) => {}
            None if line.starts_with('@') => group = Some(line.trim().to_owned()),
            // What this systemd knows of the kernel and has in no group.
            None => group = Some(String::new()),
        }
    }
    Ok(groups)
}

fn compile(calls: &[String]) -> Result<BpfProgram> {
    let filter: Vec<_> = calls.iter().map(|call| serde_json::json!({ "syscall": call })).collect();
    let json = serde_json::json!({ "unit": {
        "mismatch_action": "kill_process", "match_action": "allow", "filter": filter,
    }});
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let mut programs = seccompiler::compile_from_json(json.to_string().as_bytes(), arch)?;
    programs.remove("unit").context("the filter")
}

/// Takes what a process says to its manager, which would wait otherwise, and hands on each line.
pub(crate) fn follow(notify: UnixDatagram) -> Result<Receiver<String>> {
    notify.set_read_timeout(Some(Duration::from_millis(100)))?;
    let (lines, said) = mpsc::channel();
    thread::spawn(move || {
        let mut message = [0; 4096];
        loop {
            let length = match notify.recv(&mut message) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => break,
                Ok(length) => length,
            };
            // An empty one asks whether anybody listens yet.
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            if text.split('\n').any(|line| lines.send(line.to_owned()).is_err()) {
                break;
            }
        }
    });
    Ok(said)
}

/// Waits until a process has said this line, of those that are handed on.
pub(crate) fn says(said: &Receiver<String>, process: &mut Process, word: &str) -> Result<()> {
    wait::until(word, wait::PATIENCE, || {
        if let Some(status) = process.exited()? {
            bail!("it ended with {status}");
        }
        Ok(said.try_iter().any(|line| line == word).then_some(()))
    })
}

/// A process of the unit, killed on drop.
#[derive(Debug)]
pub struct Service {
    process: Process,
    said: Receiver<String>,
    log: PathBuf,
}

impl Service {
    /// Waits until it says this to its manager.
    pub fn says(&mut self, word: &str) -> Result<()> {
        says(&self.said, &mut self.process, word)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything that was logged in its directory.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Stops it, as a manager does.
    pub fn stop(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.ended()
    }

    /// Waits for its end, which must be a good one.
    pub fn ended(&mut self) -> Result<()> {
        let status = self.process.wait()?;
        ensure!(status.success(), "it ended with {status}: {}", self.log()?);
        Ok(())
    }
}
