//! What the operator asked for, checked: a value of these types can be planned and loaded without
//! a further question. `config` makes them out of the file; everything to the right only reads them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use lb_common::{Seed, limits};

pub use access::{Access, GROUP, Principal, Role};
pub use check::{
    Check, CheckKind, CheckVia, DnsCheck, ExecCheck, HttpCheck, HttpVersion, Initial, Tls,
};
pub use room::Room;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// This machine.
    pub node: Node,
    /// The VIPs in the file's order; names and service keys are unique.
    pub vips: Vec<Vip>,
    /// What is called when something changes.
    pub hooks: Hooks,
    /// Who may ask for what; where it is absent, who is in group `lb` may do everything.
    pub access: Option<Access>,
}

/// What is called with every transition, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// A program with its arguments, which gets the event on its standard input.
    pub exec: Vec<String>,
    /// A URL to which the event is posted.
    pub webhook: Option<String>,
}

/// This machine's part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where XDP is attached; at least one, unique.
    pub interfaces: Vec<String>,
    /// How XDP is attached.
    pub xdp: XdpChoice,
    /// The control socket.
    pub socket: PathBuf,
    /// What must survive a reboot: the hash seed, the addresses that were assigned.
    pub state_dir: PathBuf,
    /// A directory on a BPF file system, for link and maps.
    pub pin_dir: PathBuf,
    /// The seed of the flow hash, where the file gives one.
    pub hash_seed: Option<HashSeed>,
    /// Where the read-only HTTP listener binds, if anywhere.
    pub listen: Option<SocketAddr>,
    /// How many flows can be noted.
    pub tables: FlowTables,
    /// From which addresses are taken that stand for a VIP at one real, of each family.
    pub probe_prefixes: ProbePrefixes,
    /// As whom programs are run, checks and hooks.
    pub exec_user: String,
}

/// Addresses that nobody else uses, for probes of a VIP at one real: an address and the length of the
/// prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbePrefixes {
    /// Of IPv4, 8 to 20 bits long.
    pub v4: (Ipv4Addr, u8),
    /// Of IPv6, 16 to 104 bits long.
    pub v6: (Ipv6Addr, u8),
}

impl Default for ProbePrefixes {
    /// Those that are set aside for benchmarks (RFC 2544, RFC 5180), which no network routes.
    fn default() -> Self {
        Self {
            v4: (Ipv4Addr::new(198, 18, 0, 0), 15),
            v6: (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48),
        }
    }
}

/// The numbers of entries in the tables of noted flows, [`FlowTables::LEAST`] to
/// [`FlowTables::MOST`] each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTables {
    /// Established TCP flows; none is ever forgotten for another.
    pub pinned: u32,
    /// TCP flows that have begun; when it is full the oldest are forgotten.
    pub fresh: u32,
    /// Flows of all other protocols; when it is full the oldest are forgotten.
    pub datagrams: u32,
}

impl FlowTables {
    /// The smallest size of a table.
    pub const LEAST: u32 = 1 << 10;

    /// The largest size of a table.
    pub const MOST: u32 = 1 << 24;
}

impl Default for FlowTables {
    fn default() -> Self {
        Self { pinned: 1 << 18, fresh: 1 << 17, datagrams: 1 << 17 }
    }
}

/// The seed of the flow hash, kept out of logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashSeed(pub Seed);

/// A VIP: a virtual address with its ports and its pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// Unique, 1 to 63 of `[A-Za-z0-9._-]`.
    pub name: String,
    /// The virtual address.
    pub address: IpAddr,
    /// The ports it serves; at least one, none within another.
    pub ports: Vec<Ports>,
    /// Who makes routers find it.
    pub announce: Announce,
    /// What is hashed.
    pub hash: HashMode,
    /// How long a silent flow is still honoured after a change.
    pub idle_timeout: Duration,
    /// How long a drain lasts at most.
    pub drain_timeout: Duration,
    /// What becomes of the flows that are open when a drain has lasted that long.
    pub on_deadline: OnDeadline,
    /// How long unknown UDP flows count as old after a change.
    pub udp_idle_timeout: Duration,
    /// Whether UDP flows keep their real across changes.
    pub udp: UdpMode,
    /// How long a real that comes into service takes to get its whole part of the new flows; at
    /// once where there is none.
    pub slow_start: Option<Duration>,
    /// Takes new flows while no real is up.
    pub sorry: Option<IpAddr>,
    /// How health is checked: all must pass.
    pub checks: Vec<Check>,
    /// Whether the operator wants it in service.
    pub enabled: bool,
    /// How many reals must be up.
    pub min_up: Option<Watermarks>,
    /// Below which share of reals that are up, in percent, all are used, be they up or not.
    pub panic_threshold: Option<u8>,
    /// The pool in the file's order; addresses are unique, of the VIP's family.
    pub reals: Vec<Real>,
}

