//! The course of the simulation: all designs see the same clients, the same packets and the same events.

use std::collections::VecDeque;

use lb_common::{Address as _, Member, V4, hash, limits};

use super::{
    Flood, IDLE, Options, Report,
    design::{Design, Packet},
    flows::{Client, Generator, Wheel},
    pool::{self, Life, Pool},
    random::Random,
    schedule::{self, Event},
};

/// How many designs there are.
const DESIGNS: usize = 12;

/// Seconds between two passes of the sweeper. (The daemon makes one each second, while there is anything; what
/// it says about room is asked each second here, too.)
const SWEEP: u32 = 20;

/// Flows that memory is asked for together.
const AT_ONCE: usize = 32;

/// A client, and whom it is connected with in each design.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    client: Client,
    slot: u32,
    last: u32,
    lives: [Option<Life>; DESIGNS],
}

/// Both rings of the moment.
struct Owners {
    dealt: Vec<Option<Member>>,
    rebuilt: Vec<Option<Member>>,
}

impl Owners {
    fn of(&self, design: &Design) -> &[Option<Member>] {
        if design.rebuilds { &self.rebuilt } else { &self.dealt }
    }
}

struct Run {
    now: u32,
    len: u32,
    pool: Pool,
    owners: Owners,
    designs: Vec<Design>,
    generator: Generator,
    random: Random,
    records: Vec<Record>,
    free: Vec<u32>,
    /// Numbers of flows that are over but still noted, and since when they are over.
    over: VecDeque<(u32, u32)>,
    wheel: Wheel,
    packets: u64,
}

/// Simulates, and says what became of all designs.
#[must_use]
pub fn run(options: Options) -> Report {
    let seconds = options.hours * 3600;
    let events = schedule::events(&options);
    let flood = schedule::flood(options.hours);
    let mut run = Run::new(&options, seconds);
    run.begin(options.flows);
    let (rate, mut begun) = (run.generator.rate(options.flows), 0.0);
    let mut next = events.iter().copied().peekable();
    for now in 0..seconds {
        run.now = now;
        if now == flood.start {
            run.fork();
        }
        run.designs.iter_mut().for_each(|design| design.begin_second(now, flood.contains(&now)));
        run.happen(std::iter::from_fn(|| next.next_if(|event| event.second <= now)).collect());
        begun += rate;
        let newcomers = begun as u32;
        begun -= f64::from(newcomers);
        run.second(newcomers);
        if options.progress && (now + 1) % 3600 == 0 {
            eprintln!("hour {} of {} is over", (now + 1) / 3600, options.hours);
        }
    }
    let rows = ORDER.iter().map(|index| (&run.designs[*index]).into()).collect();
    Report { options, events: events.len(), packets: run.packets, rows }
}

/// Those upon which no flood comes.
fn designs(len: u32, seconds: u32) -> Vec<Design> {
    vec![
        Design::current("Maglev, rebuilt at every change", true),
        Design::current("this ring alone, always the current owner", false),
        Design::table(seconds),
        Design::tracked("this design", limits::PINNED, len, seconds),
        Design::tracked("this design, PINNED of 1 Mi", 1 << 20, len, seconds),
        Design::tracked("this design, PINNED of 4 Mi", 1 << 22, len, seconds),
    ]
}

/// Which of them a flood comes upon as well, and which one.
const FLOODS: [(usize, Flood); 6] = [
    (2, Flood::Syn),
    (2, Flood::SynAck),
    (3, Flood::Syn),
    (3, Flood::SynAck),
    (4, Flood::SynAck),
    (5, Flood::SynAck),
];

/// In which order they are reported.
const ORDER: [usize; DESIGNS] = [0, 1, 2, 6, 7, 3, 8, 9, 4, 10, 5, 11];

impl Run {
    fn new(options: &Options, seconds: u32) -> Self {
        let len = pool::ring_len(options.reals);
        let mut pool = Pool::new(options.reals, options.seed);
        let owners = Owners { dealt: pool.dealt(len), rebuilt: pool.rebuilt(len) };
        let mut random = Random(options.seed);
        let generator = Generator::new(Random(random.next()), options.sleepers);
        let mut run = Self {
            now: 0,
            len,
            pool,
            owners,
            designs: designs(len, seconds),
            generator,
            random,
            records: Vec::new(),
            free: Vec::new(),
            over: VecDeque::new(),
            wheel: Wheel::new(),
            packets: 0,
        };
        run.publish();
        run
    }

