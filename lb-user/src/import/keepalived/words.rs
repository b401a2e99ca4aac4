//! Why keepalived's words are not carried over, and what to do instead.

use super::tree::Statement;
use crate::import::Note;

/// Keywords with what is said of them.
pub(super) type Table = &'static [(&'static str, &'static str)];

/// What means nothing here, so that nothing is lost with it.
pub(super) const NEEDLESS: &[&str] = &[
    "router_id",
    "lvs_id",
    "lvs_flush",
    "lvs_flush_onstop",
    "nat_mask",
    "net_mask",
    "use_pid_dir",
    "linkbeat_use_polling",
    "child_wait_time",
    "process_names",
    "process_name",
    "checker_process_name",
    "vrrp_process_name",
    "bfd_process_name",
    "tmp_config_directory",
    "config_save_dir",
    "include_check",
    "reload_repeat",
    "max_auto_priority",
];

const MAIL: &str =
    "no mail is sent; [hooks] exec or webhook is told of every change, and can send one";
const VRRP: &str = "it is for VRRP, which stays with keepalived";
const SNMP: &str =
    "there is no SNMP and no D-Bus; `lbctl status -o json` and the metrics of lbd tell the same";
const PROCESS: &str = "it is for keepalived's own processes";
const SCRIPT: &str = "programs of checks and hooks run as exec_user of [node]";
const HOOK: &str = "[hooks] exec is called with every change, as JSON on its standard input";
const STATIC: &str =
    "addresses, routes and rules of this machine belong into its network configuration";
const BFD: &str = "there is no BFD";
const NAMESPACE: &str = "start lbd in the network namespace where it is to work (`ip netns exec`, NetworkNamespacePath= of systemd)";

/// In `global_defs`.
pub(super) const GLOBAL: Table = &[
    ("notification_email", MAIL),
    ("notification_email_from", MAIL),
    ("smtp_server", MAIL),
    ("smtp_helo_name", MAIL),
    ("smtp_connect_timeout", MAIL),
    ("smtp_alert", MAIL),
    ("smtp_alert_checker", MAIL),
    ("no_email_faults", MAIL),
    ("script_user", SCRIPT),
    ("enable_script_security", SCRIPT),
    ("use_symlink_paths", SCRIPT),
    ("set_supplementary_groups", SCRIPT),
    ("startup_script", "run it from a unit of systemd before lbd"),
    ("shutdown_script", "run it from a unit of systemd after lbd"),
    ("notify_fifo", HOOK),
    ("lvs_notify_fifo", HOOK),
    ("default_interface", "name the interfaces in [node]"),
    (
        "lvs_sync_daemon",
        "balancers need not tell each other of flows: with the same hash_seed in [node] they send new flows to the same reals",
    ),
    ("lvs_timeouts", "write idle_timeout and udp_idle_timeout of the VIPs"),
    ("enable_snmp", SNMP),
    ("snmp_", SNMP),
    ("enable_traps", SNMP),
    ("enable_dbus", SNMP),
    ("dbus_", SNMP),
    (
        "checker_log_all_failures",
        "the reason of every failure stands in `lbctl status` and in the events",
    ),
    ("dynamic_interfaces", "interfaces that are not there yet are waited for"),
    ("checker_", PROCESS),
    ("bfd_", PROCESS),
    ("nftables", VRRP),
    ("vrrp_", VRRP),
];

/// At the top.
pub(super) const TOP: Table = &[
    (
        "vrrp_instance",
        "VRRP stays with keepalived: leave this block in its configuration, and take the virtual_servers out; a VIP here whose address it holds has announce = \"none\"",
    ),
    ("vrrp_sync_group", "VRRP stays with keepalived: leave this block in its configuration"),
    ("vrrp_", VRRP),
    ("track_file", "no file is watched"),
    ("track_", VRRP),
    ("garp_group", VRRP),
    ("interface_up_down_delays", VRRP),
    ("linkbeat_interfaces", VRRP),
    ("bfd_instance", BFD),
    ("static_", STATIC),
    ("net_namespace", NAMESPACE),
    ("instance", NAMESPACE),
    ("namespace_with_ipsets", NAMESPACE),
    (
        "SSL",
        "https checks take any certificate here, as keepalived does; for others write verify = true and ca = \"/file.pem\" in the check",
    ),
];

