//! What follows from what was observed. Pure.

use std::{fmt, net::IpAddr};

use super::{
    machine,
    observation::Observations,
    pool,
    snapshot::{RealFacts, Snapshot, VipFacts},
};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// The VIP that it is about, if it is about one.
    pub vip: Option<String>,
    /// The real that it is about.
    pub real: Option<IpAddr>,
    /// The interface that it is about.
    pub interface: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $word:literal,)+) => {
        /// The kinds of findings, which scripts may rely on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $code,)+ }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$code),+];

            /// Its word.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Self::$code => $word,)+ }
            }
        }
    };
}

codes! {
    /// A real's MAC address is not known.
    RipUnresolved = "rip_unresolved",
    /// A real is there, and knows nothing of the VIP.
    VipMissing = "vip_missing",
    /// A real serves its own address, and not the VIP.
    NotListening = "not_listening",
    /// A real serves neither.
    ServiceDown = "service_down",
    /// A real answers ARP or neighbour solicitations for the VIP.
    AnswersArp = "answers_arp",
    /// A real answers its own network only.
    RpFilter = "rp_filter",
    /// A real's answers to clients arrive here.
    ReturnsThroughBalancer = "returns_through_balancer",
    /// Another machine answers for the VIP.
    StrangerAnswers = "stranger_answers",
    /// The program runs in the generic hook although the driver takes it.
    XdpGeneric = "xdp_generic",
    /// The network card joins packets.
    Lro = "lro",
    /// The network card joins packets.
    GroHw = "gro_hw",
    /// The network card hides VLAN tags.
    RxVlan = "rxvlan",
    /// Packets may be too long on a part of their way.
    Mtu = "mtu",
    /// The other end of a veth loses what the program sends.
    VethPeer = "veth_peer",
    /// Another XDP program is in the way.
    SecondXdp = "second_xdp",
    /// Packets may circle between router and balancer.
    IpForward = "ip_forward",
    /// A neighbour comes and goes.
    NeighbourFlapping = "neighbour_flapping",
    /// The clock is not synchronised.
    Clock = "clock",
    /// The kernel's table of neighbours is too small.
    GcThresh = "gc_thresh",
}

impl Code {
    /// Whether it only matters for something else, and so all can be well with it.
    #[must_use]
    pub fn is_note(self) -> bool {
        self == Self::Clock
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl Finding {
    pub(super) fn new(code: Code, message: impl Into<String>, fix: impl Into<String>) -> Self {
        let (message, fix) = (message.into(), fix.into());
        Self { code, vip: None, real: None, interface: None, message, fix }
    }

    fn of_vip(self, vip: &VipFacts) -> Self {
        Self { vip: Some(vip.name.clone()), ..self }
    }

    fn of_real(self, real: &RealFacts) -> Self {
        Self { real: Some(real.address), ..self }
    }

    fn on(self, interface: &str) -> Self {
        Self { interface: Some(interface.to_owned()), ..self }
    }
}

/// What is wrong, those of VIPs first.
#[must_use]
pub fn diagnose(snapshot: &Snapshot, seen: &Observations) -> Vec<Finding> {
    let mut findings = Vec::new();
    for vip in snapshot.examined() {
        for (place, real) in vip.reals.iter().enumerate() {
            let found = seen.reals.get(&(vip.name.clone(), place)).copied().unwrap_or_default();
            let found = pool::of_real(snapshot, seen, (vip, real), found);
            findings.extend(found.into_iter().map(|finding| finding.of_vip(vip).of_real(real)));
        }
        findings.extend(
            pool::of_vip(snapshot, seen, vip).into_iter().map(|finding| finding.of_vip(vip)),
        );
    }
    for interface in &snapshot.interfaces {
        let found = machine::of_interface(snapshot, seen, interface);
        findings.extend(found.into_iter().map(|finding| finding.on(&interface.name)));
    }
    findings.extend(machine::of_machine(snapshot, &seen.machine));
    findings
}
