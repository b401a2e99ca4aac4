//! YAML, of which JSON is a part, as a tree with places.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use super::super::{Unreadable, source::Source};

/// A value and where it stands, from 1.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    /// Also numbers and truth values, as they are written.
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// No configuration is deeper.
const DEPTH: usize = 64;

pub(super) fn read(text: &str, source: Source<'_>) -> Result<Node, Unreadable> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH },
        // A key `y` is no truth value; what is one is decided where one is wanted.
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map(|place| (number(place.line()), number(place.column())));
        let message = error.to_string();
        let message = message.lines().next().unwrap_or_default();
        source.unreadable(place.unwrap_or((1, 1)), format!("not YAML: {message}"))
    })
}

fn number(place: u64) -> usize {
    usize::try_from(place).unwrap_or(1).max(1)
}

impl Node {
    /// The value of a key, if this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let found = self.entries().iter().rev().find(|(name, _)| name.text() == Some(key));
        found.map(|(_, value)| value).filter(|value| !matches!(value.value, Value::Null))
    }

    pub(super) fn entries(&self) -> &[(Self, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list, or what stands alone as the only one.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }

    /// Whether it says yes.
    pub(super) fn is_true(&self) -> bool {
        let yes = |text: &str| matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "on");
        self.text().is_some_and(yes)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<Value>::deserialize(deserializer)?;
        let place = spanned.referenced;
        Ok(Self {
            line: number(place.line()),
            column: number(place.column()),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

/// The methods of scalars that become what is written.
macro_rules! texts {
    ($($method:ident: $type:ty,)+) => {
        $(fn $method<E>(self, value: $type) -> Result<Value, E> {
            Ok(Value::Text(value.to_string()))
        })+
    };
}

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map")
    }

    texts! {
        visit_bool: bool,
        visit_i64: i64,
        visit_i128: i128,
        visit_u64: u64,
        visit_u128: u128,
        visit_f64: f64,
        visit_str: &str,
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn tree(text: &str) -> Result<Node, String> {
        read(text, Source(Path::new("f"))).map_err(|error| error.to_string())
    }

    #[test]
    fn every_value_and_every_key_has_its_place() {
        let tree = tree("---\na: 1\nb:\n  - x*\n  - 80:\n      y: true\n").unwrap();
        let shape = |node: &Node| (node.line, node.column, node.text().map(str::to_owned));
        assert_eq!(shape(tree.get("a").unwrap()), (2, 4, Some("1".into())));
        let items = tree.get("b").unwrap().items();
        assert_eq!(shape(&items[0]), (4, 5, Some("x*".into())));
        let (port, value) = &items[1].entries()[0];
        assert_eq!(shape(port), (5, 5, Some("80".into())));
        assert!(value.get("y").unwrap().is_true());
    }

    #[test]
    fn what_is_not_yaml_is_told_with_its_place() {
        for text in ["a: [1", "a: 1\na: 2\n", "a: b: c\n", "a: \"b", &"[".repeat(100)] {
            let error = tree(text).unwrap_err();
            assert!(error.contains(": not YAML: ") && !error.contains('\n'), "{error}");
        }
    }
}
