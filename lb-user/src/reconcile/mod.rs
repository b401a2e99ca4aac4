//! The one task that owns the state: every event (a request, a neighbour, an interface, time) ends
//! here, becomes a desired state, and the planner's difference is written to the datapath.

mod announcing;
mod attaching;
mod change;
mod interfaces;
mod network;
mod ports;
mod status;
mod trace;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lb_common::{RealWord, Tick};
use tokio::sync::mpsc;

pub use self::{
    announcing::{Announcing, remove_remembered},
    network::Network,
};
use self::{attaching::Attachments, interfaces::Place, ports::Ports};
use crate::{
    announce::Conflict,
    api::{
        request::{Change, Refusal, Reply, Request},
        types::Done,
    },
    config,
    dataplane::{self, Dataplane as _, Kernel, Port},
    health::{self, Health, Reach, Verdict},
    model::{HashSeed, Mac, Model, Real, RealState, Vip},
    neighbour::{self, Watcher},
    plan::{self, Desired, DesiredReal, DesiredVip, Plan, PlanError, Role, State},
};

/// Something happened.
pub enum Event {
    /// In the network; it has been learnt.
    Network,
    /// Somebody asks.
    Request(Request),
    /// Addresses were probed for before they are assigned.
    Probed(Probed),
    /// Time for a full resync.
    Resync,
    /// The operator wants the file read again.
    Reload,
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

/// The owner of the state.
pub struct Reconciler {
    config: Configuration,
    seed: HashSeed,
    kernel: Kernel,
    attachments: Attachments,
    ports: Ports,
    state: State,
    network: Network,
    watcher: Watcher,
    announcing: Announcing,
    known: BTreeMap<(String, IpAddr), Known>,
    events: mpsc::Sender<Probed>,
}

/// What was last said of a real in the pool of a VIP.
struct Known {
    verdict: Verdict,
    since: Timestamp,
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
        network: Network,
        watcher: Watcher,
        announcing: Announcing,
        events: mpsc::Sender<Probed>,
    ) -> Result<Self, dataplane::Error> {
        let state = kernel.state();
        let ports = Ports::new(kernel.ports(), network.interfaces.configured());
        let mut reconciler = Self {
            config,
            seed,
            kernel,
            attachments: Attachments::default(),
            ports,
            state,
            network,
            watcher,
            announcing,
            known: BTreeMap::new(),
            events,
        };
        reconciler.inherit();
        for name in reconciler.network.interfaces.configured() {
            let number = reconciler.ports.number(&Port::of(name));
            reconciler.kernel.prepare(number.unwrap_or_default())?;
        }
        Ok(reconciler)
    }

    /// The datapath.
    pub fn kernel(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// Reals that own slots of a former daemon's rings are believed to be there until the kernel
    /// says otherwise: a restart takes nobody out of service.
    fn inherit(&mut self) {
        for block in &self.state.blocks {
            for (address, occupant) in &block.members {
                if occupant.word != RealWord::NONE && block.owned(occupant.member) > 0 {
                    self.network.inherit(*address, Mac(occupant.word.mac()));
                }
            }
        }
    }

    /// Asks the kernel for the ways to all reals and to resolve them, and to tell of them.
    pub async fn track(&mut self) {
        let reals = self.reals();
        let all: BTreeSet<IpAddr> = reals.iter().map(|real| real.address).collect();
        let resolved = reals.iter().filter(|real| real.mac.is_none());
        let resolved: BTreeSet<IpAddr> = resolved.map(|real| real.address).collect();
        self.network.find_routes(&self.watcher, &all).await;
        self.watcher.track(self.network.on_link(&resolved));
    }

    /// Whether the kernel has spoken about every real that may become usable.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let vips = &self.config.model.vips;
        vips.iter().flat_map(|vip| &vip.reals).all(|real| {
            real.state != RealState::Active
                || !matches!(self.network.reach(real), Reach::Unresolved | Reach::Inherited(_))
        })
    }

    /// Takes in what happened in the network, without acting on it yet.
    pub fn learn(&mut self, event: neighbour::Event) {
        self.network.learn(event, Instant::now());
    }

