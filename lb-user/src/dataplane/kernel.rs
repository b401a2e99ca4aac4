//! The datapath in the kernel: its maps, read and written, and its programs, attached and run.

mod attaching;
mod counters;
mod notes;
mod tables;

use std::{collections::BTreeMap, net::IpAddr, sync::atomic::Ordering, time::Duration};

use aya::{
    Ebpf, Pod,
    maps::{DevMap, Map, MapData, MapError, PerCpuArray},
};
use lb_common::{Entry, Outcome, PortWord, TableWord, Times, TraceRecord, limits};

use super::{
    Dataplane,
    error::Error,
    flows::FlowTable,
    former,
    growth::Growth,
    instances::{self, Instances},
    load::Loader,
    mapped::Mapped,
    noted::Noted,
    port::{self, Port},
    steered::{self, Steered},
};
use crate::{
    model::Room,
    plan::{Op, Table},
};

/// The loaded datapath.
pub struct Kernel {
    instances: Instances,
    ports: Mapped,
    devices: DevMap<MapData>,
    interfaces: Mapped,
    table: Mapped,
    displacements: Mapped,
    entries: Mapped,
    rings: Mapped,
    times: Mapped,
    full: Mapped,
    noted: Noted,
    pinned: FlowTable,
    fresh: FlowTable,
    datagrams: FlowTable,
    reals: Mapped,
    addresses: Mapped,
    steered: Steered,
    outcomes: PerCpuArray<MapData, u64>,
    /// What is in larger arrays is a copy, until the programs on them are in force.
    growth: Option<Growth>,
}

impl Kernel {
    /// Loads the object and maps its arrays; what is pinned already is taken as it is.
    ///
    /// # Errors
    ///
    /// Where the pin directory, the permissions or the kernel do not serve.
    pub fn load(loader: &Loader) -> Result<Self, Error> {
        let mut instances = Instances::new(loader)?;
        let growth = instances.growth()?;
        let ebpf = instances.first()?;
        let mut kernel = Self {
            ports: mapped(ebpf, "PORTS")?,
            devices: devices(ebpf)?,
            interfaces: mapped(ebpf, "INTERFACES")?,
            table: mapped(ebpf, "TABLE")?,
            displacements: mapped(ebpf, "DISPLACE")?,
            entries: mapped(ebpf, "ENTRIES")?,
            rings: mapped(ebpf, "RINGS")?,
            times: mapped(ebpf, "TIMES")?,
            full: mapped(ebpf, "FULL")?,
            noted: Noted::new(mapped(ebpf, "NOTED")?, &loader.seed, loader.pin_dir.is_none()),
            pinned: flows(ebpf, "PINNED")?,
            fresh: flows(ebpf, "FRESH")?,
            datagrams: flows(ebpf, "DATAGRAMS")?,
            reals: mapped(ebpf, "REALS")?,
            addresses: mapped(ebpf, "ADDRESSES")?,
            steered: steered(ebpf)?,
            outcomes: per_cpu(ebpf, "OUTCOMES")?,
            instances,
            growth,
        };
        let port = instances::FIRST;
        kernel.instances.set_own(port, PortWord(kernel.ports.load(usize::from(port))));
        kernel.instances.set_table(TableWord(kernel.table.load(0)));
        kernel.noted.know(&kernel.entries_in_force());
        kernel.take_over_former(loader)?;
        Ok(kernel)
    }

    /// Lays out what stands in the service table of a former layout, whose programs are still in force. This may
    /// happen more than once, if a start ends before its programs are attached.
    fn take_over_former(&mut self, loader: &Loader) -> Result<(), Error> {
        let Some(former) = loader.former()? else {
            return Ok(());
        };
        self.write_services(&former::entries(&former)?)?;
        // They count what they forward twice.
        let counted = self.counted(Outcome::Forwarded.index())?;
        let before = counted.saturating_sub(self.steered_in_all()?);
        self.set_forwarded_before(before)
    }

    /// Loads the program for one more interface, at this port.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses it.
    pub fn prepare(&mut self, port: u8) -> Result<(), Error> {
        self.instances.load(port)?;
        self.instances.set_own(port, PortWord(self.ports.load(usize::from(port))));
        self.instances.set_table(TableWord(self.table.load(0)));
        Ok(())
    }

    /// What the ports are, as a former daemon has left it.
    #[must_use]
    pub fn ports(&self) -> BTreeMap<u8, Port> {
        let port = |number: u8| {
            let first = usize::from(number) * port::WORDS;
            let words = std::array::from_fn(|word| self.interfaces.load(first + word));
            Some((number, Port::decode(words)?))
        };
        (1..limits::PORTS as u8).filter_map(port).collect()
    }

