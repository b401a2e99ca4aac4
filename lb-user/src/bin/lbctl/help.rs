//! `lbctl help`: of commands, and of topics, which are manual pages, too.

use clap::{Args, CommandFactory as _};
use lb_user::manual;

use crate::{Arguments, Session, failure::Failure};

const EXAMPLES: &str = "\
Examples:
  lbctl help                  # the commands
  lbctl help vip add          # one of them
  lbctl help troubleshooting  # a topic";

/// Something to read about. The first line of its text says what it is about.
pub struct Topic {
    name: &'static str,
    text: &'static str,
}

/// What there is to read about.
pub const TOPICS: [Topic; 6] = [
    Topic { name: "config", text: include_str!("help/config.txt") },
    Topic { name: "drain", text: include_str!("help/drain.txt") },
    Topic { name: "dsr", text: include_str!("help/dsr.txt") },
    Topic { name: "exit-codes", text: include_str!("help/exit-codes.txt") },
    Topic { name: "health", text: include_str!("help/health.txt") },
    Topic { name: "troubleshooting", text: include_str!("help/troubleshooting.txt") },
];

impl Topic {
    fn summary(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default()
    }

    /// What follows the summary.
    fn body(&self) -> &'static str {
        self.text.split_once("\n\n").map_or("", |(_, body)| body)
    }

    /// The name and section of its manual page.
    fn page_name(&self) -> (String, &'static str) {
        match self.name {
            "config" => ("lb.toml".to_owned(), "5"),
            name => (format!("lbctl-{name}"), "7"),
        }
    }

    /// How other pages name it.
    pub fn reference(&self) -> String {
        let (name, section) = self.page_name();
        format!("{name}({section})")
    }

    /// Where its manual page is, below the directory of all.
    pub fn page(&self) -> String {
        let (name, section) = self.page_name();
        format!("man{section}/{name}.{section}")
    }

    /// Its manual page.
    pub fn manual(&self) -> Vec<u8> {
        let (name, section) = self.page_name();
        manual::of_text(&name, section, self.summary(), self.body())
    }
}

/// Explains a command or a topic.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Help {
    /// The words of a command, or a topic
    #[arg(value_name = "COMMAND|TOPIC")]
    words: Vec<String>,
}

impl Help {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let text = text(&self.words).ok_or_else(|| unknown(&self.words))?;
        Ok(session.output.text(text.as_bytes())?)
    }
}

fn text(words: &[String]) -> Option<String> {
    let mut lbctl = Arguments::command();
    lbctl.build();
    let command =
        words.iter().try_fold(&mut lbctl, |command, word| command.find_subcommand_mut(word));
    match (command, words) {
        (Some(command), []) => Some(format!("{}\n{}", command.render_long_help(), list())),
        (Some(command), _) => Some(command.render_long_help().to_string()),
        (None, [word]) => {
            let topic = TOPICS.iter().find(|topic| topic.name == word)?;
            Some(topic.text.to_owned())
        }
        (None, _) => None,
    }
}

/// The topics, a line each.
fn list() -> String {
    let line = |topic: &Topic| format!("  {:15}  {}\n", topic.name, topic.summary());
    format!("Topics (lbctl help TOPIC):\n{}", TOPICS.iter().map(line).collect::<String>())
}

fn unknown(words: &[String]) -> Failure {
    let names: Vec<_> = TOPICS.iter().map(|topic| topic.name).collect();
    let words = words.join(" ");
    let names = names.join(", ");
    Failure::Usage(format!(
        "\"{words}\" is neither a command (`lbctl --help` lists them) nor a topic; the topics are: {names}"
    ))
}

#[cfg(test)]
mod tests;
