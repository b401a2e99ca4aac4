//! The text with its objects, found at the places where the parser saw them.

use std::ops::Range;

use toml_edit::{Item, Key, Table, TableLike, Value};

use super::{
    lines,
    words::{self, Fields},
};

/// A table of the configuration, by its number in the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// A VIP.
    Vip(usize),
    /// A real server of a VIP.
    Real(usize, usize),
    /// The check of a VIP.
    Check(usize),
}

/// A text that is valid TOML, or was before it was changed.
pub(super) struct Document(String);

/// A piece of text in place of another.
type Splice = (Range<usize>, String);

impl Document {
    pub(super) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    pub(super) fn has(&self, target: Target, key: &str) -> bool {
        let tree = self.tree();
        Object::at(&tree, target).is_some_and(|object| object.table.contains_key(key))
    }

    /// Sets or removes a key.
    pub(super) fn put(self, target: Target, key: &str, value: Option<Value>) -> Self {
        match value {
            Some(value) => self.set(target, key, value),
            None => self.unset(target, key),
        }
    }

    /// Replaces the value of a key, or adds the key.
    pub(super) fn set(self, target: Target, key: &str, value: Value) -> Self {
        let tree = self.tree();
        let Some(object) = Object::at(&tree, target) else {
            return self;
        };
        let splice = match object.table.get(key).and_then(Item::as_value) {
            Some(old) => (place(old.span()), value.to_string()),
            None => object.addition(&self.0, key, &value),
        };
        self.splice(vec![splice])
    }

    /// Removes a key with its value, if it is there.
    pub(super) fn unset(self, target: Target, key: &str) -> Self {
        let tree = self.tree();
        let Some(object) = Object::at(&tree, target) else {
            return self;
        };
        let cuts = match object.table.get(key) {
            None => return self,
            Some(Item::Table(section)) if !section.is_dotted() => self.cut_sections(&tree, section),
            Some(_) => match object
                .leaves()
                .into_iter()
                .find(|(path, ..)| path.first().is_some_and(|first| first.get() == key))
            {
                Some((_, entry)) => lines::cut_entry(&self.0, self.from_path_start(entry)),
                None => return self,
            },
        };
        // A dotted key (`check.type`, `check.port`) has an entry for each of its parts.
        self.splice(cuts.into_iter().map(|cut| (cut, String::new())).collect()).unset(target, key)
    }

    /// Makes a list of strings another. Elements stay where they are, with their comments, if what
    /// stays and what is added has the wanted order; else the list is written anew.
    pub(super) fn set_list(self, target: Target, key: &str, wanted: &[String]) -> Self {
        let old = self.list(target, key);
        let kept: Vec<_> = old.iter().filter(|element| wanted.contains(element)).collect();
        if kept.is_empty() || !wanted.iter().zip(&kept).all(|(wanted, kept)| wanted == *kept) {
            let list: toml_edit::Array = wanted.iter().map(String::as_str).collect();
            return self.set(target, key, list.into());
        }
        let count = kept.len();
        let gone: Vec<_> =
            (0..old.len()).rev().filter(|index| !wanted.contains(&old[*index])).collect();
        let shrunk = gone
            .into_iter()
            .fold(self, |document, index| document.remove_element(target, key, index));
        wanted[count..].iter().fold(shrunk, |document, element| {
            document.append_element(target, key, &element.as_str().into())
        })
    }

    /// Adds a real server to a pool.
    pub(super) fn append_real(self, vip: usize, fields: &Fields) -> Self {
        let tree = self.tree();
        let target = Target::Vip(vip);
        let Some(object) = Object::at(&tree, target) else {
            return self;
        };
        match object.table.get("real") {
            Some(Item::Value(_)) => self.append_element(target, "real", &words::inline(fields)),
            Some(Item::ArrayOfTables(reals)) => {
                let last = reals.iter().last();
                self.append_sections(reals.iter(), last, &[("[[vip.real]]", fields)])
            }
            _ if object.inline => self.set(target, "real", array(vec![words::inline(fields)])),
            _ => {
                self.append_sections(object.section.into_iter(), None, &[("[[vip.real]]", fields)])
            }
        }
    }

