//! `lbctl detach`.

use crate::{Session, failure::Failure};

pub const EXAMPLES: &str = "\
Open connections through this balancer break. Stopping or restarting lbd does not
stop forwarding; this does, and starting lbd again resumes it.

Example:
  lbctl detach";

pub fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let done = session.client.detach()?;
    Ok(session.output.done(&done)?)
}
