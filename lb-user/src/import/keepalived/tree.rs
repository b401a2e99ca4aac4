//! Words and blocks.

use super::source::Line;
use crate::import::{Note, Origin, Unreadable};

/// How deep blocks may be in each other; keepalived's own go to 5.
const DEPTH: usize = 32;

/// A line with its block, if one follows.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) origin: Origin,
    /// Of its first word.
    column: usize,
    /// At least one.
    words: Vec<Word>,
    pub(super) block: Option<Vec<Statement>>,
}

#[derive(Debug)]
struct Word {
    column: usize,
    text: String,
}

enum Token {
    Word(Word),
    Open(usize),
    Close(usize),
}

impl Statement {
    pub(super) fn keyword(&self) -> &str {
        self.word(0).unwrap_or_default()
    }

    /// The words behind the keyword.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.words.iter().skip(1).map(|word| word.text.as_str())
    }

    /// A word, of which 0 is the keyword.
    pub(super) fn word(&self, index: usize) -> Option<&str> {
        self.words.get(index).map(|word| word.text.as_str())
    }

    pub(super) fn inner(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    pub(super) fn note(&self, reason: impl Into<String>) -> Note {
        self.origin.note(reason)
    }

    /// That a word, or the one that should be there, cannot be.
    pub(super) fn wrong(&self, index: usize, message: impl Into<String>) -> Unreadable {
        let column = self.words.get(index).map_or(self.column, |word| word.column);
        let Origin { file, line, .. } = self.origin.clone();
        Unreadable { file, line, column, message: message.into() }
    }
}

/// Reads lines as statements.
pub(super) fn parse(lines: &[Line]) -> Result<Vec<Statement>, Unreadable> {
    let mut parser = Parser { open: Vec::new(), level: Vec::new(), words: Vec::new() };
    for line in lines {
        for token in tokens(line)? {
            match token {
                Token::Word(word) => parser.words.push(word),
                Token::Open(column) => parser.open(line, column)?,
                Token::Close(column) => parser.close(line, column)?,
            }
        }
        parser.end_statement(line);
    }
    match parser.open.pop() {
        Some((statement, _)) => Err(statement.wrong(
            0,
            format!("the block of {} is never closed: a }} is missing", statement.keyword()),
        )),
        None => Ok(parser.level),
    }
}

struct Parser {
    /// The statements whose blocks are being read, each with those before it.
    open: Vec<(Statement, Vec<Statement>)>,
    /// The statements of the innermost block so far.
    level: Vec<Statement>,
    /// The words of the line so far.
    words: Vec<Word>,
}

impl Parser {
    fn end_statement(&mut self, line: &Line) {
        let words = std::mem::take(&mut self.words);
        let Some(first) = words.first() else { return };
        let column = first.column;
        let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        let origin = Origin { file: line.file.to_path_buf(), line: line.number, words: text };
        self.level.push(Statement { origin, column, words, block: None });
    }

    /// A block belongs to the words before it, on its line or on one before.
    fn open(&mut self, line: &Line, column: usize) -> Result<(), Unreadable> {
        self.end_statement(line);
        let Some(statement) = self.level.pop_if(|last| last.block.is_none()) else {
            return Err(line.wrong(
                column,
                "a { without a word before it: remove it, or say whose block it is",
            ));
        };
        if self.open.len() >= DEPTH {
            return Err(line.wrong(
                column,
                format!("blocks are more than {DEPTH} deep: a }} is missing above"),
            ));
        }
        self.open.push((statement, std::mem::take(&mut self.level)));
        Ok(())
    }

    fn close(&mut self, line: &Line, column: usize) -> Result<(), Unreadable> {
        self.end_statement(line);
        let Some((mut statement, before)) = self.open.pop() else {
            return Err(
                line.wrong(column, "a } without a { before it: remove it, or open the block")
            );
        };
        statement.block = Some(std::mem::replace(&mut self.level, before));
        self.level.push(statement);
        Ok(())
    }
}

