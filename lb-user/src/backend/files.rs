//! Files that set a real server up at boot, a module for each kind of system.
//!
//! Each begins with a comment that says where it belongs and what it cannot do. What the script
//! writes for `--persist` is these same files: it carries them ([`embedded`]).

mod ansible;
mod cloud_init;
mod freebsd;
mod ifcfg;
mod ifupdown;
mod keyfile;
mod netplan;
mod networkd;
mod sysctl;
mod systemd;
mod template;
mod windows;

#[cfg(test)]
mod tests;

use std::{fmt::Write as _, net::IpAddr};

use super::{Format, Setup, Vip};

words! {
    /// In which way a real server survives a reboot.
    Way, "way to survive a reboot" {
        /// `/etc/network/interfaces`, of Debian and Alpine.
        Ifupdown = "ifupdown",
        /// systemd-networkd.
        Networkd = "networkd",
        /// Netplan.
        Netplan = "netplan",
        /// NetworkManager, by a keyfile.
        NetworkManager = "networkmanager",
        /// `ifcfg-lo:0` of older Red Hat systems.
        Ifcfg = "ifcfg",
        /// A unit of systemd that runs the script.
        Systemd = "systemd",
    }
}

impl Way {
    const ALL: [Self; 6] = [
        Self::Ifupdown,
        Self::Networkd,
        Self::Netplan,
        Self::NetworkManager,
        Self::Ifcfg,
        Self::Systemd,
    ];
}

/// A file of a real server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it belongs.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// What it says.
    pub text: String,
}

impl File {
    fn new(path: &str, mode: u32, text: String) -> Self {
        Self { path: path.into(), mode, text }
    }
}

/// The files of a way, but for the kernel parameters, which [`kernel_parameters`] holds for all.
#[must_use]
pub fn of(setup: &Setup, way: Way) -> Vec<File> {
    match way {
        Way::Ifupdown => vec![ifupdown::file(setup)],
        Way::Networkd => vec![networkd::file(setup)],
        Way::Netplan => vec![netplan::file(setup)],
        Way::NetworkManager => vec![keyfile::file(setup)],
        Way::Ifcfg => ifcfg::files(setup),
        Way::Systemd => vec![systemd::file(setup)],
    }
}

/// The file with the kernel parameters.
#[must_use]
pub fn kernel_parameters(setup: &Setup) -> File {
    sysctl::file(setup)
}

/// What is printed for a format, given what makes the script for those that carry or are it. Several
/// files come one after the other; each begins with its path.
#[must_use]
pub fn text(setup: &Setup, format: Format, script: impl FnOnce() -> String) -> String {
    let files = |way| of(setup, way).into_iter().map(|file| file.text).collect::<String>();
    match format {
        Format::Script => script(),
        Format::Ifupdown => files(Way::Ifupdown),
        Format::Networkd => files(Way::Networkd),
        Format::Netplan => files(Way::Netplan),
        Format::Nmcli => files(Way::NetworkManager),
        Format::Ifcfg => files(Way::Ifcfg),
        Format::Systemd => files(Way::Systemd),
        Format::Sysctl => kernel_parameters(setup).text,
        Format::CloudInit => cloud_init::text(setup),
        Format::Ansible => ansible::text(setup, &script()),
        Format::Windows => windows::text(setup),
        Format::Freebsd => freebsd::text(setup),
    }
}

/// Shell functions for the script, `files_WAY` and `files_sysctl`, that hand each file to a
/// command: `files_netplan put_file` calls `put_file PATH MODE` with the text on standard input.
/// What depends on interfaces, which the script finds out, has places for them: `template.rs`.
#[must_use]
pub fn embedded(setup: &Setup) -> String {
    let mut text = String::from(
        "# What is written for a reboot: files_WAY COMMAND runs COMMAND PATH MODE for each file of a way, with\n\
         # what it is to say on standard input. lbctl prints the same, as one of its formats.\n\n",
    );
    text += &function("sysctl", &[sysctl::template(setup)]);
    for way in Way::ALL {
        let files = match way {
            Way::Systemd => vec![systemd::template(setup)],
            _ => of(setup, way),
        };
        text += &function(&way.to_string(), &files);
    }
    text
}

fn function(name: &str, files: &[File]) -> String {
    let mut text = format!("files_{name}() {{\n");
    for File { path, mode, text: content } in files {
        // Quoted by the mark's quotes: nothing in the text means anything to the shell. None of
        // it says the mark: its lines are made here, of addresses and checked names.
        let _ = write!(text, "    \"$1\" '{path}' {mode:o} <<'END_OF_FILE' || return 1\n{content}");
        text += "END_OF_FILE\n";
    }
    text + "}\n\n"
}

/// The comment a file begins with: where it belongs, what it is about, and what else there is to
/// know, each line after this mark.
fn heading(mark: &str, place: &str, setup: &Setup, notes: &[&str]) -> String {
    let vips: Vec<_> = setup.vips.iter().map(shown).collect();
    let mut text = format!("{mark} {place}\n{mark} The VIPs of a real server behind lb: ");
    let _ = writeln!(text, "{}.", vips.join(", "));
    for note in notes {
        let _ = writeln!(text, "{mark} {note}");
    }
    text
}

/// `192.0.2.10 (web)`.
fn shown(vip: &Vip) -> String {
    let plain = |name: &&String| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    match vip.name.as_ref().filter(plain) {
        Some(name) => format!("{} ({name})", vip.address),
        None => vip.address.to_string(),
    }
}

/// The address with the length of a prefix that is the address alone.
fn whole(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}/32"),
        IpAddr::V6(address) => format!("{address}/128"),
    }
}

fn addresses(setup: &Setup) -> impl Iterator<Item = IpAddr> {
    setup.vips.iter().map(|vip| vip.address)
}

fn has_ipv4(setup: &Setup) -> bool {
    addresses(setup).any(|address| address.is_ipv4())
}

fn has_ipv6(setup: &Setup) -> bool {
    addresses(setup).any(|address| address.is_ipv6())
}

/// What every file that has but addresses says.
const SYSCTLS: &str =
    "Needs the kernel parameters of `lbctl backend script --format sysctl`, which come first.";

/// For what cannot give an address of IPv6 a lifetime.
const SOURCE: [&str; 2] = [
    "It cannot say that an IPv6 VIP is never a source (preferred_lft 0): the kernel then prefers",
    "the address of the interface a packet leaves by, where that has one.",
];
