//! BPF programs of a few instructions, by bpf(2) and without a loader.

use std::{
    ffi::CString,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::errno::Errno;

/// Commands of linux/bpf.h.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_DETACH: libc::c_long = 34;

/// An instruction: operation, registers (source in the upper half), offset (two bytes), immediate
/// (four). The lab knows little-endian machines only.
pub(crate) type Instruction = [u8; 8];

/// One instruction.
pub(crate) const fn instruction(
    operation: u8,
    destination: u8,
    source: u8,
    offset: i16,
    immediate: i32,
) -> Instruction {
    let ([a, b], [c, d, e, f]) = (offset.to_le_bytes(), immediate.to_le_bytes());
    [operation, source << 4 | destination, a, b, c, d, e, f]
}

/// `register = value`.
pub(crate) const fn set(register: u8, value: i32) -> Instruction {
    instruction(0xb7, register, 0, 0, value)
}

/// Calls a helper of the kernel.
pub(crate) const fn call(helper: i32) -> Instruction {
    instruction(0x85, 0, 0, 0, helper)
}

/// Ends with what is in register 0.
pub(crate) const EXIT: Instruction = instruction(0x95, 0, 0, 0, 0);

#[repr(C)]
struct ProgLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
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

/// Loads a program of this kind.
pub(crate) fn load(kind: u32, flags: u32, program: &[Instruction]) -> Result<OwnedFd, Errno> {
    let attributes = ProgLoad {
        kind,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags,
    };
    bpf(BPF_PROG_LOAD, &attributes).map(owned)
}

/// Attaches a program to an interface of the calling thread's namespace for as long as the returned
/// link is held.
pub(crate) fn link(
    program: &OwnedFd,
    interface: u32,
    attach_type: u32,
    flags: u32,
) -> Result<OwnedFd, Errno> {
    let program = program.as_raw_fd() as u32;
    bpf(BPF_LINK_CREATE, &LinkCreate { program, interface, attach_type, flags }).map(owned)
}

/// Pins a link on a BPF file system, so that it stays without its file descriptor.
pub fn pin(link: &OwnedFd, path: &Path) -> Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let attributes =
        ObjPin { path: name.as_ptr() as u64, object: link.as_raw_fd() as u32, flags: 0 };
    bpf(BPF_OBJ_PIN, &attributes).with_context(|| format!("cannot pin {}", path.display()))?;
    Ok(())
}

/// Detaches the link that is pinned there; the pin stays.
pub fn detach(pin: &Path) -> Result<()> {
    let name = CString::new(pin.as_os_str().as_bytes())?;
    let attributes = ObjPin { path: name.as_ptr() as u64, object: 0, flags: 0 };
    let link = bpf(BPF_OBJ_GET, &attributes).map(owned)?;
    bpf(BPF_LINK_DETACH, &link.as_raw_fd())?;
    Ok(())
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
