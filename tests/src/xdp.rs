//! XDP programs of a few instructions, which the lab itself needs.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;

pub use crate::bpf::pin;
use crate::{
    bpf::{self, EXIT, Instruction, call, set},
    netns::Netns,
};

/// Constants of linux/bpf.h and linux/if_link.h.
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const BPF_FUNC_REDIRECT: i32 = 23;
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

/// Attaches a program that sends every frame as it is out of another interface of the namespace.
pub fn attach_redirect(netns: &Netns, interface: &str, to: &str) -> Result<OwnedFd> {
    native(netns, interface, 0, || {
        Ok(vec![set(1, if_nametoindex(to)? as i32), set(2, 0), call(BPF_FUNC_REDIRECT), EXIT])
    })
}

/// Attaches a program, which is made inside the namespace.
fn native(
    netns: &Netns,
    interface: &str,
    flags: u32,
    program: impl FnOnce() -> Result<Vec<Instruction>> + Send,
) -> Result<OwnedFd> {
    netns.run(|| {
        let program = bpf::load(BPF_PROG_TYPE_XDP, flags, &program()?)
            .context("cannot load an XDP program")?;
        bpf::link(&program, if_nametoindex(interface)?, BPF_XDP, XDP_FLAGS_DRV_MODE)
            .with_context(|| format!("cannot attach XDP to {interface}"))
    })
}
