//! `[hooks]`.

use super::program;
use crate::{
    config::{machine::Thing, raw::Table},
    model::Hooks,
};

pub(super) fn hooks(table: &Table<'_>, user: &str) -> Hooks {
    table.only(&["exec", "webhook"], &[]);
    let exec = table.has("exec").then(|| table.texts("exec", "exec = [\"/usr/local/bin/notify\"]"));
    let exec = exec.flatten().and_then(|exec| program::command(table, "exec", &exec, user));
    Hooks { exec: exec.unwrap_or_default(), webhook: webhook(table) }
}

fn webhook(table: &Table<'_>) -> Option<String> {
    let text = table.text("webhook")?;
    match reqwest::Url::parse(text.get_ref()).ok().filter(reqwest::Url::has_host) {
        Some(url) if !url.username().is_empty() || url.password().is_some() => table.refuse(
            text.span(),
            "webhook has a user name or password, which is not sent; put a token into its path, and remove it",
        ),
        Some(url) if url.scheme() == "https" => table.needs(text.span(), Thing::Roots(None)),
        Some(url) if url.scheme() == "http" => {}
        _ => {
            let found = text.get_ref();
            table.refuse(
                text.span(),
                format_args!(
                    "webhook {found:?} is not a URL; write one such as https://example.com/lb"
                ),
            );
        }
    }
    Some((*text.get_ref()).to_owned())
}
