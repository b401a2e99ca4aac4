//! The packages on a machine that systemd has booted: installed, upgraded and removed by dpkg and by the tarball's
//! script, started, watched and stopped by systemd, as the unit says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use tests::{Booted, Lab, Output, Rack, bin, wait};

const FILE: &str = "/etc/lb/lb.toml";

/// What no version takes, and where it is wrong.
const BAD: &str = "[node]\ninterfaces = 7\n";
const PLACE: &str = "/etc/lb/lb.toml:2:";

const DROP_IN: &str = "/etc/systemd/system/lbd.service.d/test.conf";

/// A machine on which lbd is installed.
struct Machine<'a> {
    booted: Booted,
    lab: &'a Lab,
}

impl<'a> Machine<'a> {
    fn new(lab: &'a Lab) -> Result<Self> {
        Ok(Self { booted: Booted::boot(lab.balancer(), lab.dir())?, lab })
    }

    /// Runs a line of shell that must succeed, and gives what it said.
    fn does(&self, line: &str) -> Result<String> {
        let output = self.tries(line)?.success();
        let output = output.with_context(|| format!("{line}\n{}", self.log()))?;
        Ok(output.stdout + &output.stderr)
    }

    fn tries(&self, line: &str) -> Result<Output> {
        self.booted.run("sh", &["-c", line])
    }

    fn install(&self, package: &Path) -> Result<String> {
        self.does(&format!("dpkg -i {}", package.display()))
    }

    /// All of the unit's log, or why there is none.
    fn log(&self) -> String {
        self.booted.log("lbd").unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Waits until the unit's log has this.
    fn logs(&self, what: &str) -> Result<()> {
        let logged =
            wait::until(what, wait::PATIENCE, || Ok(self.log().contains(what).then_some(())));
        logged.with_context(|| self.log())
    }

    fn property(&self, name: &str) -> Result<String> {
        self.booted.property("lbd", name)
    }

    /// Whether systemd says of the unit that it is `active`, `inactive` or `failed`.
    fn is(&self, state: &str) -> Result<()> {
        let said = self.property("ActiveState")?;
        ensure!(said == state, "{said} and not {state}: {}", self.log());
        Ok(())
    }

    /// The id of the process that systemd takes for lbd.
    fn process(&self) -> Result<String> {
        self.property("MainPID")
    }

    /// Waits until another process than this one is lbd, and ready.
    fn becomes_another(&self, before: &str) -> Result<()> {
        let became = wait::until("another lbd", wait::PATIENCE, || {
            let process = self.process()?;
            let another = process != "0" && process != before;
            Ok((another && self.is("active").is_ok()).then_some(()))
        });
        became.with_context(|| self.log())
    }

    fn exists(&self, path: &str) -> Result<bool> {
        self.booted.root().run(|| Ok(fs::symlink_metadata(path).is_ok()))
    }

    fn read(&self, path: &str) -> Result<String> {
        self.booted.root().run(|| Ok(fs::read_to_string(path)?))
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        self.booted.root().run(|| {
            fs::create_dir_all(Path::new(path).parent().context("a directory")?)?;
            Ok(fs::write(path, text)?)
        })
    }

    /// Waits until this many VIPs are there, the first of which has this many reals that own slots.
    fn serves(&self, vips: usize, reals: usize) -> Result<()> {
        let what = format!("{vips} VIPs, and {reals} reals of the first");
        wait::until(&what, wait::PATIENCE, || {
            let status = self.tries("lbctl -o json status")?.success()?.json()?;
            let of_first = status["vips"][0]["reals"].as_array().context("reals")?;
            let usable = of_first.iter().filter(|real| real["share"].as_f64() > Some(0.0)).count();
            let known = status["vips"].as_array().map_or(0, Vec::len);
            Ok(((known, usable) == (vips, reals)).then_some(()))
        })
    }

    /// Does something while a client opens one connection after the other, all of which must be served.
    fn under_requests<T>(&self, what: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut served = 0;
                while !over.load(Ordering::Relaxed) {
                    self.lab.client().who_answers(Rack::web())?;
                    served += 1;
                }
                anyhow::Ok(served)
            });
            let done = act();
            over.store(true, Ordering::Relaxed);
            let served: u64 = client.join().expect("the client").context(what.to_owned())?;
            println!("{what}: {served} connections were served, none lost");
            ensure!(served > 0, "{what}: no connections");
            done.with_context(|| what.to_owned())
        })
    }

    fn forwards_nothing(&self) -> Result<()> {
        let links = self.lab.balancer().ip("-d link show eth0")?;
        ensure!(!links.contains("xdp"), "{links}");
        ensure!(!self.exists("/sys/fs/bpf/lb")?, "pins are left");
        Ok(())
    }
}

