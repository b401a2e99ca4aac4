//! Programs that `lbd` is to run.

use toml::Spanned;

use crate::config::{machine::Thing, raw::Table};

/// A command, which is in need of its program and of the user as whom it is run.
pub(super) fn command(
    table: &Table<'_>,
    key: &str,
    words: &[Spanned<&str>],
    user: &str,
) -> Option<Vec<String>> {
    let program = words.first()?;
    let path = *program.get_ref();
    if !path.starts_with('/') {
        table.refuse(
            program.span(),
            format_args!(
                "{key} {path:?} is not an absolute path; write one such as /usr/local/bin/check"
            ),
        );
    }
    for word in words.iter().filter(|word| word.get_ref().contains('\0')) {
        table.refuse(word.span(), format_args!("{key} has a NUL in it; remove it"));
    }
    table.needs(program.span(), Thing::Program(path.into()));
    table.needs(program.span(), Thing::User(user.to_owned()));
    Some(words.iter().map(|word| (*word.get_ref()).to_owned()).collect())
}
