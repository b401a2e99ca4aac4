//! The programs of detours, on the interfaces that they are wanted on. Everything of them goes with this
//! process, but on kernels before 6.6, where [`sweep`] removes what is left.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{HashMap, Map, MapData, MapError},
    programs::{
        LinkOrder, SchedClassifier, TcAttachType,
        links::Link as _,
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
    },
    util::KernelVersion,
};
use lb_common::{
    Address as _, V4, V6,
    detour::{Destination, Prefix, Proxy, ProxyKey},
    layout::mac_bits,
};
use nix::net::if_::if_indextoname;

use super::{error::Error, kernel::missing, load::refused};
use crate::model::{Mac, ProbePrefixes};

/// The BPF object, built from `lb-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/detour"));

/// The programs, and where in the path of an interface's packets they are.
const PROGRAMS: [(&str, TcAttachType); 2] =
    [("lb_detour_in", TcAttachType::Ingress), ("lb_detour_out", TcAttachType::Egress)];

/// Where the programs are found again on kernels without links: nobody else's place. (By name they are not:
/// without more rights than the daemon has, aya gives them none.)
const PLACE: NlOptions =
    NlOptions { priority: 173, handle: TcHandle::new(0x6c62, 0x64), classid: None };

/// The loaded programs and their tables.
pub struct DetourPrograms {
    ebpf: Ebpf,
    destinations: HashMap<MapData, ProxyKey, Destination>,
    proxies: HashMap<MapData, Destination, Proxy>,
    /// Detached when they are dropped.
    links: BTreeMap<u32, Vec<SchedClassifierLink>>,
}

/// An address that stands for a VIP at one machine, as the programs know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetourEntry {
    /// The address.
    pub proxy: IpAddr,
    /// The VIP.
    pub vip: IpAddr,
    /// The machine's MAC address.
    pub mac: Mac,
    /// The index of the interface on whose network it is.
    pub interface: u32,
    /// The source address of what is sent to such an address.
    pub own: IpAddr,
}

impl DetourEntry {
    fn key(&self) -> ProxyKey {
        ProxyKey(words(self.proxy))
    }

    fn destination(&self) -> Destination {
        let Self { vip, mac, interface, .. } = *self;
        Destination { vip: words(vip), mac: mac_bits(mac.0), interface: interface.into() }
    }
}

