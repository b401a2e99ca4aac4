//! `lbctl detach`.

use std::{env, fs, io, path::Path, process::Command};

use lb_user::api::{client, types::Done};

use crate::{Session, failure::Failure};

pub const EXAMPLES: &str = "\
Open connections through this balancer break. Stopping or restarting lbd does not
stop forwarding; this does, and starting lbd again resumes it. Where lbd does not
run, this starts `lbd --detach` with the configuration that lbd ran with.

Example:
  lbctl detach";

pub fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let done = match session.client.detach() {
        Err(client::Error::Unreachable { .. }) if session.left.exists() => {
            detach_dead(&session.left)?
        }
        answer => answer?,
    };
    Ok(session.output.done(&done)?)
}

/// Detaches what a daemon that is dead has left forwarding.
fn detach_dead(left: &Path) -> Result<Done, Failure> {
    let config = fs::read_link(left).map_err(Failure::Detach)?;
    let beside = env::current_exe().map(|lbctl| lbctl.with_file_name("lbd"));
    let lbd = beside.ok().filter(|lbd| lbd.exists()).unwrap_or_else(|| "lbd".into());
    let output = Command::new(lbd).arg("--detach").arg("--config").arg(&config).output();
    let output = output.map_err(Failure::Detach)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failure::Detach(io::Error::other(said)));
    }
    Ok(Done::new("detached what lbd, which does not run, had left forwarding".to_owned()))
}
