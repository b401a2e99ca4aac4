//! The configuration of vc5: the YAML that people write, and the JSON that is made of it for the daemon.
//!
//! text → a tree → services of both forms → a draft.

mod checks;
mod daemon;
mod people;
mod root;
mod service;
mod tree;

use std::path::Path;

use self::{service::Reader, tree::Node};
use super::{Draft, Unreadable, source::Source};

/// Reads either form.
///
/// # Errors
///
/// What is not YAML, or not as vc5 has it.
pub(super) fn read(text: &str, file: &Path) -> Result<Draft, Unreadable> {
    let source = Source(file);
    let tree = tree::read(text, source)?;
    let reader = Reader::new(text, &tree, source);
    let mut draft = Draft::default();
    match (tree.get("services"), tree.get("vips")) {
        (Some(services), _) if services.is_map() => {
            daemon::services(&reader, services, &mut draft)?
        }
        (Some(services), _) => people::services(&reader, services, &mut draft)?,
        (None, Some(vips)) => daemon::vips(&reader, vips, &mut draft)?,
        (None, None) => return Err(nothing(&tree, source)),
    }
    root::notes(&reader, &mut draft);
    draft.notes.sort_by_key(|note| note.line);
    Ok(draft)
}

fn nothing(tree: &Node, source: Source<'_>) -> Unreadable {
    let reason = "no services in it; a configuration of vc5 has services: with name, virtual, servers and policy";
    source.unreadable((tree.line, tree.column), reason)
}

#[cfg(test)]
mod tests;
