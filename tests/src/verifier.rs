//! What the kernel's verifier did for each XDP program of the object, as its log tells.
//!
//! aya shows the log of a program that was refused, not of one that was accepted, so the programs
//! are loaded here once more, on maps that aya has made.

use std::{
    collections::HashSet,
    io, mem,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
    str::FromStr,
};

use anyhow::{Context, Error, Result, ensure};
use aya::{Ebpf, EbpfLoader, maps::Map};
use aya_obj::{
    Object, Program, ProgramSection,
    generated::{BPF_F_XDP_HAS_FRAGS, bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type},
};
use lb_user::dataplane::{CAPTURE, OBJECT};

use crate::world::SEED;

/// `BPF_LOG_STATS` in the kernel's bpf_verifier.h: what it took, and nothing of each instruction.
const STATISTICS: u32 = 4;

/// What it took to verify a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// How many instructions were gone through, each as often as it was.
    pub instructions: u32,
    /// How many states of registers and stack were kept, all in all.
    pub states: u32,
    /// How many of them at a time.
    pub peak: u32,
    /// Bytes of stack of each of its functions, the entry first. Those that call each other share 512,
    /// each rounded up to 32 before Linux 6.
    pub stack: Vec<u32>,
}

impl FromStr for Work {
    type Err = Error;

    /// Reads the log: `stack depth 64+16` and `processed 3654 insns (limit 1000000) max_states_per_insn 4 total_states 210
    /// peak_states 60 mark_read 9`, among other lines.
    fn from_str(log: &str) -> Result<Self> {
        let line = log.lines().find(|line| line.starts_with("processed "));
        let words: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
        let number = |name| {
            let after = words.iter().skip_while(|word| **word != name).nth(1);
            after.and_then(|number| number.parse().ok())
        };
        let stack = log.lines().find_map(|line| line.strip_prefix("stack depth "));
        let stack = stack.map(|sizes| sizes.split('+').map_while(|size| size.parse().ok()));
        let work = || {
            Some(Self {
                instructions: number("processed")?,
                states: number("total_states")?,
                peak: number("peak_states")?,
                stack: stack?.collect(),
            })
        };
        work().with_context(|| format!("no statistics in the verifier's log: {log}"))
    }
}

/// The XDP programs of the balancer and of captures by name, and what it takes to verify each as the daemon loads it,
/// without its log.
///
/// # Errors
///
/// Where the kernel refuses something.
pub fn work() -> Result<Vec<(String, Work)>> {
    let mut names: Vec<(String, &[u8])> = Vec::new();
    for object in [OBJECT, CAPTURE] {
        names.extend(Object::parse(object)?.programs.into_keys().map(|name| (name, object)));
    }
    names.sort();
    let work = names.into_iter().filter_map(|(name, object)| {
        let work = work_of(object, &name).with_context(|| format!("program \"{name}\""));
        work.transpose().map(|work| work.map(|work| (name, work)))
    });
    work.collect()
}

/// What it takes to verify this program; `None` if it is not one for XDP, or one for frames in several
/// buffers where the kernel (before 5.18) knows none.
///
/// On maps of its own: programs that share a table of devices must be alike in whether they take
/// frames in several buffers.
fn work_of(object: &[u8], name: &str) -> Result<Option<Work>> {
    // Constants are known to the verifier from the map that they are in.
    let maps = EbpfLoader::new()
        .override_global("SEED", &SEED.0, true)
        .override_global("PORT", &1u8, true)
        .override_global("AYA_LOG_LEVEL", &0u8, false)
        .load(object)?;
    let mut object = Object::parse(object)?;
    relocate(&mut object, &maps)?;
    let program = object.programs.get(name).context("is gone")?;
    let ProgramSection::Xdp { frags, .. } = program.section else { return Ok(None) };
    verify(program, &object.functions[&program.function_key()].instructions, frags)
}

/// Puts the maps' file descriptors and the called functions in their places, as aya does.
fn relocate(object: &mut Object, made: &Ebpf) -> Result<()> {
    let maps = mem::take(&mut object.maps);
    let fds = maps.iter().map(|(name, map)| {
        let made = made.map(name).with_context(|| format!("aya has made no map {name}"))?;
        Ok((name.as_str(), fd(made)?, map))
    });
    let fds: Vec<_> = fds.collect::<Result<_>>()?;
    let sections: HashSet<_> = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_maps(fds.into_iter(), &sections)?;
    Ok(object.relocate_calls(&sections)?)
}

/// Of the kinds of maps that a datapath has.
fn fd(map: &Map) -> Result<RawFd> {
    match map {
        Map::Array(map)
        | Map::PerCpuArray(map)
        | Map::HashMap(map)
        | Map::PerCpuHashMap(map)
        | Map::LruHashMap(map)
        | Map::LpmTrie(map)
        | Map::RingBuf(map)
        | Map::DevMap(map)
        | Map::PerfEventArray(map) => Ok(map.fd().as_fd().as_raw_fd()),
        other => Err(Error::msg(format!("a map of a kind that is not known here: {other:?}"))),
    }
}

/// Loads the program, for the log only.
fn verify(program: &Program, instructions: &[bpf_insn], frags: bool) -> Result<Option<Work>> {
    let mut log = vec![0u8; 1 << 16];
    // SAFETY: integers and pointers, for all of which zero is a value.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    attr.__bindgen_anon_3.prog_type = bpf_prog_type::BPF_PROG_TYPE_XDP as u32;
    attr.__bindgen_anon_3.expected_attach_type = bpf_attach_type::BPF_XDP as u32;
    attr.__bindgen_anon_3.prog_flags = if frags { BPF_F_XDP_HAS_FRAGS } else { 0 };
    attr.__bindgen_anon_3.insns = instructions.as_ptr() as u64;
    attr.__bindgen_anon_3.insn_cnt = instructions.len() as u32;
    attr.__bindgen_anon_3.license = program.license.as_ptr() as u64;
    attr.__bindgen_anon_3.log_level = STATISTICS;
    attr.__bindgen_anon_3.log_buf = log.as_mut_ptr() as u64;
    attr.__bindgen_anon_3.log_size = log.len() as u32;
    // SAFETY: the attributes are as large as said, and what they point to, of the lengths they say,
    // outlives the call; the kernel writes to the log only.
    let loaded = unsafe {
        libc::syscall(libc::SYS_bpf, bpf_cmd::BPF_PROG_LOAD, &raw mut attr, size_of::<bpf_attr>())
    };
    let error = io::Error::last_os_error();
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let log = String::from_utf8_lossy(&log[..end]);
    // An unknown flag is refused before there is a log.
    if frags && error.raw_os_error() == Some(libc::EINVAL) && loaded < 0 && log.is_empty() {
        return Ok(None);
    }
    ensure!(loaded >= 0, "refused: {error}: {log}");
    // SAFETY: the call has just made it, and nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(loaded as RawFd) });
    log.parse().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_read_from_among_the_logs_lines() {
        let log = "verification time 812 usec\nstack depth 64+16\nprocessed 3654 insns (limit 1000000) \
                   max_states_per_insn 4 total_states 210 peak_states 60 mark_read 9\n";
        let work = Work { instructions: 3654, states: 210, peak: 60, stack: vec![64, 16] };
        assert_eq!(log.parse::<Work>().expect("statistics"), work);
        assert!("verification time 812 usec\n".parse::<Work>().is_err());
    }
}
