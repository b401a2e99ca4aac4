//! `lbctl plan` and `lbctl apply`.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use comfy_table::CellAlignment::{Left, Right};
use lb_user::api::{
    client,
    types::{ApplyQuery, PlanQuery, PlanReport, VipPlan},
};

use crate::{
    Session,
    failure::Failure,
    output::{grid, percent},
    value,
};

const PLAN_EXAMPLES: &str = "\
Changes nothing. MOVED is the part of a VIP's hash space of which new flows go to another
real, LOST the part of which the open flows lose their real at once, FLOWS the noted
flows among those that move.

Examples:
  lbctl plan -f new.toml
  lbctl export | sed 's/weight = 1/weight = 2/' | lbctl plan -f -";

const APPLY_EXAMPLES: &str = "\
Replaces the daemon's configuration file as a whole, comments and all, and shows what
changed. With --max-moved nothing is changed if more of the hash space would move.

Examples:
  lbctl apply -f new.toml
  lbctl apply -f new.toml --max-moved 5%";

/// The file that stands for what comes in.
const STDIN: &str = "-";

/// What a configuration would change.
#[derive(Debug, Args)]
#[command(after_help = PLAN_EXAMPLES)]
pub struct Plan {
    /// The configuration; - reads it from standard input
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
}

/// A configuration to put in force.
#[derive(Debug, Args)]
#[command(after_help = APPLY_EXAMPLES)]
pub struct Apply {
    /// The configuration; - reads it from standard input
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    /// Refuse if more than this part of the hash space moves, as in 5% or 0.05
    #[arg(long, value_name = "PART", value_parser = value::part)]
    max_moved: Option<f64>,
}

impl Plan {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let query = PlanQuery { config: read(&self.file)? };
        let ask = || session.client.plan(&query);
        let report = session.notes.waiting("planning", ask);
        let report = report.map_err(|error| placed(error, &self.file))?;
        Ok(session.output.show(&report, text)?)
    }
}

impl Apply {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let query = ApplyQuery { config: read(&self.file)?, max_moved: self.max_moved };
        let done = session.notes.waiting("applying", || session.client.apply(&query));
        let done = done.map_err(|error| placed(error, &self.file))?;
        let told = session.output.show(&done, |done| match &done.plan {
            Some(report) => format!("{}\n{}", text(report), done.message),
            None => done.message.clone(),
        });
        Ok(told?)
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let text = if file == Path::new(STDIN) {
        io::read_to_string(io::stdin().lock().by_ref())
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|source| Failure::File { option: "--file", path: file.to_owned(), source })
}

/// The daemon knows the places in the text, and we the name of the file.
fn placed(error: client::Error, file: &Path) -> Failure {
    match error {
        client::Error::Problem(problem) if !problem.places.is_empty() => {
            let stdin = file == Path::new(STDIN);
            let file = if stdin { "<stdin>".to_owned() } else { file.display().to_string() };
            Failure::BadFile { file, places: problem.places }
        }
        error => error.into(),
    }
}

/// What changes, VIP by VIP, then the reals, then the sum.
pub fn text(report: &PlanReport) -> String {
    let node = report.node.iter().map(|detail| format!("[node] {detail}, once lbd is restarted\n"));
    let access = report.access.iter().map(|detail| format!("[access] {detail}\n"));
    let hooks = report.hooks.iter().map(|detail| format!("[hooks] {detail}\n"));
    let node: String = node.chain(access).chain(hooks).collect();
    if report.vips.is_empty() {
        return if node.is_empty() { "no change\n".to_owned() } else { node };
    }
    let mut text = format!("{node}{}\n", vips(&report.vips));
    if report.vips.iter().any(|vip| !vip.reals.is_empty()) {
        text.push_str(&format!("\n{}\n", reals(&report.vips)));
    }
    text.push_str(&format!(
        "\nIn all {} of the hash space moves, {} loses its open flows; {} noted flows move.\n",
        part(report.moved),
        part(report.lost),
        report.flows
    ));
    text
}

fn vips(vips: &[VipPlan]) -> String {
    let columns = [
        ("VIP", Left),
        ("CHANGE", Left),
        ("MOVED", Right),
        ("LOST", Right),
        ("FLOWS", Right),
        ("DETAILS", Left),
    ];
    grid(
        columns,
        vips.iter().map(|vip| {
            [
                vip.name.clone(),
                vip.change.clone(),
                part(vip.moved),
                part(vip.lost),
                vip.flows.to_string(),
                details(&vip.details),
            ]
        }),
    )
}

fn reals(vips: &[VipPlan]) -> String {
    let columns = [
        ("VIP", Left),
        ("REAL", Left),
        ("CHANGE", Left),
        ("BEFORE", Right),
        ("AFTER", Right),
        ("DETAILS", Left),
    ];
    let reals = vips.iter().flat_map(|vip| vip.reals.iter().map(move |real| (vip, real)));
    grid(
        columns,
        reals.map(|(vip, real)| {
            [
                vip.name.clone(),
                real.address.to_string(),
                real.change.clone(),
                part(real.share_before),
                part(real.share_after),
                details(&real.details),
            ]
        }),
    )
}

fn details(details: &[String]) -> String {
    if details.is_empty() { "-".to_owned() } else { details.join(", ") }
}

/// A part in percent, of which a little is not shown as nothing.
fn part(part: f64) -> String {
    if part > 0.0 && part < 0.0005 { "<0.1%".to_owned() } else { percent(part) }
}
