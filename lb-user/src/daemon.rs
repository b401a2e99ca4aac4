//! The life of `lbd`: everything is checked before anything is changed, then loaded, attached and
//! served until a signal or a detach ends it. Ending leaves the datapath forwarding.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, symlink},
    panic::resume_unwind,
    path::Path,
    thread,
    time::{Duration, Instant as StdInstant},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya_log::EbpfLogger;
use caps::{CapSet, Capability, errors::CapsError};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{Group, chown},
};
use tokio::{
    io::unix::AsyncFd,
    net::{TcpListener, UnixListener},
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet, yield_now},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout, timeout_at},
};

use crate::{
    announce::{
        Addresses,
        watch::{Sighting, Watch},
    },
    api::{
        access::{Gate, Rights},
        client::config_link,
        request::Requests,
        serve, server,
    },
    config,
    dataplane::{self, Kernel, Loader, detach_all},
    detour::Detours,
    event::{Hooks, Journal},
    health::checker::{Checker, Finding},
    ledger::Ledger,
    model::{GROUP, HashSeed, Model, Node, Room, Vip},
    neighbour::{self, Watcher},
    plan::{self, Rings},
    probe::{Prober, exec::Runner},
    reconcile::{
        Announcing, Checking, Configuration, Event, Network, Next, Reading, Reconciler, Records,
        Surroundings, Watching, remove_remembered,
    },
};

/// How long a start waits for the kernel to resolve the reals before it attaches.
const SETTLE: Duration = Duration::from_millis(500);

/// How long a start waits for the kernel's list of interfaces, which takes milliseconds.
const SURVEY: Duration = Duration::from_secs(10);

/// How long the end waits for answers to be taken.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often everything is compared and repaired.
const RESYNC: Duration = Duration::from_secs(10);

/// Events that may wait.
const QUEUE: usize = 1024;

/// Reads and checks a configuration file, and that this machine has what it needs.
///
/// # Errors
///
/// What is wrong with it, and where.
pub fn check(path: &Path) -> Result<Model> {
    config::parse(&read(path)?).map_err(|errors| anyhow::anyhow!("{}", errors.at(path)))
}

