//! `lbctl completions`, and the files that a package has beside the programs.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::{Args, Command, CommandFactory as _, Parser};
use clap_complete::Shell;
use lb_user::manual;

use crate::{Arguments, Session, failure::Failure, help};

const EXAMPLES: &str = "\
The package of Debian brings them along. Elsewhere, for one user:

Examples:
  lbctl completions bash > ~/.local/share/bash-completion/completions/lbctl
  lbctl completions zsh > ~/.zfunc/_lbctl      # a directory in $fpath
  lbctl completions fish > ~/.config/fish/completions/lbctl.fish";

/// What makes a shell complete the words of lbctl.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let text = manual::completions(self.shell, &mut Arguments::command(), "lbctl");
        Ok(session.output.text(&text)?)
    }
}

/// Where a package is put together. No command of lbctl's, so that no shell offers it to anyone.
#[derive(Debug, Parser)]
pub struct PackageFiles {
    /// The directory that stands for the root
    directory: PathBuf,
}

impl PackageFiles {
    /// The word that says so.
    pub const WORD: &str = "package-files";

    /// Writes the completions and the manual pages of lbctl below the directory.
    pub fn run(self) -> Result<(), Failure> {
        manual::complete(&mut Arguments::command(), "lbctl", &self.directory)?;
        let man = self.directory.join("usr/share/man");
        for topic in help::TOPICS {
            manual::write(&man.join(topic.page()), &topic.manual())?;
        }
        let mut lbctl = Arguments::command();
        lbctl.build();
        Ok(pages(&lbctl, &man.join("man8"))?)
    }
}

/// The pages of a command and of those below it.
fn pages(command: &Command, dir: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let topics: Vec<_> = help::TOPICS.iter().map(help::Topic::reference).collect();
    let see_also = format!("lbctl(8), lbd(8), {}", topics.join(", "));
    manual::write(&dir.join(format!("{name}.8")), &manual::of_command(command, &see_also)?)?;
    let below =
        command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    below.into_iter().try_for_each(|sub| pages(sub, dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_complete_what_there_is_and_offer_nothing_that_is_not_for_people() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = manual::completions(shell, &mut Arguments::command(), "lbctl");
            let text = String::from_utf8(text).expect("text");
            for (word, there) in [("force-up", true), ("capture", true), ("package-files", false)] {
                assert_eq!(text.contains(word), there, "{shell}: {word}");
            }
        }
    }
}
