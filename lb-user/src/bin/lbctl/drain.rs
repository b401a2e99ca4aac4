//! Waiting until a drain is over.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lb_user::{
    api::{
        client,
        types::{Done, DrainStatus, RealStatus},
    },
    model::RealState,
};

use crate::{Session, failure::Failure, output::span};

/// From one look at the drain to the next.
const PAUSE: Duration = Duration::from_millis(200);

/// How a drain stands.
#[derive(Debug, PartialEq, Eq)]
enum Stand {
    /// It still waits for something.
    Draining(DrainStatus),
    /// It is over, in this way.
    Over(String),
    /// Somebody has taken the real into service again.
    Resumed,
}

/// Waits until no flow is left on the real, or its drain has ended otherwise; shows how far it is.
pub fn wait(session: &mut Session<'_>, vip: &str, address: IpAddr) -> Result<Done, Failure> {
    let mut last = None;
    loop {
        let real = match session.client.real(vip, address) {
            Err(client::Error::Problem(problem)) if problem.status == 404 => None,
            answer => Some(answer?),
        };
        match stand(last.as_ref(), real.as_ref(), Timestamp::now()) {
            Stand::Draining(drain) => {
                let what = format!("{vip} {address}: {}", left(&drain));
                let time = format!(", {} left", span(drain.seconds_left));
                session.notes.progress(&what, &time, Instant::now());
                last = Some(drain);
            }
            Stand::Over(how) => {
                session.notes.end_progress();
                return Ok(Done::new(format!("real {address} of vip \"{vip}\" {how}")));
            }
            Stand::Resumed => {
                session.notes.end_progress();
                return Err(Failure::Resumed { vip: vip.to_owned(), address });
            }
        }
        thread::sleep(PAUSE);
    }
}

/// What a look at the real says, after what the one before it has said.
fn stand(last: Option<&DrainStatus>, real: Option<&RealStatus>, now: Timestamp) -> Stand {
    let drain = real.and_then(|real| real.drain.as_ref());
    if let Some(drain) = drain.filter(|drain| !is_empty(drain)) {
        return Stand::Draining(drain.clone());
    }
    if drain.is_none() && real.is_some_and(|real| real.state == RealState::Active.to_string()) {
        return Stand::Resumed;
    }
    let disabled = real.is_some_and(|real| real.state == RealState::Disabled.to_string());
    let removed = if real.is_none() { ", and removed" } else { "" };
    Stand::Over(match last.filter(|last| !is_empty(last)) {
        _ if disabled => "was disabled by somebody, which ended its drain at once".to_owned(),
        Some(last) if last.deadline <= now => {
            format!("is out of service{removed}: the deadline ended its drain with {}", left(last))
        }
        _ => format!("is drained{removed}: no flow is left on it"),
    })
}

fn is_empty(drain: &DrainStatus) -> bool {
    drain.slots == 0 && drain.flows == 0
}

fn left(drain: &DrainStatus) -> String {
    format!("{} slots, {} flows", drain.slots, drain.flows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Timestamp = Timestamp::UNIX_EPOCH;

    fn drain(slots: u32, flows: u64) -> DrainStatus {
        let deadline = Timestamp::from_second(60).unwrap();
        DrainStatus { slots, flows, deadline, seconds_left: 60, removes: false }
    }

    fn real(state: &str, drain: Option<DrainStatus>) -> RealStatus {
        RealStatus {
            address: [10, 0, 0, 13].into(),
            mac: None,
            interface: None,
            vlan: None,
            state: state.into(),
            health: "up".into(),
            reason: String::new(),
            since: BEFORE,
            forced_up: false,
            checks: Vec::new(),
            weight: 1,
            share: 0.0,
            packets: 0,
            bytes: 0,
            flows: 0,
            drain,
            slow_start: None,
        }
    }

    fn over(last: Option<&DrainStatus>, real: Option<&RealStatus>, now: Timestamp) -> String {
        match stand(last, real, now) {
            Stand::Over(how) => how,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_drain_goes_on_while_a_slot_or_a_flow_is_left() {
        for drain in [drain(1, 0), drain(0, 1), drain(120, 37)] {
            let real = real("drain", Some(drain.clone()));
            assert_eq!(stand(None, Some(&real), BEFORE), Stand::Draining(drain));
        }
    }

    #[test]
    fn it_is_over_when_nothing_is_left_or_nobody_speaks_of_it_any_more() {
        let (empty, silent) = (real("drain", Some(drain(0, 0))), real("drain", None));
        for real in [&empty, &silent] {
            for last in [None, Some(&drain(1, 1))] {
                assert_eq!(over(last, Some(real), BEFORE), "is drained: no flow is left on it");
            }
        }
        let gone = over(Some(&drain(1, 1)), None, BEFORE);
        assert_eq!(gone, "is drained, and removed: no flow is left on it");
    }

    #[test]
    fn a_deadline_that_ends_it_is_told_with_what_was_left() {
        let last = drain(120, 37);
        let silent = real("drain", None);
        assert_eq!(
            over(Some(&last), Some(&silent), last.deadline),
            "is out of service: the deadline ended its drain with 120 slots, 37 flows"
        );
        assert_eq!(
            over(Some(&last), None, last.deadline),
            "is out of service, and removed: the deadline ended its drain with 120 slots, 37 flows"
        );
        assert!(over(Some(&drain(0, 0)), None, last.deadline).contains("no flow is left"));
    }

    #[test]
    fn somebody_elses_change_is_told_for_what_it_is() {
        assert_eq!(stand(None, Some(&real("active", None)), BEFORE), Stand::Resumed);
        let disabled = real("disabled", None);
        assert!(over(Some(&drain(1, 1)), Some(&disabled), BEFORE).contains("was disabled"));
        // Such as one that is about to leave the configuration.
        let leaving = real("active", Some(drain(1, 1)));
        assert_eq!(stand(None, Some(&leaving), BEFORE), Stand::Draining(drain(1, 1)));
    }
}
