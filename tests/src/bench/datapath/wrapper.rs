//! Runs programs in the wrapper, one packet of a flow after the other.

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use lb_ebpf::bench::{Course, Layout};
use nix::sys::resource::{UsageWho, getrusage};

use crate::bench::object;

/// The wrapper for frames of one layout.
pub struct Wrapper {
    object: Ebpf,
    targets: ProgramArray<MapData>,
    course: Array<MapData, [u64; Course::WORDS]>,
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Nanoseconds for each packet, the wrapper's own work included.
    pub nanos: f64,
    /// Whether something else had the CPU meanwhile.
    pub disturbed: bool,
}

impl Wrapper {
    /// Loads it.
    pub fn new(layout: Layout) -> Result<Self> {
        let mut object = object::small(layout)?;
        object::program(&mut object, "wrapper")?;
        let mut map = |name| object.take_map(name).with_context(|| format!("no map {name}"));
        let targets = ProgramArray::try_from(map("TARGETS")?)?;
        let course = Array::try_from(map("COURSE")?)?;
        Ok(Self { object, targets, course })
    }

    /// Runs a program on so many packets, and before on some that are not timed; it must answer each with `code`. The
    /// course says what the packets are; afterwards, which one would be next.
    pub fn run(
        &mut self,
        target: &ProgramFd,
        frame: &[u8],
        course: &mut Course,
        (untimed, packets, code): (u32, u32, u32),
    ) -> Result<Run> {
        self.targets.set(0, target, 0)?;
        let (left, timed) = (untimed + packets, u64::from(packets));
        let begun = Course { left, timed, first: 0, last: 0, codes: [0; 8], ..*course };
        self.course.set(0, begun.words(), 0)?;
        let mut output = vec![0; frame.len() + 256];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut output);
        options.repeat = untimed + packets;
        let before = preemptions()?;
        let program: &mut Xdp = object::program(&mut self.object, "wrapper")?;
        program.test_run(options).context("a test run")?;
        let disturbed = preemptions()? != before;
        *course = Course::from_words(self.course.get(&0, 0)?);
        let Course { first, last, codes, left, .. } = *course;
        let answered = codes[code as usize];
        ensure!(
            left == 0 && answered == u64::from(untimed + packets),
            "of {untimed} and {packets} packets {answered} ended with {code}, as they should: {codes:?}"
        );
        Ok(Run { nanos: (last - first) as f64 / f64::from(packets), disturbed })
    }
}

/// How often this thread had to give way to another.
fn preemptions() -> Result<i64> {
    Ok(getrusage(UsageWho::RUSAGE_THREAD)?.involuntary_context_switches())
}

/// A descriptor of its own for a loaded program.
pub fn descriptor(program: &Xdp) -> Result<ProgramFd> {
    program.fd()?.try_clone().context("a descriptor of a program")
}
