//! The loaded object against the datapath's code on the host, on random frames: XDP action, bytes,
//! outcome, slot and place of each, and all counters at the end.

mod generator;
mod random;

use lb_common::{Outcome, layout::Rule};
use lb_ebpf::Forward;
use lb_user::dataplane::{Kernel, Memory};
use tests::{
    golden,
    invariant::{check, check_all, check_flow, regressions},
    world::{self, Arrived, clock},
};

use self::{generator::frame, random::Random};

const FRAMES: u64 = 100_000;
/// How many frames meet the same engines: the loaded object forgets who got a first fragment after half a
/// minute, the host does not, and where a processor is emulated this many take ten seconds.
const BATCH: usize = 25_000;
/// Another one is taken from the environment: `DIFFERENTIAL_SEED=17 cargo xtask test -- random_frames`.
const SEED: u64 = 0x6c62_2d78_6470;
/// What a test run takes: from an Ethernet header on, up to what fits in a page beside head and tail.
const LENGTHS: std::ops::RangeInclusive<usize> = 14..=3400;
/// Reached by a generator that makes of everything something.
const OF_EACH: u64 = 50;
/// By which a frame may be steered.
const RULES: [Rule; 5] = [Rule::Current, Rule::Fragment, Rule::Previous, Rule::Pinned, Rule::Fresh];
/// Fewer than the loaded object answers in a burst, test run and trace taken together.
const PINGS: u64 = lb_common::limits::ECHOES / 3;
/// What no frame brings about: a rate, which the host does not have, and a lack of room, of which a
/// test run has always enough (tests/golden/room.rs takes it away).
const NOT_BY_FRAMES: [Outcome; 2] = [Outcome::EchoLimited, Outcome::NoRoom];

#[test]
fn both_engines_agree_on_random_frames() {
    let seed =
        std::env::var("DIFFERENTIAL_SEED").map_or(SEED, |seed| seed.parse().expect("a seed"));
    let golden = golden_frames();
    let found = regressions().into_iter().map(|(_, frame)| frame);
    let found = found.filter(|frame| LENGTHS.contains(&frame.len()));
    let random = (0..FRAMES).map(|number| frame(&mut Random::new(seed, number), &golden));
    let mut frames = found.chain(random).enumerate().peekable();
    let mut seen = Seen::default();
    while frames.peek().is_some() {
        seen.add(&compare_all(frames.by_ref().take(BATCH), seed));
    }
    for (rule, count) in RULES.iter().zip(seen.rules) {
        println!("{count:>6} steered by the rule \"{}\"", rule.label());
        assert!(count >= OF_EACH, "hardly a frame is steered by the rule \"{}\"", rule.label());
    }
    for (outcome, count) in Outcome::ALL.iter().zip(&seen.outcomes) {
        println!("{count:>6} {}", outcome.label());
        assert!(
            *count >= OF_EACH || NOT_BY_FRAMES.contains(outcome),
            "the generator hardly makes frames that are {}",
            outcome.label()
        );
    }
}

/// What the frames of some batches came to.
#[derive(Default)]
struct Seen {
    outcomes: [u64; Outcome::ALL.len()],
    rules: [u64; RULES.len()],
}

impl Seen {
    fn add(&mut self, more: &Self) {
        self.rules.iter_mut().zip(more.rules).for_each(|(sum, count)| *sum += count);
        self.outcomes.iter_mut().zip(more.outcomes).for_each(|(sum, count)| *sum += count);
    }
}

/// Runs frames with their numbers through both engines, and compares the counters at the end, too.
fn compare_all(frames: impl Iterator<Item = (usize, Vec<u8>)>, seed: u64) -> Seen {
    let (mut memory, mut kernel, state) = world::engines();
    let (mut pings, mut rules) = (0, [0; RULES.len()]);
    for (number, frame) in frames {
        let hex = || frame.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let which = || format!("DIFFERENTIAL_SEED={seed}, frame {number}: {}", hex());
        memory.set_now(clock());
        let verdict = compare(&memory, &mut kernel, &frame, &mut pings, &which);
        for (count, rule) in rules.iter_mut().zip(RULES) {
            *count += u64::from(verdict.is_ok_and(|forward| forward.rule == rule));
        }
    }
    let mut host = world::host_counters(&memory, &state);
    host.0[Outcome::EchoAnswered.index() as usize] = pings.min(PINGS);
    assert_eq!(host, world::kernel_counters(&kernel, &state), "counters; seed {seed}");
    Seen { outcomes: host.0.try_into().expect("one for each"), rules }
}

/// Runs a frame through both engines. Of `pings`, the loaded object sees only as many as it answers.
fn compare(
    memory: &Memory,
    kernel: &mut Kernel,
    frame: &[u8],
    pings: &mut u64,
    which: &dyn Fn() -> String,
) -> Result<Forward, Outcome> {
    let mut arrived = Arrived::new(frame);
    let verdict = memory.process(&mut arrived);
    let outcome = verdict.err().unwrap_or(Outcome::Forwarded);
    if outcome == Outcome::EchoAnswered {
        *pings += 1;
        if *pings > PINGS {
            return verdict;
        }
    }
    // Before, since afterwards the flow may be known.
    let traced = world::traced(kernel, frame);
    let (action, loaded) = kernel.process(frame).expect("a test run");
    assert_eq!(action, world::xdp_action(verdict), "{outcome:?}: action; {}", which());
    assert_eq!(loaded, arrived.bytes(), "{outcome:?}: bytes; {}", which());
    let expected = verdict.map(|forward| (forward.place, forward.slot, forward.rule));
    assert_eq!(traced, expected, "the trace; {}", which());
    verdict
}

/// Frames shorter than a test run takes, too.
#[test]
fn random_frames_keep_the_invariants_on_the_host() {
    let (memory, _) = world::host();
    let golden = golden_frames();
    for number in 0..FRAMES / 4 {
        let random = &mut Random::new(SEED, number);
        let mut frame = frame(random, &golden);
        if number % 4 == 0 {
            check_all(&memory, &frame);
            check_flow(&memory, &frame);
        }
        frame.truncate(random.below(150));
        check(&memory, &frame);
    }
}

fn golden_frames() -> Vec<Vec<u8>> {
    golden::table().into_iter().map(|row| row.frame).collect()
}
