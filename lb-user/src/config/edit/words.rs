//! What a change asks for, as keys and values of the file. Whether the values are right is seen
//! when the text is read again.

use toml_edit::{Array, InlineTable, Value};

use super::EditError;
use crate::config::change::{NewReal, NewVip, RealPatch, VipOptions, VipPatch};

/// The keys of a table, in the file's order.
pub(super) type Fields = Vec<(&'static str, Value)>;

/// Keys to be set, or removed where there is no value.
pub(super) type Patch = Vec<(&'static str, Option<Value>)>;

pub(super) fn vip(new: &NewVip) -> Result<Fields, EditError> {
    let mut fields: Fields = vec![
        ("name", new.name.as_str().into()),
        ("address", new.address.as_str().into()),
        ("ports", new.ports.iter().map(String::as_str).collect::<Array>().into()),
    ];
    fields.extend(present(options(&new.options)));
    if let Some(check) = new.options.check.as_deref().map(check).transpose()?.flatten() {
        fields.push(("check", inline(&check)));
    }
    Ok(fields)
}

pub(super) fn pool(reals: &[NewReal]) -> Vec<Fields> {
    reals.iter().map(real).collect()
}

pub(super) fn real(new: &NewReal) -> Fields {
    let weight = new.weight.map(|weight| i64::from(weight).into());
    let mut fields: Fields = vec![("address", new.address.as_str().into())];
    fields.extend(weight.map(|weight| ("weight", weight)));
    fields.extend(present(removable("mac", new.mac.as_deref())));
    fields
}

/// All but ports and check, which have their own ways.
pub(super) fn vip_patch(patch: &VipPatch) -> Patch {
    let address = patch.address.as_deref().map(|address| ("address", Some(address.into())));
    address.into_iter().chain(options(&patch.options)).collect()
}

pub(super) fn real_patch(patch: &RealPatch) -> Patch {
    let weight = patch.weight.map(|weight| ("weight", Some(i64::from(weight).into())));
    let state = patch.state.as_deref().map(|state| ("state", Some(state.into())));
    weight.into_iter().chain(state).chain(removable("mac", patch.mac.as_deref())).collect()
}

fn options(options: &VipOptions) -> Patch {
    let words = [
        ("announce", &options.announce),
        ("hash", &options.hash),
        ("idle_timeout", &options.idle_timeout),
        ("drain_timeout", &options.drain_timeout),
        ("on_deadline", &options.on_deadline),
        ("udp_idle_timeout", &options.udp_idle_timeout),
        ("udp", &options.udp),
    ];
    let words =
        words.into_iter().filter_map(|(key, word)| Some((key, Some(word.as_deref()?.into()))));
    let removable = [
        removable("slow_start", options.slow_start.as_deref()),
        removable("sorry", options.sorry.as_deref()),
    ];
    words.chain(removable.into_iter().flatten()).collect()
}

fn removable(key: &'static str, word: Option<&str>) -> Patch {
    let value = |word| {
        if word == "none" { None } else { Some(Value::from(word)) }
    };
    word.map(|word| (key, value(word))).into_iter().collect()
}

fn present(patch: Patch) -> impl Iterator<Item = (&'static str, Value)> {
    patch.into_iter().filter_map(|(key, value)| Some((key, value?)))
}

/// `KIND[:ARG]`, or nothing for `none`. Kinds that are unknown are left to the check of the text.
pub(super) fn check(word: &str) -> Result<Option<Fields>, EditError> {
    let wrong = || EditError::Check(word.to_owned());
    let (kind, argument) =
        word.split_once(':').map_or((word, None), |(kind, argument)| (kind, Some(argument)));
    let mut fields: Fields = vec![("type", kind.into())];
    match (kind, argument) {
        ("none", None) => return Ok(None),
        (_, Some("")) | ("none" | "", _) => return Err(wrong()),
        (_, None) => {}
        ("http", Some(argument)) => {
            let (port, path) = argument.split_at(argument.find('/').unwrap_or(argument.len()));
            if !port.is_empty() {
                fields.push(("port", port_number(port).ok_or_else(wrong)?));
            }
            fields.extend((!path.is_empty()).then(|| ("path", path.into())));
        }
        ("tcp", Some(port)) => fields.push(("port", port_number(port).ok_or_else(wrong)?)),
        (_, Some(_)) => {}
    }
    Ok(Some(fields))
}

fn port_number(text: &str) -> Option<Value> {
    text.parse::<u16>().ok().filter(|port| *port > 0).map(|port| i64::from(port).into())
}

pub(super) fn inline(fields: &Fields) -> Value {
    fields.iter().map(|(key, value)| (*key, value.clone())).collect::<InlineTable>().into()
}
