//! The datapath's hold on the interfaces: where the program is attached, and what each port is.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use lb_common::{PortWord, RealWord};

use super::{Reconciler, interfaces::Way, ports::Ports};
use crate::{
    dataplane::{Error, Mode, Port},
    health::Reach,
    model::{Mac, Model, Real, Tag, Vip, XdpChoice},
    neighbour::hides_tags,
};

/// Where and how the program is attached.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    /// By the interface's name: its index, and how.
    held: BTreeMap<String, (u32, Mode)>,
    /// How all were attached at the start: a native program can send only through interfaces
    /// whose driver can.
    mode: Option<Mode>,
    /// The interfaces that were found to hide VLAN tags, and said so once.
    hiding: BTreeSet<String>,
}

impl Reconciler {
    /// How the program is attached to an interface, if it is.
    pub(super) fn mode_on(&self, interface: &str) -> Option<Mode> {
        self.attachments.held.get(interface).map(|(_, mode)| *mode)
    }

    /// Attaches the program to every configured interface that is there, or replaces the running
    /// ones.
    ///
    /// # Errors
    ///
    /// Where an interface is busy or unable.
    pub async fn attach(&mut self) -> Result<(), Error> {
        let node = &self.config.model.node;
        let interfaces = &self.network.interfaces;
        let there = |name: &String| Some((name.clone(), interfaces.find(name)?.0));
        let there: Vec<(String, u32)> = node.interfaces.iter().filter_map(there).collect();
        let number = |name: &str| self.ports.number(&Port::of(name)).unwrap_or_default();
        let wanted: Vec<(u8, &str)> =
            there.iter().map(|(name, _)| (number(name), name.as_str())).collect();
        let mode = self.kernel.attach_all(&wanted, node.xdp, &node.pin_dir).await?;
        self.attachments.mode = Some(mode);
        for (name, index) in there {
            log::info!("{name}: XDP attached, {}", mode.label());
            self.attachments.held.insert(name, (index, mode));
        }
        self.look_for_hidden_tags();
        Ok(())
    }

    /// Attaches the program to interfaces that have come, and gives up those that are gone. One
    /// that was made anew is both.
    pub(super) async fn follow_interfaces(&mut self) {
        for name in self.network.interfaces.configured().to_vec() {
            let now = self.network.interfaces.find(&name).map(|(index, _)| index);
            let before = self.attachments.held.get(&name).map(|(index, _)| *index);
            if before.is_some() && before != now {
                self.attachments.held.remove(&name);
                if let Err(error) = self.kernel.detach(&name, &self.config.model.node.pin_dir) {
                    log::error!("{name}: {error}");
                }
            }
            if let Some(index) = now.filter(|_| before != now) {
                match self.attach_late(&name).await {
                    Ok(mode) => {
                        log::info!("{name}: XDP attached, {}", mode.label());
                        self.attachments.held.insert(name, (index, mode));
                    }
                    Err(error) => log::error!("{error}"),
                }
            }
        }
    }

    /// Says so where VLANs cannot work: the program takes a frame whose tag the network card has taken
    /// out for an untagged one.
    pub(super) fn look_for_hidden_tags(&mut self) {
        let hides = |name: &String| hides_tags(name).unwrap_or(false);
        let hiding: BTreeSet<String> =
            self.network.interfaces.trunks().into_iter().filter(hides).collect();
        for name in hiding.difference(&self.attachments.hiding) {
            log::warn!(
                "{name} has VLANs, and takes their tags out of what it receives, so that XDP does \
                 not see them: `ethtool -K {name} rxvlan off`"
            );
        }
        self.attachments.hiding = hiding;
    }

    /// Attaches as the others are. To attach those anew as this one can would let frames to VIPs
    /// pass by the program for a moment, which would end connections: so, unlike at a start, an
    /// interface without native XDP is generic beside native ones.
    async fn attach_late(&mut self, name: &str) -> Result<Mode, Error> {
        let number = self.ports.number(&Port::of(name)).unwrap_or_default();
        let node = &self.config.model.node;
        let mode = self.attachments.mode.unwrap_or(Mode::Native);
        match self.kernel.attach(number, name, mode, &node.pin_dir).await {
            Err(Error::NoNative { source, .. }) if node.xdp == XdpChoice::Auto => {
                log::warn!(
                    "{name}: no native XDP ({source}): generic, beside others that are native: what \
                     arrives there for reals behind {name} may be lost; a restart of lbd makes all generic"
                );
                self.kernel.attach(number, name, Mode::Generic, &node.pin_dir).await?;
                Ok(Mode::Generic)
            }
            result => result.map(|()| mode),
        }
    }

