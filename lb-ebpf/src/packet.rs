//! The one window onto packet memory.
//!
//! The verifier learns how far a packet reaches only from a comparison of a packet pointer plus a
//! constant with the packet's end, so that comparison stands here, once. Above this file there is
//! no raw pointer.

use core::marker::PhantomData;

use lb_common::Outcome;
use network_types::{
    icmp::{Icmpv4Hdr, Icmpv6Hdr},
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
};

/// A frame as the network card has delivered it. Two implementations exist: the kernel's (`maps`), and
/// the host's ([`host`](crate::host)).
pub trait Frame {
    /// The part that can be read and written: all of it, or the first buffer of several, as jumbo
    /// frames have; the headers are there.
    fn packet(&mut self) -> Packet<'_>;

    /// The length of all buffers together, in bytes.
    fn whole(&self) -> u64;

    /// Takes bytes away from its beginning, or adds some, of no particular value, where `by` is
    /// negative.
    ///
    /// # Errors
    ///
    /// [`Outcome::NoRoom`] when there is no room for more.
    fn move_start(&mut self, by: i32) -> Result<(), Outcome>;

    /// Makes the frame as short as this, in bytes, if it is longer.
    fn cut_end(&mut self, length: u64);

    /// Has the frame sent by another port than it came in on.
    ///
    /// # Errors
    ///
    /// [`Outcome::InterfaceGone`] when there is no interface at that port.
    fn redirect(&mut self, port: u8) -> Result<(), Outcome>;
}

/// A frame's bytes in memory, which may be read and written for `'a`.
pub struct Packet<'a> {
    start: *mut u8,
    end: *mut u8,
    memory: PhantomData<&'a mut [u8]>,
}

/// A header as it lies on the wire.
///
/// # Safety
///
/// Implementors have alignment 1 and are valid for every bit pattern.
pub unsafe trait Header {}

/// The Ethernet header, of byte arrays (that of `network-types` asks for alignment 2).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ethernet {
    /// Whom the frame is for.
    pub destination: [u8; 6],
    /// Whom it is from.
    pub source: [u8; 6],
    /// What it carries, an `EtherType` in wire order.
    pub ether_type: [u8; 2],
}

/// A VLAN tag (IEEE 802.1Q, 9.3) behind the `EtherType` that announces it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tag {
    /// Priority and VLAN, in wire order.
    pub control: [u8; 2],
    /// What follows, an `EtherType` in wire order.
    pub next: [u8; 2],
}

/// What IPv6 extension headers begin with (RFC 8200, section 4); all of a fragment header (4.5).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Extension {
    /// What comes next.
    pub next: u8,
    /// Its length beyond 8 bytes, in words of 8; nothing in a fragment header.
    pub length: u8,
    /// The offset and "more fragments" of a fragment header.
    pub offset: [u8; 2],
    /// The identification of a fragment header.
    pub identification: [u8; 4],
}

/// What TCP and UDP headers begin with, and all of them that an ICMP error must quote (RFC 792).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PortPair {
    /// Where it comes from, and where it goes, each in wire order.
    pub both: [u8; 4],
}

/// A TCP header without options (RFC 9293, section 3.1), of byte arrays, to be written.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Segment {
    /// Where it comes from, in wire order.
    pub source: [u8; 2],
    /// Where it goes, in wire order.
    pub destination: [u8; 2],
    /// The place of its first byte.
    pub sequence: [u8; 4],
    /// The place of the next byte that is expected.
    pub acknowledgement: [u8; 4],
    /// How many words the header has, in the upper half.
    pub words: u8,
    /// [`Segment::RST`] and its fellows.
    pub flags: u8,
    /// How much more may be sent.
    pub window: [u8; 2],
    /// The checksum.
    pub check: [u8; 2],
    /// The urgent pointer.
    pub urgent: [u8; 2],
}

impl Segment {
    /// There is no such connection.
    pub const RST: u8 = 1 << 2;
    /// The acknowledgement counts.
    pub const ACK: u8 = 1 << 4;
}

// SAFETY: bytes and byte arrays only.
unsafe impl Header for Segment {}
// SAFETY: byte arrays only.
unsafe impl Header for Ethernet {}
// SAFETY: byte arrays only.
unsafe impl Header for Tag {}
// SAFETY: bytes and byte arrays only.
unsafe impl Header for Extension {}
// SAFETY: byte arrays only.
unsafe impl Header for PortPair {}
// SAFETY: bytes and byte arrays only.
unsafe impl Header for Icmpv4Hdr {}
// SAFETY: bytes and byte arrays only.
unsafe impl Header for Icmpv6Hdr {}
// SAFETY: bytes and byte arrays only.
unsafe impl Header for Ipv4Hdr {}
// SAFETY: bytes and byte arrays only.
unsafe impl Header for Ipv6Hdr {}
// SAFETY: byte arrays and a bitfield over a byte array.
unsafe impl Header for TcpHdr {}
// SAFETY: byte arrays only.
unsafe impl Header for UdpHdr {}

