//! That a program exits with 0.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::{Failure, Target, socket::excerpt},
    Command, End, OUTPUT, Output, RunError, Runner,
};
use crate::model::ExecCheck;

pub(in super::super) async fn probe(
    check: &ExecCheck,
    target: &Target,
    runner: Option<&Runner>,
    timeout: Duration,
) -> Result<String, Failure> {
    let runner = runner.ok_or_else(|| Failure::Local("nothing runs programs".to_owned()))?;
    let command = Command {
        argv: check.command.clone(),
        env: environment(check, target),
        stdin: String::new(),
        timeout,
        output_limit: OUTPUT,
    };
    match runner.run(command).await {
        Ok(output) if output.end == End::Code(0) => Ok(summary(&output)),
        Ok(output) => Err(Failure::Wrong(summary(&output))),
        Err(RunError::Timeout) => Err(Failure::Timeout("running the program")),
        Err(error @ RunError::Flood(_)) => Err(Failure::Wrong(error.to_string())),
        Err(error) => Err(Failure::Local(error.to_string())),
    }
}

/// What the program is told; the check's own variables come last.
fn environment(check: &ExecCheck, target: &Target) -> BTreeMap<String, String> {
    let family = if target.connect.is_ipv4() { "4" } else { "6" };
    let told = [
        ("LB_VIP", target.vip.to_string()),
        ("LB_REAL", target.real.to_string()),
        ("LB_ADDRESS", target.connect.to_string()),
        ("LB_SERVER_ADDRESS", target.address.to_string()),
        ("LB_FAMILY", family.to_owned()),
    ];
    let told = told.map(|(name, value)| (name.to_owned(), value));
    told.into_iter().chain(check.environment.clone()).collect()
}

/// `exit code 0: what it says`.
fn summary(output: &Output) -> String {
    match output.first_line() {
        Some(line) => format!("{}: {}", output.end, excerpt(line.as_bytes())),
        None => output.end.to_string(),
    }
}
