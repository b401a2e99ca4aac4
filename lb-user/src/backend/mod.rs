//! What makes a machine a real server, as text: a script that does, proves and undoes it, or the
//! files by which one kind of system does it at boot. Pure: nothing here touches a machine.

pub mod files;
pub mod report;
pub mod script;
pub mod system;

use std::net::IpAddr;

use crate::model::Ports;

/// What real servers are to be set up for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The VIPs, with unique addresses; at least one.
    pub vips: Vec<Vip>,
    /// The interfaces on which packets arrive from the balancer, where the operator has said so;
    /// else each real finds its own.
    pub interfaces: Vec<String>,
    /// Addresses of the balancer, through which no default route may go; empty where not known.
    pub balancers: Vec<IpAddr>,
}

/// A VIP, as far as a real server needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// What the balancer calls it, if this was asked of one.
    pub name: Option<String>,
    /// The virtual address.
    pub address: IpAddr,
    /// The ports that must be listened on; at least one.
    pub ports: Vec<Ports>,
    /// The pool, if this was asked of a balancer.
    pub reals: Vec<IpAddr>,
}

words! {
    /// What is printed.
    Format, "format" {
        /// The script that does it now.
        Script = "script",
        /// Debian's `/etc/network/interfaces.d`, and Alpine's.
        Ifupdown = "ifupdown",
        /// systemd-networkd.
        Networkd = "networkd",
        /// Netplan.
        Netplan = "netplan",
        /// A keyfile of NetworkManager.
        Nmcli = "nmcli",
        /// `ifcfg-lo:0` of older Red Hat systems.
        Ifcfg = "ifcfg",
        /// A unit of systemd that runs the script at boot: fits wherever there is systemd.
        Systemd = "systemd",
        /// `sysctl.d` alone.
        Sysctl = "sysctl",
        /// User data of cloud-init.
        CloudInit = "cloud-init",
        /// A playbook of Ansible.
        Ansible = "ansible",
        /// PowerShell: a loopback adapter, weak host model.
        Windows = "windows",
        /// A script for FreeBSD.
        Freebsd = "freebsd",
    }
}

/// What is printed for a format. `way` is how the script makes it survive a reboot when nothing else
/// is said, where the system is known.
#[must_use]
pub fn render(setup: &Setup, format: Format, way: Option<files::Way>) -> String {
    files::text(setup, format, || script::text(setup, way))
}