    /// The flows that are there at the beginning.
    fn begin(&mut self, flows: u32) {
        for _ in 0..flows {
            let client = self.generator.old_flow();
            self.connect(client);
        }
    }

    /// Until a flood comes, a design is the same with it and without.
    fn fork(&mut self) {
        for (from, flood) in FLOODS {
            let (to, fork) = (self.designs.len(), self.designs[from].flooded(flood));
            self.records.iter_mut().for_each(|record| record.lives[to] = record.lives[from]);
            self.designs.push(fork);
        }
    }

    fn publish(&mut self) {
        for design in &mut self.designs {
            design.change(self.owners.of(design), &self.pool);
        }
    }

    fn happen(&mut self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        events.into_iter().for_each(|event| self.pool.happen(event));
        self.owners.dealt = self.pool.dealt(self.len);
        self.owners.rebuilt = self.pool.rebuilt(self.len);
        self.publish();
    }

    /// All that flows do within a second.
    fn second(&mut self, newcomers: u32) {
        for _ in 0..newcomers {
            let client = self.generator.new_flow(self.now);
            self.connect(client);
        }
        for flows in self.wheel.take(self.now).chunks(AT_ONCE) {
            self.warm(flows);
            flows.iter().for_each(|flow| self.packet(*flow));
        }
        if self.now.is_multiple_of(SWEEP) {
            self.designs.iter_mut().for_each(|design| design.sweep());
            self.release();
        }
    }

    /// Has memory fetched for many flows at once: it is what the time goes into.
    fn warm(&self, flows: &[u32]) {
        let noted = |flow: &u32| self.designs.iter().filter(|design| design.warm(*flow)).count();
        let slots = flows.iter().map(|flow| self.records[*flow as usize].slot as usize);
        std::hint::black_box(slots.sum::<usize>() + flows.iter().map(noted).sum::<usize>());
    }

    /// A client connects, in a slot of its own hash.
    fn connect(&mut self, client: Client) {
        let flow = self.number();
        let (source, ports) = (V4(self.random.next() as u32), self.random.next() as u32);
        let hash = V4::flow(self.pool.seed(), source, V4(1), ports, 6);
        let slot = hash::slot(hash, self.len);
        let mut record = Record { client, slot, last: self.now, lives: [None; DESIGNS] };
        let packet = Packet { flow, slot, last: self.now, now: self.now, client: &record.client };
        for (design, life) in self.designs.iter_mut().zip(&mut record.lives) {
            let owners = if design.rebuilds { &self.owners.rebuilt } else { &self.owners.dealt };
            *life = design.connect(&packet, owners, &self.pool);
        }
        self.records[flow as usize] = record;
        self.go_on(flow);
    }

    fn packet(&mut self, flow: u32) {
        self.packets += 1;
        let record = &mut self.records[flow as usize];
        let (slot, last, now) = (record.slot, record.last, self.now);
        let packet = Packet { flow, slot, last, now, client: &record.client };
        for (design, life) in self.designs.iter_mut().zip(&mut record.lives) {
            let owners = if design.rebuilds { &self.owners.rebuilt } else { &self.owners.dealt };
            *life = design.packet(&packet, *life, owners, &self.pool);
        }
        record.last = now;
        self.go_on(flow);
    }

    /// The flow's next packet, unless this was the last.
    fn go_on(&mut self, flow: u32) {
        let client = self.records[flow as usize].client;
        if client.ends > self.now {
            self.wheel.put(self.generator.next_packet(&client, self.now), flow);
        } else if self.designs.iter().any(|design| design.notes(flow)) {
            self.over.push_back((self.now, flow));
        } else {
            self.release_one(flow);
        }
    }

    /// A free number for a flow.
    fn number(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            let number = self.records.len();
            self.records.push(Record::default());
            // In large steps: there are many tables.
            if number.is_power_of_two() || number.is_multiple_of(1 << 16) {
                let room = (2 * number).clamp(1, number + (1 << 16));
                self.designs.iter_mut().for_each(|design| design.grow(room));
            }
            number as u32
        })
    }

    /// Frees the numbers of flows of which the sweepers have forgotten all.
    fn release(&mut self) {
        let until = self.now.saturating_sub(IDLE + 2 * SWEEP);
        while let Some((_, flow)) = self.over.front().filter(|(since, _)| *since < until) {
            let flow = *flow;
            self.over.pop_front();
            self.release_one(flow);
        }
    }

    fn release_one(&mut self, flow: u32) {
        self.designs.iter().for_each(|design| design.clear(flow));
        self.free.push(flow);
    }
}
