//! XDP programs of two instructions, which the lab itself needs, by bpf(2) and without a loader.

use std::{
    ffi::CString,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::{errno::Errno, net::if_::if_nametoindex};

use crate::netns::Netns;

/// Commands and constants of linux/bpf.h and linux/if_link.h.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
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

#[repr(C)]
struct ProgLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct ObjPin {
    path: u64,
    object: u32,
    flags: u32,
}

/// Attaches a program with this verdict, in native mode, for as long as the returned link is held.
///
/// The frames that a native XDP program sends back out of a veth arrive only if the other end has a
/// native XDP program too, be it one that lets everything pass; else they are lost without a trace
/// (veth_xdp_xmit in the kernel).
pub fn attach(netns: &Netns, interface: &str, verdict: Verdict) -> Result<OwnedFd> {
    netns.run(|| {
        let program = load(verdict).context("cannot load an XDP program")?;
        let attributes = LinkCreate {
            program: program.as_raw_fd() as u32,
            interface: if_nametoindex(interface)?,
            attach_type: BPF_XDP,
            flags: XDP_FLAGS_DRV_MODE,
        };
        let link = bpf(BPF_LINK_CREATE, &attributes);
        Ok(owned(link.with_context(|| {
            format!("cannot attach XDP to {interface}")
        })?))
    })
}

/// Pins a link on a BPF file system, so that it stays without its file descriptor.
pub fn pin(link: &OwnedFd, path: &Path) -> Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let attributes = ObjPin {
        path: name.as_ptr() as u64,
        object: link.as_raw_fd() as u32,
        flags: 0,
    };
    bpf(BPF_OBJ_PIN, &attributes).with_context(|| format!("cannot pin {}", path.display()))?;
    Ok(())
}

fn load(verdict: Verdict) -> Result<OwnedFd, Errno> {
    // `r0 = verdict` and `exit`, each of operation, registers, offset (two bytes), immediate (four).
    let program = [
        [0xb7, 0, 0, 0, verdict as u8, 0, 0, 0],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
    ];
    let attributes = ProgLoad {
        kind: BPF_PROG_TYPE_XDP,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    bpf(BPF_PROG_LOAD, &attributes).map(owned)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> Result<i32, Errno> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of the attributes, which are borrowed for the
    // call, and what the pointers in them lead to: instructions and strings that callers hold.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    Errno::result(result).map(|result| result as i32)
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: bpf(2) has just returned this descriptor, nobody else knows of it, and it sets
    // close-on-exec itself.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
