//! The one task that owns the state: every event (a request, a neighbour, an interface, time) ends
//! here, becomes a desired state, and the planner's difference is written to the datapath.

mod announcing;
mod attaching;
mod audit;
mod capture;
mod change;
mod checking;
mod course;
mod doctor;
mod events;
mod flows;
mod interfaces;
mod metrics;
mod network;
mod planning;
mod ports;
mod reading;
mod status;
mod sweep;
mod trace;
mod watching;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lb_common::Tick;
use tokio::sync::mpsc;

pub use self::{
    announcing::{Announcing, remove_remembered},
    checking::Checking,
    network::Network,
    reading::Reading,
    watching::Watching,
};
use self::{
    attaching::{Attachments, Reached},
    capture::Capturing,
    course::Standing,
    interfaces::Place,
    ports::Ports,
    sweep::Sweeper,
};
use crate::{
    announce::{Conflict, watch::Sighting},
    api::{
        access::Gate,
        request::{Capture, Change, Reply, Request},
        types::Done,
    },
    config,
    dataplane::{self, Dataplane as _, Kernel, Port},
    event::{Happening, Hooks, Journal},
    health::{Health, Reach},
    ledger::Ledger,
    metrics::Tally,
    model::{HashSeed, Mac, Model, Real, RealState, Vip},
    neighbour::{self, Watcher},
    plan::{self, DesiredVip, Op, Plan, PlanError, Rings, State},
};

/// Deadlines beyond this are looked at again then.
const FAR: Duration = Duration::from_secs(3600);

/// Something happened.
pub enum Event {
    /// In the network; it has been learnt.
    Network,
    /// The moment of [`Reconciler::deadline`] has come.
    Due,
    /// Checks have found something; it has been learnt.
    Findings,
    /// Somebody else answers for an address that is announced.
    Sighted(Sighting),
    /// Somebody asks.
    Request(Request),
    /// Addresses were probed for before they are assigned.
    Probed(Probed),
    /// Time for a full resync.
    Resync,
    /// The operator wants the file read again; it was.
    Reload(Reading),
}

/// The result of an address probe, and what waits for it.
pub struct Probed {
    /// The addresses that were probed for, and where.
    asked: Vec<(Place, Vec<IpAddr>)>,
    /// Those that somebody answers for.
    conflicts: Vec<Conflict>,
    /// Why that could not be found out elsewhere.
    errors: Vec<String>,
    /// The change that brings these addresses, and where its answer goes.
    change: Option<(Change, Reply<Done>)>,
}

/// Whether the daemon goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It does.
    Continue,
    /// Everything is detached.
    Stop,
}

/// The configuration in force and where it stands.
pub struct Configuration {
    /// The file.
    pub path: PathBuf,
    /// Its text when it was read or written last.
    pub text: String,
    /// What it says.
    pub model: Model,
}

/// The network around, and what is said in it.
pub struct Surroundings {
    /// What is known of it.
    pub network: Network,
    /// What tells of it.
    pub watcher: Watcher,
    /// How routers find the VIPs.
    pub announcing: Announcing,
    /// Who else says that they are its own.
    pub watching: Watching,
}

/// What is remembered, and told.
pub struct Records {
    /// What is going on with the reals.
    pub ledger: Ledger,
    /// What has happened.
    pub journal: Journal,
    /// Who is called then.
    pub hooks: Hooks,
    /// Who may ask for it, and for everything else.
    pub gate: Gate,
}

/// The owner of the state.
pub struct Reconciler {
    config: Configuration,
    seed: HashSeed,
    kernel: Kernel,
    attachments: Attachments,
    capturing: Capturing,
    ports: Ports,
    state: State,
    /// Rings for the first plan.
    ahead: Rings,
    /// Who is reached at all, by the configuration.
    fleet: Vec<Real>,
    network: Network,
    watcher: Watcher,
    announcing: Announcing,
    watching: Watching,
    checking: Checking,
    ledger: Ledger,
    journal: Journal,
    hooks: Hooks,
    tally: Tally,
    gate: Gate,
    /// How the VIPs stood when that was last said.
    standings: BTreeMap<String, Standing>,
    /// When what the ledger says was last acted on.
    acted: Timestamp,
    sweeper: Sweeper,
    reached: Reached,
    events: mpsc::Sender<Probed>,
}