    /// When the passing of time alone changes something.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.network.deadline()
    }

    /// Acts on an event.
    pub async fn handle(&mut self, event: Event) -> Next {
        match event {
            Event::Network => self.follow_network().await,
            Event::Request(request) => return self.answer(request).await,
            Event::Probed(probed) => self.probed(probed).await,
            Event::Resync => {
                self.follow_interfaces().await;
                self.track().await;
                self.resync();
                self.announce().await;
            }
            Event::Reload => self.reload().await,
        }
        Next::Continue
    }

    /// Acts on what was learnt. Where interfaces or addresses have changed, routes may have, too.
    async fn follow_network(&mut self) {
        let moved = self.network.take_moved();
        if moved {
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

    async fn answer(&mut self, request: Request) -> Next {
        // An asker that has gone away needs no answer.
        match request {
            Request::Status(reply) => drop(reply.send(self.status())),
            Request::Trace(query, reply) => drop(reply.send(self.trace(&query))),
            Request::Export(reply) => {
                drop(reply.send(Ok(config::export::to_toml(&self.config.model))));
            }
            Request::Flows(_, reply) => {
                drop(reply.send(Err(Refusal::failed("flows are not listed yet"))));
            }
            Request::Plan(_, reply) => {
                drop(reply.send(Err(Refusal::failed("no configuration is planned yet"))));
            }
            Request::Change(Change::Apply(_), reply) => {
                drop(reply.send(Err(Refusal::failed("no configuration is applied yet"))));
            }
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

    /// Brings the datapath to what configuration and network ask for now.
    pub fn reconcile(&mut self) {
        self.network.end_doubts(Instant::now());
        self.write_ports();
        self.judge();
        match self.plan(&self.config.model, &self.state) {
            // Logged where it failed; the next resync tries again.
            Ok(plan) => drop(self.apply(plan)),
            Err(error) => log::error!("{error}"),
        }
        self.release_ports();
    }

    /// Reads back what stands in the tables and repairs what differs.
    fn resync(&mut self) {
        let mut actual = self.kernel.state();
        for (found, known) in actual.blocks.iter_mut().zip(&self.state.blocks) {
            if found.ring == known.ring {
                found.base = Arc::clone(&known.base);
            }
        }
        let drift = match self.plan(&self.config.model, &actual) {
            Ok(plan) => plan,
            Err(error) => return log::error!("resync: {error}"),
        };
        if !drift.ops.is_empty() {
            log::warn!("resync: the tables had drifted, {} writes repair them", drift.ops.len());
        }
        drop(self.apply(drift));
    }

    /// Carries out a plan. What fails half-way is found and repaired by the next resync.
    fn apply(&mut self, plan: Plan) -> Result<(), dataplane::Error> {
        self.kernel.apply(&plan.ops).inspect_err(|error| log::error!("the tables: {error}"))?;
        self.state = plan.state;
        Ok(())
    }

    fn plan(&self, model: &Model, actual: &State) -> Result<Plan, PlanError> {
        let vips = model.vips.iter().map(|vip| self.desired(vip)).collect();
        plan::plan(actual, &Desired { seed: self.seed.0, now: now(), vips })
    }

    fn desired(&self, vip: &Vip) -> DesiredVip {
        let local = self.network.is_local(vip.address);
        DesiredVip::new(vip, local, |address, weight| {
            let real = find_real(vip, address);
            let (reach, word) = self.reach(&real);
            let usable = health::judge(&real, reach, vip.check.as_ref()).usable;
            let role = if usable { Role::ACTIVE } else { Role::Out };
            DesiredReal { address, weight, word, role }
        })
    }

    /// Notes since when each real is as it is, and says what has changed.
    fn judge(&mut self) {
        let now = Timestamp::now();
        let mut known = BTreeMap::new();
        for vip in &self.config.model.vips {
            for real in &vip.reals {
                let verdict = health::judge(real, self.reach(real).0, vip.check.as_ref());
                let key = (vip.name.clone(), real.address);
                let before = self.known.remove(&key);
                let same = before.filter(|before| before.verdict == verdict);
                let now_known = same.unwrap_or_else(|| {
                    report(vip, real, &verdict);
                    Known { verdict, since: now }
                });
                known.insert(key, now_known);
            }
        }
        self.known = known;
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

fn report(vip: &Vip, real: &Real, verdict: &Verdict) {
    let level = match verdict.health {
        Health::Down => log::Level::Warn,
        Health::Unknown => log::Level::Info,
    };
    let (health, reason) = (verdict.health.label(), &verdict.reason);
    log::log!(level, "vip {} real {}: {health}: {reason}", vip.name, real.address);
}
