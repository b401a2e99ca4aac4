//! Frames as they pass an interface.
//!
//! A packet socket rather than a program that writes a file: what has passed is in the socket's
//! queue before anybody downstream can react to it, so stopping loses nothing.
//!
//! **Where to listen.** Native XDP runs below packet sockets: on an interface that has a program,
//! frames which the program takes or sends are not seen. Listen at the other end of the cable, for
//! the balancer at [`Lab::balancer_port`](crate::Lab::balancer_port).

use std::{
    io,
    mem::{self, MaybeUninit},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
};

use anyhow::{Context as _, Result, ensure};
use nix::{errno::Errno, net::if_::if_nametoindex};

use crate::{netns::Netns, process::Output, wait};

/// All protocols (linux/if_ether.h).
const ETH_P_ALL: u16 = 3;
/// More than any frame here: no frame is ever cut.
const LONGEST_FRAME: usize = 65_536 + 18;
/// What may wait in the socket, in bytes of kernel memory.
const QUEUE: libc::c_int = 64 << 20;

/// A capture that is running.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    seen: Vec<Captured>,
}

/// A frame that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Whether it left by the interface; else it came in.
    pub outgoing: bool,
    /// All of it, from the Ethernet header, VLAN tags included.
    pub bytes: Vec<u8>,
}

impl Capture {
    /// Starts to capture what matches a filter of pcap-filter(7).
    pub fn start(netns: &Netns, interface: &str, filter: &str) -> Result<Self> {
        let program = compile(netns, interface, filter)?;
        let socket = packet_socket(netns, interface, ETH_P_ALL, &program)
            .with_context(|| format!("cannot capture on {interface} in {}", netns.name()))?;
        Ok(Self {
            socket,
            seen: Vec::new(),
        })
    }

    /// All matching frames so far.
    pub fn frames(&mut self) -> Result<&[Captured]> {
        while let Some(frame) = receive(&self.socket)? {
            self.seen.push(frame);
        }
        ensure!(
            lost(&self.socket)? == 0,
            "the capture's queue was too short"
        );
        Ok(&self.seen)
    }

    /// How many matching frames have passed so far.
    pub fn count(&mut self) -> Result<usize> {
        Ok(self.frames()?.len())
    }

    /// Waits until so many have passed.
    pub fn wait_for(&mut self, count: usize) -> Result<&[Captured]> {
        let what = format!("{count} frames");
        wait::until(&what, wait::PATIENCE, || {
            Ok((self.count()? >= count).then_some(()))
        })?;
        Ok(&self.seen)
    }
}

/// Lets tcpdump, which knows the interface and so where the kernel keeps VLAN tags, translate a
/// filter: a line with the count, then a line of four numbers for each instruction.
fn compile(netns: &Netns, interface: &str, filter: &str) -> Result<Vec<libc::sock_filter>> {
    let mut command = netns.command("tcpdump");
    let printed = Output::of(command.args(["-i", interface, "-ddd", filter]))?
        .success()?
        .stdout;
    let instruction = |line: &str| {
        let mut words = line.split(' ');
        let mut word = || words.next().context("too few numbers");
        Ok(libc::sock_filter {
            code: word()?.parse()?,
            jt: word()?.parse()?,
            jf: word()?.parse()?,
            k: word()?.parse()?,
        })
    };
    let program: Result<Vec<_>> = printed.lines().skip(1).map(instruction).collect();
    program.with_context(|| format!("cannot read what tcpdump made of {filter:?}: {printed}"))
}

/// A non-blocking packet socket at an interface, that has never seen another's frames: it is bound
/// only after it has its filter. For protocol 0 it receives nothing at all.
pub(crate) fn packet_socket(
    netns: &Netns,
    interface: &str,
    protocol: u16,
    filter: &[libc::sock_filter],
) -> Result<OwnedFd> {
    netns.run(|| {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket(2) takes no pointers.
        let fd = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the call above has just returned this descriptor and nobody else knows of it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        if !filter.is_empty() {
            let program = libc::sock_fprog {
                len: u16::try_from(filter.len())?,
                filter: filter.as_ptr().cast_mut(),
            };
            set_option(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
        }
        set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &QUEUE)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1)?;
        bind(&socket, if_nametoindex(interface)?, protocol)?;
        Ok(socket)
    })
}

fn bind(socket: &OwnedFd, interface: u32, protocol: u16) -> Result<(), Errno> {
    // SAFETY: a struct of integers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = interface as i32;
    let (pointer, length) = (ptr::from_ref(&address).cast(), size_of_val(&address));
    // SAFETY: the kernel reads `length` bytes of the address, which lives until the call returns.
    Errno::result(unsafe { libc::bind(socket.as_raw_fd(), pointer, length as u32) }).map(drop)
}

fn set_option<T>(socket: &OwnedFd, level: i32, option: i32, value: &T) -> Result<(), Errno> {
    let (pointer, length) = (ptr::from_ref(value).cast(), size_of::<T>() as u32);
    // SAFETY: the kernel reads `length` bytes of the value, which is borrowed for the call, and, of
    // a filter, the instructions that the caller holds.
    Errno::result(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, pointer, length) })
        .map(drop)
}

/// How many frames the socket had no room for since the last question.
fn lost(socket: &OwnedFd) -> Result<u32> {
    let mut stats = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut length = size_of_val(&stats) as u32;
    let (fd, pointer) = (socket.as_raw_fd(), ptr::from_mut(&mut stats).cast());
    // SAFETY: the kernel writes at most `length` bytes into `stats`, whose size that is.
    Errno::result(unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            pointer,
            &mut length,
        )
    })?;
    Ok(stats.tp_drops)
}

/// Room for the one control message that is asked for, aligned as its header wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// The next frame of the queue.
fn receive(socket: &OwnedFd) -> Result<Option<Captured>> {
    let mut bytes = vec![0u8; LONGEST_FRAME];
    let mut from = MaybeUninit::<libc::sockaddr_ll>::zeroed();
    let mut control = Control([0; 64]);
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: a struct of integers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = from.as_mut_ptr().cast();
    message.msg_namelen = size_of_val(&from) as u32;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    // SAFETY: every pointer in the message leads to a buffer above, of the length beside it.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    if received < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock {
            Ok(None)
        } else {
            Err(error.into())
        };
    }
    bytes.truncate(received as usize);
    bytes.shrink_to_fit();
    // SAFETY: zeroed before, and possibly overwritten by the kernel; integers either way.
    let from = unsafe { from.assume_init() };
    restore_tag(&mut bytes, &message);
    Ok(Some(Captured {
        outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
        bytes,
    }))
}

/// The kernel takes the outer VLAN tag out of a frame and keeps it beside; puts it back.
fn restore_tag(frame: &mut Vec<u8>, message: &libc::msghdr) {
    // SAFETY: the message was filled in by recvmsg(2) and its control buffer is still alive.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null, or a header within the control buffer, which is aligned for it.
    let Some(header_ref) = (unsafe { header.as_ref() }) else {
        return;
    };
    if (header_ref.cmsg_level, header_ref.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return;
    }
    // SAFETY: `header` points to a header within the control buffer.
    let data = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: a message of this type carries this struct, of integers; 64 bytes have room for both.
    let tag = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
    if tag.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
        let [tpid, tci] = [tag.tp_vlan_tpid, tag.tp_vlan_tci].map(u16::to_be_bytes);
        frame.splice(12..12, tpid.into_iter().chain(tci));
    }
}
