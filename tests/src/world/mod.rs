//! A small world that has something for every outcome, and both engines set up for it: the datapath's
//! code on the host, and the loaded object, run by `BPF_PROG_TEST_RUN`.

mod frame;
mod moved;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use lb_common::{
    Action, Counters, Flow, FlowKey, Outcome, PortWord, RealWord, Seed, Tick, TraceRecord,
    layout::Rule,
};
use lb_ebpf::{Forward, tables::Notes};
use lb_user::{
    dataplane::{Cursor, Dataplane, Kernel, Loader, Memory},
    model::{FlowTables, HashMode, Mac, Ports, Room},
    plan::{Desired, DesiredReal, DesiredVip, Plan, Role, State, plan},
};

pub use self::{
    frame::Arrived,
    moved::{
        ALL_MOVED, ENDED, ENDING, MOVED, Moved, NEW, NEXT, OLD, ORPHANED, PER_PACKET, RESETTING,
        SETTLED, STAYED, clock, owners, reached,
    },
};

/// The seed of the flow hash.
pub const SEED: Seed = Seed([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
/// From where frames come.
pub const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// To where they are sent, if they are for the balancer.
pub const BALANCER: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// Another machine on the same network.
pub const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 0x33]);

/// Somebody with an address in each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    /// The IPv4 address.
    pub v4: Ipv4Addr,
    /// The IPv6 address.
    pub v6: Ipv6Addr,
}

const fn vip(last: u8) -> Party {
    Party {
        v4: Ipv4Addr::new(192, 0, 2, last),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, last as u16),
    }
}

/// A client.
pub const CLIENT: Party = client(7);
/// tcp/80 and udp/53, not assigned to the balancer.
pub const WEB: Party = vip(10);
/// tcp/*, assigned to the balancer.
pub const ALL_TCP: Party = vip(20);
/// Everything.
pub const EVERYTHING: Party = vip(30);
/// tcp/80 without a usable real.
pub const EMPTY: Party = vip(40);
/// tcp/80 with a real whose MAC address nobody has written.
pub const UNWRITTEN: Party = vip(50);
/// Everything, and a client always meets the same real.
pub const BY_SOURCE: Party = vip(60);
/// udp/*, tcp/80 and tcp/443, assigned to the balancer.
pub const MIXED: Party = vip(70);
/// An address of nobody.
pub const NO_VIP: Party = vip(99);

/// One of many clients.
#[must_use]
pub const fn client(number: u16) -> Party {
    let [high, low] = number.to_be_bytes();
    Party {
        v4: Ipv4Addr::new(198, 51, 100 ^ high, low),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number),
    }
}

/// A way out of the balancer.
pub struct Port {
    /// Its number. Frames come in at number 1.
    pub number: u8,
    /// The interface's MAC address.
    pub mac: Mac,
    /// The outer tag of all that leaves by it: its EtherType and its VLAN.
    pub outer: Option<(u16, u16)>,
}

/// All ports that there are.
pub const PORTS: [Port; 4] = [
    Port { number: 1, mac: BALANCER, outer: None },
    Port { number: 2, mac: Mac([2, 0, 0, 0, 0, 0x22]), outer: None },
    Port { number: 3, mac: Mac([2, 0, 0, 0, 0, 0x23]), outer: Some((0x88a8, 7)) },
    Port { number: 4, mac: Mac([2, 0, 0, 0, 0, 0x24]), outer: Some((0x8100, 8)) },
];

/// The number of a port without an interface.
pub const GONE: u8 = 5;

/// A VIP that serves everything, and how its only real is reached.
pub struct Way {
    /// In words.
    pub claim: &'static str,
    /// The VIP.
    pub vip: Party,
    /// The real's MAC address.
    pub mac: Mac,
    /// The number of its port.
    pub port: u8,
    /// Its VLAN, 0 for none.
    pub vlan: u16,
}

const fn way(claim: &'static str, last: u8, port: u8, vlan: u16) -> Way {
    Way { claim, vip: vip(last), mac: Mac([2, 0, 0, 0, 1, last]), port, vlan }
}

/// Like that of most VIPs.
pub const UNTAGGED: Way = way("to an untagged real", 100, 1, 0);
/// By an 802.1Q tag.
pub const TAGGED: Way = way("to a real in a VLAN", 101, 1, 100);
/// Through another interface.
pub const ELSEWHERE: Way = way("to an untagged real at another port", 102, 2, 0);
/// Through another interface, and by two tags.
pub const STACKED: Way = way("to a real behind two 802.1Q tags", 105, 4, 100);

