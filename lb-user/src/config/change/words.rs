//! Words of a change that JSON may say in more than one way.

use serde::{Deserialize, Deserializer};
use utoipa::openapi::{ArrayBuilder, Object, OneOfBuilder, Schema, Type};

/// A number, or a word.
#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Number(u64),
    Word(String),
}

pub(super) fn amount<'d, D: Deserializer<'d>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::deserialize(from)?.map(|amount| match amount {
        Amount::Number(number) => number.to_string(),
        Amount::Word(word) => word,
    }))
}

/// Words; one may stand without its list.
pub(super) mod one_or_several {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Several(Vec<String>),
    }

    pub(in super::super) fn deserialize<'d, D: Deserializer<'d>>(
        from: D,
    ) -> Result<Option<Vec<String>>, D::Error> {
        Ok(Option::deserialize(from)?.map(|words| match words {
            Words::One(word) => vec![word],
            Words::Several(words) => words,
        }))
    }

    pub(in super::super) fn serialize<S: Serializer>(
        words: &Option<Vec<String>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match words.as_deref() {
            Some([word]) => word.serialize(to),
            words => words.serialize(to),
        }
    }
}

/// What [`amount`] reads.
pub(super) fn amount_schema() -> Schema {
    alternatives([Object::with_type(Type::String).into(), Object::with_type(Type::Integer).into()])
}

/// What [`one_or_several`] reads.
pub(super) fn one_or_several_schema() -> Schema {
    let several = ArrayBuilder::new().items(Object::with_type(Type::String));
    alternatives([Object::with_type(Type::String).into(), several.into()])
}

fn alternatives(schemas: [Schema; 2]) -> Schema {
    schemas.into_iter().fold(OneOfBuilder::new(), OneOfBuilder::item).into()
}
