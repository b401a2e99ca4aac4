//! What `/cfg/dump` of an Alteon (Alteon WebSystems, Nortel, Radware) prints.
//!
//! text → blocks → objects → a draft.

mod blocks;
mod draft;
mod health;
mod objects;
mod others;
mod pool;

use std::path::Path;

use super::{Draft, Unreadable, source::Source};

/// Reads a dump.
///
/// # Errors
///
/// When there is no virtual server in it.
pub(super) fn read(text: &str, file: &Path) -> Result<Draft, Unreadable> {
    let source = Source(file);
    let dump = blocks::dump(text);
    let objects = objects::objects(&dump.blocks, source);
    if objects.virts.is_empty() {
        let place = dump.foreign.first().map(|(line, _)| *line);
        let place = place.or(dump.blocks.first().map(|block| block.line));
        let reason = "no virtual server in it (/c/slb/virt 1); save what /cfg/dump prints";
        return Err(source.unreadable((place.unwrap_or(1), 1), reason));
    }
    let mut draft = draft::draft(&objects, source);
    for (line, text) in &dump.foreign {
        draft.notes.push(source.note(*line, text, "not part of a dump: not read"));
    }
    draft.notes.sort_by_key(|note| note.line);
    Ok(draft)
}

#[cfg(test)]
mod tests;