/// Words are apart by white space; quotes keep it, and braces end a word.
fn tokens(line: &Line) -> Result<Vec<Token>, Unreadable> {
    let mut tokens = Vec::new();
    let mut chars = line.text.chars().zip(1..).peekable();
    while let Some(&(c, column)) = chars.peek() {
        match c {
            _ if c.is_whitespace() => drop(chars.next()),
            '{' | '}' => {
                chars.next();
                tokens.push(if c == '{' { Token::Open(column) } else { Token::Close(column) });
            }
            _ => {
                let text = word(&mut chars).map_err(|column| {
                    line.wrong(column, "a quote that is never closed: add the closing one")
                })?;
                tokens.push(Token::Word(Word { column, text }));
            }
        }
    }
    Ok(tokens)
}

/// Up to white space or a brace; fails with the column of a quote without an end.
fn word(
    chars: &mut std::iter::Peekable<impl Iterator<Item = (char, usize)>>,
) -> Result<String, usize> {
    let mut text = String::new();
    // Of a parameter that nobody has defined: `${NAME}` is part of the word.
    let mut parameter = false;
    while let Some(&(c, column)) = chars.peek() {
        match c {
            '{' if text.ends_with('$') => parameter = true,
            '}' if parameter => parameter = false,
            '{' | '}' => break,
            _ if c.is_whitespace() => break,
            _ => {}
        }
        chars.next();
        match c {
            '"' | '\'' => text.push_str(&quoted(chars, c).ok_or(column)?),
            '\\' => text.extend(chars.next().map(|(c, _)| c)),
            _ => text.push(c),
        }
    }
    Ok(text)
}

fn quoted(chars: &mut impl Iterator<Item = (char, usize)>, quote: char) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()?.0 {
            c if c == quote => return Some(text),
            '\\' => text.push(escaped(chars.next()?.0)),
            c => text.push(c),
        }
    }
}

/// The escapes that can be in a script's name or arguments; any other character stands for itself.
fn escaped(c: char) -> char {
    match c {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        let line = |(index, text): (usize, &str)| Line {
            file: Path::new("k").into(),
            number: index + 1,
            text: text.to_owned(),
        };
        text.lines().enumerate().map(line).collect()
    }

    fn shown(statements: &[Statement]) -> String {
        let one = |statement: &Statement| {
            let words: Vec<_> = statement.words.iter().map(|word| word.text.as_str()).collect();
            let block = statement.block.as_ref().map(|block| format!(" {{{}}}", shown(block)));
            format!("{}{}", words.join("|"), block.unwrap_or_default())
        };
        statements.iter().map(one).collect::<Vec<_>>().join(";")
    }

    #[test]
    fn blocks_open_on_their_line_or_on_the_next_and_close_anywhere() {
        for (text, expected) in [
            ("a b {\n c 1\n d\n}\ne", "a|b {c|1;d};e"),
            ("a\n{\nb {}\n}", "a {b {}}"),
            ("a { b 1 }", "a {b|1}"),
            ("a 80{\nb\n}", "a|80 {b}"),
            ("a \"b c\" 'd \"e'\"f\" g\\ h", "a|b c|d \"ef|g h"),
            ("a \"b\\\"c\\n\" ${X}y", "a|b\"c\n|${X}y"),
            ("", ""),
        ] {
            assert_eq!(shown(&parse(&lines(text)).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_does_not_balance_is_told_with_its_place() {
        for (text, expected) in [
            ("a {\n b {\n}", "k:1:1: the block of a is never closed: a } is missing"),
            ("a {\n}\n }", "k:3:2: a } without a { before it: remove it, or open the block"),
            ("{\n}", "k:1:1: a { without a word before it: remove it, or say whose block it is"),
            (
                "a {\n} {\n}",
                "k:2:3: a { without a word before it: remove it, or say whose block it is",
            ),
            ("ä b \"c", "k:1:5: a quote that is never closed: add the closing one"),
            (&"a {\n".repeat(40), "k:33:3: blocks are more than 32 deep: a } is missing above"),
        ] {
            assert_eq!(parse(&lines(text)).unwrap_err().to_string(), expected, "{text}");
        }
    }
}
