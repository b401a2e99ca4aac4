//! A small world that has something for every outcome, and both engines set up for it: the datapath's
//! code on the host, and the loaded object, run by `BPF_PROG_TEST_RUN`.

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::Range,
};

use lb_common::{Action, Counters, Outcome, PortWord, RealWord, Seed};
use lb_user::{
    dataplane::{Dataplane, Kernel, Loader, Memory},
    model::{HashMode, Mac, Ports},
    plan::{Desired, DesiredReal, DesiredVip, Plan, State, plan},
};

/// The seed of the flow hash.
pub const SEED: Seed = Seed([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
/// From where frames come.
pub const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// To where they are sent, if they are for the balancer.
pub const BALANCER: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// Another machine on the same network.
pub const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 0x33]);

/// A client.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// tcp/80 and udp/53, not assigned to the balancer.
pub const WEB: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// tcp/*, assigned to the balancer.
pub const ALL_TCP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);
/// Everything.
pub const EVERYTHING: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 30);
/// tcp/80 without a usable real.
pub const EMPTY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 40);
/// tcp/80 with a real whose MAC address nobody has written.
pub const UNWRITTEN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
/// Everything, and a client always meets the same real; not in the golden table.
pub const BY_SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 60);
/// udp/*, tcp/80 and tcp/443, assigned to the balancer; not in the golden table.
pub const MIXED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 70);
/// An address of nobody.
pub const NO_VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

fn real(last: u8, usable: bool, word: RealWord) -> DesiredReal {
    DesiredReal { address: IpAddr::from([10, 0, 0, last]), weight: 1, word, usable }
}

fn pool() -> Vec<DesiredReal> {
    [11, 12, 13].map(|last| real(last, true, RealWord::new([2, 0, 0, 0, 0, last], 1))).to_vec()
}

fn vip(address: Ipv4Addr, ports: &[&str], local: bool, reals: Vec<DesiredReal>) -> DesiredVip {
    DesiredVip {
        name: format!("vip-{address}"),
        address: address.into(),
        ports: ports.iter().map(|ports| ports.parse().expect("ports")).collect::<Vec<Ports>>(),
        hash: HashMode::Flow,
        ring_len: 1021,
        local,
        reals,
        sorry: None,
    }
}

/// The world of the golden table.
#[must_use]
pub fn world() -> Desired {
    let vips = vec![
        vip(WEB, &["tcp/80", "udp/53"], false, pool()),
        vip(ALL_TCP, &["tcp/*"], true, pool()),
        vip(EVERYTHING, &["any"], false, pool()),
        vip(EMPTY, &["tcp/80"], false, vec![real(11, false, RealWord::NONE)]),
        vip(UNWRITTEN, &["tcp/80"], false, vec![real(11, true, RealWord::NONE)]),
    ];
    Desired { seed: SEED, vips }
}

/// The same with VIPs that differ in their hash and in how ports are found: the world of random frames.
#[must_use]
pub fn wider_world() -> Desired {
    let mut world = world();
    let by_source = vip(BY_SOURCE, &["any"], false, pool());
    world.vips.push(DesiredVip { hash: HashMode::Source, ..by_source });
    world.vips.push(vip(MIXED, &["udp/*", "tcp/80", "tcp/443"], true, pool()));
    world
}

/// Everything that can be seen of an engine after a packet.
#[derive(Debug, PartialEq)]
pub struct Seen {
    /// The XDP action.
    pub action: u32,
    /// The frame as it is then.
    pub frame: Vec<u8>,
    /// The counter of each outcome.
    pub outcomes: Vec<u64>,
    /// The counters of each place.
    pub steered: Vec<Counters>,
}

/// The number of the XDP action that an outcome ends with.
#[must_use]
pub fn xdp_action(outcome: Outcome) -> u32 {
    match outcome.action() {
        Action::Drop => 1,
        Action::Pass => 2,
        Action::Transmit => 3,
    }
}

/// All places of all pools.
#[must_use]
pub fn places(state: &State) -> Range<u32> {
    0..state.blocks.iter().map(|block| block.pool + block.places).max().unwrap_or_default()
}

/// Runs a frame through the datapath's code in this process.
pub fn on_host(memory: &Memory, state: &State, frame: &[u8]) -> Seen {
    let mut frame = frame.to_vec();
    let outcome = memory.process(&mut frame).err().unwrap_or(Outcome::Forwarded);
    let (outcomes, steered) = host_counters(memory, state);
    Seen { action: xdp_action(outcome), frame, outcomes, steered }
}

/// Runs a frame through the loaded object.
pub fn in_kernel(kernel: &mut Kernel, state: &State, frame: &[u8]) -> Seen {
    let (action, frame) = kernel.process(frame).expect("a test run");
    let (outcomes, steered) = kernel_counters(kernel, state);
    Seen { action, frame, outcomes, steered }
}

/// The counters of all outcomes and of all places on the host.
#[must_use]
pub fn host_counters(memory: &Memory, state: &State) -> (Vec<u64>, Vec<Counters>) {
    let outcomes = Outcome::ALL.iter().map(|outcome| memory.outcome(*outcome)).collect();
    (outcomes, places(state).map(|place| memory.steered(place)).collect())
}

/// The same in the kernel.
#[must_use]
pub fn kernel_counters(kernel: &Kernel, state: &State) -> (Vec<u64>, Vec<Counters>) {
    let outcome = |outcome: &Outcome| kernel.outcome(*outcome).expect("a counter");
    let steered = places(state).map(|place| kernel.steered(place).expect("a counter")).collect();
    (Outcome::ALL.iter().map(outcome).collect(), steered)
}

/// The datapath's code on the host, in such a world.
#[must_use]
pub fn host(world: &Desired) -> (Memory, State) {
    let mut memory = Memory::new(BALANCER.0, SEED);
    let Plan { ops, state } = plan(&State::default(), world).expect("a plan");
    let Ok(()) = memory.apply(&ops);
    (memory, state)
}

/// Both engines in the same world. Wants root.
#[must_use]
pub fn engines(world: &Desired) -> (Memory, Kernel, State) {
    let (memory, state) = host(world);
    let loader = Loader { pin_dir: None, seed: SEED, log: false };
    let mut kernel = Kernel::load(&loader).expect("the object loads");
    kernel.set_port(1, PortWord::new(BALANCER.0));
    let Plan { ops, .. } = plan(&State::default(), world).expect("a plan");
    kernel.apply(&ops).expect("the maps are written");
    (memory, kernel, state)
}
