//! What the operator can have done to a real, and what is said before it is.

use std::net::IpAddr;

use lb_user::{
    api::{
        client::{Client, Error},
        types::{Done, RealStatus, VipStatus},
    },
    model::RealState,
};

use crate::real;

/// A kind of deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As `lbctl real drain`.
    Drain,
    /// As `lbctl real enable`.
    Enable,
}

/// What is to be done to which real.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// What.
    pub kind: Kind,
    /// The VIP in whose pool it is.
    pub vip: String,
    /// The real.
    pub real: IpAddr,
}

impl Deed {
    /// Has it done.
    pub fn run(&self, client: &Client) -> Result<Done, Error> {
        let patch = match self.kind {
            Kind::Drain => real::state(RealState::Drain),
            Kind::Enable => real::enabled(),
        };
        client.set_real(&self.vip, self.real, &patch)
    }

    /// What will happen, to be answered by yes or no; or why there is nothing to do.
    pub fn question(&self, vip: &VipStatus, real: &RealStatus) -> Result<String, String> {
        let Self { kind, real: address, .. } = self;
        let name = &vip.name;
        let is = |state: RealState| real.state == state.to_string();
        match kind {
            Kind::Drain if is(RealState::Drain) => Err(format!("{address} is draining already")),
            Kind::Drain if is(RealState::Disabled) => {
                Err(format!("{address} is disabled: it has no flows to wait for"))
            }
            Kind::Drain => Ok(format!(
                "Drain real {address} of VIP {name}? It gets no new flows. Those it has go on until they \
                 end, {} at the longest. {}",
                vip.drain_timeout,
                others(vip, real)
            )),
            Kind::Enable if is(RealState::Active) && !real.forced_up => {
                Err(format!("{address} is active already"))
            }
            Kind::Enable if is(RealState::Active) => Ok(format!(
                "Enable real {address} of VIP {name}? It goes by its checks again: it is forced up now."
            )),
            Kind::Enable if real.weight == 0 => Ok(format!(
                "Enable real {address} of VIP {name}? Its weight is 0: it gets no new flows even then, until \
                 `lbctl real set` gives it one."
            )),
            Kind::Enable => Ok(format!(
                "Enable real {address} of VIP {name}? It gets new flows again while its checks pass, \
                 with weight {}.",
                real.weight
            )),
        }
    }
}

/// Who serves when this one does not.
fn others(vip: &VipStatus, real: &RealStatus) -> String {
    let others =
        vip.reals.iter().filter(|other| other.address != real.address && other.share > 0.0);
    match (others.count(), vip.sorry) {
        (0, None) => "NO OTHER REAL SERVES: new flows will be dropped.".to_owned(),
        (0, Some(sorry)) => {
            format!("NO OTHER REAL SERVES: new flows go to the sorry server {sorry}.")
        }
        (1, _) => "1 other real serves.".to_owned(),
        (others, _) => format!("{others} other reals serve."),
    }
}