/// What is made of the programs under test.
struct Packages {
    deb: PathBuf,
    tarball: PathBuf,
}

impl Packages {
    fn make(dir: &Path) -> Result<Self> {
        // They are up to date then.
        bin::path("lbd")?;
        let mut cargo = bin::cargo();
        cargo.args(["run", "--quiet", "--package=xtask", "--", "dist"]);
        cargo.args(["--debug", "--deb-version", "1.0.0-1", "--output"]).arg(dir);
        let made = Output::of(&mut cargo)?.success()?.stdout;
        let mut names = made.lines().rev();
        let mut name = || names.next().map(PathBuf::from).context("a package's name");
        Ok(Self { tarball: name()?, deb: name()? })
    }

    /// The package for Debian as a later version.
    fn later(&self, version: &str) -> Result<PathBuf> {
        let dir = self.deb.with_extension(version);
        let later = self.deb.with_file_name(format!("lb_{version}.deb"));
        Output::of(Command::new("dpkg-deb").arg("-R").arg(&self.deb).arg(&dir))?.success()?;
        let control = fs::read_to_string(dir.join("DEBIAN/control"))?;
        fs::write(dir.join("DEBIAN/control"), control.replace("1.0.0-1", version))?;
        let mut build = Command::new("dpkg-deb");
        Output::of(build.args(["-Znone", "-b"]).arg(&dir).arg(&later))?.success()?;
        Ok(later)
    }
}

#[test]
fn the_packages_are_installed_upgraded_under_traffic_and_removed() -> Result<()> {
    let (lab, _nginx, _echoes) = Rack::servers(3)?;
    let packages = Packages::make(lab.dir())?;
    let machine = Machine::new(&lab)?;
    let here =
        || fs::read_to_string("/var/lib/dpkg/status").map(|text| text.contains("Package: lb\n"));
    let installed_here = here()?;
    a_fresh_one_starts_nothing(&machine, &packages)?;
    it_serves_after_the_words_of_the_readme(&machine)?;
    it_is_reloaded(&machine)?;
    it_is_restarted_when_killed_and_when_stuck(&machine)?;
    it_is_upgraded(&machine, &packages)?;
    let log = machine.log();
    for complaint in ["ermission denied", "not permitted", "Read-only", "the helper process"] {
        assert!(!log.contains(complaint), "{complaint}: {log}");
    }
    it_is_removed(&machine, &packages)?;
    the_tarball_does_as_much(&machine, &packages)?;
    ensure!(here()? == installed_here, "this machine's own packages are as they were");
    Ok(())
}

/// It does not fail, starts nothing, and says what to do.
fn a_fresh_one_starts_nothing(machine: &Machine<'_>, packages: &Packages) -> Result<()> {
    let said = machine.install(&packages.deb)?;
    assert!(said.contains("lb: to begin, copy /usr/share/doc/lb/examples/lb.toml"), "{said}");
    for file in [
        "/usr/sbin/lbd",
        "/usr/bin/lbctl",
        "/usr/lib/systemd/system/lbd.service",
        "/etc/systemd/system/multi-user.target.wants/lbd.service",
        "/usr/share/man/man8/lbctl-vip-add.8.gz",
        "/usr/share/man/man5/lb.toml.5.gz",
        "/usr/share/bash-completion/completions/lbctl",
        "/usr/share/bash-completion/completions/lbd",
        "/usr/share/doc/lb/examples/lb.toml",
        "/usr/share/doc/lb/docs/operations.md",
        "/usr/share/doc/lb/contrib/prometheus/lb.rules.yml",
    ] {
        assert!(machine.exists(file)?, "{file}");
    }
    assert!(!machine.exists(FILE)?);
    machine.does("getent group lb")?;
    machine.does("lbd --check --config /usr/share/doc/lb/examples/lb.toml")?;
    machine.is("inactive")?;
    // Nor does it when it is asked to, or when the machine boots.
    assert_eq!(machine.does("systemctl is-enabled lbd")?, "enabled\n");
    machine.does("systemctl start lbd")?;
    machine.is("inactive")?;
    assert_eq!(machine.does("systemctl is-system-running")?, "running\n");
    Ok(())
}