    /// Adds a VIP with its pool.
    pub(super) fn append_vip(self, fields: &Fields, pool: &[Fields]) -> Self {
        let tree = self.tree();
        if let Some(Item::Value(list)) = tree.get("vip") {
            let mut fields = fields.clone();
            if !pool.is_empty() {
                fields.push(("real", array(pool.iter().map(words::inline).collect())));
            }
            let splice = addition_to_array(&self.0, list, &words::inline(&fields));
            return self.splice(splice);
        }
        let reals = pool.iter().map(|real| ("[[vip.real]]", real));
        let sections: Vec<_> = std::iter::once(("[[vip]]", fields)).chain(reals).collect();
        let vips = tree.get("vip").and_then(Item::as_array_of_tables);
        self.append_sections(
            vips.into_iter().flatten(),
            vips.and_then(|vips| vips.iter().last()),
            &sections,
        )
    }

    /// Removes a VIP or a real server.
    pub(super) fn remove(self, target: Target) -> Self {
        let tree = self.tree();
        let Some(object) = Object::at(&tree, target) else {
            return self;
        };
        let cuts = match (object.section, object.element) {
            (Some(section), _) => self.cut_sections(&tree, section),
            (None, Some(element)) => lines::cut_entry(&self.0, element),
            (None, None) => Vec::new(),
        };
        self.splice(cuts.into_iter().map(|cut| (cut, String::new())).collect())
    }

    /// The text was read before, and a splice that breaks it is found when it is read again.
    fn tree(&self) -> toml_edit::Document<String> {
        toml_edit::Document::parse(self.0.clone()).unwrap_or_else(|_| empty())
    }

    fn splice(mut self, mut splices: Vec<Splice>) -> Self {
        let newline = if self.0.contains("\r\n") { "\r\n" } else { "\n" };
        splices.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
        for (place, with) in splices {
            self.0.replace_range(place, &with.replace('\n', newline));
        }
        self
    }

    fn list(&self, target: Target, key: &str) -> Vec<String> {
        let tree = self.tree();
        let object = Object::at(&tree, target);
        let array = object.and_then(|object| object.table.get(key)?.as_array().cloned());
        array.iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn append_element(self, target: Target, key: &str, element: &Value) -> Self {
        let tree = self.tree();
        let Some(list) =
            Object::at(&tree, target).and_then(|object| object.table.get(key)?.as_value())
        else {
            return self;
        };
        let splice = addition_to_array(&self.0, list, element);
        self.splice(splice)
    }

    fn remove_element(self, target: Target, key: &str, index: usize) -> Self {
        let tree = self.tree();
        let element = Object::at(&tree, target)
            .and_then(|object| object.table.get(key)?.as_array()?.get(index)?.span());
        let cuts = element.map(|element| lines::cut_entry(&self.0, element)).unwrap_or_default();
        self.splice(cuts.into_iter().map(|cut| (cut, String::new())).collect())
    }

    /// Puts sections after the last of those `beside`, written like `model`.
    fn append_sections<'d>(
        &self,
        beside: impl Iterator<Item = &'d Table>,
        model: Option<&Table>,
        new: &[(&str, &Fields)],
    ) -> Self {
        let text = &self.0;
        let end = beside.flat_map(sections).map(|section| section.end).max();
        let at = end.map_or(text.len(), |end| lines::with_comment_below(text, end));
        let header = model.map(|model| place(model.span()).start);
        let dense = header.is_some_and(|header| {
            !lines::blank_above(text, lines::with_comment_above(text, header))
        });
        let indents = [header, model.and_then(|model| first_key(model))]
            .map(|at| at.map_or("", |at| lines::indent(text, at)));
        let mut with =
            if text[..at].ends_with('\n') || at == 0 { String::new() } else { "\n".to_owned() };
        for (index, (header, fields)) in new.iter().enumerate() {
            if at + index > 0 && !(dense || index == 0 && lines::blank_above(text, at)) {
                with.push('\n');
            }
            with.push_str(&format!("{}{header}\n", indents[0]));
            fields.iter().for_each(|(key, value)| {
                with.push_str(&format!("{}{key} = {value}\n", indents[1]))
            });
        }
        if !dense && at < text.len() && !text[at..].starts_with(['\n', '\r']) {
            with.push('\n');
        }
        Self(text.clone()).splice(vec![(at..at, with)])
    }

