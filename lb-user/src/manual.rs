//! What a package has beside the programs: manual pages, of a command, as its arguments are declared, and of a
//! text; and what makes shells complete a program's words.

use std::{fs, io, path::Path};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use roff::{Roff, roman};

/// What the pages say at their foot that they belong to.
const MANUAL: &str = "lb";

/// A line with more words than that, such as one that says what follows it, is no heading although a colon ends it.
const HEADING: usize = 4;

/// Where they are, below the root, for which a package has files, and what stands around a program's name there.
const COMPLETED: [(Shell, &str, &str); 3] = [
    (Shell::Bash, "usr/share/bash-completion/completions/", ""),
    (Shell::Zsh, "usr/share/zsh/vendor-completions/_", ""),
    (Shell::Fish, "usr/share/fish/vendor_completions.d/", ".fish"),
];

/// Writes what makes shells complete the words of a program, below the directory that stands for the root.
///
/// # Errors
///
/// Where a file cannot be written.
pub fn complete(command: &mut Command, program: &str, root: &Path) -> io::Result<()> {
    COMPLETED.into_iter().try_for_each(|(shell, before, after)| {
        let path = root.join(format!("{before}{program}{after}"));
        write(&path, &completions(shell, command, program))
    })
}

/// What makes a shell complete the words of a program.
#[must_use]
pub fn completions(shell: Shell, command: &mut Command, program: &str) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, command, program, &mut text);
    text
}

/// Writes a file, and makes its directory.
///
/// # Errors
///
/// Where it cannot be written.
pub fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, text)
}

/// The page in section 8 of a command that was built, with what its help says after the options.
///
/// # Errors
///
/// None but those of writing into memory.
pub fn of_command(command: &Command, see_also: &str) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone()).section("8").manual(MANUAL).source(source());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    if let Some(after) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        roff.control("SH", ["NOTES"]);
        body(&mut roff, &after.to_string());
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(see_also)]);
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// The page of a text: paragraphs, headings, which are in capitals or a few words with a colon, and, moved to the right,
/// lines that stay as they are.
#[must_use]
pub fn of_text(name: &str, section: &str, summary: &str, text: &str) -> Vec<u8> {
    let mut roff = Roff::new();
    let source = source();
    roff.control("TH", [name, section, "", &source, MANUAL]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {summary}"))]);
    if !text.lines().next().is_some_and(is_heading) {
        roff.control("SH", ["DESCRIPTION"]);
    }
    body(&mut roff, text);
    roff.render().into_bytes()
}

fn source() -> String {
    format!("lb {}", env!("CARGO_PKG_VERSION"))
}

fn body(roff: &mut Roff, text: &str) {
    let mut verbatim = false;
    for line in text.lines() {
        // An empty line belongs to what is around it.
        let moved = line.starts_with(' ') || (line.is_empty() && verbatim);
        if moved != verbatim {
            roff.control(if moved { "nf" } else { "fi" }, []);
            verbatim = moved;
        }
        if is_heading(line) {
            roff.control("SH", [&*line.trim_end_matches(':').to_uppercase()]);
        } else if line.is_empty() && !verbatim {
            roff.control("PP", []);
        } else {
            roff.text([roman(line)]);
        }
    }
    if verbatim {
        roff.control("fi", []);
    }
}

fn is_heading(line: &str) -> bool {
    let capitals =
        line.contains(|c: char| c.is_uppercase()) && !line.contains(|c: char| c.is_lowercase());
    let words = line.split_whitespace().count();
    !line.starts_with(' ') && (capitals || line.ends_with(':') && words <= HEADING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_paragraphs_and_what_stays_as_it_is_are_told_apart() {
        let text = "Says.\nSee what is said here:\n\nEXIT CODES\n  0  done\n\n  1  not\nExample:\n  .it -x";
        let page = String::from_utf8(of_text("lbctl-x", "7", "a topic", text)).unwrap();
        let (_, body) = page.split_once(".SH DESCRIPTION\n").unwrap();
        let expected = "Says.\nSee what is said here:\n.PP\n.SH \"EXIT CODES\"\n.nf\n  0  done\n\n  1  not\n.fi\n.SH EXAMPLE\n.nf\n  .it \\-x\n.fi\n";
        assert_eq!(body, expected);
    }
}
