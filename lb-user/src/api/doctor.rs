//! An examination, as JSON.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::doctor;

/// `GET /v1/doctor?vip=NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct DoctorQuery {
    /// Only this VIP, and the machine itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
}

/// What an examination came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// What is wrong; those of VIPs first.
    pub findings: Vec<Finding>,
    /// How many reals were examined, each as often as it is in a pool.
    pub checked: usize,
    /// How many VIPs.
    #[serde(default)]
    pub vips: usize,
    /// How many interfaces.
    #[serde(default)]
    pub interfaces: usize,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// `vip_missing`, …: what scripts may rely on.
    pub code: String,
    /// Whether all can be well with it.
    #[serde(default)]
    pub note: bool,
    /// The VIP that it is about, if it is about one.
    pub vip: Option<String>,
    /// The real that it is about.
    #[schema(value_type = Option<String>)]
    pub real: Option<IpAddr>,
    /// The interface that it is about.
    pub interface: Option<String>,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl Doctor {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.note)
    }
}

impl From<doctor::Report> for Doctor {
    fn from(report: doctor::Report) -> Self {
        let doctor::Report { findings, vips, reals, interfaces } = report;
        let findings = findings.into_iter().map(Finding::from).collect();
        Self { findings, checked: reals, vips, interfaces }
    }
}

impl From<doctor::Finding> for Finding {
    fn from(finding: doctor::Finding) -> Self {
        let doctor::Finding { code, vip, real, interface, message, fix } = finding;
        let (note, code) = (code.is_note(), code.label().to_owned());
        Self { code, note, vip, real, interface, message, fix }
    }
}
