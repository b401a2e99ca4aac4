//! What the documents tell to type is what there is: commands are parsed by the programs themselves, configurations
//! are checked, and links lead somewhere.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use tests::{Netns, Output, bin};

fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// What people read, and what the packages bring of it.
fn documents() -> Result<Vec<(PathBuf, String)>> {
    let docs = fs::read_dir(workspace().join("docs"))?.map(|entry| Ok(entry?.path()));
    let mut paths = docs.collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.extend(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "packaging/tarball/README"]
            .map(|name| workspace().join(name)),
    );
    paths.sort();
    paths.into_iter().map(|path| Ok((path.clone(), fs::read_to_string(path)?))).collect()
}

/// The blocks in this language, with lines as wide as they are without what all are moved by.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for line in text.lines() {
        let moved = line.len() - line.trim_start().len();
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(found)) => {
                open = Some((moved, if found == language { String::new() } else { "-".into() }))
            }
            (Some((_, block)), Some(_)) => {
                if !block.starts_with('-') {
                    blocks.push(std::mem::take(block));
                }
                open = None;
            }
            (Some((by, block)), None) if !block.starts_with('-') => {
                *block += line.get(*by..).unwrap_or_default();
                block.push('\n');
            }
            _ => {}
        }
    }
    blocks
}

/// The commands of a block: after a prompt, continued after a backslash, without comments and where they write to.
fn commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let typed = joined
        .lines()
        .filter_map(|line| line.strip_prefix("# ").or_else(|| line.strip_prefix("$ ")));
    let typed = typed.map(|line| line.split(" #").next().unwrap_or(line));
    let typed = typed.flat_map(|line| line.split("&& ").flat_map(|line| line.split(" | ")));
    let cut = |line: String| {
        let end = [" >", " &", ";"].iter().filter_map(|end| line.find(end)).min();
        line[..end.unwrap_or(line.len())].trim().to_owned()
    };
    // What continues a quoted prompt of the shell.
    typed.map(|line| cut(line.replace("  >     ", " "))).collect()
}

/// The words of a command, of which quotes hold some together.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in command.chars() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, ' ') => words.push(String::new()),
            (_, letter) => words.last_mut().expect("a word").push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The commands in the middle of a text, with a word where one of the reader's own is to be put.
fn mentioned(text: &str) -> Vec<String> {
    let outside: Vec<_> = text.split("```").step_by(2).collect();
    let outside = outside.join("").replace('\n', " ");
    let spans = outside.split('`').skip(1).step_by(2).map(str::to_owned);
    let commands = spans.filter(|span| span.starts_with("lbctl ") || span.starts_with("lbd "));
    let others = ["COMMAND", "…", "exec-helper"];
    let whole = commands.filter(|command| !others.iter().any(|other| command.contains(other)));
    let plain = |command: String| {
        let command = command.replace(['[', ']'], "").replace("bash|zsh|fish", "bash");
        command.replace(" IP", " 10.0.0.11").replace("TOPIC", "drain").replace("  ", " ")
    };
    whole.map(plain).collect()
}

/// Whether the program itself takes the words. A question to nobody has no answer, which is not about the words.
fn is_taken(program: &str, arguments: &[String]) -> Result<Result<(), String>> {
    let mut command = Command::new(bin::path(program)?);
    // Help is printed before anything is done, and only for words that there are.
    let said = Output::of(command.args(arguments).arg("--help"))?;
    let unknown: Vec<_> = arguments
        .iter()
        .filter_map(|word| word.strip_prefix("--"))
        .map(|word| word.split('=').next().unwrap_or(word))
        .filter(|name| !said.stdout.contains(&format!("--{name}")))
        .collect();
    if said.code != 0 {
        return Ok(Err(said.stderr));
    }
    Ok(if unknown.is_empty() { Ok(()) } else { Err(format!("no option {unknown:?}")) })
}

