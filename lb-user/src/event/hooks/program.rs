//! A program that gets events on its standard input.

use super::{PATIENCE, Way};
use crate::{
    model,
    probe::exec::{Command, End, OUTPUT, Runner},
};

/// Runs the program, as the user that programs run as.
pub(super) struct Program {
    pub(super) runner: Option<Runner>,
}

impl Way for Program {
    fn name(&self, hooks: &model::Hooks) -> Option<String> {
        hooks.exec.first().map(|program| format!("the hook {program}"))
    }

    async fn call(&mut self, hooks: &model::Hooks, event: &str) -> Result<(), String> {
        let Some(runner) = &self.runner else {
            return Err("lbd has no helper process that runs programs: restart lbd".to_owned());
        };
        let command = Command {
            argv: hooks.exec.clone(),
            stdin: format!("{event}\n"),
            timeout: PATIENCE,
            output_limit: OUTPUT,
            ..Command::default()
        };
        let output = runner.run(command).await.map_err(|error| error.to_string())?;
        match (output.end, output.first_line()) {
            (End::Code(0), _) => Ok(()),
            (end, None) => Err(end.to_string()),
            (end, Some(line)) => Err(format!("{end}: {line}")),
        }
    }
}