    /// Writes what each port is now: its interface's MAC address and index, if it is there.
    pub(super) fn write_ports(&mut self) {
        for real in self.servers() {
            if let Ok(way) = self.network.way(&real) {
                self.ports.claim(&way.port);
            }
        }
        for (number, port) in self.ports.iter() {
            let index = self.network.interfaces.find(&port.interface).map(|(index, _)| index);
            let word = self.port_word(port);
            self.kernel.set_interface(number, Some(port));
            if let Err(error) = self.kernel.set_device(number, index) {
                log::error!("{}: {error}", port.interface);
            }
            self.kernel.set_port(number, word);
        }
    }

    /// Nobody's as long as the interface is not there.
    pub(super) fn port_word(&self, port: &Port) -> PortWord {
        let found = self.network.interfaces.find(&port.interface);
        let Some(mac) = found.and_then(|(_, link)| link.mac) else {
            return PortWord::default();
        };
        let word = PortWord::new(mac.0);
        port.outer.map_or(word, |Tag { vlan, service }| word.in_outer_vlan(vlan, service))
    }

    /// Gives up the ports that nothing names any more: neither a way nor a word that was written.
    pub(super) fn release_ports(&mut self) {
        let ways = self.servers().into_iter().filter_map(|real| self.network.way(&real).ok());
        let mut named: BTreeSet<u8> = ways.filter_map(|way| self.ports.number(&way.port)).collect();
        let words = self.state.blocks.iter().flat_map(|block| block.members.values());
        named.extend(words.map(|occupant| occupant.word.port()));
        for number in self.ports.release(&named, self.network.interfaces.configured()) {
            self.kernel.set_port(number, PortWord::default());
            self.kernel.set_interface(number, None);
            if let Err(error) = self.kernel.set_device(number, None) {
                log::error!("{error}");
            }
        }
    }

    /// All reals and sorry servers, and those that have left and still have flows: one for each address and
    /// configured MAC address. Thousands of VIPs share a few servers, and where
    /// a real is depends on nothing else.
    pub(super) fn servers(&self) -> Vec<Real> {
        let mut servers = self.fleet.clone();
        let mut seen: HashSet<_> = servers.iter().map(|real| (real.address, real.mac)).collect();
        let left = self.ledger.all_left();
        servers.extend(left.filter(|real| seen.insert((real.address, real.mac))));
        servers
    }

    /// How a real is reached, and the word that leads there: nobody's as long as nothing does.
    pub(super) fn reach(&self, real: &Real) -> Arc<(Reach, RealWord)> {
        self.reached.get(real, || self.find_reach(real))
    }

    fn find_reach(&self, real: &Real) -> (Reach, RealWord) {
        let (reach, way) = (self.network.reach(real), self.network.way(real));
        let (Some(mac), Ok(way)) = (reach.mac(), way) else {
            let believed = matches!(reach, Reach::Inherited(_));
            return (if believed { Reach::Unresolved } else { reach }, RealWord::NONE);
        };
        match word(&self.ports, &way, mac.0) {
            Some(word) => (reach, word),
            None => (Reach::Cut(Ports::exhausted(&way)), RealWord::NONE),
        }
    }
}

/// How reals are reached, remembered while many are asked for and nothing changes: thousands of VIPs share a few
/// servers.
#[derive(Default)]
pub(super) struct Reached(RefCell<Option<Known>>);

type Known = HashMap<(IpAddr, Option<Mac>), Arc<(Reach, RealWord)>>;

impl Reached {
    /// From now on nothing is learnt of the network and its ports.
    pub(super) fn begin(&self) {
        self.0.replace(Some(Known::new()));
    }

    /// Something may be, from now on.
    pub(super) fn end(&self) {
        self.0.replace(None);
    }

    fn get(&self, real: &Real, find: impl FnOnce() -> (Reach, RealWord)) -> Arc<(Reach, RealWord)> {
        let find = || Arc::new(find());
        match &mut *self.0.borrow_mut() {
            Some(known) => Arc::clone(known.entry((real.address, real.mac)).or_insert_with(find)),
            None => find(),
        }
    }
}

/// The reals and sorry servers of a configuration: one for each address and configured MAC address.
pub(super) fn fleet(model: &Model) -> Vec<Real> {
    let sorry = |vip: &Vip| vip.sorry.map(Real::plain);
    let mut seen = HashSet::new();
    let mut fleet = Vec::new();
    for vip in &model.vips {
        for real in vip.reals.iter().chain(&sorry(vip)) {
            if seen.insert((real.address, real.mac)) {
                fleet.push(real.clone());
            }
        }
    }
    fleet
}

fn word(ports: &Ports, way: &Way, mac: [u8; 6]) -> Option<RealWord> {
    let word = RealWord::new(mac, ports.number(&way.port)?);
    Some(way.vlan.map_or(word, |vlan| word.in_vlan(vlan)))
}
