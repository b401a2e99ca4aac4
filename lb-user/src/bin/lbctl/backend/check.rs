//! `lbctl backend check`.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use lb_user::{
    api::doctor::{Doctor, DoctorQuery},
    backend::{Setup, report, script},
};

use super::{
    fleet,
    report::{Account, Sight},
    select::Select,
    ssh::{Ending, Job, Ran, Ssh},
    target::Targets,
};
use crate::{Session, failure::Failure};

const EXAMPLES: &str = "\
Puts what `lbctl doctor` finds beside what the script's check finds on the reals: by ssh, or in
what somebody has copied there from a terminal (the whole output of `sh lb-backend.sh check`, of as
many reals as you like in a file). The line `machine` in it tells which real it is. Changes
nothing.

Exit codes: 0 nothing is wrong, 1 something is, or a host did not answer. Warnings alone do not
make it 1.

Examples:
  lbctl backend check web --all-reals --user root
  lbctl backend check web --ssh root@10.0.0.11 --pasted real2.txt
  lbctl backend check web --pasted - -o json";

/// The file that stands for what comes in.
const STDIN: &str = "-";

/// Real servers to be looked at from both sides.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Check {
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    ssh: Ssh,
    /// What the script's check has printed; - reads it from standard input; may be repeated
    #[arg(long, value_name = "FILE")]
    pasted: Vec<PathBuf>,
}

impl Check {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let pasted: Vec<_> =
            self.pasted.iter().map(|file| accounts_in(file)).collect::<Result<_, _>>()?;
        let setup = self.select.setup(session)?;
        let mut accounts = self.over_ssh(&setup, session)?;
        accounts.extend(pasted.into_iter().flatten());
        let doctor = examine(&setup, session)?;
        let sight = Sight::new(&setup, doctor.as_ref(), &accounts);
        session.output.show(&sight, Sight::text)?;
        if sight.wrong == 0 { Ok(()) } else { Err(Failure::Findings) }
    }

    fn over_ssh(&self, setup: &Setup, session: &mut Session<'_>) -> Result<Vec<Account>, Failure> {
        if self.targets.is_empty() {
            return Ok(Vec::new());
        }
        let targets = self.targets.find(setup, session)?;
        let jobs: Vec<_> = targets
            .into_iter()
            .map(|target| Job {
                script: script::text(&target.setup, None),
                arguments: vec!["check".to_owned()],
                host: target.host,
            })
            .collect();
        let ran = fleet::run_quietly(&self.ssh, &jobs)?;
        Ok(jobs.iter().zip(&ran).map(|(job, ran)| account_of(job, ran)).collect())
    }
}

fn account_of(job: &Job, ran: &Ran) -> Account {
    let reports = report::read(&ran.said.join("\n"));
    let found = match (reports.map(|mut reports| reports.pop()), ran.ending) {
        (Ok(Some(report)), _) => Ok(report),
        (_, ending) => Err(why(ending, ran)),
    };
    Account { source: job.host.to_string(), address: job.host.address(), found }
}

/// Why a host has no account of itself.
fn why(ending: Ending, ran: &Ran) -> String {
    let last = ran.complaints.last().or(ran.said.last()).map_or("it says nothing", String::as_str);
    match ending {
        Ending::Unreachable | Ending::Lost => format!("ssh does not get there: {last}"),
        Ending::Exited(code) => format!("the check ends with {code}: {last}"),
        Ending::TimedOut => "the check takes too long: see --timeout".to_owned(),
        Ending::Interrupted | Ending::NotBegun => "the check was interrupted".to_owned(),
    }
}

/// What the balancer finds, where one was asked for the VIPs.
fn examine(setup: &Setup, session: &mut Session<'_>) -> Result<Option<Doctor>, Failure> {
    let vip = match &setup.vips[..] {
        // VIPs of one address are one here.
        [vip] => vip.name.clone().filter(|names| !names.contains(',')),
        _ => None,
    };
    let of_daemon = setup.vips.iter().any(|vip| vip.name.is_some());
    let ask = || session.client.doctor(&DoctorQuery { vip });
    Ok(of_daemon.then(ask).transpose()?)
}

/// The accounts in a file.
fn accounts_in(file: &Path) -> Result<Vec<Account>, Failure> {
    let bytes = if file == Path::new(STDIN) {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(file)
    };
    let wrong = |why: String| Failure::Usage(format!("--pasted \"{}\": {why}", file.display()));
    let bytes = bytes.map_err(|error| wrong(format!("cannot be read ({error}): name a file")))?;
    let text = String::from_utf8_lossy(&bytes);
    let source =
        if file == Path::new(STDIN) { "<stdin>".into() } else { file.display().to_string() };
    let reports = report::read(&text).map_err(|error| wrong(error.to_string()))?;
    let account = |report| Account { source: source.clone(), address: None, found: Ok(report) };
    Ok(reports.into_iter().map(account).collect())
}