/// One way of each kind.
pub const WAYS: [Way; 9] = [
    UNTAGGED,
    TAGGED,
    ELSEWHERE,
    way("to a real in a VLAN at another port", 103, 2, 0xffe),
    way("to a real behind 802.1ad and 802.1Q tags", 104, 3, 100),
    STACKED,
    way("to a real behind an 802.1ad tag alone", 106, 3, 0),
    way("to a real behind a port's 802.1Q tag alone", 107, 4, 0),
    way("to a real whose interface is gone", 108, GONE, 100),
];

impl Port {
    /// The port with this number.
    #[must_use]
    pub fn number(number: u8) -> Option<&'static Self> {
        PORTS.iter().find(|port| port.number == number)
    }

    /// As it stands in the tables.
    #[must_use]
    pub fn word(&self) -> PortWord {
        let word = PortWord::new(self.mac.0);
        self.outer.map_or(word, |(kind, vlan)| word.in_outer_vlan(vlan, kind == 0x88a8))
    }
}

impl Way {
    /// Whether the interface is there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.port != GONE
    }

    fn word(&self) -> RealWord {
        let word = RealWord::new(self.mac.0, self.port);
        if self.vlan == 0 { word } else { word.in_vlan(self.vlan) }
    }
}

/// A real and how it is reached.
#[derive(Clone, Copy)]
struct Real {
    last: u8,
    usable: bool,
    word: RealWord,
}

const UNKNOWN: Real = Real { last: 11, usable: true, word: RealWord::NONE };

fn pool() -> Vec<Real> {
    let word = |last| RealWord::new([2, 0, 0, 0, 0, last], 1);
    [11, 12, 13].map(|last| Real { last, usable: true, word: word(last) }).to_vec()
}

/// A VIP in both families.
fn vips(address: Party, ports: &[&str], local: bool, reals: &[Real]) -> [DesiredVip; 2] {
    let ports: Vec<Ports> = ports.iter().map(|ports| ports.parse().expect("ports")).collect();
    [address.v4.into(), address.v6.into()].map(|address: IpAddr| DesiredVip {
        name: format!("vip-{address}"),
        address,
        ports: ports.clone(),
        hash: HashMode::Flow,
        ring_len: 1021,
        local,
        grace: 0,
        per_packet: false,
        reals: reals.iter().map(|real| real.of_family(address)).collect(),
        sorry: None,
        leaving: Vec::new(),
    })
}

impl Real {
    fn of_family(self, vip: IpAddr) -> DesiredReal {
        let Self { last, usable, word } = self;
        let address = match vip {
            IpAddr::V4(_) => IpAddr::from([10, 0, 0, last]),
            IpAddr::V6(_) => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)]),
        };
        let role = if usable { Role::ACTIVE } else { Role::Out };
        DesiredReal { address, weight: 1, word, role }
    }
}

/// The world.
#[must_use]
pub fn world() -> Desired {
    let by_source = vips(BY_SOURCE, &["any"], false, &pool())
        .map(|vip| DesiredVip { hash: HashMode::Source, ..vip });
    let common = [
        vips(WEB, &["tcp/80", "udp/53"], false, &pool()),
        vips(ALL_TCP, &["tcp/*"], true, &pool()),
        vips(EVERYTHING, &["any"], false, &pool()),
        vips(EMPTY, &["tcp/80"], false, &[Real { usable: false, ..UNKNOWN }]),
        vips(UNWRITTEN, &["tcp/80"], false, &[UNKNOWN]),
        by_source,
        vips(MIXED, &["udp/*", "tcp/80", "tcp/443"], true, &pool()),
    ];
    let ways = WAYS.iter().map(|way| {
        let [.., last] = way.mac.0;
        vips(way.vip, &["any"], false, &[Real { last, usable: true, word: way.word() }])
    });
    let moved = ALL_MOVED.iter().map(Moved::desired);
    let vips = common.into_iter().chain(ways).chain(moved).flatten().collect();
    Desired { seed: SEED, now: Tick(0), vips }
}

/// What makes the world of empty tables, and all that has moved in it.
fn plan_at(now: Tick) -> Plan {
    let Plan { mut ops, mut state } = plan(&State::default(), &world()).expect("a plan");
    ops.extend(ALL_MOVED.iter().flat_map(|moved| moved.begin(&mut state, now)));
    Plan { ops, state }
}

