//! The machines and programs: a real server, and balancers before it.

use std::{
    fs::{self, File},
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use serde_json::Value;

use crate::{Daemon, Lab, LabOptions, Netns, Process, Real, address, debian, wait};

/// What the real server answers.
pub(super) const ANSWER: &str = "The quick brown fox jumps over the lazy dog, and the dog sleeps.";
const VIP: IpAddr = address::vip(10);
const PORT: u16 = 80;
/// How many processes of nginx there are, as one has one thread.
const PROCESSES: usize = 2;

/// Who is between the client and the real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Balancer {
    /// `lbd`.
    Lb,
    /// HAProxy, which hands bytes on.
    HaProxy,
    /// nginx, likewise.
    Nginx,
    /// Nobody.
    None,
}

impl Balancer {
    /// All there are.
    pub(super) const ALL: [Self; 4] = [Self::Lb, Self::HaProxy, Self::Nginx, Self::None];

    /// What tables call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Lb => "lb",
            Self::HaProxy => "HAProxy",
            Self::Nginx => "nginx stream",
            Self::None => "direct",
        }
    }

    /// The number of the machine that answers for it, of those that the lab has for real servers: unlike the one for
    /// balancers they are without XDP on either end of the cable.
    const fn machine(self) -> usize {
        match self {
            Self::Lb | Self::None => 1,
            Self::HaProxy => 2,
            Self::Nginx => 3,
        }
    }
}

/// All of it. Everything ends with it; the programs first.
pub(super) struct Site {
    _daemon: Daemon,
    _programs: Vec<Process>,
    lab: Lab,
}

impl Site {
    /// With all programs ready.
    pub(super) fn new() -> Result<Self> {
        let lab = Lab::new(LabOptions::reals(3))?;
        lab.real(1).set_up_dsr(VIP)?;
        for netns in [lab.client().netns()].into_iter().chain(lab.reals().iter().map(Real::netns)) {
            prepare(netns)?;
        }
        let mut programs = Vec::new();
        for number in 0..PROCESSES {
            let [server, proxy] =
                [Balancer::None, Balancer::Nginx].map(|balancer| lab.real(balancer.machine()));
            programs.push(nginx(server, number, &server_config())?);
            programs.push(nginx(proxy, number, &stream_config(lab.real(1))?)?);
        }
        programs.push(haproxy(lab.real(Balancer::HaProxy.machine()), lab.real(1))?);
        let daemon = daemon(&lab)?;
        let site = Self { _daemon: daemon, _programs: programs, lab };
        Balancer::ALL.into_iter().try_for_each(|balancer| site.serves(balancer))?;
        Ok(site)
    }

    /// Where wrk is.
    pub(super) fn client(&self) -> &Netns {
        self.lab.client().netns()
    }

    /// Where the client asks.
    pub(super) fn place(&self, balancer: Balancer) -> SocketAddr {
        let own = self.lab.real(balancer.machine()).address();
        SocketAddr::new(if balancer == Balancer::Lb { VIP } else { own }, PORT)
    }

    /// Waits until the client is answered.
    fn serves(&self, balancer: Balancer) -> Result<()> {
        let place = self.place(balancer);
        wait::until(&format!("{}: {place}", balancer.name()), wait::PATIENCE, || {
            let connect = || Ok(TcpStream::connect_timeout(&place, Duration::from_secs(1)).is_ok());
            Ok(self.client().run(connect)?.then_some(()))
        })?;
        let answer = self.lab.client().who_answers(place)?;
        anyhow::ensure!(answer == ANSWER, "{}: {answer:?}", balancer.name());
        Ok(())
    }

    /// Has the kernel keep accounts of all BPF programs, for as long as the result is held.
    pub(super) fn accounts(&self) -> Result<Accounts> {
        let kept = enable_stats(Stats::RunTime).context("the kernel's accounts of BPF programs")?;
        let link: Value =
            serde_json::from_str(&self.lab.balancer().ip("-j -d link show dev eth0")?)?;
        let program = link[0]["xdp"]["prog"]["id"].as_u64().context("no XDP program at eth0")?;
        Ok(Accounts { _kept: kept, program: u32::try_from(program)? })
    }
}