/// Reads and checks a configuration file. What this machine lacks of what it needs (a user, a program, a file of
/// certificates) is told, and no reason not to forward.
///
/// # Errors
///
/// What is wrong with it, and where.
pub fn configuration(path: &Path) -> Result<Configuration> {
    let text = read(path)?;
    match config::parse_tolerant(&text) {
        Ok((model, lacking)) => {
            for problem in lacking.iter().flat_map(config::Errors::problems) {
                let config::Problem { line, column, message } = problem;
                log::warn!("{}:{line}:{column}: {message}: goes on without", path.display());
            }
            Ok(Configuration { path: path.to_owned(), text, model })
        }
        Err(errors) => bail!("{}", errors.at(path)),
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{}", path.display()))
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// Whatever keeps it from starting, before anything is changed.
pub async fn run(config: Configuration) -> Result<()> {
    let (node, path) = (config.model.node.clone(), config.path.clone());
    let _lock = lock(&node)?;
    let (network_tx, mut network_rx) = mpsc::channel(QUEUE);
    let watcher = Watcher::start(network_tx).context("watching the network")?;
    let network = survey(&node, &mut network_rx).await?;
    for interface in network.present() {
        Kernel::check(interface, &node.pin_dir).await?;
    }
    let gate = Gate::new(&node.socket, Rights::of(config.model.access.as_ref()));
    let listeners = Listeners::bind(&node, gate.clone()).await?;
    leave_link(&config.path, &node.socket)?;
    let seed = hash_seed(&node)?;
    let loader = Loader {
        pin_dir: Some(node.pin_dir.clone()),
        seed: seed.0,
        log: log::log_enabled!(log::Level::Debug),
        tables: node.tables,
        room: config.model.vips.iter().map(Room::of).sum::<Room>().to_grow(),
    };
    let (kernel, rings) = load_and_draw(loader, &config.model.vips)?;
    let announcing = Announcing::new(Addresses::connect()?, &node.state_dir)
        .with_context(|| format!("{}/announced", node.state_dir.display()))?;
    let ledger = Ledger::open(&node.state_dir)
        .with_context(|| format!("{}/ledger.json", node.state_dir.display()))?;
    // First: programs need not have as many files.
    let runner = runner(&node);
    raise_limits().context("raising the limit of open files")?;
    let journal = Journal::open(&node.state_dir);
    let hooks = Hooks::start(&config.model.hooks, runner.clone(), &journal);
    let records = Records { ledger, journal, hooks, gate };
    let (finding_tx, finding_rx) = mpsc::channel(QUEUE);
    let checking = checking(&node, runner, finding_tx).await?;
    let (probe_tx, mut probe_rx) = mpsc::channel(QUEUE);
    let (sighting_tx, sighting_rx) = mpsc::channel(QUEUE);
    let watching = Watching::new(Watch::start(sighting_tx));
    let surroundings = Surroundings { network, watcher, announcing, watching };
    let mut reconciler =
        Reconciler::new(config, seed, kernel, surroundings, checking, records, probe_tx)?;
    reconciler.foresee(rings);
    follow_log(reconciler.kernel());
    reconciler.prepare_capture();
    settle(&mut reconciler, &mut network_rx).await;
    // What a former daemon's programs read, if they read smaller tables, must be what ours find.
    let grows = reconciler.kernel().is_growing();
    let mut news = if grows { Vec::new() } else { reconciler.follow() };
    let attached = reconciler.attach().await;
    if grows && attached.is_ok() {
        news = reconciler.follow();
    }
    reconciler.tell(news);
    attached?;

    let signals = Signals::new()?;
    let (request_tx, request_rx) = mpsc::channel(QUEUE);
    let server = listeners.serve(Requests::new(request_tx));
    reconciler.announce_again().await;
    if reconciler.announce().await
        && let Some(probed) = probe_rx.recv().await
    {
        reconciler.handle(Event::Probed(probed)).await;
    }
    keep_only(&NEEDED).context("giving up capabilities")?;
    reconciler.begin().await;
    give_back_memory();
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).context("telling the service manager")?;
    let sources = Sources {
        signals,
        network: network_rx,
        probes: probe_rx,
        findings: finding_rx,
        sightings: sighting_rx,
        requests: request_rx,
    };
    if events(&mut reconciler, sources, &path).await? == Next::Stop {
        remove_socket(&node.socket);
    }
    reconciler.finish(FAREWELL).await;
    server.finish().await;
    Ok(())
}

/// Stops forwarding without a running daemon: detaches XDP, removes pins and announced addresses.
///
/// # Errors
///
/// When a daemon is running, or something cannot be removed.
pub async fn detach(model: &Model) -> Result<()> {
    let node = &model.node;
    let _lock = lock(node)?;
    detach_all(&node.pin_dir)?;
    Detours::clean().await.context("removing what its checks left")?;
    remove_remembered(Addresses::connect()?, &node.state_dir)
        .await
        .context("removing announced addresses")?;
    remove_socket(&node.socket);
    Ok(())
}

/// Loads the datapath, and computes the rings of these VIPs while the kernel makes tables and verifies programs.
fn load_and_draw(loader: Loader, vips: &[Vip]) -> Result<(Kernel, Rings), dataplane::Error> {
    let seed = loader.seed;
    thread::scope(|scope| {
        let rings = scope.spawn(|| Rings::ahead(vips, &seed));
        let kernel = load(loader, vips)?;
        Ok((kernel, rings.join().unwrap_or_else(|panic| resume_unwind(panic))))
    })
}

/// Loads the datapath with tables in which these VIPs have room, beside what a former daemon has left there.
fn load(loader: Loader, vips: &[Vip]) -> Result<Kernel, dataplane::Error> {
    let mut kernel = Kernel::load(&loader)?;
    let needed = plan::needed(&kernel.state(), vips);
    let room = kernel.room().max(needed.to_grow());
    if !kernel.room().holds(needed) && kernel.room() != room {
        drop(kernel);
        kernel = Kernel::load(&Loader { room, ..loader })?;
    }
    if kernel.room() != Room::LEAST {
        let Room { slots, places } = kernel.room();
        log::info!("the tables have {slots} ring slots and {places} places for reals");
    }
    Ok(kernel)
}

/// What runs programs for checks and hooks. Without one everything else works.
fn runner(node: &Node) -> Option<Runner> {
    let started = Runner::start(&node.exec_user);
    let warn = |error: &io::Error| log::error!("no check or hook can run a program: {error}");
    started.inspect_err(warn).ok()
}

/// Raises the limit of open files to what is allowed: every probe under way needs one or two.
fn raise_limits() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

/// What checks the reals. What a daemon that was killed has left of its detours is removed.
async fn checking(
    node: &Node,
    runner: Option<Runner>,
    findings: mpsc::Sender<Finding>,
) -> Result<Checking> {
    Detours::clean().await.context("removing what a former daemon left for its checks")?;
    Detours::check(node.probe_prefixes).await?;
    let checker = Checker::start(Prober::new(runner), findings, limit_checks)
        .context("starting the checks")?;
    Ok(Checking::new(checker, Detours::new(node.probe_prefixes)?))
}

/// Takes the state directory for this daemon alone.
fn lock(node: &Node) -> Result<Flock<fs::File>> {
    let dir = &node.state_dir;
    fs::create_dir_all(dir).with_context(|| format!("state_dir {}", dir.display()))?;
    let path = dir.join("lock");
    let file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let file = file.with_context(|| format!("{}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
        anyhow::anyhow!("{}: {error}: another lbd is running on this state_dir", path.display())
    })
}

/// The configured seed, or the one that was made for this machine, or a new one.
fn hash_seed(node: &Node) -> Result<HashSeed> {
    if let Some(seed) = node.hash_seed {
        return Ok(seed);
    }
    let path = node.state_dir.join("hash_seed");
    if path.exists() {
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        return text.trim().parse().map_err(|error| {
            anyhow::anyhow!(
                "{}: {error}; or remove the file, which moves all flows",
                path.display()
            )
        });
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("asking the kernel for a hash seed")?;
    let text = hex::encode(bytes);
    fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(format!("{text}\n").as_bytes())?;
            file.sync_all()
        })
        .with_context(|| format!("{}", path.display()))?;
    text.parse().map_err(anyhow::Error::msg)
}