    /// Leaves to the next daemon what a port is.
    pub fn set_interface(&mut self, number: u8, port: Option<&Port>) {
        let words = port.map_or([0; port::WORDS], Port::encode);
        for (index, word) in (usize::from(number) * port::WORDS..).zip(words) {
            self.interfaces.store(index, word);
        }
    }

    /// Says which MAC address, and which outer tag, frames get that leave by a port; only frames to
    /// this address are balanced.
    pub fn set_port(&mut self, number: u8, word: PortWord) {
        self.ports.store(usize::from(number), word.0);
        self.instances.set_own(number, word);
    }

    /// Says which interface is at a port, by its index.
    ///
    /// # Errors
    ///
    /// When the map cannot be written.
    pub fn set_device(&mut self, number: u8, interface: Option<u32>) -> Result<(), Error> {
        let number = u32::from(number);
        // An index of 0 stands for none, in the kernel, too (`__dev_map_update_elem`).
        let index = interface.unwrap_or_default();
        let known = self.devices.get(number, 0).map_or(0, |device| device.if_index);
        if known == index {
            return Ok(());
        }
        self.devices
            .set(number, index, None, 0)
            .map_err(|error| Error::kernel(format!("port {number}"), &error))
    }

    /// The objects, for their logs.
    pub fn objects(&mut self) -> impl Iterator<Item = &mut Ebpf> {
        self.instances.objects()
    }

    /// How often the balancer of a port has run, and how long in all, as far as the kernel measures it.
    #[must_use]
    pub fn runs(&self, port: u8) -> Option<(u64, Duration)> {
        self.instances.runs(port)
    }

    /// How large the arrays of rings and pools are.
    #[must_use]
    pub fn room(&self) -> Room {
        let slots = (self.rings.words() * 2).min(self.times.words());
        let places = self.reals.words().min(self.addresses.words() / 2);
        Room { slots: slots as u32, places: places as u32 }
    }

    /// Whether a former daemon's programs read smaller arrays of rings and pools than those that are
    /// written here. Nothing is to be written, then, before [`attach_all`](Self::attach_all) has put others in
    /// their place.
    #[must_use]
    pub fn is_growing(&self) -> bool {
        self.growth.is_some()
    }

    /// The MAC address to which a frame must be for a [`trace`](Self::trace): that of the first
    /// interface that is there.
    #[must_use]
    pub fn entrance(&self) -> Option<[u8; 6]> {
        let word = self.ports.load(usize::from(self.first_open()?));
        let [mac @ .., _, _] = PortWord(word).mac_bits().to_le_bytes();
        Some(mac)
    }

    /// The lowest port with a program whose interface is there.
    fn first_open(&self) -> Option<u8> {
        self.instances.ports().find(|number| self.ports.load(usize::from(*number)) != 0)
    }

    /// Runs the trace program on a frame: the tables in force, nothing counted.
    ///
    /// # Errors
    ///
    /// When the kernel cannot run it.
    pub fn trace(&mut self, frame: &[u8]) -> Result<TraceRecord, Error> {
        let port = self.first_open().unwrap_or(instances::FIRST);
        self.instances.trace(port, frame)
    }

    /// Runs the balancer on a frame as if it had arrived at port 1, and counts it: the XDP action,
    /// and the frame as it is then.
    ///
    /// # Errors
    ///
    /// When the kernel cannot run it: it takes frames from 14 bytes on.
    pub fn process(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), Error> {
        self.instances.process(frame)
    }

    fn write(&mut self, op: &Op) -> Result<(), Error> {
        match op {
            Op::Address { place, address } => self.write_address(*place as usize, *address),
            Op::Real { place, word } => self.reals.store(*place as usize, word.0),
            Op::ClearCounters { place } => self.clear_counters(&[*place])?,
            Op::Open { first, count, at } => {
                for index in *first..first + count {
                    self.times.store(index as usize, Times::opened_at(*at).0);
                }
            }
            Op::Slots(changed) => changed.each(|index, slot| {
                self.rings.half_word(index as usize).store(slot.0, Ordering::Release);
            }),
            Op::Services(entries) => self.write_services(entries)?,
            Op::MoveCounters { from, to } => {
                let (moved, total) = (self.steered(*from)?, self.steered(*to)?);
                self.steered.put(*to, steered::joined(total, moved))?;
                self.steered.clear(&[*from])?;
            }
        }
        Ok(())
    }

