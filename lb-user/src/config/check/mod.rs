//! From the text as typed to a model that cannot be wrong.

mod access;
mod address;
pub(super) mod duration;
pub(super) mod health;
mod hooks;
mod node;
mod program;
mod real;
mod rules;
mod vip;
mod watermarks;

pub use address::parse as parse_address;

use toml::{Spanned, de::DeTable};

use super::raw::{Problems, Table};
use crate::model::Model;

/// The model, if all of it could be read. Only to be used when nothing is noted in `problems`.
pub(super) fn model<'t>(
    tree: &'t Spanned<DeTable<'t>>,
    problems: &'t Problems<'t>,
) -> Option<Model> {
    let root = Table::root(tree, problems);
    root.only(&["node", "access", "hooks", "vip"], &[]);
    let nothing = DeTable::new();
    let node = node::node(&root.table("node").unwrap_or_else(|| root.absent(&nothing, "node")));
    let user = node.as_ref().map_or(node::NOBODY, |node| node.exec_user.as_str());
    let hooks = root.table("hooks").map(|table| hooks::hooks(&table, user)).unwrap_or_default();
    let access = root.table("access").map(|table| access::access(&table));
    let tables = root.tables("vip", "[[vip]]").into_iter();
    let drafts: Vec<_> =
        tables.enumerate().map(|(index, table)| vip::draft(table, index, user)).collect();
    rules::between(&drafts);
    let vips: Vec<_> = drafts.into_iter().map(vip::Draft::finish).collect::<Option<_>>()?;
    rules::rings_and_pools_fit(&vips);
    rules::probes_have_their_own_addresses(&node.as_ref()?.probe_prefixes, &vips);
    let vips = vips.into_iter().map(|(_, vip)| vip).collect();
    Some(Model { node: node?, vips, hooks, access })
}
