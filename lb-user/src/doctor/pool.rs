//! What follows from what was observed of a VIP and its real servers.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    findings::{Code, Finding},
    observation::{Observations, RealObservation},
    packet::Answer,
    snapshot::{RealFacts, Snapshot, VipFacts},
};
use crate::model::Mac;

/// How often a neighbour may be lost within an hour before that is worth a word.
const FLAPS: u32 = 3;

/// What is wrong with a real.
pub(super) fn of_real(
    snapshot: &Snapshot,
    seen: &Observations,
    (vip, real): (&VipFacts, &RealFacts),
    found: RealObservation,
) -> Vec<Finding> {
    let mac = match &real.reach {
        Ok(mac) => *mac,
        Err(reason) => return vec![unresolved(real, reason)],
    };
    let mut findings: Vec<Finding> = service(vip, real, found).into_iter().collect();
    if seen.claims(vip.address).any(|claimant| claimant == mac) {
        findings.push(answers(vip, real, mac));
    }
    if seen.returned(vip.address).any(|sender| sender == mac) {
        findings.push(returns(vip, real, snapshot));
    }
    if found.vip == Some(Answer::Open) && found.far == Some(false) {
        findings.extend(filters(snapshot, seen, (vip, real)));
    }
    if real.flaps >= FLAPS {
        findings.push(flaps(real, mac));
    }
    findings
}

/// What is wrong with a VIP beside its reals.
pub(super) fn of_vip(snapshot: &Snapshot, seen: &Observations, vip: &VipFacts) -> Vec<Finding> {
    let of_pool = |mac: &Mac| vip.reals.iter().any(|real| real.reach == Ok(*mac));
    let strangers: BTreeSet<Mac> = seen.claims(vip.address).filter(|mac| !of_pool(mac)).collect();
    // What somebody else announces, somebody else answers for.
    let strangers = strangers.into_iter().filter(|_| vip.announced);
    let senders: BTreeSet<Mac> = seen.returned(vip.address).filter(|mac| !of_pool(mac)).collect();
    let senders = senders.into_iter().map(|mac| detoured(snapshot, vip, mac));
    strangers.map(|mac| stranger(snapshot, vip, mac)).chain(senders).collect()
}

fn unresolved(real: &RealFacts, reason: &str) -> Finding {
    let address = real.address;
    Finding::new(
        Code::RipUnresolved,
        format!("the MAC address of {address} is not known: {reason}"),
        format!(
            "see that the server is on, has {address} on the balancer's network, and that the network \
             between is up; `ping {address}` here must work"
        ),
    )
}

/// What the port or ping that a VIP is tried by is called.
fn door(vip: &VipFacts) -> String {
    vip.port().map_or_else(|| "ping".to_owned(), |port| format!("tcp/{port}"))
}

/// How the server itself does, by its answers at the VIP and at its own address.
fn service(vip: &VipFacts, real: &RealFacts, found: RealObservation) -> Option<Finding> {
    let (at_vip, at_own) = (found.vip?, found.own?);
    let (address, own, door) = (vip.address, real.address, door(vip));
    let finding = match (at_vip, at_own) {
        (Answer::Open, _) => return None,
        // Who does not answer pings at all cannot be judged by them.
        (Answer::Silent, Answer::Silent) if vip.port().is_none() => return None,
        (Answer::Silent, Answer::Silent) => Finding::new(
            Code::ServiceDown,
            format!("{door} is silent at {address} and at {own}"),
            "see whether the machine is on, and whether a firewall on it drops connections",
        ),
        (Answer::Silent, Answer::Open | Answer::Refused) => missing(vip, real),
        (Answer::Refused, Answer::Open) => Finding::new(
            Code::NotListening,
            format!("{door} is served at {own}, and refused at {address}"),
            format!("have the server listen on {address} too, or on all addresses"),
        ),
        (Answer::Refused, Answer::Refused | Answer::Silent) => Finding::new(
            Code::ServiceDown,
            format!("{door} is refused at {address}, and not served at {own} either"),
            format!("start the server, listening on {address}"),
        ),
    };
    Some(finding)
}

/// The command that sets a real server up, or says there why it is not.
fn push(vip: &VipFacts, real: &RealFacts) -> String {
    let host = match real.address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("`lbctl backend push {} --ssh root@{host}`", vip.name)
}

fn missing(vip: &VipFacts, real: &RealFacts) -> Finding {
    let (address, own) = (vip.address, real.address);
    let length = if address.is_ipv4() { 32 } else { 128 };
    let sysctls = match address.is_ipv4() {
        true => {
            "`sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2`, then "
        }
        false => "",
    };
    Finding::new(
        Code::VipMissing,
        format!(
            "the server answers at {own}, and is silent at {address}: the VIP is not on its lo"
        ),
        format!(
            "{}, or on the server: {sysctls}`ip address add {address}/{length} dev lo`; if it is there, \
             look for a firewall",
            push(vip, real)
        ),
    )
}

