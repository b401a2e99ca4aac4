//! Examines what cannot work: the ways to the real servers and what is wrong with them as servers behind a
//! balancer, who else answers for a VIP, and this machine itself. It claims only what it has observed.

mod balancer;
mod ethtool;
mod findings;
mod machine;
mod observation;
mod packet;
mod pool;
mod servers;
mod snapshot;
mod trials;
mod wire;

use tokio::sync::Mutex;

pub use self::{
    findings::{Code, Finding, diagnose},
    observation::{InterfaceObservation, MachineObservation, Observations, Peer, RealObservation},
    packet::Answer,
    snapshot::{InterfaceFacts, RealFacts, Snapshot, VipFacts, Xdp},
};

/// What an examination came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How many VIPs were examined.
    pub vips: usize,
    /// How many reals of them, each as often as it is in a pool.
    pub reals: usize,
    /// How many interfaces.
    pub interfaces: usize,
}

/// Examinations take turns: what one provokes another would take for something that happened.
static TURN: Mutex<()> = Mutex::const_new(());

/// Examines everything. It takes about two seconds, and more with hundreds of reals; it changes nothing.
pub async fn examine(snapshot: Snapshot) -> Report {
    let _turn = TURN.lock().await;
    let mut seen = trials::run(&snapshot).await;
    seen.interfaces = balancer::interfaces(&snapshot).await;
    seen.machine = balancer::machine();
    Report {
        findings: diagnose(&snapshot, &seen),
        vips: snapshot.examined().count(),
        reals: snapshot.examined().map(|vip| vip.reals.len()).sum(),
        interfaces: seen.interfaces.len(),
    }
}

#[cfg(test)]
mod tests;
