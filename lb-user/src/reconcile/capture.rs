//! Somebody looks on: who may, at what, and what the places and ports are called meanwhile.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use lb_common::{Outcome, capture::Wanted};
use tokio::sync::watch;

use super::Reconciler;
use crate::{
    api::{
        request::{Capture, Refusal},
        types::CaptureQuery,
    },
    capture::{Names, Only},
    dataplane::{Attached, Mode, Port},
    plan::Op,
};

/// The capture that is under way, if one is.
#[derive(Default)]
pub(super) struct Capturing {
    active: Option<Active>,
    /// How many there have been.
    count: u64,
    /// Why there can be none.
    refused: Option<String>,
}

struct Active {
    number: u64,
    query: CaptureQuery,
    names: watch::Sender<Arc<Names>>,
}

impl Reconciler {
    /// Makes captures possible, as long as everything is permitted. Without them everything else works.
    pub fn prepare_capture(&mut self) {
        if let Err(error) = self.kernel.prepare_capture() {
            log::warn!("`lbctl capture` will not work: {error}");
            self.capturing.refused = Some(error.to_string());
        }
    }

    /// Has the datapath hand on what it sees.
    pub(super) async fn begin_capture(&mut self, query: CaptureQuery) -> Result<Capture, Refusal> {
        self.end_abandoned_capture().await;
        if self.capturing.active.is_some() {
            return Err(Refusal::conflict(
                "somebody captures already, and it is one at a time: try again when that has ended",
            ));
        }
        if let Some(reason) = &self.capturing.refused {
            return Err(Refusal::conflict(format!("capturing does not work here: {reason}")));
        }
        let wanted = wanted(&query)?;
        let interfaces = self.interfaces_with_balancer();
        if interfaces.is_empty() {
            return Err(Refusal::conflict(
                "XDP is attached to no interface, so there is nothing to capture: see `lbctl status`",
            ));
        }
        let places = self.captured_places(&query);
        let pin_dir = self.config.model.node.pin_dir.clone();
        let begun =
            self.kernel.begin_capture(&borrowed(&interfaces), (wanted, &places), &pin_dir).await;
        let sources = begun.map_err(|error| Refusal::failed(format!("capturing: {error}")))?;
        let (names, following) = watch::channel(Arc::new(self.names()));
        self.capturing.count += 1;
        let number = self.capturing.count;
        log::info!("capture {number} begins: {query}");
        let vip = query.vip.as_deref();
        let vip = vip.and_then(|name| self.config.model.vips.iter().find(|vip| vip.name == name));
        let only = vip.map(|vip| Only::of(vip, &self.config.model.vips));
        self.capturing.active = Some(Active { number, query, names });
        Ok(Capture { number, sources, names: following, only })
    }

    /// Puts the balancers back, if this is the capture that is under way.
    pub(super) async fn end_capture(&mut self, number: u64) {
        if self.capturing.active.take_if(|active| active.number == number).is_some() {
            let pin_dir = self.config.model.node.pin_dir.clone();
            // As they are now: one may have been made anew since it began.
            let interfaces = self.interfaces_with_balancer();
            match self.kernel.end_capture(&borrowed(&interfaces), &pin_dir).await {
                Ok(()) => log::info!("capture {number} has ended"),
                Err(error) => log::warn!("capture {number} has ended: {error}"),
            }
        }
    }

    /// The same, whichever it is.
    pub(super) async fn end_captures(&mut self) {
        if let Some(number) = self.capturing.active.as_ref().map(|active| active.number) {
            self.end_capture(number).await;
        }
    }

    /// Ends the capture whose frames nobody takes any more, should nobody have said so.
    pub(super) async fn end_abandoned_capture(&mut self) {
        let abandoned = self.capturing.active.as_ref().filter(|active| active.names.is_closed());
        if let Some(number) = abandoned.map(|active| active.number) {
            self.end_capture(number).await;
        }
    }

    /// Tells whoever captures what these writes have changed: who is at a place, or what a port is.
    pub(super) fn follow_capture(&mut self, ops: &[Op]) {
        let Some(Active { query, names, .. }) = &self.capturing.active else { return };
        let moved = ops.iter().any(|op| matches!(op, Op::Address { .. } | Op::Services(_)));
        if moved || names.borrow().ports != self.port_names() {
            self.kernel.set_capture_places(&self.captured_places(query));
            names.send_replace(Arc::new(self.names()));
        }
    }

    fn interfaces_with_balancer(&self) -> Vec<(u8, String, Mode)> {
        let there = |name: &String| {
            let number = self.ports.number(&Port::of(name))?;
            Some((number, name.clone(), self.mode_on(name)?))
        };
        self.config.model.node.interfaces.iter().filter_map(there).collect()
    }

