//! The machine's interfaces, and how each that routing may name leads to one that XDP sits on.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter::successors,
};

use crate::{
    dataplane::Port,
    model::{Mac, Tag},
    neighbour::Link,
};

/// The tags that a frame can have.
const TAGS: usize = 2;

/// What is known of the interfaces, and which of them are configured.
#[derive(Debug)]
pub(super) struct Interfaces {
    configured: Vec<String>,
    links: BTreeMap<u32, Link>,
}

/// The way through an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The index of the interface that routing names: who answers, answers there.
    pub(super) index: u32,
    /// Its name.
    pub(super) device: String,
    /// How frames leave the configured interface below it.
    pub(super) port: Port,
    /// The tag that they have themselves.
    pub(super) vlan: Option<u16>,
    /// Which of the interfaces on this way is down, if one is.
    pub(super) down: Option<String>,
}

/// An interface on which routers may look for VIPs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: Mac,
}

impl Interfaces {
    /// Nothing is known yet of those that are configured.
    pub(super) fn new(configured: &[String]) -> Self {
        Self { configured: configured.to_vec(), links: BTreeMap::new() }
    }

    /// An interface is so now; returns how it was.
    pub(super) fn set(&mut self, index: u32, link: Link) -> Option<Link> {
        self.links.insert(index, link)
    }

    /// An interface is gone.
    pub(super) fn remove(&mut self, index: u32) {
        self.links.remove(&index);
    }

    pub(super) fn get(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    /// The names of those that are configured.
    pub(super) fn configured(&self) -> &[String] {
        &self.configured
    }

    /// The configured interface of this name, if it is there.
    pub(super) fn find(&self, name: &str) -> Option<(u32, &Link)> {
        let is_it = |link: &Link| link.name == name && link.vlan.is_none();
        self.links.iter().find(|(_, link)| is_it(link)).map(|(index, link)| (*index, link))
    }

    /// Whether a configured interface is `up`, `down` or `missing`.
    pub(super) fn state(&self, name: &str) -> &'static str {
        match self.find(name) {
            Some((_, link)) if link.up => "up",
            Some(_) => "down",
            None => "missing",
        }
    }

    /// Fails if a configured interface is a VLAN: the datapath sits below it and makes its tags.
    pub(super) fn refuse_vlans(&self) -> Result<(), String> {
        for name in &self.configured {
            let vlan = self.links.values().find(|link| link.name == *name && link.vlan.is_some());
            let Some(vlan) = vlan else { continue };
            let bottom = self.stack(vlan).last().filter(|bottom| bottom.vlan.is_none());
            return Err(match bottom {
                Some(Link { name: bottom, .. }) => {
                    format!("{name} is a VLAN of {bottom}: write \"{bottom}\"")
                }
                None => format!("{name} is a VLAN of an interface in another network namespace"),
            });
        }
        Ok(())
    }

    /// The interface, and all that it is a VLAN of.
    fn stack<'a>(&'a self, link: &'a Link) -> impl Iterator<Item = &'a Link> {
        let parent = |link: &&Link| self.links.get(&link.vlan?.parent);
        successors(Some(link), parent).take(TAGS + 2)
    }

    /// The way through the interface with this index, or why there is none.
    pub(super) fn way(&self, index: u32) -> Result<Way, String> {
        let top = self.links.get(&index).ok_or("its interface is missing")?;
        let stack: Vec<&Link> = self.stack(top).collect();
        let tags: Vec<Tag> =
            stack.iter().filter_map(|link| link.vlan).map(|vlan| vlan.tag).collect();
        let bottom = stack[stack.len() - 1];
        let device = &top.name;
        if tags.len() > TAGS {
            return Err(format!("reached through \"{device}\", which has more than two VLAN tags"));
        }
        if !self.configured.contains(&bottom.name) || bottom.vlan.is_some() {
            return Err(not_configured(device, &bottom.name));
        }
        let (outer, vlan) =
            split(&tags).map_err(|reason| format!("reached through \"{device}\": {reason}"))?;
        let down = stack.iter().rev().find(|link| !link.up).map(|link| link.name.clone());
        let port = Port { interface: bottom.name.clone(), outer };
        Ok(Way { index, device: device.clone(), port, vlan, down })
    }

