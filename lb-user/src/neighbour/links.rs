//! Interfaces and local addresses as last told.

use std::collections::{BTreeMap, BTreeSet};

use super::{Event, Link, wire::Local};

/// What is known of interfaces and local addresses. Every change returns the events that tell of
/// it; what is known already returns none.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<u32, Link>,
    locals: BTreeSet<Local>,
}

impl Links {
    pub(super) fn is_up(&self, interface: u32) -> bool {
        self.links.get(&interface).is_some_and(|link| link.up)
    }

    pub(super) fn set(&mut self, index: u32, link: Link) -> Option<Event> {
        if self.links.get(&index) == Some(&link) {
            return None;
        }
        self.links.insert(index, link.clone());
        Some(Event::Link { index, link })
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<Event> {
        let Link { name, .. } = self.links.remove(&index)?;
        Some(Event::LinkGone { index, name })
    }

    /// All interfaces there are: others are gone, even if nobody said so.
    pub(super) fn replace(&mut self, links: BTreeMap<u32, Link>) -> Vec<Event> {
        let lost: Vec<_> =
            self.links.keys().filter(|index| !links.contains_key(index)).copied().collect();
        let gone = lost.into_iter().filter_map(|index| self.remove(index));
        let mut events: Vec<_> = gone.collect();
        events.extend(links.into_iter().filter_map(|(index, link)| self.set(index, link)));
        events
    }

    pub(super) fn add_local(&mut self, local: Local) -> Option<Event> {
        let known = self.has(local);
        self.locals.insert(local);
        (!known).then(|| told(local, true))
    }

    pub(super) fn remove_local(&mut self, local: Local) -> Option<Event> {
        let gone = self.locals.remove(&local) && !self.has(local);
        gone.then(|| told(local, false))
    }

    /// All local addresses there are.
    pub(super) fn replace_locals(&mut self, locals: &BTreeSet<Local>) -> Vec<Event> {
        let added = locals.iter().filter_map(|local| self.add_local(*local));
        let mut events: Vec<_> = added.collect();
        let lost: Vec<_> = self.locals.difference(locals).copied().collect();
        events.extend(lost.into_iter().filter_map(|local| self.remove_local(local)));
        events
    }

    /// Whether the address is on the interface, with whatever prefix.
    fn has(&self, local: Local) -> bool {
        let next = self.locals.range(Local { prefix: 0, ..local }..).next();
        next.is_some_and(|next| Local { prefix: local.prefix, ..*next } == local)
    }
}

fn told(Local { address, interface, .. }: Local, present: bool) -> Event {
    Event::LocalAddress { interface, address, present }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(address: [u8; 4], interface: u32, prefix: u8) -> Local {
        Local { address: address.into(), interface, prefix }
    }

    fn link(name: &str) -> Link {
        Link { name: name.to_owned(), mac: None, up: true, vlan: None }
    }

    #[test]
    fn an_address_with_two_prefixes_is_gone_with_the_second() {
        let mut links = Links::default();
        let address = [10, 0, 0, 1].into();
        let gone = |interface| Some(Event::LocalAddress { interface, address, present: false });
        assert!(links.add_local(local([10, 0, 0, 1], 1, 32)).is_some());
        assert_eq!(links.add_local(local([10, 0, 0, 1], 1, 24)), None);
        assert!(links.add_local(local([10, 0, 0, 1], 2, 24)).is_some());
        assert_eq!(links.remove_local(local([10, 0, 0, 1], 1, 32)), None);
        assert_eq!(links.remove_local(local([10, 0, 0, 1], 1, 24)), gone(1));
        assert_eq!(links.remove_local(local([10, 0, 0, 1], 2, 24)), gone(2));
    }

    #[test]
    fn what_was_lost_while_nobody_listened_is_told_from_the_next_full_list() {
        let mut links = Links::default();
        links.set(1, link("lo"));
        links.set(2, link("eth0"));
        let events = links.replace(BTreeMap::from([(1, link("lo")), (3, link("eth0"))]));
        let gone = Event::LinkGone { index: 2, name: "eth0".into() };
        let come = Event::Link { index: 3, link: link("eth0") };
        assert_eq!(events, [gone, come]);

        links.add_local(local([10, 0, 0, 1], 1, 32));
        let events = links.replace_locals(&BTreeSet::from([local([10, 0, 0, 2], 1, 32)]));
        let told = |last, present| super::told(local([10, 0, 0, last], 1, 32), present);
        assert_eq!(events, [told(2, true), told(1, false)]);
    }

    #[test]
    fn what_is_known_is_not_told_again() {
        let mut links = Links::default();
        assert!(links.set(2, link("eth0")).is_some());
        assert_eq!(links.set(2, link("eth0")), None);
        assert_eq!(links.remove(7), None);
        assert_eq!(links.remove_local(local([10, 0, 0, 1], 1, 32)), None);
    }
}
