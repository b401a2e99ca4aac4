//! `lbctl backend push`.

use clap::Args;
use comfy_table::CellAlignment::Left;
use lb_user::backend::{
    Setup,
    files::Way,
    report::{self, Level, Report},
    script,
};
use serde::Serialize;

use super::{
    fleet,
    select::Select,
    ssh::{Ending, Job, Ran, Ssh},
    target::{self, Target, Targets},
};
use crate::{Session, failure::Failure, output::grid};

const EXAMPLES: &str = "\
Each real gets the script of `lbctl backend script` by the ssh of this system, with its keys, its
agent and its configuration, and runs it as root: kernel parameters, then the VIPs on lo, then
its check. If something is wrong then, that real becomes what it was before, and the others go
on. What the hosts say is told on standard error as it comes; the answer is a table.

RESULT: done, failed (and undone there), refused (it cannot be done there), unreachable (ssh
did not get there), lost (the connection broke; what had begun comes to its end), timed_out,
interrupted, not_begun.
Exit codes: 0 all are done, 1 some are not, 2 usage.

Examples:
  lbctl backend push web --all-reals --user root
  lbctl backend push web --ssh admin@10.0.0.11 --ssh admin@[2001:db8::12]:2222 --sudo --persist
  lbctl backend push --all --all-reals --dry-run
  lbctl backend push web --ssh root@10.0.0.11 --undo";

/// Real servers to be set up.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Push {
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    ssh: Ssh,
    /// Have it survive a reboot, in the way of that system or the one named: ifupdown, networkd,
    /// netplan, networkmanager, ifcfg or systemd
    #[arg(long, value_name = "WAY", num_args = 0..=1, require_equals = true)]
    persist: Option<Option<Way>>,
    /// Change nothing, and say what would be changed where
    #[arg(long)]
    dry_run: bool,
    /// Make the hosts what they were before
    #[arg(long, conflicts_with = "persist")]
    undo: bool,
}

/// What became of all hosts.
#[derive(Debug, Serialize)]
struct Pushed {
    hosts: Vec<PushedTo>,
    failed: usize,
}

/// What became of one host.
#[derive(Debug, Serialize)]
struct PushedTo {
    host: String,
    vips: Vec<String>,
    /// What was run there.
    command: String,
    result: &'static str,
    /// The script's exit code, if it came to its end.
    code: Option<i32>,
    detail: String,
    output: Vec<String>,
}

impl Push {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        if self.targets.is_empty() {
            return Err(Failure::Usage("say where: --ssh HOST, or --all-reals".to_owned()));
        }
        let setup = self.select.setup(session)?;
        let targets = self.targets.find(&setup, session)?;
        target::refuse_to_forget(&targets, session)?;
        let jobs: Vec<_> = targets
            .iter()
            .map(|target| Job {
                host: target.host.clone(),
                script: script::text(&target.setup, None),
                arguments: self.arguments(),
            })
            .collect();
        if self.dry_run {
            let pairs = targets.iter().zip(&jobs);
            pairs.for_each(|(target, job)| session.notes.line(&self.planned(target, job)));
        }
        let ran = fleet::run(&self.ssh, &jobs, &mut session.notes)?;
        let hosts = targets.iter().zip(&jobs).zip(&ran);
        let hosts = hosts.map(|((target, job), ran)| self.pushed(&target.setup, job, ran));
        let hosts: Vec<_> = hosts.collect();
        let failed = hosts.iter().filter(|host| host.code != Some(0)).count();
        session.output.show(&Pushed { hosts, failed }, text)?;
        if failed == 0 { Ok(()) } else { Err(Failure::Findings) }
    }

    /// What would be run where, and for what.
    fn planned(&self, target: &Target, job: &Job) -> String {
        let vips = addresses(&target.setup).join(", ");
        format!("{}| would run `{}` for {vips}", job.host, self.ssh.shown(job))
    }

    fn arguments(&self) -> Vec<String> {
        let persist = self.persist.as_ref().map(|way| match way {
            Some(way) => format!("--persist={way}"),
            None => "--persist".to_owned(),
        });
        let dry_run = self.dry_run.then(|| "--dry-run".to_owned());
        let run = if self.undo { ["undo"].as_slice() } else { &["apply", "--check"] };
        run.iter().map(|word| (*word).to_owned()).chain(persist).chain(dry_run).collect()
    }

    fn pushed(&self, setup: &Setup, job: &Job, ran: &Ran) -> PushedTo {
        PushedTo {
            host: job.host.to_string(),
            vips: addresses(setup),
            command: self.ssh.shown(job),
            result: result(ran.ending),
            code: match ran.ending {
                Ending::Exited(code) => Some(code),
                _ => None,
            },
            detail: detail(ran),
            output: ran.said.iter().chain(&ran.complaints).cloned().collect(),
        }
    }
}

fn addresses(setup: &Setup) -> Vec<String> {
    setup.vips.iter().map(|vip| vip.address.to_string()).collect()
}

fn result(ending: Ending) -> &'static str {
    match ending {
        Ending::Exited(0) => "done",
        Ending::Exited(2) => "refused",
        Ending::Exited(_) => "failed",
        Ending::Unreachable => "unreachable",
        Ending::Lost => "lost",
        Ending::TimedOut => "timed_out",
        Ending::Interrupted => "interrupted",
        Ending::NotBegun => "not_begun",
    }
}

