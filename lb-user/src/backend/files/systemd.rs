//! A unit of systemd that runs the script at boot.

use super::{File, Setup, heading, template};

const PATH: &str = "/etc/systemd/system/lb-backend.service";

/// Where the interfaces are known, the VIPs are there before the services that listen on them.
const KNOWN: &str = "
[Unit]
Description=VIPs of a real server behind lb
After=systemd-sysctl.service network-pre.target
Wants=sys-subsystem-net-devices-@DEVICE@.device
After=sys-subsystem-net-devices-@DEVICE@.device
Wants=network.target
Before=network.target
";

/// Where the script has to find them, they must have their addresses.
const FOUND: &str = "
# Before the network's services if the interfaces are named (--interface); else it finds them.
[Unit]
Description=VIPs of a real server behind lb
Wants=network-online.target
After=network-online.target
";

const SERVICE: &str = "
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lb-backend apply@OPTIONS@

[Install]
WantedBy=multi-user.target
";

const NOTES: [&str; 2] = [
    "The script of `lbctl backend script` goes to /usr/local/sbin/lb-backend, with mode 755; then",
    "`systemctl enable --now lb-backend`.",
];

pub(super) fn file(setup: &Setup) -> File {
    let unit = if setup.interfaces.is_empty() { FOUND } else { KNOWN };
    let text = template::fill(&(unit.to_owned() + SERVICE), &setup.interfaces);
    File::new(PATH, 0o644, heading("#", PATH, setup, &NOTES) + &text)
}

/// With places for the interfaces, which a script that runs knows.
pub(super) fn template(setup: &Setup) -> File {
    File::new(PATH, 0o644, heading("#", PATH, setup, &NOTES) + KNOWN + SERVICE)
}
