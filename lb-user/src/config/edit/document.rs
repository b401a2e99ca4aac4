//! The text under change, each step of which leaves a whole text.

use std::{collections::HashSet, ops::Range};

use toml_edit::{Item, Table, Value};

use super::{
    lines,
    object::{self, Object, Splice, Target, place, sections},
    words::{self, Fields},
};

/// A text that is valid TOML, or was before it was changed.
pub(super) struct Document(String);

impl Document {
    pub(super) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// What can be seen at a table, if it is there.
    pub(super) fn look<T>(&self, target: Target, see: impl FnOnce(Object<'_>) -> T) -> Option<T> {
        Object::at(&self.tree(), target).map(see)
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
            Some(Item::Table(section)) if !section.is_dotted() => self.cut_sections(&tree, section),
            _ => match object.first_leaf(key) {
                Some(entry) => lines::cut_entry(&self.0, self.with_key_path(entry)),
                None => return self,
            },
        };
        // A dotted key (`check.type`, `check.port`) has an entry for each of its parts.
        self.cut(cuts).unset(target, key)
    }

    /// Makes a list of strings another. Elements stay where they are, with their comments, if what
    /// stays and what is added has the wanted order; else the list is written anew.
    pub(super) fn set_list(self, target: Target, key: &str, wanted: &[String]) -> Self {
        let old = self.list(target, key);
        let kept: Vec<_> = old.iter().filter(|element| wanted.contains(element)).collect();
        let in_order = wanted.iter().zip(&kept).all(|(wanted, kept)| wanted == *kept);
        if kept.is_empty() || !in_order {
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
            _ if object.inline => self.set(target, "real", words::list([words::inline(fields)])),
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
                fields.push(("real", words::list(pool.iter().map(words::inline))));
            }
            let splice = object::addition_to_array(&self.0, list, &words::inline(&fields));
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
        self.cut(cuts)
    }

    /// The text was read before, and a splice that breaks it is found when it is read again.
    pub(super) fn tree(&self) -> toml_edit::Document<String> {
        toml_edit::Document::parse(self.0.clone()).unwrap_or_else(|_| empty())
    }

    /// New lines end as the text's do.
    pub(super) fn splice(mut self, mut splices: Vec<Splice>) -> Self {
        let crlf = self.0.contains("\r\n");
        splices.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
        for (place, with) in splices {
            let with = if crlf { with.replace('\n', "\r\n") } else { with };
            self.0.replace_range(place, &with);
        }
        self
    }

    fn cut(self, cuts: Vec<Range<usize>>) -> Self {
        self.splice(cuts.into_iter().map(|cut| (cut, String::new())).collect())
    }

    fn list(&self, target: Target, key: &str) -> Vec<String> {
        let tree = self.tree();
        let object = Object::at(&tree, target);
        let array = object.and_then(|object| object.table.get(key)?.as_array().cloned());
        array.iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    pub(super) fn append_element(self, target: Target, key: &str, element: &Value) -> Self {
        let tree = self.tree();
        let Some(list) =
            Object::at(&tree, target).and_then(|object| object.table.get(key)?.as_value())
        else {
            return self;
        };
        let splice = object::addition_to_array(&self.0, list, element);
        self.splice(splice)
    }

    fn remove_element(self, target: Target, key: &str, index: usize) -> Self {
        let tree = self.tree();
        let element = Object::at(&tree, target)
            .and_then(|object| object.table.get(key)?.as_array()?.get(index)?.span());
        let cuts = element.map(|element| lines::cut_entry(&self.0, element)).unwrap_or_default();
        self.cut(cuts)
    }

    /// Puts sections after the last of those `beside`, written like `model`.
    pub(super) fn append_sections<'d>(
        self,
        beside: impl Iterator<Item = &'d Table>,
        model: Option<&Table>,
        new: &[(&str, &Fields)],
    ) -> Self {
        let text = &self.0;
        let end = beside.flat_map(sections).map(|section| section.end).max();
        let at = end.map_or(text.len(), |end| lines::with_comment_below(text, end));
        let look = Look::of(text, model);
        let gap = if look.dense { "" } else { "\n" };
        let mut with: Vec<_> = new.iter().map(|new| look.section(new)).collect();
        if at > 0 && !lines::blank_above(text, at) {
            with[0].insert_str(0, gap);
        }
        if at > 0 && !text[..at].ends_with('\n') {
            with[0].insert(0, '\n');
        }
        let last = if text[at..].trim_start_matches('\r').starts_with('\n') || at == text.len() {
            ""
        } else {
            gap
        };
        let with = with.join(gap) + last;
        self.splice(vec![(at..at, with)])
    }

    /// What to cut so that a table and all below it is gone: runs of sections that nothing foreign
    /// interrupts, each with the comment directly above it.
    fn cut_sections(&self, tree: &toml_edit::Document<String>, table: &Table) -> Vec<Range<usize>> {
        let mine: HashSet<_> = sections(table).into_iter().map(|section| section.start).collect();
        let is_mine = |section: &Range<usize>| mine.contains(&section.start);
        let mut all = sections(tree.as_table());
        all.sort_by_key(|section| section.start);
        all.chunk_by(|a, b| is_mine(a) == is_mine(b))
            .filter(|run| is_mine(&run[0]))
            .map(|run| {
                let (first, last) = (run[0].start, run[run.len() - 1].end);
                let cut = lines::with_comment_above(&self.0, first)..lines::next(&self.0, last);
                lines::without_double_blank(&self.0, cut)
            })
            .collect()
    }

    /// An entry with all of its key: the parser places only the last part of a dotted one.
    fn with_key_path(&self, entry: Range<usize>) -> Range<usize> {
        let before = &self.0[..entry.start];
        let from = before.rfind([',', '{', '\n']).map_or(0, |separator| separator + 1);
        let blanks = before[from..].len() - before[from..].trim_start().len();
        from + blanks..entry.end
    }
}

/// How the sections of a list are set.
struct Look<'t> {
    /// Without blank lines between them.
    dense: bool,
    header: &'t str,
    keys: &'t str,
}

impl<'t> Look<'t> {
    fn of(text: &'t str, model: Option<&Table>) -> Self {
        let Some(model) = model else {
            return Self { dense: false, header: "", keys: "" };
        };
        let header = place(model.span()).start;
        Self {
            dense: !lines::blank_above(text, lines::with_comment_above(text, header)),
            header: lines::indent(text, header),
            keys: object::first_key(model).map_or("", |key| lines::indent(text, key)),
        }
    }

    fn section(&self, (header, fields): &(&str, &Fields)) -> String {
        let keys = fields.iter().map(|(key, value)| format!("{}{key} = {value}\n", self.keys));
        format!("{}{header}\n{}", self.header, keys.collect::<String>())
    }
}

fn empty() -> toml_edit::Document<String> {
    toml_edit::Document::parse(String::new()).expect("nothing is valid TOML")
}
