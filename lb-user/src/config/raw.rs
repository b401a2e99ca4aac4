//! The text as typed: a tree of TOML values with their places, read key by key.
//!
//! Read from the tree rather than through serde's derive, which stops at the first unknown key or
//! wrong type: here each is noted and reading goes on, so that one run shows all that is wrong.
//! What could not be read is noted and absent; a configuration with notes is never used.

use std::{borrow::Cow, cell::RefCell, fmt, ops::Range, str::FromStr};

use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::{
    error::{Errors, Lines},
    machine::{Need, Thing},
};
use crate::model::Amount;

const AMOUNT: &str = "a number of reals such as 2 or a share such as \"50%\"";

/// A place in the text, in bytes.
pub(super) type Place = Range<usize>;

/// What was found wrong so far, and what remains to be looked at.
pub(super) struct Problems<'t> {
    text: &'t str,
    lines: Lines,
    found: RefCell<Vec<(Place, String)>>,
    needs: RefCell<Vec<Need>>,
}

impl<'t> Problems<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, lines: Lines::of(text), found: RefCell::default(), needs: RefCell::default() }
    }

    /// The line of a place.
    pub(super) fn line(&self, place: &Place) -> usize {
        self.lines.line(place.start)
    }

    pub(super) fn none(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// What the text needs of this machine.
    pub(super) fn into_needs(self) -> Vec<Need> {
        self.needs.into_inner()
    }

    pub(super) fn into_errors(self) -> Errors {
        Errors::locate(self.text, self.found.into_inner())
    }
}

/// A table of the text, known by what it describes.
pub(super) struct Table<'t> {
    what: String,
    place: Place,
    keys: &'t DeTable<'t>,
    problems: &'t Problems<'t>,
}

impl<'t> Table<'t> {
    /// The whole text.
    pub(super) fn root(tree: &'t Spanned<DeTable<'t>>, problems: &'t Problems<'t>) -> Self {
        Self { what: String::new(), place: tree.span(), keys: tree.get_ref(), problems }
    }

    /// A table of which only the key is given: nothing is in it.
    pub(super) fn absent(&self, keys: &'t DeTable<'t>, what: &str) -> Self {
        Self { what: what.to_owned(), place: self.place.clone(), keys, problems: self.problems }
    }

    /// Names what the table describes; messages begin with it.
    pub(super) fn named(self, what: String) -> Self {
        Self { what, ..self }
    }

