//! A script for FreeBSD's rc.

use std::fmt::Write as _;

use super::{Setup, addresses, heading};

/// Answers for addresses of lo0 need nothing said: FreeBSD answers ARP and neighbour discovery for
/// the addresses of the interface that is asked, and no other.
const NOTES: [&str; 8] = [
    "",
    "    install -m 755 FILE /usr/local/etc/rc.d/lb_backend",
    "    sysrc lb_backend_enable=YES",
    "    service lb_backend start",
    "",
    "`service lb_backend stop` takes the VIPs away, and leaves the kernel parameters. FreeBSD answers",
    "ARP and neighbour discovery only for the addresses of the interface that is asked: for those of",
    "lo0 it is silent by itself. What pf or ipfw drop, neither finds nor changes it.",
];

const BEGINNING: &str = "
# PROVIDE: lb_backend
# REQUIRE: netif
# BEFORE: NETWORKING

# shellcheck disable=SC1091,SC2034 # FreeBSD's own, and what it reads.
. /etc/rc.subr

name=lb_backend
desc='VIPs of a real server behind lb'
rcvar=lb_backend_enable
start_cmd=lb_backend_start
stop_cmd=lb_backend_stop
status_cmd=lb_backend_status

# Packets to an address of lo0 arrive on another interface; of these two the kernel has one, by its age.
lb_backend_start() {
    for parameter in net.inet.ip.check_interface net.inet.ip.rfc1122_strong_es; do
        if [ \"$(sysctl -n \"$parameter\" 2>/dev/null)\" = 1 ]; then
            sysctl \"$parameter=0\" || return 1
        fi
    done
";

const END: &str = "
: \"${lb_backend_enable:=NO}\"
load_rc_config \"$name\"
run_rc_command \"$1\"
";

pub(super) fn text(setup: &Setup) -> String {
    let mut text = String::from("#!/bin/sh\n");
    text += &heading("#", "/usr/local/etc/rc.d/lb_backend", setup, &NOTES).replace("# \n", "#\n");
    text += BEGINNING;
    let (mut stop, mut status) = (String::new(), String::new());
    for address in addresses(setup) {
        let (family, there, add) = match address.is_ipv4() {
            true => ("inet", format!("inet {address} "), format!("{address}/32 alias")),
            // Its preferred time is over: never a source.
            false => {
                ("inet6", format!("inet6 {address} "), format!("{address}/128 pltime 0 alias"))
            }
        };
        let _ = writeln!(text, "    ifconfig lo0 {family} {add} || return 1");
        let _ = writeln!(stop, "    ifconfig lo0 {family} {address} -alias");
        let _ = writeln!(
            status,
            "    ifconfig lo0 | grep -q '{there}' || {{ echo '{address} is not on lo0'; return 1; }}"
        );
    }
    let _ = write!(
        text,
        "}}\n\nlb_backend_stop() {{\n{stop}}}\n\nlb_backend_status() {{\n{status}}}\n"
    );
    text + END
}
