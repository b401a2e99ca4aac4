//! `lbctl completions`, and the files that a package has beside the programs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, Command, CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;
use lb_user::manual;

use crate::{Arguments, Session, failure::Failure, help};

const EXAMPLES: &str = "\
The package of Debian brings them along. Elsewhere, for one user:

Examples:
  lbctl completions bash > ~/.local/share/bash-completion/completions/lbctl
  lbctl completions zsh > ~/.zfunc/_lbctl      # a directory in $fpath
  lbctl completions fish > ~/.config/fish/completions/lbctl.fish";

/// Where they are for which a package has files, and how they are called there.
const PACKAGED: [(Shell, &str); 3] = [
    (Shell::Bash, "usr/share/bash-completion/completions/lbctl"),
    (Shell::Zsh, "usr/share/zsh/vendor-completions/_lbctl"),
    (Shell::Fish, "usr/share/fish/vendor_completions.d/lbctl.fish"),
];

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
        Ok(session.output.text(&completions(self.shell))?)
    }
}

fn completions(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "lbctl", &mut text);
    text
}

/// Where a package is put together.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lbctl package-files target/dist/files")]
pub struct PackageFiles {
    /// The directory that stands for the root
    directory: PathBuf,
}

impl PackageFiles {
    /// Writes the completions and the manual pages of lbctl below the directory.
    pub fn run(self) -> Result<(), Failure> {
        for (shell, path) in PACKAGED {
            debug_assert!(Shell::value_variants().contains(&shell));
            write(&self.directory.join(path), &completions(shell))?;
        }
        let man = self.directory.join("usr/share/man");
        for topic in help::TOPICS {
            write(&man.join(topic.page()), &topic.manual())?;
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
    write(&dir.join(format!("{name}.8")), &manual::of_command(command, &see_also)?)?;
    let below =
        command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    below.into_iter().try_for_each(|sub| pages(sub, dir))
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, text)
}