    pub(super) fn what(&self) -> &str {
        &self.what
    }

    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    /// The place of a key's value, or of the table where the key is absent.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.keys.get(key).map_or_else(|| self.place(), Spanned::span)
    }

    /// The line of a place in the same text.
    pub(super) fn line(&self, place: &Place) -> usize {
        self.problems.line(place)
    }

    /// Notes that what stands at `place` is wrong.
    pub(super) fn refuse(&self, place: Place, message: impl fmt::Display) {
        let separator = if self.what.is_empty() { "" } else { ": " };
        let message = format!("{}{separator}{message}", self.what);
        self.problems.found.borrow_mut().push((place, message));
    }

    /// Notes that what stands at `place` needs something of the machine on which it is put in force.
    pub(super) fn needs(&self, place: Place, thing: Thing) {
        let need = Need { place, what: self.what.clone(), thing };
        self.problems.needs.borrow_mut().push(need);
    }

    /// Notes every key that is not `known`. A key that is often tried in vain has its reason in
    /// `refused`.
    pub(super) fn only(&self, known: &[&str], refused: &[(&str, &str)]) {
        for key in self.keys.keys() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            match refused.iter().find(|(refused, _)| *refused == name) {
                Some((_, reason)) => self.refuse(key.span(), reason),
                None => self.refuse(key.span(), unknown_key(name, known)),
            }
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The value of a key that must be there.
    pub(super) fn required<T>(&self, key: &str, example: &str, value: Option<T>) -> Option<T> {
        if !self.has(key) {
            self.refuse(self.place(), format_args!("{key} is missing; write {example}"));
        }
        value
    }

    /// A string, where there is one; nothing is noted.
    pub(super) fn peek(&self, key: &str) -> Option<&'t str> {
        self.keys.get(key)?.get_ref().as_str()
    }

    pub(super) fn text(&self, key: &str) -> Option<Spanned<&'t str>> {
        let value = self.keys.get(key)?;
        self.typed(key, value, "a string", DeValue::as_str)
    }

    /// A whole number within bounds.
    pub(super) fn number<T: TryFrom<i64>>(&self, key: &str, low: i64, high: i64) -> Option<T> {
        let value = self.keys.get(key)?;
        let wanted = format!("a whole number from {low} to {high}");
        let integer = self.typed(key, value, &wanted, DeValue::as_integer)?;
        let number = to_i64(integer.get_ref()).filter(|number| (low..=high).contains(number));
        if number.is_none() {
            let found = &self.problems.text[value.span()];
            self.refuse(
                value.span(),
                format_args!("{key} {found} is out of range; write {wanted}"),
            );
        }
        number.and_then(|number| T::try_from(number).ok())
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        let value = self.keys.get(key)?;
        self.typed(key, value, "true or false", DeValue::as_bool).map(Spanned::into_inner)
    }

    /// A list of strings that must be there with at least one.
    pub(super) fn texts(&self, key: &str, example: &str) -> Option<Vec<Spanned<&'t str>>> {
        let texts = self.required(key, example, self.some_texts(key))?;
        if texts.is_empty() && self.is_empty_list(key) {
            self.refuse(self.place_of(key), format_args!("{key} is empty; write {example}"));
        }
        Some(texts)
    }

    /// A list of strings, where there is one.
    pub(super) fn some_texts(&self, key: &str) -> Option<Vec<Spanned<&'t str>>> {
        let wanted = "a list of strings";
        let array = self.typed(key, self.keys.get(key)?, wanted, DeValue::as_array)?;
        let texts = array.get_ref().iter();
        let texts = texts.filter_map(|text| self.typed(key, text, wanted, DeValue::as_str));
        Some(texts.collect())
    }

    fn is_empty_list(&self, key: &str) -> bool {
        let list = self.keys.get(key).and_then(|value| value.get_ref().as_array());
        list.is_some_and(|list| list.is_empty())
    }

    /// A table of strings under names of the operator's own.
    pub(super) fn dictionary(&self, key: &str) -> Vec<(Spanned<&'t str>, &'t str)> {
        let Some(value) = self.keys.get(key) else {
            return Vec::new();
        };
        let wanted = "a table of strings";
        let Some(table) = self.typed(key, value, wanted, DeValue::as_table) else {
            return Vec::new();
        };
        let entry = |(name, value): (&'t Spanned<Cow<'t, str>>, &'t Spanned<DeValue<'t>>)| {
            let text = self.typed(key, value, wanted, DeValue::as_str)?;
            Some((Spanned::new(name.span(), name.get_ref().as_ref()), text.into_inner()))
        };
        table.into_inner().iter().filter_map(entry).collect()
    }

    /// A number of reals or a share of them.
    pub(super) fn amount(&self, key: &str) -> Option<Amount> {
        let value = self.keys.get(key)?;
        let text = match value.get_ref() {
            DeValue::Integer(number) => to_i64(number).map_or_else(String::new, |n| n.to_string()),
            _ => self.typed(key, value, AMOUNT, DeValue::as_str)?.into_inner().to_owned(),
        };
        let amount = text.parse();
        amount.map_err(|reason| self.refuse(value.span(), format_args!("{key}: {reason}"))).ok()
    }

    pub(super) fn table(&self, key: &str) -> Option<Self> {
        let value = self.keys.get(key)?;
        let table = self.typed(key, value, "a table", DeValue::as_table)?;
        let what =
            if self.what.is_empty() { key.to_owned() } else { format!("{}, {key}", self.what) };
        Some(Self { what, place: value.span(), keys: table.into_inner(), problems: self.problems })
    }

    /// The tables under a key, as `[[key]]` or as an array of inline tables.
    pub(super) fn tables(&self, key: &str, header: &str) -> Vec<Self> {
        let Some(value) = self.keys.get(key) else {
            return Vec::new();
        };
        let wanted = format!("a list of tables, each beginning with {header}");
        let Some(array) = self.typed(key, value, &wanted, DeValue::as_array) else {
            return Vec::new();
        };
        let table = |element: &'t Spanned<DeValue<'t>>| {
            let keys = self.typed(key, element, &wanted, DeValue::as_table)?;
            Some(Self {
                what: self.what.clone(),
                place: element.span(),
                keys: keys.into_inner(),
                problems: self.problems,
            })
        };
        array.get_ref().iter().filter_map(table).collect()
    }

    /// The table under a key, or the tables.
    pub(super) fn table_or_tables(&self, key: &str, header: &str) -> Vec<Self> {
        let value = self.keys.get(key).map(Spanned::get_ref);
        if matches!(value, Some(DeValue::Array(_))) {
            return self.tables(key, header);
        }
        self.table(key).map(|table| table.named(self.what.clone())).into_iter().collect()
    }

    /// A string that is one of some words, or is made of parts.
    pub(super) fn parsed<T: FromStr<Err = String>>(&self, key: &str) -> Option<Spanned<T>> {
        let text = self.text(key)?;
        let value =
            text.get_ref().parse().map_err(|reason| self.refuse(text.span(), reason)).ok()?;
        Some(Spanned::new(text.span(), value))
    }

    fn typed<T>(
        &self,
        key: &str,
        value: &'t Spanned<DeValue<'t>>,
        wanted: &str,
        read: fn(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let found = read(value.get_ref());
        if found.is_none() {
            let kind = kind(value.get_ref());
            self.refuse(value.span(), format_args!("{key} must be {wanted}, not {kind}"));
        }
        found.map(|found| Spanned::new(value.span(), found))
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn to_i64(integer: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn unknown_key(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|key| (distance(name, key), key)).min();
    match nearest {
        Some((distance, key)) if distance <= 2.max(name.len() / 3) && distance < key.len() => {
            format!("unknown key \"{name}\"; did you mean \"{key}\"?")
        }
        _ => format!("unknown key \"{name}\"; the keys here are: {}", known.join(", ")),
    }
}

/// How many characters must be put in, taken out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_two_words_is_the_number_of_changed_characters() {
        for (a, b, expected) in [
            ("", "", 0),
            ("wieght", "weight", 2),
            ("vips", "vip", 1),
            ("abc", "xyz", 3),
            ("", "ab", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }
}
