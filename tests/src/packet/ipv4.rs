//! IPv4 (RFC 791).

use std::net::Ipv4Addr;

use super::{Icmp, Link, Network, Tcp, Udp, checksum::checksum, transport::transports};

const ETHERTYPE: u16 = 0x0800;
const DONT_FRAGMENT: u16 = 1 << 14;
const MORE_FRAGMENTS: u16 = 1 << 13;
const ICMP: u8 = 1;

/// The IPv4 header of a packet to be.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    link: Link,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    tos: u8,
    id: u16,
    fragment: u16,
    ttl: u8,
    options: Vec<u8>,
    version: u8,
    header_words: Option<u8>,
    total_length: Option<u16>,
    protocol: Option<u8>,
    checksum: Option<u16>,
}

transports!(Ipv4, V4, ICMP);

impl Ipv4 {
    pub(super) fn new(link: Link, source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self {
            link,
            source,
            destination,
            tos: 0,
            id: 0,
            fragment: 0,
            ttl: 64,
            options: Vec::new(),
            version: 4,
            header_words: None,
            total_length: None,
            protocol: None,
            checksum: None,
        }
    }

    /// Sets the DSCP and ECN byte.
    #[must_use]
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// Sets the identification.
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// Sets the time to live, 64 otherwise.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Forbids fragmentation.
    #[must_use]
    pub fn dont_fragment(mut self) -> Self {
        self.fragment |= DONT_FRAGMENT;
        self
    }

    /// Makes it a fragment which starts at this byte of the datagram, a multiple of eight, and
    /// after which more come or not.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = (offset / 8) | if more { MORE_FRAGMENTS } else { 0 };
        self
    }

    /// Adds options; zeros (end of list) fill them up to whole words.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options.extend(options);
        self.options.resize(self.options.len().next_multiple_of(4), 0);
        self
    }

    /// Says another version.
    #[must_use]
    pub fn version(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// Says another header length, in words of four bytes.
    #[must_use]
    pub fn header_words(mut self, words: u8) -> Self {
        self.header_words = Some(words);
        self
    }

    /// Says another total length.
    #[must_use]
    pub fn total_length(mut self, length: u16) -> Self {
        self.total_length = Some(length);
        self
    }

    /// Says another protocol than what follows is.
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Says another checksum.
    #[must_use]
    pub fn checksum(mut self, checksum: u16) -> Self {
        self.checksum = Some(checksum);
        self
    }

    /// The packet, from the IP header on.
    pub(super) fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header_length = 20 + self.options.len();
        let words = self.header_words.unwrap_or((header_length / 4) as u8);
        let length = self.total_length.unwrap_or((header_length + payload.len()) as u16);
        let mut header = vec![self.version << 4 | words & 0xf, self.tos];
        header.extend([length, self.id, self.fragment].map(u16::to_be_bytes).concat());
        header.extend([self.ttl, self.protocol.unwrap_or(protocol), 0, 0]);
        header.extend([self.source, self.destination].map(|address| address.octets()).concat());
        header.extend(&self.options);
        let sum = self.checksum.unwrap_or_else(|| checksum(&[&header]));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend(payload);
        header
    }

    /// The frame around such a packet.
    pub(super) fn frame(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        self.link.carry(ETHERTYPE, &self.packet(protocol, payload))
    }

    /// What transports put before their checksum.
    pub(super) fn pseudo_header(&self, protocol: u8, length: u16) -> Vec<u8> {
        let mut bytes = [self.source, self.destination].map(|address| address.octets()).concat();
        bytes.extend([0, protocol]);
        bytes.extend(length.to_be_bytes());
        bytes
    }
}