/// Joins the datapath's log, where there is one, to ours.
fn follow_log(kernel: &mut Kernel) {
    if !log::log_enabled!(log::Level::Debug) {
        return;
    }
    for object in kernel.objects() {
        let logger = EbpfLogger::init(object).map_err(anyhow::Error::from);
        // SAFETY: the logger owns its ring buffer's descriptor for as long as it lives, and
        // `AsyncFd` owns the logger.
        let logger = logger.and_then(|logger| Ok(unsafe { AsyncFd::register(logger) }?));
        match logger {
            Ok(mut logger) => drop(tokio::spawn(async move {
                while let Ok(mut ready) = logger.readable_mut().await {
                    ready.get_inner_mut().flush();
                    ready.clear_ready();
                }
            })),
            Err(error) => log::warn!("the datapath's log: {error}"),
        }
    }
}

/// Learns which interfaces there are. At least one of those that are configured must be; the
/// others may come later.
async fn survey(node: &Node, events: &mut mpsc::Receiver<neighbour::Event>) -> Result<Network> {
    let mut network = Network::new(&node.interfaces);
    while !network.is_listed() {
        let event = timeout(SURVEY, events.recv()).await;
        let event = event.context("the kernel does not list its interfaces")?;
        network.learn(event.context("the watcher of the network has ended")?, StdInstant::now());
    }
    network.refuse_vlans().map_err(anyhow::Error::msg)?;
    let missing: Vec<&String> = network.missing().collect();
    if missing.len() == node.interfaces.len() {
        return Err(dataplane::Error::NoInterface { name: missing[0].clone() }.into());
    }
    for name in missing {
        log::warn!("interface {name} does not exist: it is used once it does");
    }
    Ok(network)
}

