//! What a configuration needs of the machine on which it is put in force: programs that can be run, users,
//! certificates that can be trusted.
//!
//! Reading a text only notes it ([`Need`]); it is looked at where the configuration is to be checked for this
//! machine, and nowhere else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::unistd::{Group, User};

use super::{Errors, certificates, raw::Place};
use crate::model::Principal;

/// Something that must be there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    /// A program that can be run.
    Program(PathBuf),
    /// A user.
    User(String),
    /// A user, or a group, that may ask for something.
    Principal(Principal),
    /// Certificates that are trusted: those of a file, or the system's.
    Roots(Option<PathBuf>),
}

/// Who needs something, and where that stands.
pub(super) struct Need {
    pub(super) place: Place,
    pub(super) what: String,
    pub(super) thing: Thing,
}

/// Looks whether all is there but what was `needed` before, which is no reason to refuse a change of
/// something else.
pub(super) fn check(text: &str, needs: &[Need], needed: &[Need]) -> Result<(), Errors> {
    let known: BTreeSet<&Thing> = needed.iter().map(|need| &need.thing).collect();
    let mut lacking = BTreeMap::new();
    for Need { thing, .. } in needs.iter().filter(|need| !known.contains(&need.thing)) {
        lacking.entry(thing).or_insert_with(|| thing.lacks());
    }
    let refused = |need: &Need| {
        let reason = lacking.get(&need.thing)?.as_ref()?;
        Some((need.place.clone(), format!("{}: {reason}", need.what)))
    };
    let refused: Vec<_> = needs.iter().filter_map(refused).collect();
    if refused.is_empty() { Ok(()) } else { Err(Errors::locate(text, refused)) }
}

impl Thing {
    /// Why it cannot be used.
    fn lacks(&self) -> Option<String> {
        let usable = match self {
            Self::Program(path) => program(path),
            Self::User(name) => user(name),
            Self::Principal(who) => principal(who),
            Self::Roots(Some(file)) => roots_of(file),
            Self::Roots(None) => system_roots(),
        };
        usable.err()
    }
}

fn program(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let found = fs::metadata(path)
        .map_err(|error| format!("{shown}: {error}; install the program or write where it is"))?;
    if !found.is_file() {
        return Err(format!("{shown} is not a program but something else; write a program's path"));
    }
    if found.permissions().mode() & 0o111 == 0 {
        return Err(format!("{shown} is not executable; `chmod +x {shown}`"));
    }
    Ok(())
}

fn user(name: &str) -> Result<(), String> {
    match User::from_name(name) {
        Ok(Some(user)) if user.uid.is_root() => Err(format!(
            "\"{name}\" is root, as whom no program of a check or a hook is run; write exec_user = NAME of another user"
        )),
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(format!("no user \"{name}\"; write exec_user = NAME of one that there is")),
        Err(error) => Err(format!("looking for the user \"{name}\": {error}")),
    }
}

fn principal(who: &Principal) -> Result<(), String> {
    let (kind, name, add, found) = match who {
        Principal::User(name) => {
            ("user", name, "useradd", User::from_name(name).map(|user| user.is_some()))
        }
        Principal::Group(name) => {
            ("group", name, "groupadd", Group::from_name(name).map(|group| group.is_some()))
        }
    };
    match found {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "this machine has no {kind} \"{name}\"; make it (`{add} --system {name}`), or write one that there is"
        )),
        Err(error) => Err(format!("looking for the {kind} \"{name}\": {error}")),
    }
}

fn roots_of(file: &Path) -> Result<(), String> {
    let shown = file.display();
    let wrong = |reason: &dyn std::fmt::Display| {
        format!("ca {shown}: {reason}; write a file with certificates in PEM that can be read")
    };
    let certificates = certificates::read(file).map_err(|error| wrong(&error))?;
    if certificates.is_empty() {
        return Err(wrong(&"there is no certificate in it"));
    }
    for certificate in &certificates {
        webpki::anchor_from_trusted_cert(certificate)
            .map_err(|error| wrong(&format_args!("a certificate in it cannot be used: {error}")))?;
    }
    Ok(())
}

fn system_roots() -> Result<(), String> {
    let found = rustls_native_certs::load_native_certs();
    let usable = |certificate| webpki::anchor_from_trusted_cert(certificate).is_ok();
    if found.certs.iter().any(usable) {
        return Ok(());
    }
    let reason = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
    Err(format!(
        "the system has no certificates to trust{reason}; install ca-certificates (for a check, ca = \"/path.pem\" or verify = false will do, too)"
    ))
}

#[cfg(test)]
mod tests;
