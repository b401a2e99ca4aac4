//! The generator, and who counts.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, DevMap, PerCpuArray},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions},
};
use lb_common::layout::mac_bits;
use lb_ebpf::bench::{FLOOR_RING, Stream, floor_entry, floor_hash};
use lb_user::model::Mac;
use nix::net::if_::if_nametoindex;

use crate::{
    bench::object::{self, OBJECT},
    cpu,
    port::Port,
    xdp,
};

/// How many frames the kernel makes before it hands them on.
const BATCH: u32 = 64;
/// Of the struct that live frames come with, `xdp_md`: where the frame's end and the interface are in it.
const CONTEXT: usize = 24;
const DATA_END: usize = 4;
const INTERFACE: usize = 12;
/// The seed that the floors' programs have.
const FLOOR_SEED: u64 = 0x0123_4567_89ab_cdef;
/// The floors' tables of flows, which nobody asks here.
const UNUSED: [&str; 2] = ["FLOWS", "FLOWS_V6"];

/// Where frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// Out of another interface of the balancer.
    Through,
    /// Out of the interface by which they came.
    Back,
}

/// What became of frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// How many were counted at the end.
    pub arrived: u64,
    /// From the first one to the last.
    pub took: Duration,
}

/// [`Stream`], with a trait of aya's that it cannot have at home.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Value(Stream);
// SAFETY: integers, the ones of 4 bytes in pairs, so that nothing is between them.
unsafe impl aya::Pod for Value {}

/// The programs.
pub(in crate::bench) struct Generator {
    object: Ebpf,
}

impl Generator {
    /// Loads them.
    pub(in crate::bench) fn load() -> Result<Self> {
        let mut loader = EbpfLoader::new();
        for map in UNUSED {
            loader.map_max_entries(map, 128);
        }
        let object = loader.load(OBJECT).context("loading the benchmark's programs")?;
        Ok(Self { object })
    }

    /// Attaches the program with this name in the driver, for as long as the result is held.
    pub(in crate::bench) fn attach(&mut self, name: &str, to: &Port) -> Result<OwnedFd> {
        let program = object::program(&mut self.object, name)?;
        let program = program.fd()?.as_fd().try_clone_to_owned()?;
        xdp::attach_program(to.netns(), to.interface(), &program)
    }

    /// Has `f0_redirect` send to this interface.
    pub(super) fn redirect_to(&mut self, port: &Port) -> Result<()> {
        let mut way = DevMap::try_from(self.object.map_mut("WAY_OUT").context("WAY_OUT")?)?;
        port.netns().run(|| Ok(way.set(0, if_nametoindex(port.interface())?, None, 0)?))
    }

    /// Has the floors that balance send to this address, by a whole ring, what is for the service of this key.
    pub(super) fn serve(&mut self, key: u64, real: Mac) -> Result<()> {
        let entry = floor_entry(floor_hash(key, FLOOR_SEED), 0);
        self.write("SERVICES", entry, [key, u64::from(FLOOR_RING) << 32, 0, 0])?;
        self.write("REALS", 0, mac_bits(real.0))
    }

    fn write<T: aya::Pod>(&mut self, map: &str, index: u32, value: T) -> Result<()> {
        let map = self.object.map_mut(map).with_context(|| format!("no map {map}"))?;
        Ok(Array::try_from(map)?.set(index, value, 0)?)
    }

    /// Sends what the stream tells, and waits until no more arrives.
    pub(super) fn send(&mut self, from: &Port, stream: &Stream) -> Result<Sent> {
        let mut map = self.stream()?;
        map.set(0, Value(*stream), 0)?;
        let before = self.arrived()?;
        let frames = stream.left;
        let object = &mut self.object;
        from.netns().run(|| run(object, if_nametoindex(from.interface())?, stream, frames))?;
        let arrived = self.all_arrived()? - before;
        let Value(Stream { first, last, left, .. }) = self.stream()?.get(&0, 0)?;
        ensure!(
            left == 0 && last > first,
            "the generator has not made all frames: {left} are left"
        );
        Ok(Sent { arrived, took: Duration::from_nanos(last - first) })
    }

    fn stream(&mut self) -> Result<Array<&mut aya::maps::MapData, Value>> {
        Ok(Array::try_from(self.object.map_mut("STREAM").context("STREAM")?)?)
    }

    fn arrived(&self) -> Result<u64> {
        let arrived =
            PerCpuArray::<_, u64>::try_from(self.object.map("ARRIVED").context("ARRIVED")?)?;
        Ok(arrived.get(&0, 0)?.iter().sum())
    }

    /// What has arrived once nothing more does: a queue is emptied in microseconds.
    fn all_arrived(&self) -> Result<u64> {
        let mut seen = self.arrived()?;
        loop {
            thread::sleep(Duration::from_millis(5));
            let now = self.arrived()?;
            if now == seen {
                return Ok(now);
            }
            seen = now;
        }
    }
}

/// In the namespace of the interface, on one processor.
fn run(object: &mut Ebpf, interface: u32, stream: &Stream, frames: u32) -> Result<()> {
    cpu::pin(0)?;
    let frame: Vec<u8> = stream.frame.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut context = [0; CONTEXT];
    context[DATA_END..DATA_END + 4].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
    context[INTERFACE..INTERFACE + 4].copy_from_slice(&interface.to_ne_bytes());
    let mut options = TestRunOptions::new();
    options.data_in = Some(&frame);
    options.ctx_in = Some(&context);
    options.repeat = frames;
    options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
    object::program(object, "generate")?.test_run(options).context("sending live frames")?;
    Ok(())
}