    /// The places of the reals that a query is about; none where it is about all.
    fn captured_places(&self, query: &CaptureQuery) -> Vec<u32> {
        if query.vip.is_none() && query.real.is_none() {
            return Vec::new();
        }
        let is_wanted = |vip: &str, real: IpAddr| {
            query.vip.as_deref().is_none_or(|wanted| wanted == vip)
                && query.real.is_none_or(|wanted| wanted == real)
        };
        let places = self.places();
        places.filter(|(_, vip, real)| is_wanted(vip, *real)).map(|(place, ..)| place).collect()
    }

    fn names(&self) -> Names {
        let mut known: HashMap<&str, Arc<str>> = HashMap::new();
        let places = self.places().map(|(place, vip, real)| {
            let vip = known.entry(vip).or_insert_with(|| vip.into());
            (place, (Arc::clone(vip), real))
        });
        Names { places: places.collect(), ports: self.port_names() }
    }

    fn port_names(&self) -> BTreeMap<u8, String> {
        self.ports.iter().map(|(number, port)| (number, port.interface.clone())).collect()
    }

    /// All places of reals, with the VIP and the real of each.
    fn places(&self) -> impl Iterator<Item = (u32, &str, IpAddr)> {
        self.state.blocks.iter().flat_map(|block| {
            let vip = block.name.as_deref().unwrap_or("?");
            let place = |occupant: &crate::plan::Occupant| occupant.member.place(block.pool);
            block.members.iter().map(move |(real, occupant)| (place(occupant), vip, *real))
        })
    }
}

fn borrowed(interfaces: &[(u8, String, Mode)]) -> Vec<Attached<'_>> {
    interfaces.iter().map(|(port, name, mode)| (*port, name.as_str(), *mode)).collect()
}

/// Which frames a query is about, as the datapath asks it.
fn wanted(query: &CaptureQuery) -> Result<Wanted, Refusal> {
    // What nobody's VIP or real has to do with.
    const NOBODYS: [Outcome; 3] = [Outcome::NotForUs, Outcome::NotIp, Outcome::NotVip];
    let by_place = query.vip.is_some() || query.real.is_some();
    let outcomes = match (&query.outcome, query.real) {
        (Some(label), real) => {
            let found = Outcome::ALL.iter().find(|outcome| outcome.label() == label);
            let labels = || Outcome::ALL.iter().map(|outcome| outcome.label()).collect::<Vec<_>>();
            let outcome = found.ok_or_else(|| {
                let all = labels().join(", ");
                Refusal::invalid(format!("no outcome \"{label}\"; there are: {all}"))
            })?;
            if real.is_some() && *outcome != Outcome::Forwarded {
                return Err(Refusal::invalid(format!(
                    "frames that end as \"{label}\" are not sent to a real; ask for one of both"
                )));
            }
            if query.vip.is_some() && NOBODYS.contains(outcome) {
                return Err(Refusal::invalid(format!(
                    "frames that end as \"{label}\" are not for a VIP; ask for one of both"
                )));
            }
            1 << outcome.index()
        }
        (None, Some(_)) => 1 << Outcome::Forwarded.index(),
        (None, None) => {
            let all = Outcome::ALL.iter().filter(|outcome| !by_place || !NOBODYS.contains(outcome));
            all.fold(0, |bits, outcome| bits | 1 << outcome.index())
        }
    };
    Ok(Wanted { outcomes, places: by_place.into(), sample: query.sample.unwrap_or(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> CaptureQuery {
        CaptureQuery::default()
    }

    #[test]
    fn all_frames_are_wanted_or_those_that_a_vip_or_a_real_has_to_do_with() {
        let all = wanted(&query()).expect("good");
        assert!(Outcome::ALL.iter().all(|outcome| all.has(*outcome)) && all.places == 0);
        let vip = CaptureQuery { vip: Some("web".into()), ..query() };
        let of_vip = wanted(&vip).expect("good");
        assert!(of_vip.has(Outcome::NoReal) && !of_vip.has(Outcome::NotVip) && of_vip.places == 1);
        let real = CaptureQuery { real: Some([10, 0, 0, 1].into()), ..vip };
        let of_real = wanted(&real).expect("good");
        let had = Outcome::ALL.iter().filter(|outcome| of_real.has(**outcome)).count();
        assert!(of_real.has(Outcome::Forwarded) && had == 1);
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let unknown = CaptureQuery { outcome: Some("lost".into()), ..query() };
        let refusal = wanted(&unknown).expect_err("no such outcome");
        assert!(refusal.status == 400 && refusal.detail.contains("forwarded, not_for_us"));
        for (vip, real, outcome) in [
            (None, Some([10, 0, 0, 1].into()), "no_real"),
            (Some("web".to_owned()), None, "not_vip"),
        ] {
            let query = CaptureQuery { vip, real, outcome: Some(outcome.into()), ..query() };
            assert_eq!(wanted(&query).expect_err("contradicts itself").status, 400);
        }
    }
}
