//! A switch's access port, made of two small programs, for kernels whose bridge knows no VLANs.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;

use crate::{
    bpf::{self, EXIT, Instruction, call, instruction, set},
    port::Port,
};

/// Constants of linux/bpf.h.
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
const BPF_FUNC_SKB_VLAN_PUSH: i32 = 18;
const BPF_FUNC_SKB_VLAN_POP: i32 = 19;
const TCX_NEXT: i32 = -1;
const TCX_DROP: i32 = 2;
/// Places in `struct __sk_buff`.
const VLAN_PRESENT: i16 = 20;
const VLAN_TCI: i16 = 24;

/// 0x8100 as it is in memory.
const CUSTOMER_TAG: i32 = 0x8100_u16.to_be() as i32;
const VLAN_MASK: i32 = 0xfff;

/// A port of the switch which is in one VLAN, for as long as this is held. Who is at its other end
/// knows nothing of VLANs: what it sends gets the tag, and it gets what has the tag, without it.
/// Tagged frames it sends, and frames of other VLANs or of none towards it, are dropped. Ports
/// that were not made access ports carry all VLANs with tags.
#[derive(Debug)]
pub struct AccessPort {
    _links: [OwnedFd; 2],
}

impl AccessPort {
    /// Makes a port of the switch an access port of this VLAN. Wants tcx: kernel 6.6.
    pub fn new(port: &Port, vlan: u16) -> Result<Self> {
        port.netns().run(|| {
            let interface = if_nametoindex(port.interface())?;
            let attach = |program: &[Instruction], place| {
                let program = bpf::load(BPF_PROG_TYPE_SCHED_CLS, 0, program)
                    .context("cannot load a classifier")?;
                bpf::link(&program, interface, place, 0).with_context(|| {
                    format!("cannot attach to {} (tcx wants kernel 6.6)", port.interface())
                })
            };
            let _links =
                [attach(&tag(vlan), BPF_TCX_INGRESS)?, attach(&untag(vlan), BPF_TCX_EGRESS)?];
            Ok(Self { _links })
        })
    }
}

/// Tags what has no tag and drops what has.
fn tag(vlan: u16) -> [Instruction; 10] {
    [
        load(2, VLAN_PRESENT),
        unless_equal(2, 0, 6),
        set(2, CUSTOMER_TAG),
        set(3, i32::from(vlan)),
        call(BPF_FUNC_SKB_VLAN_PUSH),
        unless_equal(0, 0, 2),
        set(0, TCX_NEXT),
        EXIT,
        set(0, TCX_DROP),
        EXIT,
    ]
}

/// Takes the tag off what has this VLAN's and drops what has not.
fn untag(vlan: u16) -> [Instruction; 11] {
    [
        load(2, VLAN_PRESENT),
        unless_equal(2, 1, 7),
        load(3, VLAN_TCI),
        mask(3, VLAN_MASK),
        unless_equal(3, i32::from(vlan), 4),
        call(BPF_FUNC_SKB_VLAN_POP),
        unless_equal(0, 0, 2),
        set(0, TCX_NEXT),
        EXIT,
        set(0, TCX_DROP),
        EXIT,
    ]
}

/// `register = frame.field`, as long as register 1 still is the frame.
const fn load(register: u8, field: i16) -> Instruction {
    instruction(0x61, register, 1, field, 0)
}

/// `register &= mask`.
const fn mask(register: u8, mask: i32) -> Instruction {
    instruction(0x57, register, 0, 0, mask)
}

/// Skips so many instructions unless the register has this value.
const fn unless_equal(register: u8, value: i32, skipped: i16) -> Instruction {
    instruction(0x55, register, 0, skipped, value)
}