/// The kernel's accounts of lb's program.
pub(super) struct Accounts {
    _kept: OwnedFd,
    program: u32,
}

/// How often and how long it ran.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    pub count: u64,
    pub time: Duration,
}

impl Accounts {
    /// Until now.
    pub(super) fn read(&self) -> Result<Account> {
        for program in loaded_programs() {
            let program = program?;
            if program.id() == self.program {
                return Ok(Account { count: program.run_count(), time: program.run_time() });
            }
        }
        bail!("program {} is gone", self.program)
    }
}

/// Room for as many connections a second as come: ports, queues. What the server has closed is soon forgotten, so that
/// the last round finds the same as the first.
fn prepare(netns: &Netns) -> Result<()> {
    netns.sysctl(&[
        ("ipv4/ip_local_port_range", "1024 65535"),
        ("ipv4/tcp_tw_reuse", "1"),
        ("ipv4/tcp_max_tw_buckets", "8192"),
        ("ipv4/tcp_max_syn_backlog", "8192"),
        ("core/somaxconn", "8192"),
    ])
}

/// A directory of a program on a machine.
fn directory(real: &Real, name: &str) -> Result<PathBuf> {
    let dir = real.dir().join(name);
    fs::create_dir(&dir)?;
    Ok(dir)
}

fn start(real: &Real, mut command: Command, dir: &Path) -> Result<Process> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(dir.join("stderr"))?);
    real.netns().spawn(command)
}

/// One process, as there may be several on a machine that share a port.
fn nginx(real: &Real, number: usize, config: &str) -> Result<Process> {
    let dir = directory(real, &format!("bench-nginx-{number}"))?;
    let file = dir.join("nginx.conf");
    let place = dir.display();
    let head = format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {place}/pid;\n\
         error_log {place}/error.log crit;\nevents {{ worker_connections 8192; }}\n"
    );
    // A module is loaded before everything else, and only HTTP has these.
    let config = config.replace("HEAD", &head).replace("PLACE", &place.to_string());
    fs::write(&file, config)?;
    let mut command = real.netns().command("nginx");
    command.arg("-p").arg(&dir).arg("-c").arg(&file).arg("-e").arg(dir.join("error.log"));
    start(real, command, &dir)
}

fn server_config() -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path PLACE/tmp-{name};\n"))
        .concat();
    format!(
        "HEAD\nhttp {{\n{temporary}  access_log off;\n  keepalive_requests 1000000000;\n  \
         server {{\n    listen {PORT} reuseport backlog=8192;\n    location / {{ return 200 \"{ANSWER}\"; }}\n  }}\n}}\n"
    )
}

fn stream_config(real: &Real) -> Result<String> {
    let module = debian::file("usr/lib/nginx/modules/ngx_stream_module.so")?;
    Ok(format!(
        "load_module {};\nHEAD\nstream {{\n  server {{\n    listen {PORT} reuseport backlog=8192;\n    \
         proxy_pass {}:{PORT};\n  }}\n}}\n",
        module.display(),
        real.address(),
    ))
}

fn haproxy(machine: &Real, real: &Real) -> Result<Process> {
    let dir = directory(machine, "bench-haproxy")?;
    let file = dir.join("haproxy.cfg");
    let config = format!(
        "global\n  maxconn 8192\n  nbthread {PROCESSES}\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
         listen web\n  bind :{PORT} backlog 8192\n  server real {}:{PORT}\n",
        real.address()
    );
    fs::write(&file, config)?;
    let mut command = machine.netns().command(debian::file("usr/sbin/haproxy")?);
    debian::environment(&mut command);
    command.arg("-db").arg("-f").arg(&file);
    start(machine, command, &dir)
}

/// The daemon; that the client is answered says that it is ready.
fn daemon(lab: &Lab) -> Result<Daemon> {
    let real = lab.real(1).address();
    let vip = format!(
        "[[vip]]\nname = \"web\"\naddress = \"{VIP}\"\nports = [\"tcp/{PORT}\"]\n\
         [[vip.real]]\naddress = \"{real}\"\n"
    );
    let config = lab.config(&vip).replacen("[node]\n", "[node]\nxdp = \"native\"\n", 1);
    Ok(lab.daemon(&config)?.hushed())
}