    fn write_address(&mut self, place: usize, address: Option<IpAddr>) {
        let bits = match address {
            None => 0,
            Some(IpAddr::V4(address)) => address.to_ipv6_mapped().to_bits(),
            Some(IpAddr::V6(address)) => address.to_bits(),
        };
        self.addresses.store(place * 2, (bits >> 64) as u64);
        self.addresses.store(place * 2 + 1, bits as u64);
    }

    /// Writes the half that nobody reads, puts it in force, and waits until no packet reads the
    /// other half: it may be written next.
    fn write_services(&mut self, entries: &[Entry]) -> Result<(), Error> {
        self.noted.expect(entries);
        let current = TableWord(self.table.load(0));
        let half = if current.is_written() { 1 - current.half() } else { 0 };
        let table = Table::lay_out(entries, half).ok_or_else(|| Error::Kernel {
            what: "laying out the service table".to_owned(),
            detail: format!("no layout for {} entries", entries.len()),
        })?;
        let first = (half * limits::TABLE_DISPLACEMENTS) as usize;
        for (index, displacement) in (first..).zip(&table.displacements) {
            self.displacements.store(index, u64::from(*displacement));
        }
        let first = (half * limits::TABLE_ENTRIES) as usize;
        for (index, entry) in (first..).zip(&table.entries) {
            for (offset, word) in entry.words().into_iter().enumerate() {
                self.entries.store(index * Entry::WORDS + offset, word);
            }
        }
        self.table.store(0, table.word.0);
        self.instances.set_table(table.word);
        wait_for_readers();
        Ok(())
    }
}

impl Dataplane for Kernel {
    type Error = Error;

    fn apply(&mut self, ops: &[Op]) -> Result<(), Error> {
        // Counters are cleared together, before anything can lead to their places: nothing does as long as places
        // are only described.
        let mut cleared = Vec::new();
        for op in ops {
            match op {
                Op::ClearCounters { place } => cleared.push(*place),
                Op::Address { .. } | Op::Real { .. } => self.write(op)?,
                Op::Open { .. } | Op::Slots(_) | Op::Services(_) | Op::MoveCounters { .. } => {
                    self.clear_counters(&std::mem::take(&mut cleared))?;
                    self.write(op)?;
                }
            }
        }
        self.clear_counters(&cleared)
    }
}

/// Waits until every packet that is being processed now is done.
///
/// XDP programs run with bottom halves disabled, which is an RCU read-side critical section
/// (Documentation/RCU/whatisRCU.rst), and `MEMBARRIER_CMD_GLOBAL` waits for a grace period
/// (kernel/sched/membarrier.c). Kernels with `nohz_full` CPUs refuse it; there, a pause that is
/// longer than any run of the program by four orders of magnitude must do.
fn wait_for_readers() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: takes integers only and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

pub(super) fn mapped(ebpf: &mut Ebpf, name: &str) -> Result<Mapped, Error> {
    let Some(Map::Array(map)) = ebpf.map(name) else {
        return Err(missing(name));
    };
    Mapped::of(map, name)
}

fn devices(ebpf: &mut Ebpf) -> Result<DevMap<MapData>, Error> {
    let map = ebpf.take_map("DEVICES").ok_or_else(|| missing("DEVICES"))?;
    DevMap::try_from(map).map_err(|error| Error::kernel("map DEVICES", &error))
}

fn flows(ebpf: &mut Ebpf, name: &str) -> Result<FlowTable, Error> {
    match ebpf.take_map(name) {
        Some(Map::HashMap(map) | Map::LruHashMap(map)) => FlowTable::new(map),
        _ => Err(missing(name)),
    }
}

fn steered(ebpf: &mut Ebpf) -> Result<Steered, Error> {
    match ebpf.take_map("STEERED") {
        Some(Map::PerCpuArray(map)) => Steered::new(map),
        _ => Err(missing("STEERED")),
    }
}

fn per_cpu<V: Pod>(ebpf: &mut Ebpf, name: &str) -> Result<PerCpuArray<MapData, V>, Error> {
    let map = ebpf.take_map(name).ok_or_else(|| missing(name))?;
    PerCpuArray::try_from(map).map_err(|error| Error::kernel(format!("map {name}"), &error))
}

pub(super) fn missing(name: &str) -> Error {
    Error::Kernel { what: "the object".to_owned(), detail: format!("has no \"{name}\"") }
}

fn unreadable(error: &MapError) -> Error {
    Error::Kernel { what: "reading counters".to_owned(), detail: error.to_string() }
}