impl Reconciler {
    /// The owner of what `kernel` holds: a former daemon's tables are taken over as they are. A
    /// program is loaded for each configured interface, be it there or not.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses the program.
    pub fn new(
        config: Configuration,
        seed: HashSeed,
        kernel: Kernel,
        surroundings: Surroundings,
        checking: Checking,
        records: Records,
        events: mpsc::Sender<Probed>,
    ) -> Result<Self, dataplane::Error> {
        let state = kernel.state();
        let Surroundings { network, watcher, announcing, watching } = surroundings;
        let Records { ledger, journal, hooks, gate } = records;
        let ports = Ports::new(kernel.ports(), network.interfaces.configured());
        let mut reconciler = Self {
            ahead: Rings::default(),
            fleet: attaching::fleet(&config.model),
            config,
            seed,
            kernel,
            attachments: Attachments::default(),
            capturing: Capturing::default(),
            ports,
            state,
            network,
            watcher,
            announcing,
            watching,
            checking,
            ledger,
            journal,
            hooks,
            tally: Tally::new(Timestamp::now()),
            gate,
            standings: BTreeMap::new(),
            acted: Timestamp::MIN,
            sweeper: Sweeper::new(Instant::now()),
            reached: Reached::default(),
            events,
        };
        reconciler.inherit();
        for name in reconciler.network.interfaces.configured() {
            let number = reconciler.ports.number(&Port::of(name));
            reconciler.kernel.prepare(number.unwrap_or_default())?;
        }
        Ok(reconciler)
    }

    /// Rings that the first plan will ask for.
    pub fn foresee(&mut self, rings: Rings) {
        self.ahead = rings;
    }