    /// The way through the only configured interface, where there is no more than one.
    pub(super) fn only(&self) -> Result<Way, String> {
        let [name] = self.configured.as_slice() else {
            return Err(
                "no route to it: `ip route add` one through one of [node] interfaces".to_owned()
            );
        };
        let (index, _) = self.find(name).ok_or_else(|| format!("interface {name} is missing"))?;
        self.way(index)
    }

    /// Where VIPs are announced: on the configured interfaces and on their VLANs, as far as they
    /// are up and have the MAC address whose frames the datapath takes.
    pub(super) fn places(&self) -> Vec<Place> {
        let place = |(index, link): (&u32, &Link)| {
            let way = self.way(*index).ok().filter(|way| way.down.is_none())?;
            let (_, bottom) = self.find(&way.port.interface)?;
            let mac = link.mac.filter(|_| link.mac == bottom.mac)?;
            Some(Place { index: *index, name: link.name.clone(), mac })
        };
        self.links.iter().filter_map(place).collect()
    }

    /// The MAC addresses of this machine.
    pub(super) fn macs(&self) -> BTreeSet<Mac> {
        self.links.values().filter_map(|link| link.mac).collect()
    }

    /// The configured interfaces that have VLANs.
    pub(super) fn trunks(&self) -> BTreeSet<String> {
        let vlans = self.links.values().filter(|link| link.vlan.is_some());
        let bottoms = vlans.filter_map(|vlan| self.stack(vlan).last());
        let configured = bottoms.filter(|bottom| self.configured.contains(&bottom.name));
        configured.map(|bottom| bottom.name.clone()).collect()
    }

    /// The index of the interface of this name, whatever it is.
    pub(super) fn index(&self, name: &str) -> Option<u32> {
        self.links.iter().find(|(_, link)| link.name == name).map(|(index, _)| *index)
    }

    /// Whether the interface, or the one that has its name now, and all below it are up.
    pub(super) fn is_up(&self, index: u32, name: &str) -> bool {
        let now = self.links.contains_key(&index).then_some(index).or_else(|| self.index(name));
        let way = now.and_then(|index| self.way(index).ok());
        way.is_some_and(|way| way.down.is_none())
    }

    /// Whether this is a configured interface or a VLAN of one, and there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.links.iter().any(|(index, link)| link.name == name && self.way(*index).is_ok())
    }
}

fn not_configured(device: &str, bottom: &str) -> String {
    let vlan = if device == bottom { String::new() } else { format!(", a VLAN of \"{bottom}\"") };
    format!("reached through \"{device}\"{vlan}, which is not in [node] interfaces")
}