/// Everything that can be seen of an engine after a packet.
#[derive(Debug, PartialEq)]
pub struct Seen {
    /// The XDP action.
    pub action: u32,
    /// The frame as it is then.
    pub frame: Vec<u8>,
    /// How it ended, and where it was steered: place, slot and rule.
    pub verdict: Result<(u32, u32, Rule), Outcome>,
    /// The counter of each outcome.
    pub outcomes: Vec<u64>,
    /// The counters of each place.
    pub steered: Vec<Counters>,
}

/// The number of the XDP action of a frame that ended so.
#[must_use]
pub fn xdp_action(verdict: Result<Forward, Outcome>) -> u32 {
    let outcome = match verdict {
        Ok(Forward { port: 1, .. }) => Outcome::Forwarded,
        Ok(_) => return 4,
        Err(outcome) => outcome,
    };
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
    let mut arrived = Arrived::new(frame);
    let verdict = memory.process(&mut arrived);
    let (outcomes, steered) = host_counters(memory, state);
    let (action, frame) = (xdp_action(verdict), arrived.bytes());
    let verdict = verdict.map(|forward| (forward.place, forward.slot, forward.rule));
    Seen { action, frame, verdict, outcomes, steered }
}

/// Runs a frame through the loaded object, whose trace says before what it will do.
pub fn in_kernel(kernel: &mut Kernel, state: &State, frame: &[u8]) -> Seen {
    let verdict = traced(kernel, frame);
    let (action, frame) = kernel.process(frame).expect("a test run");
    let (outcomes, steered) = kernel_counters(kernel, state);
    Seen { action, frame, verdict, outcomes, steered }
}

/// What the loaded object's trace says of a frame, as [`Seen::verdict`].
///
/// # Errors
///
/// How the frame would end if it were not forwarded.
pub fn traced(kernel: &mut Kernel, frame: &[u8]) -> Result<(u32, u32, Rule), Outcome> {
    let TraceRecord { outcome, slot, place, rule } = kernel.trace(frame).expect("a trace");
    match Outcome::from_index(outcome).expect("an outcome") {
        Outcome::Forwarded => Ok((place, slot, Rule::from_number(rule).expect("a rule"))),
        outcome => Err(outcome),
    }
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
    let steered: Vec<Counters> =
        places(state).map(|place| kernel.steered(place).expect("a counter")).collect();
    let outcome = |outcome: &Outcome| match outcome {
        // As `Kernel::outcome` does for all places that there are, of which most are nobody's.
        Outcome::Forwarded => steered.iter().map(|counters| counters.packets).sum(),
        outcome => kernel.outcome(*outcome).expect("a counter"),
    };
    (Outcome::ALL.iter().map(outcome).collect(), steered)
}

/// The tables of flows.
pub const NOTES: [Notes; 3] = [Notes::Pinned, Notes::Fresh, Notes::Datagrams];

/// All that the loaded object has noted in a table.
#[must_use]
pub fn noted(kernel: &Kernel, notes: Notes) -> Vec<(FlowKey, Flow)> {
    let (mut cursor, mut flows) = (Cursor::Start, Vec::new());
    while cursor != Cursor::End {
        flows.extend(kernel.notes(notes).read(&mut cursor, 1024).expect("a table of flows"));
    }
    flows
}

/// The datapath's code on the host, in the world.
#[must_use]
pub fn host() -> (Memory, State) {
    host_at(clock())
}

fn host_at(now: Tick) -> (Memory, State) {
    let mut memory = Memory::new(BALANCER.0, SEED);
    for port in &PORTS {
        memory.set_port(port.number, port.word());
    }
    let Plan { ops, state } = plan_at(now);
    let Ok(()) = memory.apply(&ops);
    memory.set_now(now);
    (memory, state)
}

/// Both engines in the world. Wants root.
#[must_use]
pub fn engines() -> (Memory, Kernel, State) {
    /// A test run sends nothing, so any interface does behind the other ports.
    const LOOPBACK: u32 = 1;
    let now = clock();
    let (memory, state) = host_at(now);
    let loader = Loader {
        pin_dir: None,
        seed: SEED,
        log: false,
        tables: FlowTables::default(),
        room: Room::LEAST,
    };
    let mut kernel = Kernel::load(&loader).expect("the object loads");
    for port in &PORTS {
        kernel.set_port(port.number, port.word());
        kernel.set_device(port.number, Some(LOOPBACK)).expect("the devices are written");
    }
    kernel.apply(&plan_at(now).ops).expect("the maps are written");
    (memory, kernel, state)
}
