//! What a map is like, by which a pinned one is known to be ours.

use std::fmt;

use aya::maps::{MapData, MapError, MapType};

/// What a map is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form {
    /// Its kind.
    pub kind: MapType,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// How many values it can have.
    pub entries: u32,
}

impl Form {
    /// That of a map in the kernel.
    pub(super) fn of(map: &MapData) -> Result<Self, MapError> {
        let info = map.info()?;
        Ok(Self {
            kind: info.map_type()?,
            key: info.key_size(),
            value: info.value_size(),
            entries: info.max_entries(),
        })
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key, value, entries } = self;
        write!(f, "{kind:?} of {entries} values of {value} bytes, keys of {key}")
    }
}
