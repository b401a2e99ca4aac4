//! The datapath in the kernel: its maps, read and written, and its programs, attached and run.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    path::Path,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    time::Duration,
};

use aya::{
    Ebpf, Pod,
    maps::{DevMap, Map, MapData, MapError, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use lb_common::{
    Counters, Entry, Member, Outcome, PortWord, RealWord, Slot, TableWord, Tick, Times,
    TraceRecord, capture::Wanted, limits,
};
use lb_ebpf::tables::Notes;

use super::{
    Dataplane,
    attach::{self, Mode},
    capture::{Attached, CaptureSource},
    error::Error,
    flows::FlowTable,
    former,
    growth::Growth,
    instances::{self, Instances},
    load::Loader,
    mapped::Mapped,
    noted::Noted,
    port::{self, Port},
    resize::{Held, Resize},
    steered::{self, Steered},
};
use crate::{
    model::{Room, XdpChoice},
    plan::{Block, Occupant, Op, State, Table},
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

    /// Fails, before anything is changed, if the program could not be attached.
    ///
    /// # Errors
    ///
    /// Where the interface is missing or has another program.
    pub async fn check(interface: &str, pin_dir: &Path) -> Result<(), Error> {
        attach::check(interface, pin_dir).await
    }

    /// Attaches the programs of these ports to their interfaces, or puts them in the place of those
    /// that pinned links hold, all in one mode: a native program cannot send through an interface
    /// that is not native. Removes what former configurations have pinned.
    ///
    /// # Errors
    ///
    /// Where an interface is missing, busy or unable; then none is attached that was not before.
    pub async fn attach_all(
        &mut self,
        interfaces: &[(u8, &str)],
        choice: XdpChoice,
        pin_dir: &Path,
    ) -> Result<Mode, Error> {
        let resize = self.instances.resize(pin_dir)?;
        let growth = self.growth.take();
        let mode = if resize.is_none() && growth.is_none() {
            self.instances.attach_all(interfaces, choice, pin_dir).await?
        } else {
            self.attach_copied(resize, growth, interfaces, choice, pin_dir).await?
        };
        attach::tidy(pin_dir, interfaces.iter().map(|(_, interface)| *interface))?;
        Ok(mode)
    }

    /// The same where tables have another size: nothing is unknown to the new programs.
    async fn attach_copied(
        &mut self,
        mut resize: Option<Resize>,
        mut growth: Option<Growth>,
        interfaces: &[(u8, &str)],
        choice: XdpChoice,
        pin_dir: &Path,
    ) -> Result<Mode, Error> {
        // Most of it, while nothing is held.
        resize.as_mut().map(Resize::copy).transpose()?;
        growth.as_mut().map(Growth::catch_up).transpose()?;
        let held = resize.is_some().then(|| Held::new(&mut self.full));
        wait_for_readers();
        resize.as_mut().map(Resize::copy).transpose()?;
        let mode = self.instances.attach_all(interfaces, choice, pin_dir).await?;
        wait_for_readers();
        resize.as_mut().map(Resize::copy).transpose()?;
        drop(held);
        resize.map(Resize::finish).transpose()?;
        growth.map(Growth::finish).transpose()?;
        Ok(mode)
    }

    /// Attaches the program of a port to its interface.
    ///
    /// # Errors
    ///
    /// Where the interface is missing, busy or unable.
    pub async fn attach(
        &mut self,
        port: u8,
        interface: &str,
        mode: Mode,
        pin_dir: &Path,
    ) -> Result<(), Error> {
        self.instances.attach(port, interface, mode, pin_dir).await.map(drop)
    }

    /// Detaches the program from an interface, and removes the pin. An interface that is gone has
    /// left one that holds nothing.
    ///
    /// # Errors
    ///
    /// When the pin cannot be removed.
    pub fn detach(&self, interface: &str, pin_dir: &Path) -> Result<(), Error> {
        attach::detach(interface, pin_dir)
    }

    /// Loads the programs that capture, for all ports: later there may be no permission to.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses them, as those before 5.8 do.
    pub fn prepare_capture(&mut self) -> Result<(), Error> {
        self.instances.prepare_capture()
    }

    /// Puts programs in the balancers' place that hand on what they see of the frames that are wanted; if those
    /// to some places are, only of those. Nothing else changes.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses; the balancers are in their place then.
    pub async fn begin_capture(
        &mut self,
        interfaces: &[Attached<'_>],
        (wanted, places): (Wanted, &[u32]),
        pin_dir: &Path,
    ) -> Result<Vec<CaptureSource>, Error> {
        let sources = self.instances.begin_capture(interfaces, wanted)?;
        for (port, ..) in interfaces {
            self.instances.set_own(*port, PortWord(self.ports.load(usize::from(*port))));
        }
        self.instances.set_table(TableWord(self.table.load(0)));
        self.instances.set_capture_places(places);
        if let Err(error) = self.instances.attach_capture(interfaces, pin_dir).await {
            self.instances.end_capture(interfaces, pin_dir).await?;
            return Err(error);
        }
        Ok(sources)
    }

    /// Says to which places frames are to be captured from now on.
    pub fn set_capture_places(&self, places: &[u32]) {
        self.instances.set_capture_places(places);
    }

    /// Puts the balancers back, without a frame lost.
    ///
    /// # Errors
    ///
    /// Where an interface is gone, or the kernel refuses.
    pub async fn end_capture(
        &mut self,
        interfaces: &[Attached<'_>],
        pin_dir: &Path,
    ) -> Result<(), Error> {
        self.instances.end_capture(interfaces, pin_dir).await
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

    /// What stands in the tables, as a former daemon has left it.
    #[must_use]
    pub fn state(&self) -> State {
        self.read(|_, _| None)
    }

    /// The same, where this is known: what stands there as it is known has its names and all that belongs to it,
    /// and shares its memory.
    #[must_use]
    pub fn state_beside(&self, known: &State) -> State {
        let by_ring: HashMap<u32, &Block> =
            known.blocks.iter().map(|block| (block.ring, block)).collect();
        self.read(|kernel, entry| {
            let known = *by_ring.get(&entry.ring)?;
            kernel.is_as(entry, known).then(|| known.clone())
        })
    }

    /// Whether a block stands in the tables as it is known.
    fn is_as(&self, entry: &Entry, known: &Block) -> bool {
        let place = |of: &Entry| (of.pool, of.places, of.ring_len);
        if place(entry) != (known.pool, known.places, known.ring_len()) {
            return false;
        }
        let is_there = |(address, occupant): (&IpAddr, &Occupant)| {
            let place = occupant.member.place(known.pool) as usize;
            self.reals.load(place) == occupant.word.0 && self.address(place) == Some(*address)
        };
        let places = (1..known.places).map(|number| (known.pool + number) as usize);
        let taken = places.filter(|place| {
            self.addresses.load(place * 2) != 0 || self.addresses.load(place * 2 + 1) != 0
        });
        let words = self.rings.half_words(known.ring as usize, known.slots.len());
        let mut same = true;
        known.slots.each(0..known.slots.len(), |index, slot| {
            same &= words[index].load(Ordering::Relaxed) == slot.0;
        });
        same && known.members.iter().all(is_there) && taken.count() == known.members.len()
    }

    fn read(&self, known: impl Fn(&Self, &Entry) -> Option<Block>) -> State {
        let mut entries = self.entries_in_force();
        entries.sort_by_key(|entry| entry.key);
        let room = self.room();
        let block = |entry| known(self, entry).unwrap_or_else(|| self.block(entry));
        let blocks = rings(&entries, room).into_iter().map(block).collect();
        State::new(room, blocks, entries)
    }

    /// The service table that is read; nothing if none ever was.
    fn entries_in_force(&self) -> Vec<Entry> {
        let table = TableWord(self.table.load(0));
        if !table.is_written() {
            return Vec::new();
        }
        let first = table.half() * limits::TABLE_ENTRIES;
        let all = (first..first + table.entries()).map(|index| self.entry(index));
        all.filter(|entry| entry.key != 0).collect()
    }

    fn entry(&self, index: u32) -> Entry {
        let first = index as usize * Entry::WORDS;
        Entry::from_words(std::array::from_fn(|offset| self.entries.load(first + offset)))
    }

    fn block(&self, entry: &Entry) -> Block {
        let slots = (entry.ring..entry.ring + entry.ring_len)
            .map(|index| Slot(self.rings.half_word(index as usize).load(Ordering::Relaxed)))
            .collect();
        let members = (1..entry.places).filter_map(|number| {
            let member = Member::new(number as u16)?;
            let place = member.place(entry.pool) as usize;
            let word = RealWord(self.reals.load(place));
            self.address(place).map(|address| (address, Occupant { member, word }))
        });
        Block {
            name: None,
            ring: entry.ring,
            slots,
            pool: entry.pool,
            places: entry.places,
            members: Arc::new(members.collect()),
            base: Arc::default(),
            planned: None,
        }
    }

    fn address(&self, place: usize) -> Option<IpAddr> {
        let (high, low) = (self.addresses.load(place * 2), self.addresses.load(place * 2 + 1));
        let address = Ipv6Addr::from(u128::from(high) << 64 | u128::from(low));
        (!address.is_unspecified()).then(|| address.to_canonical())
    }

    /// Says whether there is no room for the notes of new flows.
    pub fn set_full(&mut self, full: bool) {
        self.full.store(0, u64::from(full));
    }

    /// A table of noted flows.
    #[must_use]
    pub fn notes(&self, notes: Notes) -> &FlowTable {
        match notes {
            Notes::Pinned => &self.pinned,
            Notes::Fresh => &self.fresh,
            Notes::Datagrams => &self.datagrams,
        }
    }

    /// The moments of a slot of the arena.
    #[must_use]
    pub fn times(&self, index: u32) -> Times {
        Times(self.times.load(index as usize))
    }

    /// Makes moments of the marks that packets have left in these slots of the arena. `now` is the clock.
    ///
    /// A packet that finds a mark says nothing, so the moment must not be before that packet. Hence the clock is read
    /// once no mark is there any more: who comes then leaves one anew, and that stays, for the next time. A mark that is
    /// lost, since a packet has stored it just before something was stored here, is none: this moment is as good. And
    /// nobody but packets and the daemon writes these words, which are as old as the slots' openings in their other half.
    pub fn date_marks(&self, slots: impl IntoIterator<Item = u32>, now: impl Fn() -> Tick) {
        let word = |slot: u32| self.times.word(slot as usize);
        let times = slots.into_iter().map(|slot| (slot, self.times(slot)));
        let marked: Vec<(u32, Times)> = times.filter(|(_, times)| times.is_marked()).collect();
        let before = now();
        for (slot, times) in &marked {
            word(*slot).store(times.seen_at(before).0, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        let after = now();
        for (slot, times) in marked {
            let [from, to] = [before, after].map(|moment| times.seen_at(moment).0);
            // Where it fails there is another mark.
            let _ = word(slot).compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// How many hashes of flows count as noted.
    #[must_use]
    pub fn noted_hashes(&self) -> u32 {
        self.noted.count()
    }

    /// Forgets which hashes of flows were noted, unless a slot is tracked.
    ///
    /// A flow's byte is asked for in a tracked slot only. Where none is, whoever finds a byte cleared has come after a slot
    /// was opened again, and a note that was made before that means nothing: the datapath does not heed what is older
    /// than the opening (`Question::find`). Should both be in one tick, so that it does, then the flow was noted in a slot
    /// that was closed since, which is done only when all of its flows are with the current owner: that is the previous
    /// one now, who gets what is unknown. Packets that have seen a tracked slot may still ask for their bytes: they are
    /// waited for. What stands in the tables counts here and not what is thought to: a plan that failed may have
    /// opened slots. And nobody else opens any meanwhile.
    ///
    /// As long as any slot is tracked, bytes only become more: where that goes on for long, with much that begins and ends,
    /// older flows take the longer way more and more often, and get to the same real.
    pub fn clear_noted(&mut self) {
        if self.noted.is_any() && !self.has_tracked() {
            wait_for_readers();
            self.noted.clear();
        }
    }

    /// Whether a slot of any service in force has a previous owner.
    fn has_tracked(&self) -> bool {
        let is_tracked = |entry: &Entry| {
            let words = self.rings.half_words(entry.ring as usize, entry.ring_len as usize);
            words.iter().any(|word| Slot(word.load(Ordering::Relaxed)).is_tracked())
        };
        rings(&self.entries_in_force(), self.room()).into_iter().any(is_tracked)
    }

    /// What was steered to the real at a place, over all CPUs.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn steered(&self, place: u32) -> Result<Counters, Error> {
        self.steered.total(place)
    }

    /// The same of places in a row.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn steered_to(&self, first: u32, count: u32) -> Result<Vec<Counters>, Error> {
        self.steered.read(first, count)
    }

    /// How many frames ended so, over all CPUs.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn outcome(&self, outcome: Outcome) -> Result<u64, Error> {
        match outcome {
            Outcome::Forwarded => Ok(self.forwarded_before()? + self.steered_in_all()?),
            _ => self.counted(outcome.index()),
        }
    }

    /// How many frames were forwarded to reals whose places have been cleared since.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn forwarded_before(&self) -> Result<u64, Error> {
        self.counted(limits::FORWARDED_BEFORE)
    }

    fn counted(&self, index: u32) -> Result<u64, Error> {
        let counters = self.outcomes.get(&index, 0).map_err(|error| unreadable(&error))?;
        Ok(counters.iter().sum())
    }

    fn set_forwarded_before(&mut self, frames: u64) -> Result<(), Error> {
        let failed = |detail: String| Error::Kernel { what: "writing counters".to_owned(), detail };
        let cpus = nr_cpus().map_err(|(file, error)| failed(format!("{file}: {error}")))?;
        let mut values = vec![0; cpus];
        values[0] = frames;
        let values = PerCpuValues::try_from(values).map_err(|error| failed(error.to_string()))?;
        let set = self.outcomes.set(limits::FORWARDED_BEFORE, values, 0);
        set.map_err(|error| failed(error.to_string()))
    }

    /// How many frames were forwarded to all places together.
    fn steered_in_all(&self) -> Result<u64, Error> {
        let counters = self.steered.read(0, self.room().places)?;
        Ok(counters.iter().map(|counters| counters.packets).sum())
    }

    /// Sets places' counters to zero; what was forwarded to them stays counted.
    fn clear_counters(&mut self, places: &[u32]) -> Result<(), Error> {
        let (Some(first), Some(last)) = (places.iter().min(), places.iter().max()) else {
            return Ok(());
        };
        let counters = self.steered.read(*first, last - first + 1)?;
        let packets = places.iter().map(|place| counters[(place - first) as usize].packets);
        let gone: u64 = packets.sum();
        if gone > 0 {
            let before = self.forwarded_before()?;
            self.set_forwarded_before(before + gone)?;
        }
        self.steered.clear(places)
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

/// One entry for each ring, by their places; none that reaches out of the arrays.
fn rings(entries: &[Entry], room: Room) -> Vec<&Entry> {
    let inside = |entry: &&Entry| {
        entry.ring_len > 0
            && entry.ring.checked_add(entry.ring_len).is_some_and(|end| end <= room.slots)
            && entry.pool.checked_add(entry.places).is_some_and(|end| end <= room.places)
    };
    let mut rings: Vec<&Entry> = entries.iter().filter(inside).collect();
    rings.sort_by_key(|entry| entry.ring);
    rings.dedup_by_key(|entry| entry.ring);
    rings
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