fn it_serves_after_the_words_of_the_readme(machine: &Machine<'_>) -> Result<()> {
    machine.does("cp /usr/share/doc/lb/examples/lb.toml /etc/lb/lb.toml")?;
    machine.does("systemctl start lbd")?;
    machine.is("active")?;
    let vip = "lbctl vip add web --address 192.0.2.10 --port tcp/80 --check http:/";
    machine.does(&format!("{vip} --real 10.0.0.11 --real 10.0.0.12"))?;
    machine.serves(1, 2)?;
    // Files are edited where the unit lets them be.
    machine.does("lbctl real add web 10.0.0.13")?;
    machine.serves(1, 3)?;
    assert!(machine.read(FILE)?.contains("10.0.0.13"));
    machine.lab.client().who_answers(Rack::web())?;
    // Who is in the group may ask it, others may not.
    assert_eq!(machine.does("stat -c '%U:%G %a' /run/lb/lbd.sock")?, "root:lb 660\n");
    let nobody = |group| format!("setpriv --reuid=nobody --regid={group} --clear-groups lbctl vip");
    machine.does(&(nobody("lb") + " list"))?;
    assert_eq!(machine.tries(&(nobody("nogroup") + " list"))?.code, 3);
    Ok(())
}

fn it_is_reloaded(machine: &Machine<'_>) -> Result<()> {
    let (good, process) = (machine.read(FILE)?, machine.process()?);
    machine.under_requests("reloads", || {
        let second = "\n[[vip]]\nname = \"more\"\naddress = \"192.0.2.11\"\nports = [\"tcp/80\"]\n";
        let second = second.to_owned() + "\n[[vip.real]]\naddress = \"10.0.0.11\"\n";
        machine.write(FILE, &(good.clone() + &second))?;
        machine.does("systemctl reload lbd")?;
        machine.serves(2, 3)?;
        // Of a bad one the place is told, and nothing changes.
        machine.write(FILE, BAD)?;
        let refused = machine.tries("systemctl reload lbd")?;
        assert_ne!(refused.code, 0);
        machine.logs(PLACE)?;
        machine.is("active")?;
        machine.serves(2, 3)?;
        machine.write(FILE, &good)?;
        machine.does("systemctl reload lbd")?;
        machine.serves(1, 3)
    })?;
    assert_eq!(machine.process()?, process);
    Ok(())
}

fn it_is_restarted_when_killed_and_when_stuck(machine: &Machine<'_>) -> Result<()> {
    let signal =
        |name: &str| machine.does(&format!("systemctl kill --signal={name} --kill-whom=main lbd"));
    let before = machine.process()?;
    machine.under_requests("killed", || {
        signal("KILL")?;
        machine.becomes_another(&before)?;
        machine.serves(1, 3)
    })?;
    machine.write(DROP_IN, "[Service]\nWatchdogSec=2\n")?;
    machine.does("systemctl daemon-reload && systemctl restart lbd")?;
    let before = machine.process()?;
    machine.under_requests("stuck", || {
        signal("STOP")?;
        machine.logs("Watchdog timeout")?;
        machine.becomes_another(&before)?;
        machine.serves(1, 3)
    })?;
    machine.does(&format!("rm {DROP_IN} && systemctl daemon-reload && systemctl restart lbd"))?;
    Ok(())
}