/// In `virtual_server`.
pub(super) const SERVER: Table = &[
    (
        "persistence_granularity",
        "hash = \"source\" keeps each client address on one real, never a whole network",
    ),
    (
        "persistence_engine",
        "layer 7 is not looked at; hash = \"source\" keeps a client on one real",
    ),
    ("quorum_up", HOOK),
    ("quorum_down", HOOK),
    ("ha_suspend", "the checks run whether or not this machine has the address"),
    ("omega", "nothing is called when lbd ends: it leaves the datapath forwarding"),
    ("hashed", "flows are always spread by a hash"),
    (
        "flag-",
        "no flags are needed: a hash spreads the flows, and without a real that is up they go to the next",
    ),
    ("sh-fallback", "no flags are needed: flows of a real that is down go to another"),
    ("mh-fallback", "no flags are needed: flows of a real that is down go to another"),
    (
        "sorry_server_inhibit",
        "the sorry server gets new flows while no real is usable, and is not checked",
    ),
    ("inhibit_on_failure", INHIBIT),
    ("smtp_alert", MAIL),
    ("snmp_name", SNMP),
    ("warmup", WARMUP),
];

const INHIBIT: &str = "the flows of a real that is down go to others; to let open ones stay, drain it (`lbctl real drain`)";
const WARMUP: &str = "the first probes are spread over the interval anyway";
const LIMIT: &str = "connections to a real are not counted; give it a smaller weight";

/// In `real_server`.
pub(super) const REAL: Table = &[
    ("inhibit_on_failure", INHIBIT),
    ("notify_up", HOOK),
    ("notify_down", HOOK),
    ("uthreshold", LIMIT),
    ("lthreshold", LIMIT),
    ("smtp_alert", MAIL),
    ("snmp_name", SNMP),
    ("warmup", WARMUP),
    ("BFD_CHECK", "there is no BFD; an icmp or tcp check with a short interval comes near to it"),
    (
        "FILE_CHECK",
        "no file is watched; an exec check can look into it, and `lbctl real set --weight` changes a weight",
    ),
];

/// In a checker.
pub(super) const CHECKER: Table = &[
    ("bindto", "probes come from the address that the routes choose"),
    ("bind_if", "probes leave as the routes say"),
    ("bind_port", "probes come from any port"),
    ("fwmark", "probes are not marked"),
    ("warmup", WARMUP),
    ("log_all_failures", "the reason of every failure stands in `lbctl status` and in the events"),
    ("fast_recovery", "every URL is a check of its own, at its own pace"),
    ("http_protocol", "requests are HTTP/1.1; version = \"2\" asks by HTTP/2"),
    ("tls_compliant", "TLS is ended as its standard says"),
    ("digest", "bodies are not hashed; body = \"text\" looks for a text in them"),
    ("regex_no_match", "there are no regular expressions; body = \"text\" looks for a text"),
    ("regex", "there are no regular expressions; body = \"text\" looks for a text"),
    ("helo_name", "this has become a check of the TCP connection alone"),
    ("host", "this has become a check of the TCP connection at the real alone"),
    ("misc_dynamic", "the exit code is 0 or not; `lbctl real set --weight` changes a weight"),
    ("user", SCRIPT),
    ("min_reply_length", "the length of an answer is not looked at"),
    ("max_reply_length", "the length of an answer is not looked at"),
    ("min_reply_len", "the length of an answer is not looked at"),
    ("max_reply_len", "the length of an answer is not looked at"),
    ("ping_check_off", "no ping belongs to this check"),
];

/// What is said of a statement: of its keyword, or of those that begin like it.
pub(super) fn note(table: Table, statement: &Statement) -> Note {
    let keyword = statement.keyword();
    let found = table.iter().find(|(word, _)| {
        *word == keyword
            || word.ends_with(['_', '-']) && keyword.starts_with(word)
            || *word == "regex" && keyword.starts_with("regex_")
            || *word == "enable_snmp" && keyword.starts_with("enable_snmp_")
            || matches!(
                *word,
                "notify_fifo" | "lvs_notify_fifo" | "startup_script" | "shutdown_script"
            ) && keyword.starts_with(word)
    });
    let block = if statement.block.is_some() { " (with its block)" } else { "" };
    statement.note(match found {
        Some((_, reason)) => format!("not carried over{block}: {reason}"),
        None => format!("not carried over{block}: this keyword is not known here"),
    })
}