/// Waits, for a moment, until the kernel has said what it knows of the reals: a
/// start then neither drops what it could forward nor takes a living real out.
async fn settle(reconciler: &mut Reconciler, network: &mut mpsc::Receiver<neighbour::Event>) {
    let deadline = Instant::now() + SETTLE;
    reconciler.track().await;
    while !reconciler.is_settled() {
        let Ok(Some(event)) = timeout_at(deadline, network.recv()).await else {
            break;
        };
        reconciler.learn(event);
        // What comes next is on its way.
        yield_now().await;
        while let Ok(event) = network.try_recv() {
            reconciler.learn(event);
        }
    }
}

/// Gives back to the kernel what only a start needs, which of a large configuration is more than what stays.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number only, and changes nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Where questions come from.
struct Listeners {
    control: UnixListener,
    gate: Gate,
    network: Option<TcpListener>,
}

impl Listeners {
    /// The socket last: a start that gets no address leaves none behind.
    async fn bind(node: &Node, gate: Gate) -> Result<Self> {
        let network = match node.listen {
            Some(address) => Some(TcpListener::bind(address).await.map_err(|error| {
                anyhow::anyhow!("listen = \"{address}\": {error}; {}", unheard(&error))
            })?),
            None => None,
        };
        let control = bind(&node.socket, &gate)?;
        Ok(Self { control, gate, network })
    }

    fn serve(self, requests: Requests) -> Server {
        if let Some(network) = self.network {
            let router = server::read_only(requests.clone());
            tokio::spawn(serve::network(network, router));
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let router = server::control(requests);
        let stopped = async move { drop(stopped.await) };
        Server {
            stop,
            task: tokio::spawn(serve::control(self.control, router, self.gate, stopped)),
        }
    }
}

/// What to do where nothing can be listened to.
fn unheard(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "lbd has no CAP_NET_BIND_SERVICE (its unit gives none): choose a port from 1024 on"
        }
        io::ErrorKind::AddrNotAvailable => "choose an address that this machine has",
        _ => "choose another address, or find who has it with `ss -ltnp`",
    }
}

/// The running control server.
struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Ends it once the answers that are under way have left.
    async fn finish(self) {
        drop(self.stop);
        if timeout(FAREWELL, self.task).await.is_err() {
            log::warn!("a client of the control socket did not take its answer");
        }
    }
}

/// Binds the control socket, which is of root and the group `lb`, and lets those connect who may ask.
fn bind(path: &Path, gate: &Gate) -> Result<UnixListener> {
    let named = || format!("socket {}", path.display());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(named)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            let served = std::os::unix::net::UnixStream::connect(path).is_ok();
            ensure!(!served, "{}: another daemon serves it; choose another path", named());
            fs::remove_file(path).with_context(named)?;
        }
        Ok(_) => bail!("{} exists and is not a socket: remove it, or choose another path", named()),
        Err(_) => {}
    }
    let umask = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path).with_context(named);
    nix::sys::stat::umask(umask);
    let listener = listener?;
    if let Some(group) = Group::from_name(GROUP).ok().flatten() {
        chown(path, None, Some(group.gid)).with_context(named)?;
    }
    gate.open().with_context(named)?;
    Ok(listener)
}

/// Waits until a moment, or for ever if there is none.
async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The next tick, or never.
async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// Tells the service manager, which restarts what is silent for too long, that the owner of the state goes
/// from event to event.
fn alive() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]) {
        log::warn!("telling the service manager that all is well: {error}");
    }
}

/// What the rest of the daemon's life needs: maps and links; addresses and neighbours; ARP.
const NEEDED: [Capability; 3] =
    [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];