/// What this machine need not have, or what other tests run: the package's, those of the backends' scripts, the demo.
const ELSEWHERE: [&str; 14] = [
    "./install.sh",
    "adduser",
    "cargo",
    "cat",
    "cp",
    "cpupower",
    "curl",
    "dpkg",
    "editor",
    "ipvsadm-save",
    "lb-0.1.0-x86_64-unknown-linux-gnu/install.sh",
    "sh",
    "systemctl",
    "tar",
];

#[test]
fn every_command_in_the_documents_is_one_that_there_is() -> Result<()> {
    let netns = Netns::anonymous("docs", None)?;
    netns.ip("link add eth0 type veth peer name lan")?;
    netns.ip_batch("link set eth0 up\nlink set lan up\n")?;
    let mut count = 0;
    for (path, text) in documents()? {
        let typed = blocks(&text, "console").iter().flat_map(|block| commands(block)).collect();
        for command in [typed, mentioned(&text)].concat() {
            let words = words(&command);
            let Some((program, arguments)) = words.split_first() else { continue };
            count += 1;
            let taken = match &**program {
                "lbctl" | "lbd" => is_taken(program, arguments)?,
                "ip" | "ethtool" => is_understood(&netns, program, arguments)?,
                other if ELSEWHERE.contains(&other) => Ok(()),
                _ => Err("nothing tries this".to_owned()),
            };
            if let Err(said) = taken {
                panic!("{}: {command}: {said}", path.display());
            }
        }
    }
    assert!(count > 100, "{count} commands");
    Ok(())
}

/// Whether the words are such as the program knows; this card need not be able to do it.
fn is_understood(netns: &Netns, program: &str, words: &[String]) -> Result<Result<(), String>> {
    let said = Output::of(netns.command(program).args(words))?;
    let unknown = ["bit name not found", "bad command line", "invalid", "unknown", "garbage"];
    let text = said.stderr.to_lowercase().replace("netlink error: invalid argument", "");
    let known = program == "ethtool" || said.code == 0;
    let known = known && !unknown.iter().any(|word| text.contains(word));
    Ok(if known { Ok(()) } else { Err(said.stderr) })
}

#[test]
fn every_task_in_the_documents_is_one_that_there_is() -> Result<()> {
    let tasks = fs::read_to_string(workspace().join("xtask/src/main.rs"))?;
    for (path, text) in documents()? {
        for rest in text.split("cargo xtask ").skip(1) {
            let task: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
            assert!(
                task.is_empty() || tasks.contains(&format!("mod {task};")),
                "{}: cargo xtask {task}",
                path.display()
            );
        }
    }
    Ok(())
}

#[test]
fn every_link_between_the_documents_leads_somewhere() -> Result<()> {
    for (path, text) in documents()? {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.contains(' ') {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().context("a directory")?.join(file),
            };
            assert!(target.exists(), "{}: {link}", path.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&target)?;
                let outside: Vec<_> = text.split("\n```").step_by(2).collect();
                let lines = outside.iter().flat_map(|part| part.lines());
                let headings = lines.filter(|line| line.starts_with('#')).map(anchor_of);
                assert!(
                    headings.into_iter().any(|found| found == anchor),
                    "{}: {link}",
                    path.display()
                );
            }
        }
    }
    Ok(())
}

/// How a heading is linked to.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[test]
fn every_key_in_the_configurations_of_the_documents_is_one_that_there_is() -> Result<()> {
    let mut count = 0;
    for (path, text) in documents()? {
        for block in blocks(&text, "toml") {
            count += 1;
            // Parts of a file lack the rest, and programs that an example names need not be on this machine.
            let Err(errors) = lb_user::config::parse(&block) else { continue };
            let errors = errors.to_string();
            let wrong = |line: &&str| line.contains("unknown key") || line.contains("not TOML");
            let wrong: Vec<_> = errors.lines().filter(wrong).collect();
            assert_eq!(wrong, Vec::<&str>::new(), "{}: {block}", path.display());
        }
    }
    assert!(count > 1, "{count} blocks");
    Ok(())
}