/// With fewer reals than `low` a VIP is down; it is up again with `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The fewest that are enough.
    pub low: Amount,
    /// How many it takes to return, not less than `low`.
    pub high: Amount,
}

/// A number of reals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many, 1 or more.
    Count(u16),
    /// So many percent of the pool, 1 to 100.
    Share(u8),
}

/// A real server in the pool of a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Real {
    /// Its real address.
    pub address: IpAddr,
    /// Its part of the flows relative to the others', 0 to [`limits::WEIGHT_MAX`].
    pub weight: u16,
    /// What the operator wants of it.
    pub state: RealState,
    /// Its MAC address where it is not to be resolved.
    pub mac: Option<Mac>,
    /// It counts as up whatever its checks say.
    pub force_up: bool,
}

impl Real {
    /// One of which nothing is configured but its address, such as a sorry server.
    #[must_use]
    pub fn plain(address: IpAddr) -> Self {
        Self { address, weight: 1, state: RealState::Active, mac: None, force_up: false }
    }
}

/// Ports that a VIP serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ports {
    /// Everything sent to the address (`any`).
    Any,
    /// All ports of a protocol (`tcp/*`).
    All(Protocol),
    /// One port (`tcp/80`), not 0.
    One(Protocol, u16),
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

/// Declares an enum of words that stand in the file, on the command line and in JSON.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const WORDS: &[&str] = &[$($word),+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self { $(Self::$variant => $word,)+ })
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("unknown {} \"{word}\"; one of: {}", $what, Self::WORDS.join(", "))),
                }
            }
        }
    };
}

// Here, since it uses the macro.
mod access;
mod check;
mod room;

words! {
    /// How XDP may be attached.
    #[derive(Default)]
    XdpChoice, "xdp mode" {
        /// In the driver where it can, else in the generic hook.
        #[default]
        Auto = "auto",
        /// In the driver or not at all.
        Native = "native",
        /// In the generic hook.
        Generic = "generic",
    }
}

words! {
    /// Who makes routers find a VIP.
    Announce, "announce mode" {
        /// The daemon assigns the address and announces it by gratuitous ARP.
        Arp = "arp",
        /// Something else does: keepalived, a BGP speaker.
        None = "none",
    }
}

words! {
    /// What of a packet chooses the slot.
    HashMode, "hash mode" {
        /// Addresses, protocol and ports.
        Flow = "flow",
        /// The client's address alone.
        Source = "source",
    }
}

words! {
    /// How UDP is treated when a ring changes.
    UdpMode, "udp mode" {
        /// Flows keep their real.
        Flow = "flow",
        /// Every packet for itself.
        Packet = "packet",
    }
}

words! {
    /// What becomes of the open flows of a real whose drain has reached its deadline.
    #[derive(Default)]
    OnDeadline, "on_deadline" {
        /// Another real gets them and knows nothing of them: TCP answers with a reset.
        #[default]
        Rehash = "rehash",
        /// The balancer resets TCP flows itself, so that their clients know at once.
        Reset = "reset",
    }
}

words! {
    /// What the operator wants of a VIP.
    #[derive(Default)]
    VipState, "vip state" {
        /// In service.
        #[default]
        Enabled = "enabled",
        /// Out of service, its configuration kept.
        Disabled = "disabled",
    }
}

words! {
    /// What the operator wants of a real server.
    RealState, "real state" {
        /// In service.
        Active = "active",
        /// No new flows, open ones stay.
        Drain = "drain",
        /// Out of service at once.
        Disabled = "disabled",
    }
}

/// A VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    /// The VLAN's number.
    pub vlan: u16,
    /// Whether it is a provider's tag (802.1ad) and not a customer's (802.1Q).
    pub service: bool,
}

