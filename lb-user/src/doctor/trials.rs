//! Tries every real server, and asks for every VIP.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures_util::{StreamExt as _, future::join, stream};

use super::{
    observation::{Observations, RealObservation},
    packet::{Answer, Knock},
    servers,
    snapshot::{InterfaceFacts, RealFacts, Snapshot, VipFacts},
    wire::{self, Echo, Round},
};
use crate::model::Mac;

/// How many reals are tried at once.
const WARD: usize = 256;

/// The source of packets whose answers shall go to the default gateway of a real, and then nowhere: an
/// address that no machine has and no network routes (the dummy address of RFC 7600, and the prefix of
/// RFC 6666 that is there to be discarded).
const NOWHERE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 0, 8), Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 8));

/// The first identifier. They need not be free as ports: nothing is sent here that a socket would take for
/// its own.
const FIRST: u16 = 32_768;

/// A real of a VIP that can be tried.
struct Patient<'a> {
    key: (String, usize),
    vip: &'a VipFacts,
    real: &'a RealFacts,
    interface: &'a InterfaceFacts,
    machine: Mac,
}

/// What a real is tried by, and by which identifiers the answers are known.
#[derive(Default)]
struct Trial {
    vip: Option<u16>,
    own: Option<u16>,
    far: Option<u16>,
    /// Whether it has the address that the one from afar names as its source.
    has_far: Option<u16>,
}

/// Tries all reals of the VIPs that are examined.
pub(super) async fn run(snapshot: &Snapshot) -> Observations {
    let mut seen = Observations::default();
    let patients = patients(snapshot);
    let owners = owners(snapshot);
    // Once even where there is no real that could be tried: strangers may answer.
    let mut wards = patients.chunks(WARD);
    let mut ward = wards.next().unwrap_or_default();
    let mut first = true;
    loop {
        let (round, trials) = round(snapshot, ward, &owners, first);
        let (echo, sockets) = join(wire::exchange(snapshot, &round), sockets(ward)).await;
        note(&mut seen, ward, &trials, &echo, sockets);
        first = false;
        match wards.next() {
            Some(next) => ward = next,
            None => return seen,
        }
    }
}

fn patients(snapshot: &Snapshot) -> Vec<Patient<'_>> {
    let patient = |(vip, place, real): (_, usize, _)| {
        let (vip, real): (&VipFacts, &RealFacts) = (vip, real);
        let machine = *real.reach.as_ref().ok()?;
        let interface = snapshot.interface(real.interface?)?;
        // A balancer may be its own real: then there is no wire in between.
        let ours = snapshot.macs.contains(&machine);
        let key = (vip.name.clone(), place);
        (!ours).then_some(Patient { key, vip, real, interface, machine })
    };
    let reals = snapshot
        .examined()
        .flat_map(|vip| vip.reals.iter().enumerate().map(move |(place, real)| (vip, place, real)));
    reals.filter_map(patient).collect()
}

/// The VIPs that are announced here, with the machines that may have each: what comes from there to
/// such an address is brought here by the router.
fn owners(snapshot: &Snapshot) -> BTreeMap<IpAddr, BTreeSet<Mac>> {
    let mut owners = BTreeMap::<IpAddr, BTreeSet<Mac>>::new();
    for vip in snapshot.vips.iter().filter(|vip| vip.announced && vip.assigned) {
        let macs = vip.reals.iter().filter_map(|real| real.reach.as_ref().ok());
        owners.entry(vip.address).or_default().extend(macs);
    }
    owners
}

