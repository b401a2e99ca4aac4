//! The checks of a VIP in whichever way they are written: as a table, inline or with a header or with dotted
//! keys, or as several of the first two.

use toml_edit::{InlineTable, Item, TableLike, Value};

use super::{
    document::Document,
    object::{Object, Target, place},
    words::{self, Fields},
};
use crate::{config::check::health, model::Check};

/// Makes the checks others. One that is changed keeps its pace and its path to the real server; beyond that, what
/// words cannot say, if its kind stays.
pub(super) fn set(document: Document, vip: usize, old: &[Check], new: &[Fields]) -> Document {
    let mut kinds: Vec<&str> = old.iter().map(|check| check.kind.word()).collect();
    if new.is_empty() {
        return clear(document, vip, kinds.len());
    }
    let mut document = document;
    while kinds.len() > new.len() {
        let gone = surplus(&kinds, new);
        document = document.remove(Target::Check(vip, gone));
        kinds.remove(gone);
    }
    for (index, (kind, check)) in kinds.iter().zip(new).enumerate() {
        document = change(document, Target::Check(vip, index), kind, check);
    }
    new[kinds.len()..].iter().fold(document, |document, check| append(document, vip, check))
}

fn clear(document: Document, vip: usize, count: usize) -> Document {
    let target = Target::Vip(vip);
    let sections =
        document.look(target, |vip| matches!(vip.table.get("check"), Some(Item::ArrayOfTables(_))));
    if sections == Some(true) {
        let last_first = (0..count).rev();
        return last_first.fold(document, |rest, check| rest.remove(Target::Check(vip, check)));
    }
    document.unset(target, "check")
}

/// The last one of a kind that is not wanted any more, else the last one.
fn surplus(kinds: &[&str], new: &[Fields]) -> usize {
    let wanted = |kind: &str| new.iter().any(|check| kind_of(check) == kind);
    let unwanted = kinds.iter().rposition(|kind| !wanted(kind));
    unwanted.unwrap_or(kinds.len() - 1)
}

fn kind_of(check: &Fields) -> &str {
    value(check, "type").and_then(Value::as_str).unwrap_or_default()
}

fn value<'f>(check: &'f Fields, key: &str) -> Option<&'f Value> {
    check.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
}

fn change(document: Document, target: Target, old: &str, new: &Fields) -> Document {
    let kind = kind_of(new);
    let replaced = if kind == old { words::said(kind) } else { health::own_keys(old) };
    let added = new.iter().map(|(key, _)| *key).filter(|key| !replaced.contains(key));
    let keys = added.chain(replaced.iter().copied());
    keys.fold(document, |document, key| document.put(target, key, value(new, key).cloned()))
}

fn append(document: Document, vip: usize, check: &Fields) -> Document {
    let target = Target::Vip(vip);
    let tree = document.tree();
    let item = Object::at(&tree, target).and_then(|vip| vip.table.get("check"));
    match item {
        None => document.set(target, "check", words::inline(check)),
        Some(Item::Value(Value::Array(_))) => {
            document.append_element(target, "check", &words::inline(check))
        }
        Some(Item::ArrayOfTables(checks)) => {
            let last = checks.iter().last();
            document.append_sections(checks.iter(), last, &[("[[vip.check]]", check)])
        }
        Some(Item::Table(section)) if !section.is_dotted() => {
            let header = place(section.span());
            let listed = document.splice(vec![
                (header.start..header.start, "[".to_owned()),
                (header.end..header.end, "]".to_owned()),
            ]);
            append(listed, vip, check)
        }
        Some(Item::Value(Value::InlineTable(only))) if !only.is_dotted() => {
            let only = place(only.span());
            document.splice(vec![
                (only.start..only.start, "[".to_owned()),
                (only.end..only.end, format!(", {}]", words::inline(check))),
            ])
        }
        Some(dotted) => {
            let only = dotted.as_table_like().map(plain).unwrap_or_default();
            let list = words::list([only.into(), words::inline(check)]);
            document.unset(target, "check").set(target, "check", list)
        }
    }
}

/// The table without what stood around its parts: an inline table has no room for comments.
fn plain(table: &dyn TableLike) -> InlineTable {
    let entry = |(key, item): (&str, &Item)| {
        let value = match item.as_table_like() {
            Some(table) => plain(table).into(),
            None => without_decoration(item.as_value()?),
        };
        Some((key.to_owned(), value))
    };
    table.iter().filter_map(entry).collect()
}

fn without_decoration(value: &Value) -> Value {
    match value {
        Value::Array(list) => words::list(list.iter().map(without_decoration)),
        Value::InlineTable(table) => plain(table).into(),
        _ => {
            let mut value = value.clone();
            value.decor_mut().clear();
            value
        }
    }
}
