//! XDP programs of a few instructions, which the lab itself needs.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;

pub use crate::bpf::{detach, pin};
use crate::{
    bpf::{self, EXIT, Instruction, call, instruction, set},
    netns::Netns,
};

/// Constants of linux/bpf.h and linux/if_link.h.
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const BPF_FUNC_REDIRECT: i32 = 23;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// What a program does to every frame: the kernel's XDP actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Loses it.
    Drop = 1,
    /// Lets it pass.
    Pass = 2,
    /// Sends it back as it is.
    Send = 3,
}

/// Attaches a program with this verdict, in native mode, for as long as the returned link is held.
///
/// The frames that a native XDP program sends back out of a veth arrive only if the other end has a
/// native XDP program too, be it one that lets everything pass; else they are lost without a trace
/// (veth_xdp_xmit in the kernel).
pub fn attach(netns: &Netns, interface: &str, verdict: Verdict) -> Result<OwnedFd> {
    native(netns, interface, 0, || Ok(vec![set(0, verdict as i32), EXIT]))
}

/// Like [`attach`], for frames that may be longer than a page, which the program must declare to be
/// ready for (kernel 5.18). Native XDP refuses without that a veth whose other end has a large MTU.
pub fn attach_for_long_frames(netns: &Netns, interface: &str, verdict: Verdict) -> Result<OwnedFd> {
    let program = || Ok(vec![set(0, verdict as i32), EXIT]);
    native(netns, interface, BPF_F_XDP_HAS_FRAGS, program)
}

/// Like [`attach`], or where `long` is true [`attach_for_long_frames`], with a program that lets everything
/// pass but what a [`Flood`](crate::flood::Flood) has sent: that need not reach anybody behind the balancer,
/// and a lab is one machine.
pub fn attach_gate(netns: &Netns, interface: &str, long: bool) -> Result<OwnedFd> {
    let flags = if long { BPF_F_XDP_HAS_FRAGS } else { 0 };
    native(netns, interface, flags, || Ok(gate().to_vec()))
}

/// Loses frames from 198.18.0.0/15 and 2001:2::/48, [`flood::SOURCES`](crate::flood).
fn gate() -> [Instruction; 18] {
    const LOAD_32: u8 = 0x61;
    const LOAD_16: u8 = 0x69;
    let load = |size, to, from, offset| instruction(size, to, from, offset, 0);
    let unless = |register, value, skip| instruction(0x55, register, 0, skip, value);
    [
        load(LOAD_32, 2, 1, 0),
        load(LOAD_32, 3, 1, 4),
        // The bounds: the Ethernet header and an IPv4 header are there.
        instruction(0xbf, 4, 2, 0, 0),
        instruction(0x07, 4, 0, 0, 34),
        instruction(0x2d, 4, 3, 11, 0),
        load(LOAD_16, 5, 2, 12),
        unless(5, i32::from(0x0800_u16.to_be()), 4),
        // IPv4: 198.18 or 198.19.
        load(LOAD_16, 5, 2, 26),
        instruction(0x57, 5, 0, 0, 0xfeff),
        instruction(0x15, 5, 0, 4, i32::from(u16::from_le_bytes([198, 18]))),
        instruction(0x05, 0, 0, 5, 0),
        // IPv6: 2001:2.
        unless(5, i32::from(0x86dd_u16.to_be()), 4),
        load(LOAD_32, 5, 2, 22),
        unless(5, i32::from_le_bytes([0x20, 0x01, 0x00, 0x02]), 2),
        set(0, Verdict::Drop as i32),
        EXIT,
        set(0, Verdict::Pass as i32),
        EXIT,
    ]
}

/// Like [`attach`], in the generic hook.
pub fn attach_generic(netns: &Netns, interface: &str, verdict: Verdict) -> Result<OwnedFd> {
    made(netns, interface, (0, XDP_FLAGS_SKB_MODE), || Ok(vec![set(0, verdict as i32), EXIT]))
}

/// Attaches a program that sends every frame as it is out of another interface of the namespace.
pub fn attach_redirect(netns: &Netns, interface: &str, to: &str) -> Result<OwnedFd> {
    native(netns, interface, 0, || {
        Ok(vec![set(1, if_nametoindex(to)? as i32), set(2, 0), call(BPF_FUNC_REDIRECT), EXIT])
    })
}

/// Attaches a program that somebody else has loaded, in the driver, for as long as the returned link is held.
pub(crate) fn attach_program(netns: &Netns, interface: &str, program: &OwnedFd) -> Result<OwnedFd> {
    netns.run(|| {
        bpf::link(program, if_nametoindex(interface)?, BPF_XDP, XDP_FLAGS_DRV_MODE)
            .with_context(|| format!("cannot attach XDP to {interface}"))
    })
}

/// Attaches a program, which is made inside the namespace, in the driver.
fn native(
    netns: &Netns,
    interface: &str,
    flags: u32,
    program: impl FnOnce() -> Result<Vec<Instruction>> + Send,
) -> Result<OwnedFd> {
    made(netns, interface, (flags, XDP_FLAGS_DRV_MODE), program)
}

/// Loads a program with the first of the flags, and attaches it with the second.
fn made(
    netns: &Netns,
    interface: &str,
    (load, attach): (u32, u32),
    program: impl FnOnce() -> Result<Vec<Instruction>> + Send,
) -> Result<OwnedFd> {
    netns.run(|| {
        let program = bpf::load(BPF_PROG_TYPE_XDP, load, &program()?)
            .context("cannot load an XDP program")?;
        bpf::link(&program, if_nametoindex(interface)?, BPF_XDP, attach)
            .with_context(|| format!("cannot attach XDP to {interface}"))
    })
}
