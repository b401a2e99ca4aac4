//! Which number each way out of this machine has in the datapath's words.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::limits;

use super::interfaces::Way;
use crate::dataplane::Port;

/// The numbers in use. One is kept for as long as something may name it: the words of reals and
/// the programs of a former daemon go on forwarding meanwhile.
#[derive(Debug)]
pub(super) struct Ports(BTreeMap<u8, Port>);

impl Ports {
    /// Goes on with the numbers that a former daemon has given, and gives one to each of these.
    pub(super) fn new(former: BTreeMap<u8, Port>, configured: &[String]) -> Self {
        let mut ports = Self(former);
        let configured: Vec<Port> = configured.iter().map(|name| Port::of(name)).collect();
        for port in &configured {
            if ports.claim(port).is_none() {
                // All are taken, some by interfaces that are configured no more.
                ports.0.retain(|_, former| configured.contains(former));
                ports.claim(port);
            }
        }
        ports
    }

    /// The number of a port.
    pub(super) fn number(&self, port: &Port) -> Option<u8> {
        self.0.iter().find(|(_, known)| *known == port).map(|(number, _)| *number)
    }

    /// The number of a port, which gets the lowest that is free if it has none.
    pub(super) fn claim(&mut self, port: &Port) -> Option<u8> {
        self.number(port).or_else(|| {
            let free = (1..limits::PORTS as u8).find(|number| !self.0.contains_key(number))?;
            self.0.insert(free, port.clone());
            Some(free)
        })
    }

    /// Forgets the numbers that are neither named nor an interface's own; returns them.
    pub(super) fn release(&mut self, named: &BTreeSet<u8>, configured: &[String]) -> Vec<u8> {
        let own = |port: &Port| port.outer.is_none() && configured.contains(&port.interface);
        let unused = |(number, port): (&u8, &Port)| {
            (!named.contains(number) && !own(port)).then_some(*number)
        };
        let unused: Vec<u8> = self.0.iter().filter_map(unused).collect();
        self.0.retain(|number, _| !unused.contains(number));
        unused
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, &Port)> {
        self.0.iter().map(|(number, port)| (*number, port))
    }

    /// Why a way without a number has none.
    pub(super) fn exhausted(way: &Way) -> String {
        let most = limits::PORTS - 1;
        format!(
            "reached through \"{}\", but all {most} ports of the datapath are in use",
            way.device
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tag;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn numbers_outlive_the_daemon_that_gave_them() {
        let first = Ports::new(BTreeMap::new(), &names(&["eth0", "eth1"]));
        let second = Ports::new(first.0.clone(), &names(&["eth2", "eth1"]));
        for (port, number) in [("eth0", 1), ("eth1", 2), ("eth2", 3)] {
            assert_eq!(second.number(&Port::of(port)), Some(number));
        }
    }

    #[test]
    fn a_number_is_free_once_nothing_names_it() {
        let configured = names(&["eth0"]);
        let mut ports = Ports::new(BTreeMap::new(), &configured);
        let outer = |vlan| Port { outer: Some(Tag { vlan, service: true }), ..Port::of("eth0") };
        assert_eq!(ports.claim(&outer(7)), Some(2));
        assert_eq!(ports.claim(&outer(8)), Some(3));
        assert_eq!(ports.release(&[2, 3].into(), &configured), Vec::<u8>::new());
        assert_eq!(ports.release(&[3].into(), &configured), [2]);
        assert_eq!(ports.claim(&outer(8)), Some(3));
        assert_eq!(ports.claim(&outer(9)), Some(2));
    }

    #[test]
    fn there_are_fifteen_and_configured_interfaces_come_first() {
        let mut ports = Ports::new(BTreeMap::new(), &names(&["eth0"]));
        let outer = |vlan| Port { outer: Some(Tag { vlan, service: true }), ..Port::of("eth0") };
        for vlan in 1..15 {
            assert_eq!(ports.claim(&outer(vlan)), Some(vlan as u8 + 1));
        }
        assert_eq!(ports.claim(&outer(15)), None);
        let next = Ports::new(ports.0, &names(&["eth0", "eth1"]));
        assert_eq!(next.number(&Port::of("eth0")), Some(1));
        assert_eq!(next.number(&Port::of("eth1")), Some(2));
    }
}