    /// What to cut so that a table and all below it is gone: runs of sections that nothing foreign
    /// interrupts, each with the comment directly above it.
    fn cut_sections(&self, tree: &toml_edit::Document<String>, table: &Table) -> Vec<Range<usize>> {
        let mine = sections(table);
        let mut all = sections(tree.as_table());
        all.sort_by_key(|section| section.start);
        all.chunk_by(|a, b| mine.contains(a) == mine.contains(b))
            .filter(|run| mine.contains(&run[0]))
            .map(|run| {
                let (first, last) = (run[0].start, run[run.len() - 1].end);
                let cut = lines::with_comment_above(&self.0, first)..lines::next(&self.0, last);
                lines::without_double_blank(&self.0, cut)
            })
            .collect()
    }

    /// An entry with all of its key: the parser places only the last part of a dotted one.
    fn from_path_start(&self, entry: Range<usize>) -> Range<usize> {
        let before = &self.0[..entry.start];
        let from = before.rfind([',', '{', '\n']).map_or(0, |separator| separator + 1);
        let blanks = before[from..].len() - before[from..].trim_start().len();
        from + blanks..entry.end
    }
}

/// A table as it stands in the text.
struct Object<'d> {
    table: &'d dyn TableLike,
    /// Its section, if it has a header of its own.
    section: Option<&'d Table>,
    /// Its place, if it is an element of an array.
    element: Option<Range<usize>>,
    /// Whether its keys are separated by commas.
    inline: bool,
    /// What its keys begin with, if it has neither header nor braces.
    prefix: &'static str,
}

impl<'d> Object<'d> {
    fn at(tree: &'d toml_edit::Document<String>, target: Target) -> Option<Self> {
        match target {
            Target::Vip(vip) => Self::element_of(tree.get("vip")?, vip),
            Target::Real(vip, real) => {
                let vip = Self::at(tree, Target::Vip(vip))?;
                Self::element_of(vip.table.get("real")?, real)
            }
            Target::Check(vip) => {
                let vip = Self::at(tree, Target::Vip(vip))?;
                let item = vip.table.get("check")?;
                let table = item.as_table_like()?;
                let section = item.as_table().filter(|table| !table.is_dotted());
                let dotted = table.is_dotted();
                let inline = item.is_inline_table() || vip.inline;
                Some(Self {
                    table,
                    section,
                    element: None,
                    inline,
                    prefix: if dotted { "check." } else { "" },
                })
            }
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

    fn addition(&self, text: &str, key: &str, value: &Value) -> Splice {
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
fn addition_to_array(text: &str, array: &Value, element: &Value) -> Vec<Splice> {
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
fn sections(table: &Table) -> Vec<Range<usize>> {
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

fn first_key(table: &Table) -> Option<usize> {
    leaves(table.get_values()).first().map(|(_, entry)| entry.start)
}

fn array(elements: Vec<Value>) -> Value {
    elements.into_iter().collect::<toml_edit::Array>().into()
}

fn empty() -> toml_edit::Document<String> {
    toml_edit::Document::parse(String::new()).expect("nothing is valid TOML")
}

fn place(span: Option<Range<usize>>) -> Range<usize> {
    span.expect("a table that was parsed has the places of all its parts")
}
