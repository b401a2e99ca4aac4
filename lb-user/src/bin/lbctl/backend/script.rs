//! `lbctl backend script`.

use clap::Args;
use lb_user::backend::{self, Format, system::System};
use serde::Serialize;

use super::select::Select;
use crate::{Session, failure::Failure};

const EXAMPLES: &str = "\
The script runs on any Linux with `sh`, `ip` and `awk`, BusyBox too. Its commands: apply (sets the
kernel parameters, then adds the VIPs to lo), check (says what is wrong, and how to put it
right), status, undo (makes everything what it was before); see `sh lb-backend.sh --help`.

Systems: linux, debian, ubuntu, rhel, centos, rocky, alma, fedora, suse, alpine, arch, freebsd, windows.
Formats: script, and for those who keep configuration elsewhere: ifupdown, networkd, netplan, nmcli,
ifcfg, systemd, sysctl, cloud-init, ansible, windows, freebsd.

Examples:
  lbctl backend script web > lb-backend.sh
  lbctl backend script web | ssh root@10.0.0.11 sh -s apply --check
  lbctl backend script --all --os debian --interface eth1
  lbctl backend script --vip 192.0.2.10 --vip 2001:db8:2::10 --port tcp/80 --port tcp/443
  lbctl backend script web --format netplan";

/// What to print, and for which VIPs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Script {
    #[command(flatten)]
    select: Select,
    /// What the real servers run; else any Linux, or what the format is for
    #[arg(long, value_name = "SYSTEM")]
    os: Option<System>,
    /// What to print, if not what suits the system best
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

/// The text as a value of a structured answer.
#[derive(Serialize)]
struct Printed {
    format: String,
    text: String,
}

impl Script {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self { select, os, format } = self;
        let format = format.unwrap_or_else(|| os.unwrap_or_default().format());
        if let Some(os) = os.filter(|os| !os.takes(format)) {
            return Err(Failure::Usage(format!(
                "--format {format}: not for --os {os}; leave one of them out"
            )));
        }
        let setup = select.setup(session)?;
        let text = backend::render(&setup, format, os.and_then(System::way));
        let printed = Printed { format: format.to_string(), text };
        Ok(session.output.show(&printed, |printed| printed.text.clone())?)
    }
}
