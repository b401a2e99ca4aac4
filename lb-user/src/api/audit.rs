//! Changes in the words of who asks for them, and what became of them.

use serde::Serialize;
use serde_json::Value;

use super::{
    request::{Change, Refusal},
    types::{Done, Noted},
};
use crate::{
    config::change::{RealPatch, VipPatch},
    model::Role,
};

/// What is asked for, as one would ask `lbctl` for it.
pub(super) fn words(change: &Change) -> String {
    match change {
        Change::AddVip(vip) => format!("vip add {}", vip.name),
        Change::SetVip(name, _) => format!("vip set {name}"),
        Change::RemoveVip(name) => format!("vip del {name}"),
        Change::AddReal(vip, real) => format!("real add {vip} {}", real.address),
        Change::SetReal(vip, address, RealPatch { timeout: Some(timeout), .. }) => {
            format!("real set {vip} {address} --timeout {timeout}")
        }
        Change::SetReal(vip, address, _) => format!("real set {vip} {address}"),
        Change::RemoveReal(vip, address, false) => format!("real del {vip} {address}"),
        Change::RemoveReal(vip, address, true) => format!("real del {vip} {address} --now"),
        Change::Apply(_) => "apply".to_owned(),
    }
}

/// What became of it.
pub(super) fn outcome(result: &Result<Done, Refusal>) -> String {
    match result {
        Ok(Done { audit: Noted::Difference(difference), .. }) => difference.clone(),
        Ok(Done { audit: Noted::Done, message, .. }) => message.clone(),
        Ok(Done { audit: Noted::Nothing, message, .. }) => format!("no difference ({message})"),
        Err(refusal) => refused(refusal),
    }
}

/// That it was refused, or failed.
pub(super) fn refused(Refusal { status, detail, done, .. }: &Refusal) -> String {
    match done {
        _ if *status < 500 => format!("refused: {detail}"),
        None => format!("failed: {detail}"),
        Some(difference) => format!("{difference}; failed: {detail}"),
    }
}

/// Who may change this of a VIP: whether it is served is for those who operate.
pub(super) fn role_for_vip(patch: &VipPatch) -> Role {
    role(patch, &["state"])
}

/// Who may change this of a real.
pub(super) fn role_for_real(patch: &RealPatch) -> Role {
    role(patch, &["weight", "state", "timeout", "force_up"])
}

/// What a patch does not name is not in its JSON, so that what will be added is for admins.
fn role(patch: &impl Serialize, operated: &[&str]) -> Role {
    match serde_json::to_value(patch) {
        Ok(Value::Object(fields)) if fields.keys().all(|key| operated.contains(&&**key)) => {
            Role::Operate
        }
        _ => Role::Admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_operates_changes_weights_and_states_and_nothing_else() {
        for (patch, expected) in [
            (r#"{"weight": 5}"#, Role::Operate),
            (r#"{"state": "drain", "timeout": "10m"}"#, Role::Operate),
            (r#"{"state": "active", "force_up": false}"#, Role::Operate),
            (r#"{"weight": 5, "mac": "none"}"#, Role::Admin),
        ] {
            assert_eq!(role_for_real(&serde_json::from_str(patch).unwrap()), expected, "{patch}");
        }
        for (patch, expected) in [
            (r#"{"state": "disabled"}"#, Role::Operate),
            (r#"{"state": "disabled", "hash": "flow"}"#, Role::Admin),
            (r#"{"address": "192.0.2.1"}"#, Role::Admin),
            (r#"{"check": "tcp"}"#, Role::Admin),
        ] {
            assert_eq!(role_for_vip(&serde_json::from_str(patch).unwrap()), expected, "{patch}");
        }
    }

    #[test]
    fn an_outcome_is_the_difference_or_why_there_is_none() {
        let done = |audit| Ok(Done { audit, ..Done::new("it changed".into()) });
        assert_eq!(outcome(&done(Noted::of("weight 1 -> 5".into()))), "weight 1 -> 5");
        assert_eq!(outcome(&done(Noted::of(String::new()))), "no difference (it changed)");
        assert_eq!(outcome(&done(Noted::Done)), "it changed");
        assert_eq!(outcome(&Err(Refusal::missing("no VIP"))), "refused: no VIP");
        assert_eq!(outcome(&Err(Refusal::failed("disk"))), "failed: disk");
        let halfway = Refusal::failed("the tables").after("weight 1 -> 5".into());
        assert_eq!(outcome(&Err(halfway)), "weight 1 -> 5; failed: the tables");
    }
}