/// The one line that tells most of what a host has said.
fn detail(ran: &Ran) -> String {
    let last = |lines: &[String]| lines.iter().rfind(|line| !line.trim().is_empty()).cloned();
    let said = || last(&ran.said).or_else(|| last(&ran.complaints));
    let detail = match ran.ending {
        Ending::Exited(0) => last(&ran.said).map(|line| with_sum(&line, ran)),
        Ending::Exited(_) => found_wrong(ran).or_else(|| error(&ran.said)).or_else(said),
        Ending::Unreachable => last(&ran.complaints).map(|line| with_advice(&line)),
        Ending::Lost => last(&ran.complaints).map(|line| {
            format!("{line}: what had begun comes to its end there; push again to see")
        }),
        Ending::TimedOut => Some("it took too long: see --timeout, and push again".to_owned()),
        Ending::Interrupted => {
            Some("what had begun comes to its end there; push again, or --undo".to_owned())
        }
        Ending::NotBegun => None,
    };
    detail.unwrap_or_else(|| "-".to_owned())
}

/// What `ssh` says, and what to do where it does not say that.
fn with_advice(line: &str) -> String {
    const ADVICE: [(&str, &str); 2] = [
        (
            "Host key verification failed",
            "log in there once, or --ssh-option StrictHostKeyChecking=accept-new",
        ),
        ("Permission denied", "see --user, and --ssh-option IdentityFile=FILE"),
    ];
    match ADVICE.iter().find(|(sign, _)| line.contains(sign)) {
        Some((_, advice)) => format!("{}: {advice}", line.trim_end_matches('.')),
        None => line.to_owned(),
    }
}

fn account(ran: &Ran) -> Option<Report> {
    report::read(&ran.said.join("\n")).ok()?.pop()
}

/// The script's last word, and the sum of its check.
fn with_sum(line: &str, ran: &Ran) -> String {
    let sum = account(ran).and_then(|report| report.result);
    sum.map_or_else(|| line.to_owned(), |sum| format!("{line}; check: {}", sum.text))
}

/// What the check has found wrong.
fn found_wrong(ran: &Ran) -> Option<String> {
    let report = account(ran)?;
    let mut wrong = report.lines.iter().filter(|line| line.level == Level::Wrong);
    let first = wrong.next()?;
    let more = match wrong.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!("{}: {}{more}", first.subject, first.text))
}

/// The script's own word of an error.
fn error(said: &[String]) -> Option<String> {
    let errors = said.iter().filter_map(|line| line.strip_prefix("lb-backend: "));
    errors.rev().find(|line| !line.starts_with("warning: ")).map(str::to_owned)
}

fn text(pushed: &Pushed) -> String {
    let rows = pushed
        .hosts
        .iter()
        .map(|host| [host.host.clone(), host.result.to_owned(), host.detail.clone()]);
    let table = grid([("HOST", Left), ("RESULT", Left), ("DETAIL", Left)], rows);
    let (all, failed) = (pushed.hosts.len(), pushed.failed);
    format!("{table}\n\n{} of {all} done\n", all - failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(ending: Ending, said: &str, complaints: &str) -> Ran {
        let lines = |text: &str| text.lines().map(str::to_owned).collect();
        Ran { ending, said: lines(said), complaints: lines(complaints) }
    }

    const CHECKED: &str = "\
machine one 10.0.0.11
wrong service nothing listens on tcp port 80 of 192.0.2.10
fix nginx: listen 192.0.2.10:80;
wrong route there is no default route of IPv4
result wrong 2 wrong, 0 warning, 0 ok
lb-backend: check found something wrong, see above
what this run did is undone
";

    #[test]
    fn the_detail_is_the_line_that_tells_most() {
        let fine =
            "machine one 10.0.0.11\nresult ok 0 wrong, 0 warning, 0 ok\napply: done, 9 changes";
        for (ran, result_word, detail_text) in [
            (
                ran(Ending::Exited(0), fine, ""),
                "done",
                "apply: done, 9 changes; check: 0 wrong, 0 warning, 0 ok",
            ),
            (
                ran(Ending::Exited(1), CHECKED, ""),
                "failed",
                "service: nothing listens on tcp port 80 of 192.0.2.10 (and 1 more)",
            ),
            (
                ran(
                    Ending::Exited(1),
                    "lb-backend: warning: x\nlb-backend: adding: no\nundone",
                    "",
                ),
                "failed",
                "adding: no",
            ),
            (
                ran(Ending::Exited(1), "sudo: a password is required", ""),
                "failed",
                "sudo: a password is required",
            ),
            (
                ran(Ending::Exited(127), "", "sh: mktemp: not found"),
                "failed",
                "sh: mktemp: not found",
            ),
            (
                ran(Ending::Exited(2), "lb-backend: you are not root: x", ""),
                "refused",
                "you are not root: x",
            ),
            (
                ran(Ending::Unreachable, "", "Welcome!\nssh: connect: No route to host\n"),
                "unreachable",
                "ssh: connect: No route to host",
            ),
            (
                ran(Ending::Unreachable, "", "root@a: Permission denied (publickey)."),
                "unreachable",
                "root@a: Permission denied (publickey): see --user, and --ssh-option \
                 IdentityFile=FILE",
            ),
            (Ran::silent(Ending::NotBegun), "not_begun", "-"),
        ] {
            assert_eq!((result(ran.ending), &*detail(&ran)), (result_word, detail_text));
        }
    }
}
