//! Changes to the configuration as they are asked for: the bodies of the API's `POST` and `PATCH`,
//! and what `lbctl` sends. Their words are those of the file and are checked as the file is, once
//! the change stands in it.

mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::check::duration;

/// A VIP to add: `POST /v1/vips`. Words as in the configuration file, checked by the daemon.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVip {
    /// Unique.
    pub name: String,
    /// The virtual address.
    pub address: String,
    /// `tcp/80`, ….
    pub ports: Vec<String>,
    /// The pool; may be empty and filled later.
    #[serde(default)]
    pub reals: Vec<NewReal>,
    /// Everything else; absent fields keep the default.
    #[serde(flatten)]
    pub options: VipOptions,
}

/// What can be set of a VIP: `PATCH /v1/vips/{name}` changes the fields that are there.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct VipOptions {
    /// `arp` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announce: Option<String>,
    /// `flow` or `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// As in `15m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<String>,
    /// As in `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<String>,
    /// `rehash` or `reset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_deadline: Option<String>,
    /// As in `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_idle_timeout: Option<String>,
    /// `flow` or `packet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<String>,
    /// As in `30s`, or `none` to remove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<String>,
    /// An address, or `none` to remove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sorry: Option<String>,
    /// `enabled` or `disabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// A number of reals, a share as in `50%`, or `none` to remove it, and `min_up_high` with it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "words::amount")]
    #[schema(schema_with = words::amount_schema)]
    pub min_up: Option<String>,
    /// Likewise.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "words::amount")]
    #[schema(schema_with = words::amount_schema)]
    pub min_up_high: Option<String>,
    /// A share as in `30%`, or `none` to remove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic_threshold: Option<String>,
    /// Each a `KIND[:ARG]`: `tcp`, `http:8080/healthz`, `dns:example.com`, …; all must pass. One may stand
    /// alone; `none` removes them.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "words::one_or_several")]
    #[schema(schema_with = words::one_or_several_schema)]
    pub check: Option<Vec<String>>,
}

/// `PATCH /v1/vips/{name}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VipPatch {
    /// Replaces the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Replaces the list of ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<String>>,
    /// The rest.
    #[serde(flatten)]
    pub options: VipOptions,
}

/// A real server to add: `POST /v1/vips/{name}/reals`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReal {
    /// Its real address.
    pub address: String,
    /// 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// A static MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// `PATCH /v1/vips/{name}/reals/{address}`: changes the fields that are there.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RealPatch {
    /// The weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// `active`, `drain` or `disabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// A static MAC address, or `none` to resolve it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Whether it counts as up whatever its checks say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_up: Option<bool>,
    /// Beside `"state": "drain"`: how long this drain lasts at most, instead of the VIP's
    /// `drain_timeout`. It is not written to the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

impl RealPatch {
    /// How long the drain that this begins lasts at most, where that is said.
    ///
    /// # Errors
    ///
    /// If it is no duration, or this begins no drain.
    pub fn drain_timeout(&self) -> Result<Option<Duration>, String> {
        let Some(text) = self.timeout.as_deref() else {
            return Ok(None);
        };
        if self.state.as_deref() != Some("drain") {
            return Err("timeout is the deadline of a drain; give it with state \"drain\"".into());
        }
        duration::parse("timeout", text, &duration::FLOWS).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(state: Option<&str>, timeout: &str) -> RealPatch {
        let state = state.map(str::to_owned);
        RealPatch { state, timeout: Some(timeout.to_owned()), ..RealPatch::default() }
    }

    #[test]
    fn a_drain_may_have_a_deadline_of_its_own() {
        let minutes = Duration::from_secs(600);
        assert_eq!(patch(Some("drain"), "10m").drain_timeout(), Ok(Some(minutes)));
        assert_eq!(RealPatch::default().drain_timeout(), Ok(None));
    }

    #[test]
    fn a_deadline_without_a_drain_or_that_is_none_is_refused() {
        for (state, timeout, part) in [
            (None, "10m", "give it with state \"drain\""),
            (Some("disabled"), "10m", "give it with state \"drain\""),
            (Some("drain"), "10", "timeout \"10\" is not a duration"),
            (Some("drain"), "0s", "timeout must be more than 0"),
            (Some("drain"), "8days", "timeout \"8days\" is out of range"),
        ] {
            let reason = patch(state, timeout).drain_timeout().unwrap_err();
            assert!(reason.contains(part), "{reason}");
        }
    }
}