impl<'a> Packet<'a> {
    /// The frame from `start` up to `end`, which must be a context's `data` and `data_end` in the
    /// kernel, and the bounds of a slice elsewhere.
    ///
    /// # Safety
    ///
    /// The memory between must be readable and writable, and nobody else's, for `'a`.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(start: *mut u8, end: *mut u8) -> Self {
        Self { start, end, memory: PhantomData }
    }

    /// The frame in this buffer.
    #[must_use]
    pub fn from_slice(frame: &'a mut [u8]) -> Self {
        let range = frame.as_mut_ptr_range();
        // SAFETY: these are the bounds of a slice that is borrowed mutably for `'a`.
        unsafe { Self::new(range.start, range.end) }
    }

    /// The length of these bytes.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end as u64 - self.start as u64
    }

    /// Whether there is nothing in it.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The header at `offset`.
    ///
    /// # Errors
    ///
    /// [`Outcome::Truncated`] when the frame ends before the header does.
    #[inline(always)]
    pub fn header<T: Header>(&self, offset: usize) -> Result<&T, Outcome> {
        let header = self.bounded::<T>(offset)?;
        // SAFETY: within the frame by `bounded`; `Header` promises that alignment and content
        // cannot be wrong; `&self` keeps writers away.
        Ok(unsafe { &*header })
    }

    /// The header at `offset`, to be changed.
    ///
    /// # Errors
    ///
    /// As [`Packet::header`].
    #[inline(always)]
    pub fn header_mut<T: Header>(&mut self, offset: usize) -> Result<&mut T, Outcome> {
        let header = self.bounded::<T>(offset)?;
        // SAFETY: as in `header`; `&mut self` keeps everyone else away.
        Ok(unsafe { &mut *header })
    }

    #[inline(always)]
    fn bounded<T: Header>(&self, offset: usize) -> Result<*mut T, Outcome> {
        const { assert!(align_of::<T>() == 1) };
        let header = self.start.wrapping_add(offset);
        if header.wrapping_add(size_of::<T>()) > self.end {
            return Err(Outcome::Truncated);
        }
        Ok(header.cast())
    }
}

/// Two bytes of a header as they lie in memory, in one load.
#[inline(always)]
#[must_use]
pub fn word16(bytes: &[u8; 2]) -> u16 {
    load::<u16, 2>(bytes)
}

/// Four bytes of a header as they lie in memory, in one load.
#[inline(always)]
#[must_use]
pub fn word32(bytes: &[u8; 4]) -> u32 {
    load::<u32, 4>(bytes)
}

/// Sixteen bytes of a header as they lie in memory, in two loads.
#[inline(always)]
#[must_use]
pub fn words64(bytes: &[u8; 16]) -> [u64; 2] {
    let [_, _, _, _, _, _, _, _, second @ ..] = bytes;
    [load::<u64, 16>(bytes), load::<u64, 8>(second)]
}

/// A MAC address as the low 48 bits of a word, as in [`lb_common::layout::mac_bits`], in two loads.
#[inline(always)]
#[must_use]
pub fn mac_bits(mac: &[u8; 6]) -> u64 {
    let [_, _, _, _, high @ ..] = mac;
    u64::from(load::<u32, 6>(mac)) | u64::from(load::<u16, 2>(high)) << 32
}

/// Writes the low 48 bits of a word as a MAC address, in two stores.
#[inline(always)]
pub fn set_mac(mac: &mut [u8; 6], bits: u64) {
    store(mac, bits as u32);
    let [_, _, _, _, high @ ..] = mac;
    store(high, (bits >> 32) as u16);
}

/// Lets two IPv6 addresses change places, word by word.
#[inline(always)]
pub fn exchange(one: &mut [u8; 16], other: &mut [u8; 16]) {
    let ([a, b], [c, d]) = (words64(one), words64(other));
    let set = |address: &mut [u8; 16], first: u64, second: u64| {
        store(address, first);
        let [_, _, _, _, _, _, _, _, half @ ..] = address;
        store(half, second);
    };
    set(one, c, d);
    set(other, a, b);
}

/// Stores an integer in the first bytes of a field: the counterpart of [`load`].
#[inline(always)]
fn store<T: Copy, const N: usize>(bytes: &mut [u8; N], value: T) {
    const { assert!(size_of::<T>() <= N) };
    let field: *mut T = bytes.as_mut_ptr().cast();
    #[cfg(target_arch = "bpf")]
    // SAFETY: the array has room for `T`, an integer; alignment as said there.
    unsafe {
        field.write(value);
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the array has room for `T`, an integer.
    unsafe {
        field.write_unaligned(value);
    }
}

/// Loads an integer from the first bytes of a field.
///
/// Headers have alignment 1, for which the BPF backend would load byte by byte. The machines that
/// run the program load unaligned words as they are, and the kernel accepts such loads from packet
/// memory wherever `CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS` is set (`check_pkt_ptr_alignment` in
/// kernel/bpf/verifier.c), so there, and only there, one aligned load is asked for.
#[inline(always)]
fn load<T: Copy, const N: usize>(bytes: &[u8; N]) -> T {
    const { assert!(size_of::<T>() <= N) };
    let field: *const T = bytes.as_ptr().cast();
    #[cfg(target_arch = "bpf")]
    // SAFETY: the array holds the bytes of `T`, an integer; alignment as said above.
    return unsafe { field.read() };
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the array holds the bytes of `T`, an integer.
    return unsafe { field.read_unaligned() };
}