fn answers(vip: &VipFacts, real: &RealFacts, mac: Mac) -> Finding {
    let (address, own) = (vip.address, real.address);
    let (question, fix) = match address.is_ipv4() {
        true => (
            "ARP",
            format!(
                "{}, or on the server: `sysctl -w net.ipv4.conf.all.arp_ignore=1 \
                 net.ipv4.conf.all.arp_announce=2`, and the same in /etc/sysctl.d",
                push(vip, real)
            ),
        ),
        false => (
            "neighbour solicitations",
            format!(
                "on the server: the VIP belongs on lo (`ip address add {address}/128 dev lo`), and on \
                     no other interface; and no proxy_ndp"
            ),
        ),
    };
    Finding::new(
        Code::AnswersArp,
        format!(
            "{own} ({mac}) answers {question} for {address}: it can take the VIP's whole traffic"
        ),
        fix,
    )
}

fn returns(vip: &VipFacts, real: &RealFacts, snapshot: &Snapshot) -> Finding {
    let interface = real.interface.and_then(|index| snapshot.interface(index));
    let here = interface.map_or_else(String::new, |interface| format!(" on {}", interface.name));
    Finding::new(
        Code::ReturnsThroughBalancer,
        format!(
            "{} sends its answers from {} to clients through this machine{here}, where they end",
            real.address, vip.address
        ),
        "on the server: make the router the default gateway, not the balancer (`ip route replace \
         default via ROUTER`)",
    )
}

fn detoured(snapshot: &Snapshot, vip: &VipFacts, mac: Mac) -> Finding {
    let who = name(snapshot, vip, mac);
    Finding::new(
        Code::ReturnsThroughBalancer,
        format!("{who} sends answers from {} to clients through this machine", vip.address),
        "see that neither servers nor routers use the balancer as a gateway",
    )
}

fn name(snapshot: &Snapshot, vip: &VipFacts, mac: Mac) -> String {
    match snapshot.real_at(mac, vip.address) {
        Some(real) => format!("{mac} (real {} of another VIP)", real.address),
        None => mac.to_string(),
    }
}

fn stranger(snapshot: &Snapshot, vip: &VipFacts, mac: Mac) -> Finding {
    let address = vip.address;
    let question = if address.is_ipv4() { "ARP" } else { "neighbour solicitations" };
    let who = name(snapshot, vip, mac);
    Finding::new(
        Code::StrangerAnswers,
        format!("{who} answers {question} for {address}, and is no real of this VIP"),
        format!(
            "find the machine by its MAC address and take {address} from it, or announce = \"none\""
        ),
    )
}

/// Suspected only where another real on the same network shows that an answer would have come.
fn filters(
    snapshot: &Snapshot,
    seen: &Observations,
    (vip, real): (&VipFacts, &RealFacts),
) -> Option<Finding> {
    let beside = |other: &VipFacts, peer: &RealFacts, place: usize| {
        let found = seen.reals.get(&(other.name.clone(), place));
        peer.interface == real.interface
            && other.address.is_ipv4() == vip.address.is_ipv4()
            && found.is_some_and(|found| found.far == Some(true))
    };
    let example = snapshot.vips.iter().find_map(|other| {
        let mut peers = other.reals.iter().enumerate();
        peers.find(|(place, peer)| beside(other, peer, *place)).map(|(_, peer)| peer)
    })?;
    let (fix, suspect) = match vip.address.is_ipv4() {
        true => (
            "on the server: `sysctl -w net.ipv4.conf.all.rp_filter=0`, and the same for the interface \
             (or 2, loose); and see that its default gateway is right",
            "rp_filter is suspected",
        ),
        false => (
            "on the server: look for a firewall with a reverse path check, and see that its default \
             gateway is right",
            "a reverse path check is suspected",
        ),
    };
    let message = format!(
        "{} answers at {} the balancer's network only, and not an address beyond the router, as {} does: \
         {suspect}",
        real.address, vip.address, example.address
    );
    Some(Finding::new(Code::RpFilter, message, fix))
}

fn flaps(real: &RealFacts, mac: Mac) -> Finding {
    Finding::new(
        Code::NeighbourFlapping,
        format!(
            "the neighbour entry of {} was lost or has changed {} times within an hour; now it is at {mac}",
            real.address, real.flaps
        ),
        "look for two machines with one address, a cable or a bond that comes and goes, a switch that \
         drops ARP; or write the real's `mac` into the configuration",
    )
}
