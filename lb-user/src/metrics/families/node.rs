//! What is said of the balancer: its datapath, its interfaces, its configuration and its daemon.

use super::Make;
use crate::metrics::{
    family::{Family, number, truth},
    snapshot::Snapshot,
};

/// In the order in which they are written.
pub(super) const FAMILIES: &[Make] = &[
    build,
    outcomes,
    interface_up,
    interface_xdp,
    program_runs,
    program_time,
    table_entries,
    table_capacity,
    tables_full,
    neighbours,
    announced,
    announcements,
    events,
    config_vips,
    config_hash,
    config_changes,
    config_reloads,
    config_good,
    config_last_success,
    collection,
];

const MODES: [&str; 4] = ["native", "generic", "detached", "missing"];

/// A family with one sample.
fn one(name: &str, help: &str, value: f64) -> Family {
    Family::gauge(name, help).with(&[], value)
}

fn build(_: &Snapshot) -> Family {
    let version = env!("CARGO_PKG_VERSION");
    Family::gauge("lb_build_info", "The version of lbd; 1.").with(&[("version", version)], 1.0)
}

fn outcomes(snapshot: &Snapshot) -> Family {
    let help = "Frames by what became of them, and whether they were then sent on, passed to this machine's own stack or dropped.";
    let mut family = Family::counter("lb_outcomes_total", help);
    for (outcome, frames) in &snapshot.outcomes {
        let action = match outcome.action() {
            lb_common::Action::Transmit => "transmit",
            lb_common::Action::Pass => "pass",
            lb_common::Action::Drop => "drop",
        };
        family.add(&[("outcome", outcome.label()), ("action", action)], number(*frames));
    }
    family
}

fn interface_up(snapshot: &Snapshot) -> Family {
    let help = "Whether the interface is there and up.";
    let mut family = Family::gauge("lb_interface_up", help);
    for interface in &snapshot.interfaces {
        family.add(&[("interface", &interface.name)], truth(interface.up));
    }
    family
}

fn interface_xdp(snapshot: &Snapshot) -> Family {
    let help = "1 for how XDP is attached to the interface: native, generic, detached (it could not be) or missing (no such interface).";
    let mut family = Family::gauge("lb_interface_xdp", help);
    for interface in &snapshot.interfaces {
        let labels = [("interface", interface.name.as_str())];
        family.add_state(&labels, "mode", &MODES, interface.xdp);
    }
    family
}

fn program_runs(snapshot: &Snapshot) -> Family {
    let help = "How often the interface's XDP program has run; absent unless kernel.bpf_stats_enabled is 1.";
    let mut family = Family::counter("lb_program_runs_total", help);
    for program in &snapshot.programs {
        family.add(&[("interface", &program.interface)], number(program.runs));
    }
    family
}

fn program_time(snapshot: &Snapshot) -> Family {
    let help = "How long the interface's XDP program has run in all; absent unless kernel.bpf_stats_enabled is 1.";
    let mut family = Family::counter("lb_program_run_seconds_total", help);
    for program in &snapshot.programs {
        family.add(&[("interface", &program.interface)], program.time.as_secs_f64());
    }
    family
}

fn table_entries(snapshot: &Snapshot) -> Family {
    let help = "Entries in use of a table: flows as the sweeper has last counted them, slots of rings, places for reals, keys of services, detours of checks.";
    let mut family = Family::gauge("lb_table_entries", help);
    for fill in &snapshot.tables {
        family.add(&[("table", fill.table)], number(fill.used));
    }
    family
}

fn table_capacity(snapshot: &Snapshot) -> Family {
    let help = "Entries that a table has.";
    let mut family = Family::gauge("lb_table_capacity", help);
    for fill in &snapshot.tables {
        family.add(&[("table", fill.table)], number(fill.size));
    }
    family
}

fn tables_full(snapshot: &Snapshot) -> Family {
    let help = "Whether the tables of flows are so full that new flows of slots that have moved begin with the previous owner.";
    one("lb_flow_tables_full", help, truth(snapshot.full))
}

fn neighbours(snapshot: &Snapshot) -> Family {
    let help = "Servers by how they are reached: static (its MAC address is configured), resolved, inherited (known to the former daemon), unresolved, silent (no answer), behind (a gateway) or cut (no way).";
    let mut family = Family::gauge("lb_neighbours", help);
    for (state, count) in &snapshot.neighbours {
        family.add(&[("state", *state)], number(*count));
    }
    family
}

fn announced(snapshot: &Snapshot) -> Family {
    let help = "Addresses of VIPs that lbd has assigned to the interface.";
    let mut family = Family::gauge("lb_announced_addresses", help);
    for (interface, count) in &snapshot.announced {
        family.add(&[("interface", interface)], number(*count));
    }
    family
}

fn announcements(snapshot: &Snapshot) -> Family {
    let help = "Addresses told to the network unasked, by gratuitous ARP or an unsolicited neighbour advertisement.";
    let mut family = Family::counter("lb_announcements_total", help);
    for (interface, count) in &snapshot.tally.announcements {
        family.add(&[("interface", interface)], number(*count));
    }
    family
}

fn events(snapshot: &Snapshot) -> Family {
    let help = "Events since lbd was started, as lbctl events shows them; a thief is another machine that answers for an announced address.";
    let mut family = Family::counter("lb_events_total", help);
    for (event, count) in &snapshot.tally.events {
        family.add(&[("event", *event)], number(*count));
    }
    family
}

fn config_vips(snapshot: &Snapshot) -> Family {
    one("lb_config_vips", "VIPs in the configuration.", number(snapshot.config.vips))
}

fn config_hash(snapshot: &Snapshot) -> Family {
    let help = "A number of 48 bits that stands for the text of the configuration: it changes with any change.";
    one("lb_config_hash", help, number(snapshot.config.hash))
}

fn config_changes(snapshot: &Snapshot) -> Family {
    let changes = snapshot.tally.changes;
    Family::counter(
        "lb_config_changes_total",
        "Changes asked for over the socket, by what became of them: applied, refused, or failed when they were tried.",
    )
    .with(&[("result", "applied")], number(changes.applied))
    .with(&[("result", "refused")], number(changes.refused))
    .with(&[("result", "failed")], number(changes.failed))
}

fn config_reloads(snapshot: &Snapshot) -> Family {
    let reloads = snapshot.tally.reloads;
    Family::counter(
        "lb_config_reloads_total",
        "Readings of the edited file, by what became of them.",
    )
    .with(&[("result", "applied")], number(reloads.applied))
    .with(&[("result", "refused")], number(reloads.refused))
}

fn config_good(snapshot: &Snapshot) -> Family {
    let help = "Whether the file was good when it was read or written last; if not, the configuration before goes on.";
    one("lb_config_last_reload_successful", help, truth(snapshot.tally.good))
}

fn config_last_success(snapshot: &Snapshot) -> Family {
    let help = "When a configuration was put in force last, since the epoch.";
    let time = snapshot.tally.last_success.as_duration().as_secs_f64();
    one("lb_config_last_success_timestamp_seconds", help, time)
}

fn collection(snapshot: &Snapshot) -> Family {
    let help = "How long lbd was busy with collecting what this scrape says, beside rendering it.";
    one("lb_metrics_collection_seconds", help, snapshot.took.as_secs_f64())
}
