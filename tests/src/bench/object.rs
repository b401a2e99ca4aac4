//! The programs of the benchmark: floors, and the wrapper in which programs are measured
//! (`lb-ebpf/src/bin/bench.rs`).

use anyhow::{Context as _, Result};
use aya::{Ebpf, EbpfLoader, programs::Xdp};
use lb_ebpf::bench::{FLOOR_BLOCK, FLOOR_OWN_RING, Layout};

/// The object, which lb-user's build script has built.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("LB_OBJECTS"), "/bench"));

/// Its large tables, which only floors have a use for.
const TABLES: [&str; 8] = [
    "DISPLACEMENTS",
    "SERVICES",
    "RING",
    "REALS",
    "SERVICE_COUNTERS",
    "REAL_COUNTERS",
    "FLOWS",
    "FLOWS_V6",
];

/// Loads the object, with rings for so many services; none of its programs.
pub fn object(services: u32) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("OWN_RINGS", services * (FLOOR_OWN_RING / FLOOR_BLOCK));
    loader.load(OBJECT).context("loading the benchmark's programs")
}

/// The same for its wrapper alone, for frames of this layout.
pub fn small(layout: Layout) -> Result<Ebpf> {
    let Layout { client, vip, ports, identification, is_v6, is_quoted } = layout;
    let words = [client, vip, ports, identification, is_v6, is_quoted];
    let mut loader = EbpfLoader::new();
    loader.override_global("LAYOUT", &words, true);
    for table in TABLES {
        loader.map_max_entries(table, 1);
    }
    loader.load(OBJECT).context("loading the benchmark's wrapper")
}

/// The object's program with this name, loaded into the kernel if it is not yet.
pub fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = object.program_mut(name).with_context(|| format!("no program {name}"))?;
    let program: &mut Xdp = program.try_into()?;
    if program.fd().is_err() {
        program.load().with_context(|| format!("loading the benchmark's {name}"))?;
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_all_programs_of_the_benchmark() -> Result<()> {
        let mut object = object(1)?;
        for name in ["nothing", "f0", "f1", "f1_v6", "f1_rings", "f2", "f2_v6", "wrapper"] {
            program(&mut object, name)?;
        }
        Ok(())
    }
}
