//! Reads the file as it comes, for people.

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};
use pcap_file::{
    PcapError,
    pcapng::{
        Block, PcapNgReader,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
        },
    },
};

use super::write::Direction;
use crate::model::Mac;

/// What keeps a capture from being read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It ends, or breaks off.
    #[error("the capture broke off: {0}")]
    Broken(#[from] io::Error),
    /// It is no capture.
    #[error("what came is no capture: {0}")]
    Garbled(String),
}

/// A frame of a capture, as `lbctl capture` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, since 1970.
    pub time: Duration,
    /// On which interface.
    pub interface: String,
    /// Whether it left, and did not come.
    pub is_outbound: bool,
    /// The frame in a line, like `02:… > 02:…, 198.51.100.7:40000 > 192.0.2.10:80 tcp S, 74 bytes`.
    pub frame: String,
    /// What was decided about it.
    pub comment: String,
    /// How many were not taken before it.
    pub missed: u64,
}

/// The frames of a capture, as they come.
pub struct Lines<R: Read>(PcapNgReader<R>);

impl<R: Read> Lines<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    ///
    /// If that is not one of a capture.
    pub fn new(reader: R) -> Result<Self, ReadError> {
        Ok(Self(PcapNgReader::new(reader).map_err(failed)?))
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = Result<Line, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let packet = match self.0.next_block()? {
                Ok(Block::EnhancedPacket(packet)) => packet.into_owned(),
                Ok(_) => continue,
                Err(error) => return Some(Err(failed(error))),
            };
            return Some(Ok(line(&packet, self.0.packet_interface(&packet))));
        }
    }
}

fn failed(error: PcapError) -> ReadError {
    match error {
        PcapError::IoError(error) => ReadError::Broken(error),
        other => ReadError::Garbled(other.to_string()),
    }
}

fn line(
    packet: &EnhancedPacketBlock<'_>,
    interface: Option<&InterfaceDescriptionBlock<'_>>,
) -> Line {
    let name = interface.into_iter().flat_map(|interface| &interface.options);
    let mut name = name.filter_map(|option| match option {
        InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
        _ => None,
    });
    let mut line = Line {
        time: packet.timestamp,
        interface: name.next().unwrap_or_default(),
        is_outbound: false,
        frame: frame(&packet.data, packet.original_len),
        comment: String::new(),
        missed: 0,
    };
    for option in &packet.options {
        match option {
            EnhancedPacketOption::Comment(comment) => line.comment = comment.to_string(),
            EnhancedPacketOption::Flags(flags) => {
                line.is_outbound = flags & 0b11 == Direction::Outbound as u32;
            }
            EnhancedPacketOption::DropCount(missed) => line.missed = *missed,
            _ => {}
        }
    }
    line
}

/// A frame in a line.
fn frame(bytes: &[u8], length: u32) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else {
        return format!("no Ethernet frame, {length} bytes");
    };
    let mut text = String::new();
    if let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] = *bytes {
        let (from, to) = (Mac([s0, s1, s2, s3, s4, s5]), Mac([d0, d1, d2, d3, d4, d5]));
        text = format!("{from} > {to}");
    }
    for tag in packet.vlan_ids() {
        text.push_str(&format!(" vlan {}", tag.value()));
    }
    if let Some(datagram) = datagram(&packet) {
        text.push_str(&format!(", {datagram}"));
    }
    format!("{text}, {length} bytes")
}

/// What is in an IP packet.
fn datagram(packet: &LaxSlicedPacket<'_>) -> Option<String> {
    let (source, destination): (IpAddr, IpAddr) = match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        LaxNetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        LaxNetSlice::Arp(_) => return Some("arp".to_owned()),
    };
    let flow = |from, to| {
        format!("{} > {}", SocketAddr::new(source, from), SocketAddr::new(destination, to))
    };
    Some(match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let flow = flow(tcp.source_port(), tcp.destination_port());
            format!("{flow} tcp {}", flags(tcp))
        }
        Some(TransportSlice::Udp(udp)) => {
            format!("{} udp", flow(udp.source_port(), udp.destination_port()))
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            let (kind, code) = (icmp.type_u8(), icmp.code_u8());
            format!("{source} > {destination} icmp type {kind} code {code}")
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            let (kind, code) = (icmp.type_u8(), icmp.code_u8());
            format!("{source} > {destination} icmp6 type {kind} code {code}")
        }
        Some(TransportSlice::Igmp(_)) | None => format!("{source} > {destination}"),
    })
}

/// As tcpdump writes them.
fn flags(tcp: &TcpSlice<'_>) -> String {
    let flags =
        [(tcp.syn(), 'S'), (tcp.fin(), 'F'), (tcp.rst(), 'R'), (tcp.psh(), 'P'), (tcp.ack(), '.')];
    flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).collect()
}