/// An Ethernet address, written `02:00:00:00:00:0b`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether it may be a machine's: neither zero nor a group address (IEEE 802.3, 3.2.3).
    #[must_use]
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a MAC address; write it as 02:00:00:00:00:0b");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        let mac = Self(bytes);
        if !mac.is_unicast() {
            return Err(format!(
                "{mac} is not the address of one machine (zero, broadcast or multicast)"
            ));
        }
        Ok(mac)
    }
}

impl Protocol {
    /// The protocol number in the IP header (IANA protocol numbers).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(format!("unknown protocol \"{word}\"; one of: tcp, udp")),
        }
    }
}

impl Ports {
    /// Whether every packet that `other` matches is matched by `self` too.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::All(a), Self::All(b) | Self::One(b, _)) => a == b,
            _ => self == other,
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::All(protocol) => write!(f, "{protocol}/*"),
            Self::One(protocol, port) => write!(f, "{protocol}/{port}"),
        }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is not a port; write tcp/80, udp/53, tcp/*, udp/* or any");
        if text == "any" {
            return Ok(Self::Any);
        }
        let (protocol, port) = text.split_once('/').ok_or_else(wrong)?;
        let protocol = protocol.parse().map_err(|_| wrong())?;
        match port {
            "*" => Ok(Self::All(protocol)),
            _ => match port.parse() {
                Ok(0) => Err(format!(
                    "\"{text}\": port 0 cannot be served; write {protocol}/* for all ports"
                )),
                Ok(port) => Ok(Self::One(protocol, port)),
                Err(_) => Err(wrong()),
            },
        }
    }
}

impl HashSeed {
    /// What may be shown of the seed: enough to see that two balancers have the same.
    #[must_use]
    pub fn id(&self) -> String {
        let id = lb_common::hash::flow(&self.0, 0, 0, 0, 0);
        format!("{:08x}", (id >> 32) as u32)
    }
}

impl Amount {
    /// How many reals that are, of so many.
    #[must_use]
    pub fn of(self, reals: usize) -> usize {
        match self {
            Self::Count(count) => count.into(),
            Self::Share(percent) => (reals * usize::from(percent)).div_ceil(100),
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let amount = match text.strip_suffix('%') {
            Some(share) => digits(share).filter(|share| *share <= 100).map(Self::Share),
            None => digits(text).map(Self::Count),
        };
        amount.ok_or_else(|| {
            format!("\"{text}\" is not a number of reals; write one from 1 on, such as 2, or a share such as 50%")
        })
    }
}

/// A number from 1 on, without a sign.
fn digits<T: FromStr + Default + PartialEq>(text: &str) -> Option<T> {
    let bare = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| bare && *number != T::default())
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Share(percent) => write!(f, "{percent}%"),
        }
    }
}

impl fmt::Debug for HashSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashSeed({})", self.id())
    }
}

impl FromStr for HashSeed {
    type Err = String;

    /// 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| {
            "a hash seed has 32 hexadecimal digits; make one with `openssl rand -hex 16`".to_owned()
        })?;
        let (a, b) = bytes.split_at(8);
        let word = |half: &[u8]| half.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Ok(Self(Seed([word(a), word(b)])))
    }
}

impl Vip {
    /// The reals that own slots when all is well: those with a weight.
    pub fn weighted(&self) -> impl Iterator<Item = &Real> {
        self.reals.iter().filter(|real| real.weight > 0)
    }

    /// What the operator wants of it.
    #[must_use]
    pub fn state(&self) -> VipState {
        if self.enabled { VipState::Enabled } else { VipState::Disabled }
    }

    /// The ring length for this pool: the smallest of five primes that leaves at least 100 slots
    /// for each unit of reals when the pool has grown fourfold. A unit is a real of the smallest
    /// weight, so that weights of 100 each do not ask for a ring a hundred times longer.
    #[must_use]
    pub fn ring_len(&self) -> u32 {
        const LENGTHS: [u32; 5] = [1021, 4093, 16_381, 65_537, limits::RING_MAX];
        let weights = || self.weighted().map(|real| u32::from(real.weight));
        let units = weights().sum::<u32>().div_ceil(weights().min().unwrap_or(1));
        let wanted = units.saturating_mul(400);
        LENGTHS.into_iter().find(|len| *len >= wanted).unwrap_or(limits::RING_MAX)
    }
}