fn it_is_upgraded(machine: &Machine<'_>, packages: &Packages) -> Result<()> {
    // It is restarted, and no connection notices.
    let before = machine.process()?;
    let second = packages.later("1.0.1-1")?;
    let said = machine.under_requests("an upgrade", || machine.install(&second))?;
    assert!(!said.contains("to begin"), "{said}");
    machine.is("active")?;
    assert_ne!(machine.process()?, before);
    machine.serves(1, 3)?;

    // One that does not take the file leaves alone what runs.
    let good = machine.read(FILE)?;
    machine.write(FILE, BAD)?;
    let before = machine.process()?;
    let third = packages.later("1.0.2-1")?;
    let said = machine.under_requests("a refused upgrade", || machine.install(&third))?;
    assert!(said.contains(PLACE), "{said}");
    assert!(said.contains("lb: this version does not take /etc/lb/lb.toml"), "{said}");
    assert_eq!(machine.process()?, before);
    machine.write(FILE, &good)?;

    // What somebody has stopped and disabled is left so; to the reals that makes no difference.
    machine.does("systemctl disable --now lbd")?;
    machine.under_requests("an upgrade while stopped", || machine.install(&packages.deb))?;
    machine.is("inactive")?;
    assert_eq!(machine.tries("systemctl is-enabled lbd")?.stdout, "disabled\n");
    machine.under_requests("a start", || machine.does("systemctl enable --now lbd"))?;
    machine.serves(1, 3)
}

/// Nothing forwards any more then; the configuration stays, until it is purged.
fn it_is_removed(machine: &Machine<'_>, packages: &Packages) -> Result<()> {
    let is_removed = || {
        machine.does("dpkg -r lb")?;
        machine.is("inactive")?;
        machine.forwards_nothing()?;
        assert!(!machine.exists("/run/lb")?);
        assert!(machine.exists(FILE)? && machine.exists("/var/lib/lb/hash_seed")?);
        anyhow::Ok(())
    };
    is_removed()?;
    // With its configuration it comes back.
    machine.install(&packages.deb)?;
    machine.is("active")?;
    machine.serves(1, 3)?;
    // A file that is being edited keeps nothing in the kernel.
    machine.write(FILE, BAD)?;
    is_removed()?;
    machine.does("dpkg -P lb")?;
    let link = "/etc/systemd/system/multi-user.target.wants/lbd.service";
    for gone in ["/etc/lb", "/var/lib/lb", link] {
        assert!(!machine.exists(gone)?, "{gone}");
    }
    assert_eq!(machine.property("LoadState")?, "not-found");
    Ok(())
}

fn the_tarball_does_as_much(machine: &Machine<'_>, packages: &Packages) -> Result<()> {
    let dir = machine.lab.dir().join("tarball");
    fs::create_dir(&dir)?;
    let mut unpack = Command::new("tar");
    unpack.arg("-C").arg(&dir).args(["--strip-components=1", "-xf"]).arg(&packages.tarball);
    Output::of(&mut unpack)?.success()?;
    let script = dir.join("install.sh").display().to_string();

    assert!(machine.does(&script)?.contains("to begin, copy lb.toml to /etc/lb/lb.toml"));
    machine.does(&format!("cp {} /etc/lb/", dir.join("lb.toml").display()))?;
    machine.does("systemctl enable --now lbd")?;
    machine.is("active")?;
    machine.does("lbctl vip add web --address 192.0.2.10 --port tcp/80 --real 10.0.0.11")?;
    machine.serves(1, 1)?;
    let installed = [
        "sbin/lbd",
        "bin/lbctl",
        "share/man/man8/lbctl.8",
        "share/zsh/site-functions/_lbctl",
        "share/doc/lb/docs/operations.md",
    ]
    .map(|file| format!("/usr/local/{file}"));
    for file in &installed {
        assert!(machine.exists(file)?, "{file}");
    }
    let before = machine.process()?;
    machine.under_requests("an upgrade from the tarball", || {
        machine.does(&format!("{script} && systemctl restart lbd"))
    })?;
    assert_ne!(machine.process()?, before);

    machine.does(&format!("{script} --remove && {script} --remove"))?;
    machine.forwards_nothing()?;
    for file in &installed {
        assert!(!machine.exists(file)?, "{file}");
    }
    assert!(machine.exists(FILE)? && machine.exists("/var/lib/lb/hash_seed")?);
    assert_eq!(machine.property("LoadState")?, "not-found");
    Ok(())
}
