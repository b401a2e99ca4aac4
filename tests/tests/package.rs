//! The package for Debian, installed, upgraded and removed in a root directory of its own, by dpkg and what the package
//! itself brings. No systemd runs there: what the package asks of it is done by the test, as the unit says.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nix::{sys::stat::Mode, unistd::mkfifo};
use tests::{Lab, Netns, Output, Rack, Service, Unit, bin, clean, process::put_program, wait};

/// What stands for systemctl: what changes something is asked of the test, and waited for.
const SYSTEMCTL: &str = r#"#!/bin/sh
for word; do
    case $word in
    -*) ;;
    is-enabled) [ -L /etc/systemd/system/multi-user.target.wants/lbd.service ] && echo enabled; exit ;;
    is-active) [ -e @DIR@/active ]; exit ;;
    start | stop | restart | try-restart)
        echo "$word" >@DIR@/ask
        read -r answer <@DIR@/answer
        [ "$answer" = done ]
        exit
        ;;
    preset)
        mkdir -p /etc/systemd/system/multi-user.target.wants
        ln -s /usr/lib/systemd/system/lbd.service /etc/systemd/system/multi-user.target.wants/
        exit
        ;;
    *) exit 0 ;;
    esac
done
"#;

/// A machine on which the package is installed.
struct Machine<'a> {
    root: Netns,
    dir: &'a Path,
    unit: Unit,
    service: Mutex<Option<Service>>,
    asked: Mutex<Vec<String>>,
}

impl<'a> Machine<'a> {
    fn new(lab: &'a Lab) -> Result<Self> {
        let dir = lab.dir();
        for fifo in ["ask", "answer"] {
            mkfifo(&dir.join(fifo), Mode::S_IRWXU)?;
        }
        let root = clean::root(lab.balancer(), dir)?;
        let shim = SYSTEMCTL.replace("@DIR@", &dir.to_string_lossy());
        let place = dir.join("shim");
        fs::create_dir(&place)?;
        put_program(&place.join("systemctl"), &shim)?;
        // By this programs see that systemd runs.
        root.run(|| Ok(fs::create_dir_all("/run/systemd/system")?))?;
        let unit = Unit::packaged()?;
        Ok(Self { root, dir, unit, service: Mutex::default(), asked: Mutex::default() })
    }

    fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = self.root.command(program);
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        command.env("PATH", format!("{}:{path}", self.dir.join("shim").display()));
        command.env("DEBIAN_FRONTEND", "noninteractive").args(words);
        command
    }

    fn run(&self, program: &str, words: &[&str]) -> Result<Output> {
        Output::of(&mut self.command(program, words))
    }

    /// Runs dpkg, does what it asks for meanwhile, and gives what it said.
    fn dpkg(&self, words: &[&str]) -> Result<String> {
        self.asked.lock().expect("the list").clear();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let manager = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    self.answer()?;
                }
                anyhow::Ok(())
            });
            let output = self.run("dpkg", words);
            over.store(true, Ordering::Relaxed);
            // Whoever waits for a question gets none.
            fs::OpenOptions::new().write(true).open(self.dir.join("ask"))?.write_all(b"\n")?;
            manager.join().expect("the manager")?;
            let output = output?.success()?;
            Ok(output.stdout + &output.stderr)
        })
    }

    fn answer(&self) -> Result<()> {
        let mut word = String::new();
        BufReader::new(fs::File::open(self.dir.join("ask"))?).read_line(&mut word)?;
        let word = word.trim();
        if word.is_empty() {
            return Ok(());
        }
        self.asked.lock().expect("the list").push(word.to_owned());
        let done = self.manage(word);
        let answer = if done.is_ok() { "done\n" } else { "failed\n" };
        fs::OpenOptions::new()
            .write(true)
            .open(self.dir.join("answer"))?
            .write_all(answer.as_bytes())?;
        done
    }

    /// Does what a service manager does at this word.
    fn manage(&self, word: &str) -> Result<()> {
        let mut service = self.service.lock().expect("the service");
        let was_running = service.is_some();
        if word != "start"
            && let Some(mut running) = service.take()
        {
            running.stop()?;
            fs::remove_file(self.dir.join("active"))?;
        }
        if word == "stop" || word == "try-restart" && !was_running {
            return Ok(());
        }
        let program = self.unit.words("ExecStart");
        *service = Some(self.unit.start(&self.root, self.dir, &program, true)?);
        fs::write(self.dir.join("active"), "")?;
        Ok(())
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("the list").clone()
    }

    fn id(&self) -> Option<u32> {
        self.service.lock().expect("the service").as_ref().map(Service::id)
    }

    fn exists(&self, path: &str) -> Result<bool> {
        self.root.run(|| Ok(fs::symlink_metadata(path).is_ok()))
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        self.root.run(|| Ok(fs::write(path, text)?))
    }

    fn usable(&self, count: usize) -> Result<()> {
        wait::until("usable reals", wait::PATIENCE, || {
            let status =
                self.run("/usr/sbin/lbctl", &["-o", "json", "status"])?.success()?.json()?;
            let reals = status["vips"][0]["reals"].as_array().context("reals")?;
            let usable = reals.iter().filter(|real| real["share"].as_f64() > Some(0.0)).count();
            Ok((usable == count).then_some(()))
        })
    }
}

/// Makes the package of the programs under test.
fn package(dir: &Path) -> Result<PathBuf> {
    // They are up to date then.
    bin::path("lbd")?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).args([
        "run",
        "--quiet",
        "--package=xtask",
        "--",
        "dist",
        "--debug",
    ]);
    let made =
        Output::of(cargo.args(["--deb-version", "1.0.0-1", "--output"]).arg(dir))?.success()?;
    let file = made.stdout.lines().last().context("the package's name")?.to_owned();
    Ok(file.into())
}