/// Gives up, in this thread, everything that root may do but this.
fn keep_only(needed: &[Capability]) -> Result<(), CapsError> {
    let needed = needed.iter().copied().collect();
    let had = caps::read(None, CapSet::Permitted)?;
    let kept = had.intersection(&needed).copied().collect();
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}

/// What probes need: raw sockets, for pings and half-open connections.
fn limit_checks() {
    if let Err(error) = keep_only(&[Capability::CAP_NET_RAW]) {
        log::warn!("the thread that checks keeps capabilities: {error}");
    }
}

/// Says where the configuration is, for `lbctl detach` once we are dead.
fn leave_link(config: &Path, socket: &Path) -> Result<()> {
    let link = config_link(socket);
    drop(fs::remove_file(&link));
    let config = fs::canonicalize(config)?;
    symlink(config, &link).with_context(|| format!("{}", link.display()))
}

/// Removes the socket and the link beside it: nothing is left to be asked.
fn remove_socket(socket: &Path) {
    for path in [socket, &config_link(socket)] {
        if let Err(error) = fs::remove_file(path) {
            log::debug!("removing {}: {error}", path.display());
        }
    }
}

/// Where events come from.
struct Sources {
    signals: Signals,
    network: mpsc::Receiver<neighbour::Event>,
    probes: mpsc::Receiver<crate::reconcile::Probed>,
    findings: mpsc::Receiver<Finding>,
    sightings: mpsc::Receiver<Sighting>,
    requests: mpsc::Receiver<crate::api::request::Request>,
}

/// What service managers ask by. They may ask as soon as they hear that we are ready, so it must be
/// listened to before.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// One event after the other, until the end.
async fn events(reconciler: &mut Reconciler, mut sources: Sources, config: &Path) -> Result<Next> {
    // One at a time; while it goes on, whether it is to be done once more.
    let mut readings = JoinSet::new();
    let mut again = false;
    let read = |readings: &mut JoinSet<Reading>| {
        let path = config.to_owned();
        readings.spawn_blocking(move || Reading::of(&path));
    };
    let mut resync = interval(RESYNC);
    resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
    resync.reset();
    let mut watchdog = sd_notify::watchdog_enabled().map(|patience| interval(patience / 2));
    loop {
        let deadline = reconciler.deadline().map(Instant::from_std);
        let event = tokio::select! {
            _ = sources.signals.terminate.recv() => break,
            _ = sources.signals.interrupt.recv() => break,
            _ = sources.signals.hangup.recv() => {
                again = !readings.is_empty();
                if !again {
                    read(&mut readings);
                }
                continue;
            }
            Some(reading) = readings.join_next() => {
                let reading = reading.context("reading the configuration")?;
                if again || !reading.is_current(config) {
                    again = false;
                    read(&mut readings);
                    continue;
                }
                Event::Reload(reading)
            }
            _ = resync.tick() => Event::Resync,
            () = tick(watchdog.as_mut()) => {
                alive();
                continue;
            }
            Some(probed) = sources.probes.recv() => Event::Probed(probed),
            Some(request) = sources.requests.recv() => Event::Request(request),
            Some(sighting) = sources.sightings.recv() => Event::Sighted(sighting),
            Some(finding) = sources.findings.recv() => {
                reconciler.find(finding);
                while let Ok(finding) = sources.findings.try_recv() {
                    reconciler.find(finding);
                }
                Event::Findings
            }
            event = sources.network.recv() => {
                let event = event.context("the watcher of the network has ended")?;
                // What came together is acted on together: the watcher hands it on one by one.
                reconciler.learn(event);
                yield_now().await;
                while let Ok(event) = sources.network.try_recv() {
                    reconciler.learn(event);
                }
                Event::Network
            }
            () = wait_until(deadline) => Event::Due,
        };
        if reconciler.handle(event).await == Next::Stop {
            return Ok(Next::Stop);
        }
    }
    log::info!("stopping; the datapath goes on forwarding (`lbctl detach` stops it)");
    Ok(Next::Continue)
}
