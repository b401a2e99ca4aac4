//! `lbctl doctor`.

use std::net::IpAddr;

use clap::Args;
use comfy_table::CellAlignment::Left;
use lb_user::api::doctor::{self, DoctorQuery, Finding};

use crate::{Session, failure::Failure, output::grid, value};

const EXAMPLES: &str = "\
It tries every real at the VIP and at its own address, asks who answers for the VIPs, and
looks at the interfaces and parameters of this machine. It takes a few seconds, changes
nothing, and says only what it has observed.

Exit codes: 0 all is well, 1 something is wrong. Notes alone do not make it 1.

Examples:
  lbctl doctor
  lbctl doctor web
  lbctl doctor -o json | jq -r '.findings[].code'";

/// Examines VIPs, reals and this machine, and says what is wrong.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Doctor {
    /// Only this VIP, and the machine itself
    #[arg(value_parser = value::name)]
    vip: Option<String>,
}

impl Doctor {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let query = DoctorQuery { vip: self.vip };
        let answer = session.notes.waiting("examining", || session.client.doctor(&query))?;
        session.output.show(&answer, text)?;
        if answer.is_well() { Ok(()) } else { Err(Failure::Findings) }
    }
}

/// A line for each finding; else what was examined.
pub fn text(answer: &doctor::Doctor) -> String {
    let list = list(&answer.findings);
    match (answer.is_well(), list.is_empty()) {
        (false, _) => list,
        (true, true) => well(answer),
        (true, false) => format!("{}\n\n{list}", well(answer)),
    }
}

fn list(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let cell = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let place = |finding: &Finding| {
        finding.real.as_ref().map(IpAddr::to_string).or_else(|| finding.interface.clone())
    };
    let rows = findings.iter().map(|finding| {
        let Finding { code, message, fix, .. } = finding;
        let note = if finding.note { " (a note)" } else { "" };
        let text = format!("{code}{note}: {message}; fix: {fix}");
        [cell(&finding.vip), cell(&place(finding)), text]
    });
    grid([("VIP", Left), ("PLACE", Left), ("FINDING", Left)], rows)
}

fn well(answer: &doctor::Doctor) -> String {
    let doctor::Doctor { checked, vips, interfaces, .. } = answer;
    let some = |count: &usize, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    format!(
        "all is well: examined {}, {}, {} and this machine",
        some(vips, "VIP"),
        some(checked, "real"),
        some(interfaces, "interface")
    )
}