impl DetourPrograms {
    /// Loads the programs, for addresses with these prefixes.
    ///
    /// # Errors
    ///
    /// Where the permissions or the kernel do not serve.
    pub fn load(prefixes: ProbePrefixes) -> Result<Self, Error> {
        let ((v4, v4_length), (v6, v6_length)) = (prefixes.v4, prefixes.v6);
        let mask4 =
            Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(v4_length)).unwrap_or(0));
        let mask6 =
            Ipv6Addr::from_bits(u128::MAX.checked_shl(128 - u32::from(v6_length)).unwrap_or(0));
        let prefix4 = Prefix { first: words((v4 & mask4).into()), mask: words(mask4.into()) };
        let prefix6 = Prefix { first: words((v6 & mask6).into()), mask: words(mask6.into()) };
        let mut loader = EbpfLoader::new();
        loader.override_global("PREFIX4", &prefix4, true);
        loader.override_global("PREFIX6", &prefix6, true);
        let mut ebpf = loader.load(OBJECT).map_err(|error| refused(&error))?;
        for (name, _) in PROGRAMS {
            let failed = |error| Error::kernel(format!("loading the program {name}"), &error);
            program(&mut ebpf, name)?.load().map_err(failed)?;
        }
        Ok(Self {
            destinations: table(&mut ebpf, "DESTINATIONS")?,
            proxies: table(&mut ebpf, "PROXIES")?,
            links: BTreeMap::new(),
            ebpf,
        })
    }

    /// Attaches the programs to an interface where they are not yet.
    ///
    /// # Errors
    ///
    /// Where the interface is gone or the kernel does not serve.
    pub fn attach(&mut self, interface: u32) -> Result<(), Error> {
        if self.links.contains_key(&interface) {
            return Ok(());
        }
        let gone = |_| Error::NoInterface { name: format!("index {interface}") };
        let name = if_indextoname(interface).map_err(gone)?;
        let name = name.to_string_lossy().into_owned();
        if !has_links() {
            make_room(&name)?;
        }
        let mut links = Vec::new();
        for (program_name, way) in PROGRAMS {
            let failed =
                |error| Error::kernel(format!("attaching {program_name} to {name}"), &error);
            let program = program(&mut self.ebpf, program_name)?;
            let link = program
                .attach_with_options(&name, way, options())
                .and_then(|id| program.take_link(id));
            links.push(link.map_err(failed)?);
        }
        self.links.insert(interface, links);
        Ok(())
    }

    /// Detaches the programs from all interfaces but these.
    pub fn detach_others(&mut self, keep: impl Fn(u32) -> bool) {
        self.links.retain(|interface, _| keep(*interface));
    }

    /// Makes an address stand for its VIP.
    ///
    /// # Errors
    ///
    /// When the tables cannot be written.
    pub fn insert(&mut self, entry: &DetourEntry) -> Result<(), Error> {
        let failed = |error| Error::kernel(format!("entering {}", entry.proxy), &error);
        let proxy = Proxy { address: words(entry.proxy), own: words(entry.own) };
        self.proxies.insert(entry.destination(), proxy, 0).map_err(failed)?;
        self.destinations.insert(entry.key(), entry.destination(), 0).map_err(failed)
    }

    /// Makes an address stand for nothing.
    ///
    /// # Errors
    ///
    /// When the tables cannot be written.
    pub fn remove(&mut self, entry: &DetourEntry) -> Result<(), Error> {
        let gone = |removed| match removed {
            Err(MapError::KeyNotFound) => Ok(()),
            other => other,
        };
        gone(self.destinations.remove(&entry.key()))
            .and_then(|()| gone(self.proxies.remove(&entry.destination())))
            .map_err(|error| Error::kernel(format!("removing {}", entry.proxy), &error))
    }
}

/// Removes from an interface the programs of a daemon that was killed, where the kernel has not done
/// so.
pub fn sweep(interface: &str) {
    if has_links() {
        return;
    }
    for (program, way) in PROGRAMS {
        let NlOptions { priority, handle, classid } = PLACE;
        let link = SchedClassifierLink::attached(interface, way, priority, handle, classid);
        let detached = link.is_ok_and(|link| link.detach().is_ok());
        // Mostly there is none.
        if detached {
            log::info!("{interface}: removed {program}, which was left there");
        }
    }
}

/// Whether the kernel attaches such programs by links, which go with their process.
fn has_links() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

/// Before others, which may decide that nobody else is asked.
fn options() -> TcAttachOptions {
    if has_links() {
        TcAttachOptions::TcxOrder(LinkOrder::first())
    } else {
        TcAttachOptions::Netlink(PLACE)
    }
}

/// Sees to it that filters can be attached. That stays: by the end somebody else may use it.
fn make_room(interface: &str) -> Result<(), Error> {
    match tc::qdisc_add_clsact(interface) {
        Ok(()) => Ok(()),
        Err(TcError::AlreadyAttached) => Ok(()),
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::ENOENT) => {
            Err(Error::Kernel {
                what: format!("adding clsact to {interface}"),
                detail: "the kernel does not know it: `modprobe -a sch_ingress cls_bpf`".to_owned(),
            })
        }
        Err(error) => Err(Error::kernel(format!("adding clsact to {interface}"), &error)),
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, Error> {
    let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
    program.try_into().map_err(|error| Error::kernel(format!("program {name}"), &error))
}

fn table<K: Pod, V: Pod>(ebpf: &mut Ebpf, name: &str) -> Result<HashMap<MapData, K, V>, Error> {
    let map: Map = ebpf.take_map(name).ok_or_else(|| missing(name))?;
    HashMap::try_from(map).map_err(|error| Error::kernel(format!("map {name}"), &error))
}

fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => V4::new(address.octets()).words(),
        IpAddr::V6(address) => V6::new(address.octets()).words(),
    }
}
