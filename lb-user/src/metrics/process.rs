//! The daemon's process, by the names that all exporters have for it.

use std::sync::Once;

use procfs::{
    ProcResult, WithCurrentSystemInfo as _,
    process::{LimitValue, Process},
};
use prometheus::proto::MetricFamily;

use super::family::{Family, number};

/// What the kernel says of this process; nothing where it does not say all of it, which is logged once.
pub(super) fn families() -> Vec<MetricFamily> {
    static TOLD: Once = Once::new();
    read().unwrap_or_else(|error| {
        TOLD.call_once(|| log::warn!("no metrics of the process itself: {error}"));
        Vec::new()
    })
}

fn read() -> ProcResult<Vec<MetricFamily>> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let started = procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks;
    let mut families = vec![
        Family::counter(
            "process_cpu_seconds_total",
            "CPU time that lbd has used, user and system.",
        )
        .with(&[], (stat.utime + stat.stime) as f64 / ticks),
        Family::gauge("process_start_time_seconds", "When lbd was started, since the epoch.")
            .with(&[], started),
        Family::gauge("process_resident_memory_bytes", "Memory of lbd that is in RAM.")
            .with(&[], number(stat.rss_bytes().get())),
        Family::gauge("process_virtual_memory_bytes", "Address space of lbd.")
            .with(&[], number(stat.vsize)),
        Family::gauge("process_threads", "Threads of lbd.").with(&[], stat.num_threads as f64),
        Family::gauge("process_open_fds", "Files that lbd has open.")
            .with(&[], process.fd_count()? as f64),
    ];
    if let LimitValue::Value(most) = process.limits()?.max_open_files.soft_limit {
        let help = "Files that lbd may have open.";
        families.push(Family::gauge("process_max_fds", help).with(&[], number(most)));
    }
    Ok(families.into_iter().map(Family::done).collect())
}
