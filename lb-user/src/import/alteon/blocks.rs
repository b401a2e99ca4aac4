//! A dump as blocks: a path and the commands below it.

use std::fmt;

/// A path, such as `/c/slb/virt 1/service 80 http`, and what stands below it.
#[derive(Clone, Debug)]
pub(super) struct Block<'t> {
    pub(super) line: usize,
    /// The path as it stands there.
    pub(super) text: &'t str,
    /// Its parts without the first, `c` or `cfg`.
    pub(super) path: Vec<Command<'t>>,
    pub(super) commands: Vec<Command<'t>>,
}

/// A word and its arguments: a command, or a part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command<'t> {
    pub(super) line: usize,
    pub(super) text: &'t str,
    pub(super) name: &'t str,
    pub(super) arguments: Vec<&'t str>,
}

/// What stands in a dump.
#[derive(Default)]
pub(super) struct Dump<'t> {
    pub(super) blocks: Vec<Block<'t>>,
    /// Lines above the first block, as terminals leave them there.
    pub(super) foreign: Vec<(usize, &'t str)>,
}

impl<'t> Command<'t> {
    /// The first argument, or nothing.
    pub(super) fn argument(&self) -> &'t str {
        self.arguments.first().copied().unwrap_or_default()
    }

    /// Whether it only switches something off, or is so here anyway: the balancer's MAC address is always
    /// the source of what it forwards.
    pub(super) fn says_nothing(&self) -> bool {
        let off = ["dis", "d", "disable", "disabled", "off", "none", "0", "no"];
        self.name == "submac" || self.arguments.len() == 1 && off.contains(&self.argument())
    }

    fn read(text: &'t str, line: usize) -> Option<Self> {
        let mut words = words(text).into_iter();
        let name = words.next()?;
        Some(Self { line, text, name, arguments: words.collect() })
    }
}

impl fmt::Display for Block<'_> {
    /// On one line, with all its commands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commands: Vec<_> = self.commands.iter().map(|command| command.text).collect();
        let separator = if commands.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.text, commands.join("; "))
    }
}

/// Reads a dump. Everything is one: what is known of it is decided later.
pub(super) fn dump(text: &str) -> Dump<'_> {
    let mut dump = Dump::default();
    let mut certificate = false;
    for (text, line) in text.lines().map(str::trim).zip(1..) {
        certificate |= text.starts_with("-----BEGIN");
        if certificate {
            certificate = !text.starts_with("-----END");
            continue;
        }
        if text.is_empty() || text.starts_with("/*") || is_frame(text) {
            continue;
        }
        match (text.strip_prefix('/'), dump.blocks.last_mut()) {
            (Some(path), _) => dump.blocks.extend(block(text, path, line)),
            (None, Some(block)) => block.commands.extend(Command::read(text, line)),
            (None, None) => dump.foreign.push((line, text)),
        }
    }
    dump
}

/// The first and the last line of a dump.
fn is_frame(text: &str) -> bool {
    text.starts_with("script start") || text.starts_with("script end")
}

/// A `/` alone, back at the top, is none.
fn block<'t>(text: &'t str, path: &'t str, line: usize) -> Option<Block<'t>> {
    let path: Vec<_> =
        parts(path).into_iter().filter_map(|part| Command::read(part, line)).collect();
    let (root, path) = path.split_first()?;
    let path = if matches!(root.name, "c" | "cfg") { path } else { std::slice::from_ref(root) };
    Some(Block { line, text, path: path.to_vec(), commands: Vec::new() })
}

/// What is between slashes, but for those in quotes.
fn parts(path: &str) -> Vec<&str> {
    let mut quoted = false;
    let outside = |c: char| {
        quoted ^= c == '"';
        c == '/' && !quoted
    };
    path.split(outside).collect()
}

/// Words, or texts in quotes without these.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_paths_and_commands() {
        let text = "script start \"Alteon\" 4  /**** DO NOT EDIT THIS LINE!\n/* taken 15:00\n\
            /c/slb/virt 1/service 80 http\n\tgroup 1\n\thname \"www one\"\n/\nscript end\n";
        let dump = dump(text);
        let [block] = dump.blocks.as_slice() else { panic!("{:?}", dump.blocks) };
        assert_eq!((block.line, block.path.len()), (3, 3));
        assert_eq!(block.path[2].name, "service");
        assert_eq!(block.path[2].arguments, ["80", "http"]);
        assert_eq!(block.commands[1].arguments, ["www one"]);
        assert_eq!(block.to_string(), "/c/slb/virt 1/service 80 http: group 1; hname \"www one\"");
    }

    #[test]
    fn certificates_and_slashes_in_quotes_are_no_paths() {
        let text = "/c/slb/ssl/certs/import cert \"a\" text\n-----BEGIN CERTIFICATE-----\n/9j/4AAQ\n\
            -----END CERTIFICATE-----\n/c/slb/group 1/content \"/a/b\"/health http\n";
        let blocks = dump(text).blocks;
        let [_, group] = blocks.as_slice() else { panic!("{blocks:?}") };
        let parts: Vec<_> = group.path.iter().map(|part| part.text).collect();
        assert_eq!(parts, ["slb", "group 1", "content \"/a/b\"", "health http"]);
    }
}
