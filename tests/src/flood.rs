//! Floods: frames from random addresses, as fast as this machine makes them.

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    address, capture,
    lab::Lab,
    packet::{ACK, Link, SYN, checksum},
};

/// How many frames the kernel is given at a time.
const BATCH: usize = 64;
/// How long to wait when the interface's queue is full.
const BREATH: Duration = Duration::from_micros(50);
/// The port of the VIPs that is flooded.
const PORT: u16 = 80;
/// Where an Ethernet header ends.
const LINK: usize = 14;
/// Networks for measurements (RFC 2544, RFC 5180), of which nobody in the lab is.
const SOURCES: [&str; 2] = ["198.18.0.0/15", "2001:2::/48"];

/// What a flood is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flooding {
    /// First segments of connections.
    Syn,
    /// Segments of connections that nobody has.
    Ack,
    /// Both: each source sends a SYN and then an ACK, as if a connection had come about.
    SynThenAck,
}

impl Flooding {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Syn, Self::Ack, Self::SynThenAck];

    /// The flags of the segments that each source sends, one after the other.
    fn flags(self) -> &'static [u8] {
        match self {
            Self::Syn => &[SYN],
            Self::Ack => &[ACK],
            Self::SynThenAck => &[SYN, ACK],
        }
    }
}

/// A flood from the router to the balancer, until it is dropped.
#[derive(Debug)]
pub struct Flood {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
}

impl Flood {
    /// Begins to send to these VIPs. The router loses what reals answer to it.
    pub fn start(lab: &Lab, vips: &[IpAddr], what: Flooding) -> Result<Self> {
        for network in SOURCES {
            lab.router().ip(&format!("route replace blackhole {network}"))?;
        }
        let mut generator = Generator::new(vips, what)?;
        let socket = capture::packet_socket(lab.router(), "lan", 0, &[])?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while !theirs.stop.load(Ordering::Relaxed) {
                let sent = send(&socket, generator.next_batch())?;
                theirs.sent.fetch_add(sent as u64, Ordering::Relaxed);
            }
            Ok(())
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// How many frames it has sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Ends it; how many frames it was.
    pub fn stop(mut self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the flood has ended")?;
        thread.join().ok().context("the flood panicked")??;
        Ok(self.sent())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the flood: {error:#}");
        }
    }
}

/// A frame whose source is yet to be chosen.
#[derive(Clone, Debug)]
struct Template {
    frame: Vec<u8>,
    vip: IpAddr,
}

impl Template {
    fn new(vip: IpAddr, flags: u8) -> Self {
        let link = Link::new(address::mac(address::ROUTER_LAN), address::mac(address::BALANCER));
        let frame = match vip {
            IpAddr::V4(vip) => {
                let source = Ipv4Addr::new(198, 18, 0, 0);
                link.ipv4(source, vip).tcp(0, PORT).flags(flags).checksum(0).build()
            }
            IpAddr::V6(vip) => {
                let source = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0);
                link.ipv6(source, vip).tcp(0, PORT).flags(flags).checksum(0).build()
            }
        };
        Self { frame, vip }
    }

