//! What a virtual server serves: one address, or those of a group.

use std::net::IpAddr;

use super::{Reader, address, tree::Statement};
use crate::import::{Note, Unreadable};

/// Addresses with a port, 0 for any, and the name of their group.
pub(super) struct Entries<'t> {
    pub(super) group: Option<&'t str>,
    pub(super) services: Vec<(IpAddr, u16)>,
    /// What is not an address.
    pub(super) notes: Vec<Note>,
}

const MARK: &str = "services cannot be told by firewall marks; write a VIP for each address and port that is marked";

/// Of `virtual_server IP PORT`, `virtual_server group NAME` or `virtual_server fwmark MARK`.
pub(super) fn entries<'t>(
    reader: &mut Reader<'t>,
    statement: &'t Statement,
) -> Result<Entries<'t>, Unreadable> {
    match statement.word(1) {
        Some("fwmark") => {
            let notes = vec![statement.note(format!("left out as a whole: {MARK}"))];
            Ok(Entries { group: None, services: Vec::new(), notes })
        }
        Some("group") => group(reader, statement),
        _ => {
            let service = (address::address(statement, 1)?, address::port(statement, 2)?);
            Ok(Entries { group: None, services: vec![service], notes: Vec::new() })
        }
    }
}

fn group<'t>(reader: &mut Reader<'t>, statement: &'t Statement) -> Result<Entries<'t>, Unreadable> {
    let name = statement.word(2).unwrap_or_default();
    let Some(group) = reader.groups.get(name) else {
        return Err(
            statement.wrong(2, format!("there is no virtual_server_group \"{name}\"; write one"))
        );
    };
    reader.used.insert(name);
    let mut entries = Entries { group: Some(name), services: Vec::new(), notes: Vec::new() };
    for entry in group.inner() {
        if entry.keyword() == "fwmark" {
            entries.notes.push(entry.note(format!("not carried over: {MARK}")));
            continue;
        }
        let port = address::port(entry, 1)?;
        entries.services.extend(address::range(entry)?.into_iter().map(|address| (address, port)));
    }
    if entries.services.is_empty() {
        entries.notes.push(statement.note("left out: its group has no address"));
    }
    Ok(entries)
}
