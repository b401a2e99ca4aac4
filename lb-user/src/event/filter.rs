//! Which events are about one VIP.

use std::{collections::BTreeSet, net::IpAddr};

use super::Happening;
use crate::model::Vip;

/// What somebody wants to hear of: everything, or what is about one VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Option<Subject>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Subject {
    vip: String,
    address: Option<IpAddr>,
    reals: BTreeSet<IpAddr>,
}

impl Filter {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self(None)
    }

    /// What is about a VIP of this name: as it is in the configuration, or as one that was, of which
    /// nothing but the name is known.
    #[must_use]
    pub fn of(name: &str, vip: Option<&Vip>) -> Self {
        let reals = vip.map(|vip| vip.reals.iter().map(|real| real.address).chain(vip.sorry));
        Self(Some(Subject {
            vip: name.to_owned(),
            address: vip.map(|vip| vip.address),
            reals: reals.into_iter().flatten().collect(),
        }))
    }

    /// Whether this is to be heard. Events come in their order, so that reals are known that join
    /// the pool meanwhile.
    pub fn admits(&mut self, what: &Happening) -> bool {
        let Some(Subject { vip: wanted, address: known, reals }) = &mut self.0 else {
            return true;
        };
        match what {
            Happening::Health { vip, real, .. } if vip == wanted => {
                reals.insert(*real);
                true
            }
            Happening::Health { .. } => false,
            Happening::Vip { vip, .. } => vip == wanted,
            // What replaces the whole configuration may be about every VIP.
            Happening::Config { vip, .. } => vip.as_ref().is_none_or(|vip| vip == wanted),
            Happening::Neighbour { real, .. } => reals.contains(real),
            Happening::Announce { address, .. } | Happening::Thief { address, .. } => {
                *known == Some(*address)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::samples::{all, health};

    #[test]
    fn whoever_asks_for_everything_gets_it() {
        assert!(all().iter().all(|what| Filter::all().admits(what)));
    }

    #[test]
    fn a_vip_that_is_gone_is_known_by_its_name() {
        let mut filter = Filter::of("web", None);
        let heard: Vec<bool> = all().iter().map(|what| filter.admits(what)).collect();
        // The ways to reals that its events have named; its address is not known any more.
        assert_eq!(heard, [true, true, true, true, true, true, false, false, false]);
        let mut other = Filter::of("dns", None);
        assert!(!all().iter().any(|what| other.admits(what)));
        let change = Happening::Config { vip: None, change: "replaced".into() };
        assert!(other.admits(&change));
    }

    #[test]
    fn what_happens_to_the_address_and_the_reals_of_a_vip_is_about_it() {
        let text = "[node]\ninterfaces = [\"eth0\"]\n[[vip]]\nname = \"web\"\naddress = \"192.0.2.10\"\n\
                    ports = [\"any\"]\n[[vip.real]]\naddress = \"10.0.0.11\"\n";
        let model = crate::config::parse(text).unwrap();
        let mut filter = Filter::of("web", model.vips.first());
        let heard: Vec<bool> = all().iter().map(|what| filter.admits(what)).collect();
        assert_eq!(heard, [true, true, true, true, true, true, true, false, true]);

        let new = IpAddr::from([10, 0, 0, 12]);
        let way = Happening::Neighbour { real: new, mac: None };
        assert!(!filter.admits(&way));
        assert!(filter.admits(&health("web", new, "up")));
        assert!(filter.admits(&way), "it has joined the pool meanwhile");
    }
}
