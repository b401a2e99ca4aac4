//! The VIPs that packets are for, and the balancer that has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use aya::programs::{ProgramFd, Xdp};
use lb_common::{PortWord, RealWord, Slot, Tick};
use lb_ebpf::bench::FLOOR_POOL;
use lb_user::{
    dataplane::{Dataplane as _, Kernel, Loader},
    model::{FlowTables, HashMode, Ports, Protocol, Room},
    plan::{Block, Changed, Desired, DesiredReal, DesiredVip, Op, Plan, Role, State, plan},
};

use super::wrapper::descriptor;
use crate::{
    golden::Family,
    world::{BALANCER, Party, SEED, clock},
};

/// The number of the first of the VIPs that there may be many of: the last four bytes of its addresses.
pub const FIRST_VIP: u32 = 0xc612_0000;
/// That of a VIP which serves all ports of TCP.
pub const ALL_TCP: u32 = 0xc000_020a;
/// That of one whose reals are in a VLAN.
pub const TAGGED: u32 = 0xc000_020b;
/// That of one whose slots have all moved.
pub const MOVED: u32 = 0xc000_020c;
/// An address that is no VIP.
pub const NO_VIP: u32 = 0xc000_020d;
/// The TCP port that VIPs serve.
pub const PORT: u16 = 80;
/// The UDP port that they serve, too.
pub const UDP_PORT: u16 = 53;
/// How many reals each VIP has.
pub const REALS: u32 = FLOOR_POOL;
/// The VLAN of those that are in one.
pub const VLAN: u16 = 100;

/// The ring of a VIP that is the only one: as long as Katran's.
const LONG_RING: u32 = 65_537;
/// The ring of ten reals.
const RING: u32 = 4093;

/// Who has the addresses with this number.
#[must_use]
pub fn party(number: u32) -> Party {
    let [high, low] = [(number >> 16) as u16, number as u16];
    Party {
        v4: Ipv4Addr::from_bits(number),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, high, low),
    }
}

/// In which families so many VIPs are: of many there is one, as the table of services has room for
/// 32768 keys.
#[must_use]
pub fn families(services: u32) -> &'static [Family] {
    if services == 1 { &Family::ALL } else { &[Family::V4] }
}

/// A balancer with these VIPs.
pub struct Place {
    kernel: Kernel,
    state: State,
}

impl Place {
    /// One with so many VIPs of either family, beside the special ones.
    pub fn new(services: u32) -> Result<Self> {
        // So that none is refused for the lack of room, or of a second's budget.
        let tables = FlowTables { fresh: 1 << 21, ..FlowTables::default() };
        let vips = vips(services);
        let taken = vips.iter().map(|vip| Room {
            slots: Room::ring(vip.ring_len),
            places: Room::pool(vip.reals.len() as u32),
        });
        let room = taken.sum::<Room>().to_grow();
        let loader = Loader { pin_dir: None, seed: SEED, log: false, tables, room };
        let mut kernel = Kernel::load(&loader)?;
        kernel.set_port(1, PortWord::new(BALANCER.0));
        let desired = Desired { seed: SEED, now: clock(), vips };
        let Plan { ops, state } = plan(&State::default(), &desired)?;
        kernel.apply(&ops)?;
        kernel.apply(&moved(&state, clock()))?;
        Ok(Self { kernel, state })
    }

    /// The balancer's program.
    pub fn program(&mut self) -> Result<ProgramFd> {
        let mut objects = self.kernel.objects();
        let object = objects.next().context("the balancer has no object")?;
        let loaded = object.programs_mut().find_map(|(name, program)| {
            let program: &mut Xdp = program.try_into().ok()?;
            let is_loaded = program.fd().is_ok() && name.starts_with("lb");
            is_loaded.then_some(program)
        });
        descriptor(loaded.context("the balancer's program is not loaded")?)
    }

    /// The loaded datapath, and what stands in its tables.
    pub fn parts(&mut self) -> (&mut Kernel, &State) {
        (&mut self.kernel, &self.state)
    }
}

fn vips(services: u32) -> Vec<DesiredVip> {
    let both = [Ports::One(Protocol::Tcp, PORT), Ports::One(Protocol::Udp, UDP_PORT)];
    let ring = if services == 1 { LONG_RING } else { RING };
    let special = [
        (ALL_TCP, vec![Ports::All(Protocol::Tcp)], 0),
        (TAGGED, both.to_vec(), VLAN),
        (MOVED, both.to_vec(), 0),
    ];
    let many = (0..services).map(|number| (FIRST_VIP + number, both.to_vec(), 0, ring));
    let special = special.into_iter().map(|(number, ports, vlan)| (number, ports, vlan, LONG_RING));
    let all = many.chain(special);
    all.flat_map(|(number, ports, vlan, ring_len)| {
        let Party { v4, v6 } = party(number);
        let families = if number < FIRST_VIP { &Family::ALL } else { families(services) };
        families.iter().map(move |family| {
            let address = match family {
                Family::V4 => IpAddr::from(v4),
                Family::V6 => IpAddr::from(v6),
            };
            vip(address, ports.clone(), vlan, ring_len)
        })
    })
    .collect()
}

fn vip(address: IpAddr, ports: Vec<Ports>, vlan: u16, ring_len: u32) -> DesiredVip {
    let real = |number: u32| {
        let word = RealWord::new([2, 0, 0, 0, 1, number as u8], 1);
        let own = |v6: Ipv6Addr| Ipv6Addr::from_bits(v6.to_bits() + u128::from(number));
        let address = match address {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::from_bits(0x0a00_000a + number)),
            IpAddr::V6(_) => IpAddr::from(own(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 10))),
        };
        let word = if vlan == 0 { word } else { word.in_vlan(vlan) };
        DesiredReal { address, weight: 1, word, role: Role::ACTIVE }
    };
    DesiredVip {
        name: address.to_string(),
        address,
        ports,
        hash: HashMode::Flow,
        ring_len,
        local: false,
        // Unknown datagrams stay old ones as long as anything is measured.
        grace: Tick::ticks(600_000_000_000),
        per_packet: false,
        reals: (0..REALS).map(real).collect(),
        sorry: None,
        leaving: Vec::new(),
    }
}

/// Moves all slots of one VIP to the next real, as if a change had done it now.
fn moved(state: &State, now: Tick) -> Vec<Op> {
    let names = [party(MOVED).v4.to_string(), party(MOVED).v6.to_string()];
    let is_moved = |block: &&Block| block.name.as_ref().is_some_and(|name| names.contains(name));
    let blocks = state.blocks.iter().filter(is_moved);
    blocks
        .flat_map(|block| {
            let members: Vec<_> = block.members.values().map(|real| real.member).collect();
            let next = |slot: Slot| {
                let place = members.iter().position(|member| Some(*member) == slot.current());
                let next = place.map(|place| members[(place + 1) % members.len()]);
                Slot::new(next, slot.current())
            };
            let slots: Vec<Slot> = block.slots.iter().map(next).collect();
            let (first, count) = (block.ring, block.ring_len());
            [Op::Open { first, count, at: now }, Op::Slots(Changed::neighbours(first, slots))]
        })
        .collect()
}