/// The outer tag, and the VLAN of the inner or only one, which is always an 802.1Q tag.
fn split(inner_first: &[Tag]) -> Result<(Option<Tag>, Option<u16>), &'static str> {
    if inner_first.iter().any(|tag| tag.vlan == 0) {
        return Err("VLAN 0 is none");
    }
    match *inner_first {
        [] => Ok((None, None)),
        [only] if only.service => Ok((Some(only), None)),
        [only] => Ok((None, Some(only.vlan))),
        [inner, outer] if !inner.service => Ok((Some(outer), Some(inner.vlan))),
        _ => Err("an 802.1ad tag within another tag is not supported"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbour::Vlan;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn link(name: &str, vlan: Option<(u32, u16, bool)>) -> Link {
        let vlan = vlan.map(|(parent, vlan, service)| Vlan { parent, tag: Tag { vlan, service } });
        Link { name: name.to_owned(), mac: Some(MAC), up: true, vlan }
    }

    /// What a machine may have, of which `eth0` and `eth1` are configured; `eth1` is missing.
    fn machine() -> Interfaces {
        let mut interfaces = Interfaces::new(&["eth0".to_owned(), "eth1".to_owned()]);
        for (index, name, vlan) in [
            (1, "lo", None),
            (2, "eth0", None),
            (7, "eth7", None),
            (20, "eth0.20", Some((2, 20, false))),
            (100, "eth0.100", Some((2, 100, false))),
            (101, "eth0.100.200", Some((100, 200, false))),
            (102, "eth0.100.200.300", Some((101, 300, false))),
            (110, "eth0.s", Some((2, 110, true))),
            (111, "eth0.s.30", Some((110, 30, false))),
            (112, "eth0.20.s", Some((20, 31, true))),
            (120, "eth0.0", Some((2, 0, false))),
            (70, "eth7.70", Some((7, 70, false))),
            (71, "far.71", Some((0, 71, false))),
        ] {
            interfaces.set(index, link(name, vlan));
        }
        interfaces
    }

    fn way(index: u32) -> Result<(Option<Tag>, Option<u16>), String> {
        machine().way(index).map(|way| {
            assert_eq!((way.index, way.port.interface.as_str()), (index, "eth0"));
            assert_eq!(way.down, None);
            (way.port.outer, way.vlan)
        })
    }

    #[test]
    fn a_trunk_is_a_configured_interface_that_has_vlans() {
        assert_eq!(machine().trunks(), BTreeSet::from(["eth0".to_owned()]));
    }

    #[test]
    fn a_way_ends_at_the_configured_interface_with_the_tags_of_all_vlans_above_it() {
        let tag = |vlan, service| Some(Tag { vlan, service });
        assert_eq!(way(2), Ok((None, None)));
        assert_eq!(way(20), Ok((None, Some(20))));
        assert_eq!(way(101), Ok((tag(100, false), Some(200))));
        assert_eq!(way(110), Ok((tag(110, true), None)));
        assert_eq!(way(111), Ok((tag(110, true), Some(30))));
    }

    #[test]
    fn where_the_datapath_cannot_send_it_is_said_why() {
        for (index, reason) in [
            (7, "reached through \"eth7\", which is not in [node] interfaces"),
            (
                70,
                "reached through \"eth7.70\", a VLAN of \"eth7\", which is not in [node] interfaces",
            ),
            (71, "reached through \"far.71\", which is not in [node] interfaces"),
            (102, "reached through \"eth0.100.200.300\", which has more than two VLAN tags"),
            (
                112,
                "reached through \"eth0.20.s\": an 802.1ad tag within another tag is not supported",
            ),
            (120, "reached through \"eth0.0\": VLAN 0 is none"),
            (9, "its interface is missing"),
        ] {
            assert_eq!(way(index), Err(reason.to_owned()));
        }
    }

    #[test]
    fn a_ring_of_vlans_ends_nowhere() {
        let mut interfaces = machine();
        interfaces.set(2, link("eth0", Some((20, 1, false))));
        assert!(interfaces.way(20).is_err());
    }

    #[test]
    fn a_way_is_down_with_each_interface_on_it() {
        let mut interfaces = machine();
        interfaces.set(2, Link { up: false, ..link("eth0", None) });
        for index in [2, 20, 101] {
            assert_eq!(interfaces.way(index).map(|way| way.down), Ok(Some("eth0".to_owned())));
        }
        interfaces.set(2, link("eth0", None));
        interfaces.set(20, Link { up: false, ..link("eth0.20", Some((2, 20, false))) });
        assert_eq!(interfaces.way(20).map(|way| way.down), Ok(Some("eth0.20".to_owned())));
        assert_eq!(interfaces.way(2).map(|way| way.down), Ok(None));
    }

    #[test]
    fn a_vlan_is_not_configured_but_what_it_is_a_vlan_of() {
        let mut interfaces = machine();
        assert_eq!(interfaces.refuse_vlans(), Ok(()));
        interfaces.configured.push("eth0.100.200".to_owned());
        assert_eq!(
            interfaces.refuse_vlans(),
            Err("eth0.100.200 is a VLAN of eth0: write \"eth0\"".to_owned())
        );
        assert_eq!(interfaces.state("eth0.100.200"), "missing");
    }

    #[test]
    fn vips_are_announced_where_frames_to_them_reach_the_datapath() {
        let mut interfaces = machine();
        let names = |interfaces: &Interfaces| -> Vec<String> {
            interfaces.places().into_iter().map(|place| place.name).collect()
        };
        let all = ["eth0", "eth0.20", "eth0.100", "eth0.100.200", "eth0.s", "eth0.s.30"];
        assert_eq!(names(&interfaces), all);
        let other = Some(Mac([2, 0, 0, 0, 0, 9]));
        interfaces.set(20, Link { mac: other, ..link("eth0.20", Some((2, 20, false))) });
        interfaces.set(100, Link { up: false, ..link("eth0.100", Some((2, 100, false))) });
        assert_eq!(names(&interfaces), ["eth0", "eth0.s", "eth0.s.30"]);
        assert!(interfaces.has("eth0.100") && !interfaces.has("eth7") && !interfaces.has("eth1"));
    }
}