    /// The datapath.
    pub fn kernel(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// Goes on where a former daemon has stopped. Reals to which its tables lead are believed to be there
    /// until the kernel says otherwise: a restart takes nobody out of service. Whoever is in a pool and no
    /// longer in the configuration has left while no daemon was there.
    fn inherit(&mut self) {
        for block in &self.state.blocks {
            for (address, occupant) in block.members.iter() {
                if occupant.word.port() != 0 {
                    self.network.inherit(*address, Mac(occupant.word.mac()));
                }
            }
        }
        if !self.state.blocks.is_empty() {
            let desired = self.desired(&self.config.model, &self.ledger);
            plan::recognise(&mut self.state, &desired);
        }
        self.ledger = self.turned(&self.config.model, None);
    }

    /// Asks the kernel for the ways to all reals and to resolve them, and to tell of them.
    pub async fn track(&mut self) {
        let reals = self.servers();
        let all: BTreeSet<IpAddr> = reals.iter().map(|real| real.address).collect();
        let resolved = reals.iter().filter(|real| real.mac.is_none());
        let resolved: BTreeSet<IpAddr> = resolved.map(|real| real.address).collect();
        self.network.find_routes(&self.watcher, &all).await;
        self.watcher.track(self.network.on_link(&resolved));
    }

    /// Whether the kernel has spoken about every real that may become usable, or was there before.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_open = |real: &Real| {
            matches!(self.network.reach(real), Reach::Unresolved | Reach::Inherited(_))
        };
        let awaits = |vip: &Vip, real: &Real| {
            let course = self.ledger.course(&vip.name, real.address);
            let known = course.and_then(|course| course.known.as_ref());
            let was_there = known.is_some_and(|known| known.verdict.health != Health::Down);
            real.state == RealState::Active || was_there
        };
        // The first that is awaited is answer enough, and each server is looked at once.
        let mut open = HashMap::new();
        let mut is_awaited = |vip: &Vip, real: &Real| {
            *open.entry((real.address, real.mac)).or_insert_with(|| is_open(real))
                && awaits(vip, real)
        };
        let vips = self.config.model.vips.iter();
        !vips
            .flat_map(|vip| vip.reals.iter().map(move |real| (vip, real)))
            .any(|(vip, real)| is_awaited(vip, real))
    }

    /// Takes in what happened in the network, without acting on it yet.
    pub fn learn(&mut self, event: neighbour::Event) {
        if let neighbour::Event::Neighbour { address, .. } = &event {
            self.checking.hint(*address);
        }
        self.network.learn(event, Instant::now());
    }

    /// When the passing of time alone changes something. That may have been while something else was done.
    #[must_use]
    pub fn deadline(&mut self) -> Option<Instant> {
        let (now, instant) = (Timestamp::now(), Instant::now());
        let ledger = self.ledger.deadline(&self.config.model, self.acted).map(|deadline| {
            let left = Duration::try_from(deadline.duration_since(now)).unwrap_or_default();
            instant + left.min(FAR)
        });
        let others = [self.network.deadline(), self.checking.deadline(), self.sweeper.due()];
        others.into_iter().chain([ledger]).flatten().min()
    }

    /// Acts on an event.
    pub async fn handle(&mut self, event: Event) -> Next {
        // Nobody was promised that what the network does stands on the disk already.
        let mut aside = false;
        match event {
            // What comes often does no more than it must.
            Event::Due if self.is_sweep_due() => {
                self.sweep();
                self.save_ledger();
                return Next::Continue;
            }
            Event::Findings => {
                self.heed_findings();
                self.follow_vips().await;
                self.ledger.save_aside();
                return Next::Continue;
            }
            Event::Network | Event::Due => {
                self.follow_network().await;
                aside = true;
            }
            Event::Sighted(sighting) => self.sighted(sighting).await,
            Event::Request(request) => {
                let changes = matches!(request, Request::Change(..) | Request::Detach(_));
                match self.answer(request).await {
                    Next::Stop => return Next::Stop,
                    // Who only asks changes nothing that would have to be followed.
                    Next::Continue if !changes => return Next::Continue,
                    Next::Continue => {}
                }
            }
            Event::Probed(probed) => self.probed(probed).await,
            Event::Resync => {
                self.end_abandoned_capture().await;
                self.checking.doubt();
                self.checking.tell_lateness();
                self.follow_interfaces().await;
                self.track().await;
                self.resync();
                self.announce().await;
            }
            Event::Reload(reading) => self.reload(reading).await,
        }
        self.follow_vips().await;
        self.follow_checks().await;
        self.watch();
        let news = self.judge_vips();
        self.record_all(news);
        match aside {
            true => self.ledger.save_aside(),
            false => self.save_ledger(),
        }
        Next::Continue
    }

    fn is_sweep_due(&self) -> bool {
        self.sweeper.due().is_some_and(|due| due <= Instant::now())
    }

    /// Acts on what the checks have found: plans the VIPs that it is about, and no others.
    fn heed_findings(&mut self) {
        let began = Instant::now();
        let names = self.checking.take_news();
        let (mut news, desired) = self.judge(|vip| names.contains(&vip.name));
        self.follow_desired(&desired);
        news.extend(self.stand(|vip| names.contains(&vip.name)));
        self.record_all(news);
        log::debug!("findings on {} VIPs acted on in {:?}", names.len(), began.elapsed());
    }

    /// What the ledger says must survive this process. Where it cannot be written the next event tries
    /// again.
    fn save_ledger(&mut self) {
        if let Err(error) = self.ledger.save() {
            log::error!("writing the ledger of drains and departures: {error}");
        }
    }

    /// Acts on what was learnt. Where interfaces or addresses have changed, routes may have, too.
    async fn follow_network(&mut self) {
        let moved = self.network.take_moved();
        if self.network.take_lost() {
            self.give_up_lost();
        }
        if moved {
            self.checking.doubt();
            self.write_ports();
            self.follow_interfaces().await;
            self.look_for_hidden_tags();
            self.track().await;
        }
        self.reconcile();
        if moved {
            self.announce().await;
            self.announce_again().await;
        }
    }

    /// Takes those out that are reached through an interface that has gone down, and looks at no other VIP than
    /// theirs: to ask for other ways, and to look at everything, takes its time.
    fn give_up_lost(&mut self) {
        let began = Instant::now();
        let cut = |real: &&Real| matches!(self.network.way(real), Err(Reach::Cut(_)));
        let cut: HashSet<IpAddr> = self.fleet.iter().filter(cut).map(|real| real.address).collect();
        let (news, desired) =
            self.judge(|vip| vip.reals.iter().any(|real| cut.contains(&real.address)));
        self.follow_desired(&desired);
        log::debug!("{} reals are lost: acted on in {:?}", cut.len(), began.elapsed());
        self.record_all(news);
    }

    async fn answer(&mut self, request: Request) -> Next {
        // An asker that has gone away needs no answer.
        match request {
            request if request.is_idle() => {}
            Request::Status(reply) => drop(reply.send(self.status())),
            Request::Metrics(reply) => drop(reply.send(self.metrics())),
            Request::Trace(query, candidate, reply) => {
                drop(reply.send(self.trace(&query, candidate.as_ref())));
            }
            Request::Export(reply) => {
                drop(reply.send(Ok(config::export::to_toml(&self.config.model))));
            }
            Request::Flows(query, reply) => drop(reply.send(self.flows(&query))),
            Request::Events(query, reply) => drop(reply.send(self.happened(&query))),
            Request::Capture(query, reply) => {
                let begun = self.begin_capture(query).await;
                if let Err(Ok(Capture { number, .. })) = reply.send(begun) {
                    self.end_capture(number).await;
                }
            }
            Request::EndCapture(number) => self.end_capture(number).await,
            Request::Doctor(query, reply) => self.examine(query, reply),
            Request::Plan(candidate, reply) => drop(reply.send(self.report(&candidate))),
            Request::Change(change, reply) => self.change(change, reply).await,
            Request::Detach(reply) => {
                let result = self.detach().await;
                let next = if result.is_ok() { Next::Stop } else { Next::Continue };
                drop(reply.send(result));
                return next;
            }
        }
        Next::Continue
    }

    /// Leaves nothing in the kernel that nobody looks after, and waits, so long at most, until hooks have heard
    /// everything.
    pub async fn finish(mut self, patience: Duration) {
        self.end_captures().await;
        self.checking.close().await;
        self.hooks.finish(patience).await;
    }

    /// Brings the datapath to what configuration and network ask for now.
    pub fn reconcile(&mut self) {
        let news = self.follow();
        // Packets first: to tell of thousands takes its time.
        self.tell(news);
    }

    /// Tells of what has happened, to whoever wants to know.
    pub fn tell(&mut self, news: Vec<Happening>) {
        self.record_all(news);
    }

    /// The same as [`reconcile`](Self::reconcile), but for what is to be told of it.
    #[must_use]
    pub fn follow(&mut self) -> Vec<Happening> {
        self.network.end_doubts(Instant::now());
        self.checking.end_waiting();
        let mut news = self.ways();
        self.write_ports();
        let (judged, vips) = self.judge(|_| true);
        news.extend(judged);
        self.acted = Timestamp::now();
        let ahead = mem::take(&mut self.ahead);
        self.follow_plan(plan::plan_with(&self.state, &self.desired_of(vips), &ahead));
        news.extend(self.judge_vips());
        self.release_ports();
        news
    }

    /// Reads back what stands in the tables and repairs what differs.
    fn resync(&mut self) {
        let mut actual = self.kernel.state_beside(&self.state);
        for (found, known) in actual.blocks.iter_mut().zip(&self.state.blocks) {
            if found.ring == known.ring {
                found.base = Arc::clone(&known.base);
            }
        }
        if actual.entries != self.state.entries {
            // Nothing is passed over as planned already.
            actual.blocks.iter_mut().for_each(|block| block.planned = None);
        }
        self.acted = Timestamp::now();
        let drift = match self.plan(&self.config.model, &actual, &self.ledger) {
            Ok(plan) => plan,
            Err(error) => return log::error!("resync: {error}"),
        };
        if !drift.ops.is_empty() {
            log::warn!("resync: the tables had drifted, {} writes repair them", drift.ops.len());
        }
        drop(self.apply(drift));
    }

    /// Carries out a plan if there is one. What fails is logged, and the next resync tries again.
    fn follow_plan(&mut self, plan: Result<Plan, PlanError>) {
        match plan {
            Ok(plan) => drop(self.apply(plan)),
            Err(error) => log::error!("{error}"),
        }
    }

    /// Brings the datapath to what was asked for last, but for these VIPs.
    fn follow_desired(&mut self, vips: &[DesiredVip]) {
        self.follow_plan(plan::plan(&self.state, &self.desired_anew(vips)));
    }

    /// Carries out a plan. What fails half-way is found and repaired by the next resync.
    fn apply(&mut self, plan: Plan) -> Result<(), dataplane::Error> {
        self.kernel.apply(&plan.ops).inspect_err(|error| log::error!("the tables: {error}"))?;
        self.state = plan.state;
        if plan.ops.iter().any(|op| matches!(op, Op::Slots(_) | Op::Real { .. })) {
            self.sweeper.wake(Instant::now());
        }
        self.follow_capture(&plan.ops);
        Ok(())
    }

    fn plan(&self, model: &Model, actual: &State, ledger: &Ledger) -> Result<Plan, PlanError> {
        plan::plan(actual, &self.desired(model, ledger))
    }
}

/// The time as the datapath reads it.
fn now() -> Tick {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let now = now.map(Duration::from).unwrap_or_default();
    Tick::at(now.as_nanos() as u64)
}

/// The real with this address, be it of the pool or the sorry server.
fn find_real(vip: &Vip, address: IpAddr) -> Real {
    let found = vip.reals.iter().find(|real| real.address == address);
    found.cloned().unwrap_or_else(|| Real::plain(address))
}
