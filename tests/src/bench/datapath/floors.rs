//! The floors' tables.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, Pod,
    maps::{Array, MapData},
    programs::ProgramFd,
};
use lb_common::layout::mac_bits;
use lb_ebpf::bench::{
    FLOOR_DISPLACEMENTS, FLOOR_ENTRIES, FLOOR_RING, FloorService, floor_bucket, floor_entry,
    floor_hash,
};

use super::{
    place::{self, FIRST_VIP, PORT, REALS, UDP_PORT},
    wrapper::descriptor,
};
use crate::{bench::object, golden::Family};

/// The seed that the floors' programs have.
const SEED: u64 = 0x0123_4567_89ab_cdef;

/// The floors, loaded.
pub struct Floors(Ebpf);

impl Floors {
    /// Loads them with so many services, each with its own reals, in both families. All services share one ring, which is
    /// less than a balancer needs, but for the one that has them apart.
    pub fn new(services: u32) -> Result<Self> {
        let mut floors = Self(object::object(services)?);
        let families = place::families(services);
        let keys: Vec<(u32, u64)> = (0..services)
            .flat_map(|number| families.iter().map(move |family| (number, *family)))
            .flat_map(|(number, family)| {
                [(PORT, 6), (UDP_PORT, 17)].map(|(port, protocol)| {
                    (number, key(family, FIRST_VIP + number, port, protocol))
                })
            })
            .collect();
        let (displacements, entries) = lay_out(&keys).context("no layout for the floors")?;
        floors.write("DISPLACEMENTS", displacements)?;
        floors.write("SERVICES", entries)?;
        floors.write("RING", (0..FLOOR_RING).map(|slot| slot % REALS).collect())?;
        let real = |place: u32| mac_bits([2, 0, 0, 0, 1, (place % REALS) as u8]);
        floors.write("REALS", (0..services * REALS).map(real).collect())?;
        Ok(floors)
    }

    /// One of them.
    pub fn program(&mut self, name: &str) -> Result<ProgramFd> {
        descriptor(object::program(&mut self.0, name)?)
    }

    fn write<T: Pod>(&mut self, name: &str, values: Vec<T>) -> Result<()> {
        let map = self.0.map_mut(name).with_context(|| format!("no map {name}"))?;
        let mut array: Array<&mut MapData, T> = Array::try_from(map)?;
        (0..).zip(values).try_for_each(|(index, value)| array.set(index, value, 0))?;
        Ok(())
    }
}

/// The key that the floors make of a packet.
fn key(family: Family, vip: u32, port: u16, protocol: u8) -> u64 {
    let port = u64::from(port.to_be()) << 8 | u64::from(protocol);
    match family {
        Family::V4 => u64::from(vip.to_be()) << 32 | port,
        Family::V6 => {
            let address = u128::from(place::party(vip).v6).to_be();
            (address as u64).rotate_left(32) ^ (address >> 64) as u64 ^ port
        }
    }
}

/// The words of a service that has reals of its own.
fn service(number: u32, key: u64) -> [u64; 4] {
    let FloorService { ring, ring_len, .. } =
        FloorService { ring: number * REALS, ring_len: FLOOR_RING, ..FloorService::default() };
    [key, u64::from(ring) | u64::from(ring_len) << 32, u64::from(number), 0]
}

/// Hash and displace, the largest buckets first.
fn lay_out(keys: &[(u32, u64)]) -> Option<(Vec<u32>, Vec<[u64; 4]>)> {
    let mut buckets = vec![Vec::new(); FLOOR_DISPLACEMENTS as usize];
    for (number, key) in keys {
        let hash = floor_hash(*key, SEED);
        buckets[floor_bucket(hash) as usize].push((hash, service(*number, *key)));
    }
    let mut displacements = vec![0; FLOOR_DISPLACEMENTS as usize];
    let mut entries = vec![[0; 4]; FLOOR_ENTRIES as usize];
    let mut order: Vec<usize> = (0..buckets.len()).collect();
    order.sort_by_key(|bucket| std::cmp::Reverse(buckets[*bucket].len()));
    for bucket in order {
        let places = |displacement: u32| {
            let places =
                buckets[bucket].iter().map(move |(hash, _)| floor_entry(*hash, displacement));
            places.collect::<Vec<u32>>()
        };
        let displacement = (0..FLOOR_ENTRIES).find(|displacement| {
            let mut places = places(*displacement);
            let free = places.iter().all(|place| entries[*place as usize] == [0; 4]);
            places.sort_unstable();
            free && places.windows(2).all(|pair| pair[0] != pair[1])
        })?;
        displacements[bucket] = displacement;
        for (place, (_, service)) in places(displacement).into_iter().zip(&buckets[bucket]) {
            entries[place as usize] = *service;
        }
    }
    Some((displacements, entries))
}
