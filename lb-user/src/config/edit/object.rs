//! The tables of a text at the places where the parser saw them.

use std::ops::Range;

use toml_edit::{Item, Key, Table, TableLike, Value};

use super::lines;

/// A table of the configuration, by its number in the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// A VIP.
    Vip(usize),
    /// A real server of a VIP.
    Real(usize, usize),
    /// A check of a VIP.
    Check(usize, usize),
}

/// A piece of text in place of another.
pub(super) type Splice = (Range<usize>, String);

/// A table as it stands in the text.
pub(super) struct Object<'d> {
    pub(super) table: &'d dyn TableLike,
    /// Its section, if it has a header of its own.
    pub(super) section: Option<&'d Table>,
    /// Its place, if it is an element of an array.
    pub(super) element: Option<Range<usize>>,
    /// Whether its keys are separated by commas.
    pub(super) inline: bool,
    /// What its keys begin with, if it has neither header nor braces.
    prefix: &'static str,
}

impl<'d> Object<'d> {
    pub(super) fn at(tree: &'d toml_edit::Document<String>, target: Target) -> Option<Self> {
        match target {
            Target::Vip(vip) => Self::element_of(tree.get("vip")?, vip),
            Target::Real(vip, real) => {
                let vip = Self::at(tree, Target::Vip(vip))?;
                Self::element_of(vip.table.get("real")?, real)
            }
            Target::Check(vip, check) => {
                let vip = Self::at(tree, Target::Vip(vip))?;
                let item = vip.table.get("check")?;
                match item.as_table_like() {
                    Some(table) => (check == 0).then(|| Self::only_check(item, table, vip.inline)),
                    None => Self::element_of(item, check),
                }
            }
        }
    }

    /// A check that stands in no list.
    fn only_check(item: &'d Item, table: &'d dyn TableLike, inline: bool) -> Self {
        Self {
            table,
            section: item.as_table().filter(|table| !table.is_dotted()),
            element: None,
            inline: item.is_inline_table() || inline,
            prefix: if table.is_dotted() { "check." } else { "" },
        }
    }

    fn element_of(list: &'d Item, index: usize) -> Option<Self> {
        match list {
            Item::ArrayOfTables(tables) => {
                let table = tables.get(index)?;
                Some(Self { table, section: Some(table), element: None, inline: false, prefix: "" })
            }
            _ => {
                let table = list.as_array()?.get(index)?.as_inline_table()?;
                Some(Self { table, section: None, element: table.span(), inline: true, prefix: "" })
            }
        }
    }

    /// The keys with their values' ends, those of dotted tables among them, in the text's order.
    fn leaves(&self) -> Vec<(Vec<&'d Key>, Range<usize>)> {
        leaves(self.table.get_values())
    }

    /// The first entry of a key: its own, or one of its parts where it is dotted.
    pub(super) fn first_leaf(&self, key: &str) -> Option<Range<usize>> {
        let is_first = |path: &[&Key]| path.first().is_some_and(|first| first.get() == key);
        let mut leaves = self.leaves().into_iter();
        leaves.find(|(path, _)| is_first(path)).map(|(_, entry)| entry)
    }

    /// A new key at the end.
    pub(super) fn addition(&self, text: &str, key: &str, value: &Value) -> Splice {
        let pair = format!("{}{key} = {value}", self.prefix);
        let last = self.leaves().pop().map(|(_, entry)| entry);
        match (last, self.section) {
            (Some(last), _) if self.inline => (last.end..last.end, format!(", {pair}")),
            (Some(last), _) => after_line(text, last.start, last.end, &pair),
            (None, Some(section)) => {
                let header = place(section.span());
                after_line(text, header.start, header.end, &pair)
            }
            (None, None) => (text.len()..text.len(), pair),
        }
    }
}

/// A new line after the one that ends at `end`, indented as the one at `start`.
fn after_line(text: &str, start: usize, end: usize, line: &str) -> Splice {
    let at = lines::end(text, end);
    (at..at, format!("\n{}{line}", lines::indent(text, start)))
}

/// A new last element, on a line of its own where the last one has one.
pub(super) fn addition_to_array(text: &str, array: &Value, element: &Value) -> Vec<Splice> {
    let whole = place(array.span());
    let Some(last) =
        array.as_array().and_then(|array| array.iter().last()).map(|last| place(last.span()))
    else {
        return vec![(whole.start + 1..whole.start + 1, element.to_string())];
    };
    if !lines::begins_line(text, last.start) {
        return vec![(last.end..last.end, format!(", {element}"))];
    }
    let line = format!("\n{}{element}", lines::indent(text, last.start));
    let comma = lines::comma_after(text, last.end);
    let near = comma.filter(|comma| text[last.end..*comma].trim_matches([' ', '\t']).is_empty());
    match (near, comma) {
        (Some(comma), _) if lines::ends_line(text, comma + 1) => {
            let at = lines::end(text, comma);
            vec![(at..at, format!("{line},"))]
        }
        (None, None) if lines::ends_line(text, last.end) => {
            let at = lines::end(text, last.end);
            vec![(at..at, line), (last.end..last.end, ",".to_owned())]
        }
        _ => vec![(last.end..last.end, format!(",{line}"))],
    }
}

/// The header and body of each section of a table and of those below it.
pub(super) fn sections(table: &Table) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if !table.is_implicit() && !table.is_dotted() && table.position().is_some() {
        let header = place(table.span());
        let body = leaves(table.get_values()).last().map_or(header.end, |(_, entry)| entry.end);
        found.push(header.start..body);
    }
    for (_, item) in table.iter() {
        match item {
            Item::Table(table) => found.extend(sections(table)),
            Item::ArrayOfTables(tables) => found.extend(tables.iter().flat_map(sections)),
            Item::None | Item::Value(_) => {}
        }
    }
    found
}

fn leaves<'d>(values: Vec<(Vec<&'d Key>, &'d Value)>) -> Vec<(Vec<&'d Key>, Range<usize>)> {
    let leaf = |(path, value): (Vec<&'d Key>, &'d Value)| {
        let start = place(path.last().and_then(|key| key.span())).start;
        (path, start..place(value.span()).end)
    };
    let mut leaves: Vec<_> = values.into_iter().map(leaf).collect();
    leaves.sort_by_key(|(_, entry)| entry.start);
    leaves
}

pub(super) fn first_key(table: &Table) -> Option<usize> {
    leaves(table.get_values()).first().map(|(_, entry)| entry.start)
}

pub(super) fn place(span: Option<Range<usize>>) -> Range<usize> {
    span.expect("a table that was parsed has the places of all its parts")
}