    /// The frame from one of 2^33 sources or more, with checksums a real will find right.
    fn from(&self, random: u64, frame: &mut Vec<u8>) {
        frame.clone_from(&self.frame);
        let bytes = random.to_be_bytes();
        let segment = match self.vip {
            IpAddr::V4(_) => {
                frame[LINK + 13] |= bytes[0] & 1;
                frame[LINK + 14..LINK + 16].copy_from_slice(&bytes[1..3]);
                frame[LINK + 10..LINK + 12].fill(0);
                let sum = checksum(&[&frame[LINK..LINK + 20]]);
                frame[LINK + 10..LINK + 12].copy_from_slice(&sum.to_be_bytes());
                LINK + 20
            }
            IpAddr::V6(_) => {
                frame[LINK + 22..LINK + 24].copy_from_slice(&bytes[1..3]);
                LINK + 40
            }
        };
        // The port, and the first two bytes of the sequence number.
        frame[segment..segment + 2].copy_from_slice(&bytes[3..5]);
        frame[segment + 4..segment + 6].copy_from_slice(&bytes[5..7]);
        let length = (frame.len() - segment) as u16;
        let addresses = if segment == LINK + 20 { LINK + 12 } else { LINK + 8 };
        let pseudo = [0, libc::IPPROTO_TCP as u8, length.to_be_bytes()[0], length.to_be_bytes()[1]];
        let sum = checksum(&[&frame[addresses..segment], &pseudo, &frame[segment..]]);
        frame[segment + 16..segment + 18].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Makes frames.
struct Generator {
    /// Of each VIP, what one source sends.
    templates: Vec<Vec<Template>>,
    random: u64,
    turn: usize,
    batch: Vec<Vec<u8>>,
}

impl Generator {
    fn new(vips: &[IpAddr], what: Flooding) -> Result<Self> {
        let of = |vip: &IpAddr| {
            what.flags().iter().map(|flags| Template::new(*vip, *flags)).collect::<Vec<_>>()
        };
        let mut seed = [0; 8];
        io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut seed)?;
        Ok(Self {
            templates: vips.iter().map(of).collect(),
            random: u64::from_ne_bytes(seed) | 1,
            turn: 0,
            batch: vec![Vec::new(); BATCH],
        })
    }

    /// New sources for a whole batch of frames.
    fn next_batch(&mut self) -> &[Vec<u8>] {
        let mut room = self.batch.iter_mut();
        while let Some(mut frame) = room.next() {
            self.turn = (self.turn + 1) % self.templates.len();
            let source = random(&mut self.random);
            for (number, template) in self.templates[self.turn].iter().enumerate() {
                if number > 0 {
                    match room.next() {
                        Some(next) => frame = next,
                        None => break,
                    }
                }
                template.from(source, frame);
            }
        }
        &self.batch
    }
}

/// The next of a sequence of numbers (xorshift64*), of which the upper bytes are the best.
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// Hands frames to the interface, as many as it takes at once; how many these were.
fn send(socket: &OwnedFd, frames: &[Vec<u8>]) -> Result<usize> {
    let mut parts: Vec<_> = frames
        .iter()
        .map(|frame| libc::iovec {
            iov_base: frame.as_ptr().cast_mut().cast(),
            iov_len: frame.len(),
        })
        .collect();
    let mut messages: Vec<_> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: a struct of integers and pointers, for which zero is a value.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    let (pointer, count) = (messages.as_mut_ptr(), messages.len() as u32);
    // SAFETY: `count` messages, each of one part, which is a frame that is borrowed for the call;
    // the kernel writes nothing but the lengths it has sent, into the messages.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), pointer, count, 0) };
    if sent >= 0 {
        return Ok(sent as usize);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS) => {
            thread::sleep(BREATH);
            Ok(0)
        }
        _ => Err(error).context("cannot flood"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const VIPS: [IpAddr; 2] = [address::vip(10), address::vip6(10)];

    #[test]
    fn frames_have_right_checksums_and_every_source_is_another() -> Result<()> {
        let mut generator = Generator::new(&VIPS, Flooding::Syn)?;
        let mut sources = BTreeSet::new();
        for frame in generator.next_batch() {
            let (header, addresses) = if frame[LINK] >> 4 == 4 { (20, 12) } else { (40, 8) };
            if header == 20 {
                assert_eq!(checksum(&[&frame[LINK..LINK + 20]]), 0);
            }
            let pseudo = [0, 6, 0, (frame.len() - LINK - header) as u8];
            assert_eq!(checksum(&[&frame[LINK + addresses..], &pseudo]), 0);
            sources.insert(frame[LINK + addresses..LINK + header + 2].to_vec());
        }
        assert_eq!(sources.len(), BATCH);
        Ok(())
    }

    #[test]
    fn one_source_sends_a_syn_and_then_an_ack() -> Result<()> {
        let mut generator = Generator::new(&VIPS[..1], Flooding::SynThenAck)?;
        for pair in generator.next_batch().chunks(2) {
            assert_eq!([pair[0][LINK + 33], pair[1][LINK + 33]], [SYN, ACK]);
            assert_eq!(pair[0][LINK + 12..LINK + 22], pair[1][LINK + 12..LINK + 22]);
        }
        Ok(())
    }
}
