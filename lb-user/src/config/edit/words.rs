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
    let checks = checks(new.options.check.as_deref().unwrap_or_default())?;
    match checks.as_slice() {
        [] => {}
        [check] => fields.push(("check", inline(check))),
        _ => fields.push(("check", list(checks.iter().map(inline)))),
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
    let force_up = patch.force_up.map(|force_up| ("force_up", force_up.then(|| true.into())));
    let mac = removable("mac", patch.mac.as_deref());
    weight.into_iter().chain(state).chain(mac).chain(force_up).collect()
}

fn options(options: &VipOptions) -> Patch {
    let words = [
        ("state", &options.state),
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
        watermarks(options),
        removable("panic_threshold", options.panic_threshold.as_deref()),
    ];
    words.chain(removable.into_iter().flatten()).collect()
}

/// Without the lower one the upper one says nothing.
fn watermarks(options: &VipOptions) -> Patch {
    let amount = |(key, word): (_, Option<&str>)| {
        let number = |word: &str| word.parse::<i64>().map_or_else(|_| word.into(), Value::from);
        let value = |word| if word == "none" { None } else { Some(number(word)) };
        word.map(|word| (key, value(word)))
    };
    let low = options.min_up.as_deref();
    let high = options.min_up_high.as_deref().or(low.filter(|low| *low == "none"));
    [("min_up", low), ("min_up_high", high)].into_iter().filter_map(amount).collect()
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

/// Checks as `KIND[:ARG]`, or `none`. Kinds that are unknown are left to the check of the text.
pub(super) fn checks(words: &[String]) -> Result<Vec<Fields>, EditError> {
    if let [none] = words
        && none == "none"
    {
        return Ok(Vec::new());
    }
    words.iter().map(|word| check(word).ok_or_else(|| EditError::Check(word.clone()))).collect()
}

fn check(word: &str) -> Option<Fields> {
    let (kind, argument) = match word.split_once(':') {
        Some((_, "")) => return None,
        Some((kind, argument)) => (kind, argument),
        None => (word, ""),
    };
    let mut fields: Fields = vec![("type", kind.into())];
    match kind {
        "" | "none" => return None,
        "tcp" | "syn" => fields.extend(port_field(argument)?),
        "http" | "https" => {
            let (port, path) = argument.split_at(argument.find('/').unwrap_or(argument.len()));
            fields.extend(port_field(port)?);
            fields.extend((!path.is_empty()).then(|| ("path", path.into())));
        }
        "grpc" => {
            let (port, service) = argument.split_once('/').unwrap_or((argument, ""));
            fields.extend(port_field(port)?);
            fields.extend((!service.is_empty()).then(|| ("service", service.into())));
        }
        "icmp" if !argument.is_empty() => return None,
        "dns" | "exec" if argument.is_empty() => return None,
        "dns" => fields.push(("name", argument.into())),
        "exec" => fields.push(("command", list([argument]))),
        _ => {}
    }
    Some(fields)
}

/// What a word for a check of this kind says of it; what is not said is left out.
pub(super) fn said(kind: &str) -> &'static [&'static str] {
    match kind {
        "tcp" | "syn" => &["port"],
        "http" | "https" => &["port", "path"],
        "grpc" => &["port", "service"],
        "dns" => &["name"],
        "exec" => &["command"],
        _ => &[],
    }
}

/// Nothing for no port, or the port.
fn port_field(text: &str) -> Option<Option<(&'static str, Value)>> {
    if text.is_empty() { Some(None) } else { Some(Some(("port", port_number(text)?))) }
}

/// A list of values.
pub(super) fn list<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> Value {
    values.into_iter().collect::<Array>().into()
}

fn port_number(text: &str) -> Option<Value> {
    text.parse::<u16>().ok().filter(|port| *port > 0).map(|port| i64::from(port).into())
}

pub(super) fn inline(fields: &Fields) -> Value {
    fields.iter().map(|(key, value)| (*key, value.clone())).collect::<InlineTable>().into()
}