/// The same package as a later version.
fn later(package: &Path, version: &str) -> Result<PathBuf> {
    let dir = package.with_extension(version);
    let later = package.with_file_name(format!("lb_{version}.deb"));
    Output::of(Command::new("dpkg-deb").arg("-R").arg(package).arg(&dir))?.success()?;
    let control = fs::read_to_string(dir.join("DEBIAN/control"))?;
    fs::write(dir.join("DEBIAN/control"), control.replace("1.0.0-1", version))?;
    Output::of(Command::new("dpkg-deb").args(["-Znone", "-b"]).arg(&dir).arg(&later))?.success()?;
    Ok(later)
}

/// Does something while a client opens one connection after the other, all of which must be served: how many.
fn under_requests<T>(lab: &Lab, act: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut served = 0;
            while !over.load(Ordering::Relaxed) {
                lab.client().who_answers(Rack::web())?;
                served += 1;
            }
            anyhow::Ok(served)
        });
        let done = act();
        over.store(true, Ordering::Relaxed);
        let served = client.join().expect("the client")?;
        Ok((done?, served))
    })
}

#[test]
fn a_package_is_installed_upgraded_under_traffic_and_removed() -> Result<()> {
    let (lab, _nginx, _echoes) = Rack::servers(3)?;
    let machine = Machine::new(&lab)?;
    let first = package(lab.dir())?;
    let words = |path: &Path| path.to_string_lossy().into_owned();
    let here =
        || fs::read_to_string("/var/lib/dpkg/status").map(|text| text.contains("Package: lb\n"));
    let installed_here = here()?;

    // A fresh one does not fail, starts nothing, and says what to do.
    let said = machine.dpkg(&["-i", &words(&first)])?;
    assert!(said.contains("lb: to begin, copy /usr/share/doc/lb/examples/lb.toml"), "{said}");
    assert_eq!(machine.asked(), Vec::<String>::new());
    for file in [
        "/usr/sbin/lbd",
        "/usr/lib/systemd/system/lbd.service",
        "/etc/systemd/system/multi-user.target.wants/lbd.service",
        "/usr/share/man/man8/lbctl-vip-add.8.gz",
        "/usr/share/man/man5/lb.toml.5.gz",
        "/usr/share/bash-completion/completions/lbctl",
        "/usr/share/bash-completion/completions/lbd",
        "/usr/share/doc/lb/examples/lb.toml",
    ] {
        assert!(machine.exists(file)?, "{file}");
    }
    assert!(!machine.exists("/etc/lb/lb.toml")?);
    machine.run("getent", &["group", "lb"])?.success()?;
    let example = ["--check", "--config", "/usr/share/doc/lb/examples/lb.toml"];
    machine.run("/usr/sbin/lbd", &example)?.success()?;

    // Configured, it is started as the unit says, with the file systems that it leaves writable.
    machine.write(
        "/etc/lb/lb.toml",
        &format!("[node]\ninterfaces = [\"eth0\"]\n\n{}", Rack::vips(2)),
    )?;
    machine.manage("start")?;
    machine.usable(2)?;
    machine.run("/usr/sbin/lbctl", &["real", "add", "web", "10.0.0.13"])?.success()?;
    machine.usable(3)?;
    let socket = machine.run("stat", &["-c", "%U:%G %a", "/run/lb/lbd.sock"])?.success()?.stdout;
    assert_eq!(socket, "root:lb 660\n");

    // An upgrade restarts it, and no connection notices.
    let before = machine.id().context("a service")?;
    let second = later(&first, "1.0.1-1")?;
    let (said, served) = under_requests(&lab, || machine.dpkg(&["-i", &words(&second)]))?;
    assert!(served > 0 && !said.contains("to begin"), "{said}");
    assert_eq!(machine.asked(), ["try-restart"], "{said}");
    assert_ne!(machine.id().context("a service")?, before);
    machine.usable(3)?;

    // One that does not take the file leaves alone what runs.
    let good = machine.root.run(|| Ok(fs::read_to_string("/etc/lb/lb.toml")?))?;
    machine.write("/etc/lb/lb.toml", "[node]\ninterfaces = 7\n")?;
    let before = machine.id();
    let third = later(&first, "1.0.2-1")?;
    let (said, _) = under_requests(&lab, || machine.dpkg(&["-i", &words(&third)]))?;
    assert!(said.contains("/etc/lb/lb.toml:2:"), "{said}");
    assert!(said.contains("lb: this version does not take /etc/lb/lb.toml"), "{said}");
    assert_eq!((machine.asked(), machine.id()), (vec![], before));
    machine.write("/etc/lb/lb.toml", &good)?;

    // Removed, nothing forwards any more; the configuration stays, until it is purged.
    machine.dpkg(&["-r", "lb"])?;
    assert_eq!(machine.asked(), ["stop"]);
    let links = lab.balancer().ip("-d link show eth0")?;
    assert!(!links.contains("xdp"), "{links}");
    assert!(!machine.exists("/sys/fs/bpf/lb")? && !machine.exists("/run/lb")?);
    assert!(machine.exists("/etc/lb/lb.toml")? && machine.exists("/var/lib/lb/hash_seed")?);
    machine.dpkg(&["-P", "lb"])?;
    for gone in
        ["/etc/lb", "/var/lib/lb", "/etc/systemd/system/multi-user.target.wants/lbd.service"]
    {
        assert!(!machine.exists(gone)?, "{gone}");
    }
    ensure!(here()? == installed_here, "this machine's own packages are as they were");
    Ok(())
}
