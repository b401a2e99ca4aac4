//! `[access]`.

use std::collections::BTreeMap;

use crate::{
    config::{machine::Thing, raw::Table},
    model::{Access, Principal, Role},
};

pub(super) fn access(table: &Table<'_>) -> Access {
    table.only(&["read", "operate", "admin"], &[]);
    let mut seen = BTreeMap::new();
    let mut of = |role| principals(table, role, &mut seen);
    Access { read: of(Role::Read), operate: of(Role::Operate), admin: of(Role::Admin) }
}

fn principals(
    table: &Table<'_>,
    role: Role,
    seen: &mut BTreeMap<Principal, Role>,
) -> Vec<Principal> {
    let mut principals = Vec::new();
    for text in table.some_texts(&role.to_string()).into_iter().flatten() {
        let principal = match text.get_ref().parse::<Principal>() {
            Ok(principal) => principal,
            Err(reason) => {
                table.refuse(text.span(), reason);
                continue;
            }
        };
        if let Some(other) = seen.insert(principal.clone(), role) {
            table.refuse(
                text.span(),
                format_args!(
                    "{principal} is in {other} already; write it once, where it may do the most"
                ),
            );
        }
        table.needs(text.span(), Thing::Principal(principal.clone()));
        principals.push(principal);
    }
    principals
}
