//! Changes to the configuration as they are asked for: the bodies of the API's `POST` and `PATCH`,
//! and what `lbctl` sends. Their words are those of the file and are checked as the file is, once
//! the change stands in it.

use serde::{Deserialize, Serialize};

/// A VIP to add: `POST /v1/vips`. Words as in the configuration file, checked by the daemon.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    /// As in `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_idle_timeout: Option<String>,
    /// `flow` or `packet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<String>,
    /// An address, or `none` to remove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sorry: Option<String>,
    /// `KIND[:ARG]`: `tcp`, `tcp:80`, `http:/healthz`, `http:8080/healthz`, or `none` to remove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

/// `PATCH /v1/vips/{name}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
}
