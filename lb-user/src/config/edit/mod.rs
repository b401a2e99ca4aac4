//! Changes made in the text of the file: comments, order and formatting stay.
//!
//! Every change is spliced into the text at places that the parser gave, so that what is not
//! changed is not even rewritten; then the text is read and checked again as a whole. Objects are
//! found through the model of the old text (its order is the file's), so an address is found
//! however it is written.

mod checks;
mod document;
mod lines;
mod object;
mod words;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use self::{document::Document, object::Target};
use super::{
    Errors, Reading,
    change::{NewReal, NewVip, RealPatch, VipPatch},
    machine, read,
};
use crate::model::Model;

/// The text after a change, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// To be stored.
    pub text: String,
    /// To be applied.
    pub model: Model,
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is no VIP of this name.
    #[error("no vip \"{name}\"; {}", there_are(.known))]
    NoSuchVip {
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The VIP's pool has no such real server.
    #[error("no real {address} in vip \"{vip}\"; {}", there_are(.known))]
    NoSuchReal {
        /// The VIP.
        vip: String,
        /// The address.
        address: IpAddr,
        /// The addresses there are.
        known: Vec<String>,
    },
    /// The name is taken.
    #[error("vip \"{name}\" exists already; change it with `vip set` or choose another name")]
    DuplicateVip {
        /// The name.
        name: String,
    },
    /// The pool has this real server.
    #[error("real {address} is already in vip \"{vip}\"; change it with `real set`")]
    DuplicateReal {
        /// The VIP.
        vip: String,
        /// The address.
        address: IpAddr,
    },
    /// A check is not written as `KIND[:ARG]`.
    #[error(
        "check \"{0}\" is not valid; write tcp:80, syn, http:/healthz, https:8443/healthz, icmp, dns:example.com, grpc:50051/service, exec:/path, or none alone"
    )]
    Check(String),
    /// The configuration is wrong, or would be after the change.
    #[error("{}", .0.messages())]
    Invalid(#[from] Errors),
    /// The file is written in a way that this cannot change safely.
    #[error(
        "vip \"{vip}\" is written in a way that cannot be changed in place; edit the file and reload"
    )]
    Unsafe {
        /// The VIP.
        vip: String,
    },
}

/// Adds a VIP at the end.
///
/// # Errors
///
/// If there is one of this name, or the configuration would be wrong.
pub fn add_vip(text: &str, new: &NewVip) -> Result<Edited, EditError> {
    let edit = Edit::of(text)?;
    if edit.before.model.vips.iter().any(|vip| vip.name == new.name) {
        return Err(EditError::DuplicateVip { name: new.name.clone() });
    }
    let document = edit.document.append_vip(&words::vip(new)?, &words::pool(&new.reals));
    finish(document, &edit.before, &new.name)
}

/// Changes what the patch names of a VIP.
///
/// # Errors
///
/// If there is no such VIP, or the configuration would be wrong.
pub fn set_vip(text: &str, name: &str, patch: &VipPatch) -> Result<Edited, EditError> {
    let edit = Edit::of(text)?;
    let vip = edit.vip(name)?;
    let mut document = edit.document;
    for (key, value) in words::vip_patch(patch) {
        document = document.put(Target::Vip(vip), key, value);
    }
    if let Some(ports) = &patch.ports {
        document = document.set_list(Target::Vip(vip), "ports", ports);
    }
    if let Some(check) = &patch.options.check {
        document =
            checks::set(document, vip, &edit.before.model.vips[vip].checks, &words::checks(check)?);
    }
    finish(document, &edit.before, name)
}

/// Removes a VIP and its pool.
///
/// # Errors
///
/// If there is no such VIP.
pub fn remove_vip(text: &str, name: &str) -> Result<Edited, EditError> {
    let edit = Edit::of(text)?;
    let vip = edit.vip(name)?;
    finish(edit.document.remove(Target::Vip(vip)), &edit.before, name)
}

/// Adds a real server at the end of a VIP's pool.
///
/// # Errors
///
/// If there is no such VIP, the pool has this address, or the configuration would be wrong.
pub fn add_real(text: &str, vip: &str, new: &NewReal) -> Result<Edited, EditError> {
    let edit = Edit::of(text)?;
    let index = edit.vip(vip)?;
    if let Ok(address) = new.address.parse()
        && edit.real(index, address).is_ok()
    {
        return Err(EditError::DuplicateReal { vip: vip.to_owned(), address });
    }
    finish(edit.document.append_real(index, &words::real(new)), &edit.before, vip)
}

/// Changes what the patch names of a real server.
///
/// # Errors
///
/// If there is no such VIP or real server, or the configuration would be wrong.
pub fn set_real(
    text: &str,
    vip: &str,
    address: IpAddr,
    patch: &RealPatch,
) -> Result<Edited, EditError> {
    let edit = Edit::of(text)?;
    let index = edit.vip(vip)?;
    let target = Target::Real(index, edit.real(index, address)?);
    let mut document = edit.document;
    for (key, value) in words::real_patch(patch) {
        document = document.put(target, key, value);
    }
    finish(document, &edit.before, vip)
}

/// Removes a real server from a VIP's pool.
///
/// # Errors
///
/// If there is no such VIP or real server.
pub fn remove_real(text: &str, vip: &str, address: IpAddr) -> Result<Edited, EditError> {
    let edit = Edit::of(text)?;
    let index = edit.vip(vip)?;
    let target = Target::Real(index, edit.real(index, address)?);
    finish(edit.document.remove(target), &edit.before, vip)
}

/// The configuration that is to be changed.
struct Edit {
    before: Reading,
    document: Document,
}

impl Edit {
    fn of(text: &str) -> Result<Self, EditError> {
        Ok(Self { before: read(text)?, document: Document::of(text) })
    }

    fn vip(&self, name: &str) -> Result<usize, EditError> {
        let index = self.before.model.vips.iter().position(|vip| vip.name == name);
        index.ok_or_else(|| EditError::NoSuchVip {
            name: name.to_owned(),
            known: self.before.model.vips.iter().map(|vip| vip.name.clone()).collect(),
        })
    }

    fn real(&self, vip: usize, address: IpAddr) -> Result<usize, EditError> {
        let vip = &self.before.model.vips[vip];
        let index = vip.reals.iter().position(|real| real.address == address);
        index.ok_or_else(|| EditError::NoSuchReal {
            vip: vip.name.clone(),
            address,
            known: vip.reals.iter().map(|real| real.address.to_string()).collect(),
        })
    }
}

/// Reads the changed text. Nothing but the VIP that was meant may be different, and this machine must have what
/// it needs that was not needed before.
fn finish(document: Document, before: &Reading, vip: &str) -> Result<Edited, EditError> {
    let text = document.into_text();
    let Reading { model, needs } = read(&text)?;
    let others = |model: &Model| {
        model.vips.iter().filter(|other| other.name != vip).cloned().collect::<Vec<_>>()
    };
    let outside = |model: &Model| {
        (model.node.clone(), model.access.clone(), model.hooks.clone(), others(model))
    };
    if outside(&model) != outside(&before.model) {
        return Err(EditError::Unsafe { vip: vip.to_owned() });
    }
    machine::check(&text, &needs, &before.needs)?;
    Ok(Edited { text, model })
}

fn there_are(known: &[String]) -> String {
    const SHOWN: usize = 10;
    match known.len() {
        0 => "there is none".to_owned(),
        count if count > SHOWN => format!("there are: {}, … ({count})", known[..SHOWN].join(", ")),
        _ => format!("there are: {}", known.join(", ")),
    }
}