/// What is sent for these reals, and the questions for all VIPs with the first of them.
fn round(
    snapshot: &Snapshot,
    ward: &[Patient<'_>],
    owners: &BTreeMap<IpAddr, BTreeSet<Mac>>,
    first: bool,
) -> (Round, Vec<Trial>) {
    let mut round = Round::default();
    let trials =
        ward.iter().map(|patient| try_one(snapshot, patient, owners, &mut round)).collect();
    let asked: BTreeSet<IpAddr> = snapshot.examined().map(|vip| vip.address).collect();
    for interface in snapshot.interfaces.iter().filter(|_| first) {
        let questions = asked.iter().flat_map(|vip| wire::questions(interface, *vip, []));
        round.questions.extend(questions);
    }
    for patient in ward {
        let questions = wire::questions(patient.interface, patient.vip.address, [patient.machine]);
        // The one to everybody was put above.
        round.questions.extend(questions.into_iter().skip(1));
    }
    (round, trials)
}

/// A real's packets.
fn try_one(
    snapshot: &Snapshot,
    patient: &Patient<'_>,
    owners: &BTreeMap<IpAddr, BTreeSet<Mac>>,
    round: &mut Round,
) -> Trial {
    let Patient { vip, real, interface, machine, .. } = *patient;
    let mut trial = Trial::default();
    let mut knock = |source: IpAddr, target: IpAddr, port: Option<u16>| {
        let id = FIRST + round.knocks.len() as u16;
        let (own, index) = (interface.mac, interface.index);
        round.knocks.push(Knock { interface: index, own, machine, source, target, port, id });
        id
    };
    knock(nowhere(vip.address), vip.address, vip.port());
    let Some(source) = snapshot.source(real) else {
        return trial;
    };
    if vip.port().is_none() {
        trial.own = Some(knock(source, real.address, None));
    }
    trial.vip = Some(knock(source, vip.address, vip.port()));
    if let Some(far) = afar(snapshot, patient, owners) {
        trial.far = Some(knock(far, vip.address, vip.port()));
        trial.has_far = Some(knock(source, far, None));
    }
    trial
}

fn nowhere(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { NOWHERE.0.into() } else { NOWHERE.1.into() }
}

/// An address of this machine that the real can only answer through its router: another VIP, which it
/// should not have. No port that a knock may come from is served there.
fn afar(
    snapshot: &Snapshot,
    patient: &Patient<'_>,
    owners: &BTreeMap<IpAddr, BTreeSet<Mac>>,
) -> Option<IpAddr> {
    let serves_all = |address: IpAddr| {
        let mut vips = snapshot.vips.iter().filter(|vip| vip.address == address);
        vips.any(|vip| (FIRST..=FIRST + 5 * WARD as u16).any(|port| vip.serves(port)))
    };
    let fits = |(address, machines): &(&IpAddr, &BTreeSet<Mac>)| {
        **address != patient.vip.address
            && address.is_ipv4() == patient.vip.address.is_ipv4()
            && !machines.contains(&patient.machine)
    };
    // A few are enough: with hundreds of VIPs each has many others.
    let mut others = owners.iter().filter(fits).map(|(address, _)| *address).take(4);
    others.find(|address| !serves_all(*address))
}

/// What ordinary sockets say of each real: at the VIP, if there is a detour, and at its own address.
async fn sockets(ward: &[Patient<'_>]) -> Vec<[Option<Answer>; 2]> {
    let ask = |patient: &Patient<'_>| {
        let (port, detour, own) = (patient.vip.port(), patient.real.detour, patient.real.address);
        async move {
            let Some(port) = port else { return [None; 2] };
            let detour = async {
                match detour {
                    Some(detour) => servers::connect(detour, port).await,
                    None => None,
                }
            };
            let (detour, own) = join(detour, servers::connect(own, port)).await;
            [detour, own]
        }
    };
    let asked: Vec<_> = ward.iter().map(ask).collect();
    stream::iter(asked).buffered(WARD).collect().await
}

fn note(
    seen: &mut Observations,
    ward: &[Patient<'_>],
    trials: &[Trial],
    echo: &Echo,
    sockets: Vec<[Option<Answer>; 2]>,
) {
    for ((patient, trial), [detour, own]) in ward.iter().zip(trials).zip(sockets) {
        let deaf = echo.deaf.contains_key(&patient.interface.index);
        let heard = |id: Option<u16>| {
            let id = id.filter(|_| !deaf)?;
            Some(echo.answers.get(&id).copied().unwrap_or(Answer::Silent))
        };
        // Who has that address itself takes it for a forgery.
        let far = heard(trial.far).filter(|_| heard(trial.has_far) == Some(Answer::Silent));
        let observation = RealObservation {
            vip: detour.or_else(|| heard(trial.vip)),
            own: own.or_else(|| heard(trial.own)),
            far: far.map(|answer| answer != Answer::Silent),
        };
        seen.reals.insert(patient.key.clone(), observation);
    }
    for (interface, reason) in &echo.deaf {
        log::warn!("interface {interface} cannot be listened to by the examination: {reason}");
    }
    seen.claims.extend(&echo.claims);
    seen.returned.extend(&echo.returned);
}
