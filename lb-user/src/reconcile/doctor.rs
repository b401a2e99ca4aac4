//! What an examination is told of the state.

use super::Reconciler;
use crate::{
    api::{
        doctor::{Doctor, DoctorQuery},
        request::Reply,
    },
    dataplane::Mode,
    doctor::{self, InterfaceFacts, RealFacts, Snapshot, VipFacts, Xdp},
    health::Reach,
    model::{Mac, Real, RealState, Vip, XdpChoice},
};

impl Reconciler {
    /// Examines, in a task of its own: nothing waits for it.
    pub(super) fn examine(&self, query: DoctorQuery, reply: Reply<Doctor>) {
        let snapshot = self.snapshot(query.vip);
        tokio::spawn(async move {
            // An asker that has gone away needs no answer.
            drop(reply.send(Ok(doctor::examine(snapshot).await.into())));
        });
    }

    fn snapshot(&self, only: Option<String>) -> Snapshot {
        let model = &self.config.model;
        let announced = self.announced(model);
        Snapshot {
            pin_dir: model.node.pin_dir.clone(),
            interfaces: self.interface_facts(),
            macs: self.network.interfaces.macs(),
            addresses: self.network.locals().map(|(address, _)| address).collect(),
            vips: model
                .vips
                .iter()
                .filter(|vip| vip.enabled)
                .map(|vip| self.vip_facts(vip, announced.contains(&vip.address)))
                .collect(),
            only,
        }
    }

    fn interface_facts(&self) -> Vec<InterfaceFacts> {
        let choice = self.config.model.node.xdp;
        let on = |index: u32| {
            let here = self.network.locals().filter(move |(_, on)| *on == index);
            here.map(|(address, _)| address).collect()
        };
        let places = self.network.interfaces.places().into_iter();
        let facts = places.map(|place| InterfaceFacts {
            index: place.index,
            xdp: match self.mode_on(&place.name) {
                None => Xdp::None,
                Some(Mode::Native) => Xdp::Native,
                Some(Mode::Generic) if choice == XdpChoice::Generic => Xdp::GenericByChoice,
                Some(Mode::Generic) => Xdp::Generic,
            },
            addresses: on(place.index),
            name: place.name,
            mac: place.mac,
        });
        facts.collect()
    }

    fn vip_facts(&self, vip: &Vip, announced: bool) -> VipFacts {
        let wanted = vip.reals.iter().filter(|real| real.state != RealState::Disabled);
        VipFacts {
            name: vip.name.clone(),
            address: vip.address,
            ports: vip.ports.clone(),
            announced,
            assigned: self.network.is_local(vip.address),
            reals: wanted.map(|real| self.real_facts(vip, real)).collect(),
        }
    }

    fn real_facts(&self, vip: &Vip, real: &Real) -> RealFacts {
        RealFacts {
            address: real.address,
            reach: found(self.network.reach(real)),
            interface: self.network.way(real).ok().map(|way| way.index),
            detour: self.stands_for(vip, real).and_then(Result::ok),
            flaps: self.network.flaps(real.address),
        }
    }
}

/// The MAC address of a real that is reached, or why it is not.
fn found(reach: Reach) -> Result<Mac, String> {
    match reach {
        Reach::Static(mac) | Reach::Resolved(mac) | Reach::Inherited(mac) => Ok(mac),
        Reach::Unresolved => Err("the kernel has not asked yet".to_owned()),
        Reach::Silent(_) => Err("nobody answers ARP or neighbour solicitations for it".to_owned()),
        Reach::Behind(gateway) => {
            Err(format!("it is not on the balancer's network but behind {gateway}"))
        }
        Reach::Cut(reason) => Err(reason),
    }
}
