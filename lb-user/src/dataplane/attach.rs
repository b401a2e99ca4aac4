//! Attaches the program to an interface by a pinned link, or takes the one over that is there.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    loaded_programs,
    xdp::XdpLink,
};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};

use super::{error::Error, pins};

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the kernel's generic hook, after a socket buffer was made.
    Generic,
}

impl Mode {
    /// The word in logs and status.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// An interface's XDP hook: the interface's index, and what is attached.
struct Hook {
    index: u32,
    attached: Option<(Mode, u32)>,
}

/// Attaches the program in this mode, or replaces the one that the pinned link holds without a
/// packet lost. Returns whether it was not attached before.
///
/// # Errors
///
/// Where the interface is missing, busy or unable; nothing is changed then.
pub(super) async fn attach(
    program: &mut Xdp,
    interface: &str,
    mode: Mode,
    pin_dir: &Path,
) -> Result<bool, Error> {
    let hook = hook(interface).await?;
    let pin = link_pin(pin_dir, interface);
    let link = pinned(&pin, &hook)?;
    let anew = link.is_none();
    match (link, hook.attached) {
        (Some(link), Some((current, _))) if current == mode => {
            return take_over(program, link, interface).map(|()| anew);
        }
        (Some(_), Some((current, _))) => {
            log::warn!("{interface}: XDP was {} and shall not be: attaching anew", current.label());
            unpin(&pin)?;
        }
        (None, Some((_, id))) => return Err(busy(interface, id)),
        (_, None) => {}
    }
    attach_anew(program, &hook, mode, &pin).map(|()| anew).map_err(|error| match (error, mode) {
        (AttachError::Program(source), Mode::Native) => {
            Error::NoNative { interface: interface.to_owned(), source }
        }
        (AttachError::Program(error), Mode::Generic) => {
            Error::kernel(format!("attaching the program to {interface}"), &error)
        }
        (AttachError::Other(error), _) => error,
    })
}

/// Detaches the program from an interface, be that there or not, and removes the pin.
pub(super) fn detach(interface: &str, pin_dir: &Path) -> Result<(), Error> {
    let pin = link_pin(pin_dir, interface);
    if pin.exists() { unpin(&pin) } else { Ok(()) }
}

/// How the pinned link holds the interface, if it does.
pub(super) async fn current(interface: &str, pin_dir: &Path) -> Result<Option<Mode>, Error> {
    let hook = hook(interface).await?;
    let link = pinned(&link_pin(pin_dir, interface), &hook)?;
    Ok(link.and(hook.attached).map(|(mode, _)| mode))
}

/// Fails if the interface is missing or somebody else's program is attached to it.
pub(super) async fn check(interface: &str, pin_dir: &Path) -> Result<(), Error> {
    let hook = hook(interface).await?;
    match (pinned(&link_pin(pin_dir, interface), &hook)?, hook.attached) {
        (None, Some((_, id))) => Err(busy(interface, id)),
        _ => Ok(()),
    }
}

/// Removes what former configurations and layouts have left behind: links of other interfaces,
/// maps of other layouts.
pub(super) fn tidy<'a>(
    pin_dir: &Path,
    interfaces: impl Iterator<Item = &'a str>,
) -> Result<(), Error> {
    let mut keep: Vec<PathBuf> = interfaces.map(|interface| link_pin(pin_dir, interface)).collect();
    keep.push(pins::map_dir(pin_dir));
    for path in ours(pin_dir)?.into_iter().filter(|path| !keep.contains(path)) {
        log::info!("removing {path:?}, which belongs to a former configuration");
        unpin(&path)?;
    }
    Ok(())
}

/// Detaches the program everywhere and removes all pins.
///
/// # Errors
///
/// When a pin cannot be removed.
pub fn detach_all(pin_dir: &Path) -> Result<(), Error> {
    for path in ours(pin_dir)? {
        unpin(&path)?;
    }
    match fs::remove_dir(pin_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::PinDirectory { path: pin_dir.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// What stands in the pin directory and is ours: links first, so that nothing forwards any more
/// once maps vanish.
fn ours(pin_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut names = pins::names(pin_dir)?;
    names.retain(|name| name.starts_with("link-") || name.starts_with("layout-"));
    let mut paths: Vec<PathBuf> = names.iter().map(|name| pin_dir.join(name)).collect();
    paths.sort_by_key(|path| path.is_dir());
    Ok(paths)
}

/// Removes a directory of pinned maps, or a pinned link after detaching what it holds.
fn unpin(path: &Path) -> Result<(), Error> {
    if !path.exists() {
        // Half removed before, it went with the rest.
        return Ok(());
    }
    let removed = if path.is_dir() {
        pins::remove(path)
    } else {
        detach_link(path).and_then(|()| fs::remove_file(path))
    };
    removed.map_err(|source| Error::PinDirectory { path: path.to_owned(), source })
}

/// Detaches a pinned link before this returns: after the removal of its pin alone, the kernel
/// detaches whenever it gets to it.
fn detach_link(pin: &Path) -> io::Result<()> {
    // The first fields of `union bpf_attr` for these commands (include/uapi/linux/bpf.h).
    #[repr(C)]
    struct Get {
        path: u64,
        fd: u32,
        flags: u32,
    }
    #[repr(C)]
    struct Detach {
        link: u32,
    }
    const OBJ_GET: libc::c_int = 7;
    const LINK_DETACH: libc::c_int = 34;
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let get = Get { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: `get` and the path that it points to live through the call, which only reads them.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, OBJ_GET, &raw const get, size_of::<Get>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let link = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let detach = Detach { link: link.as_raw_fd() as u32 };
    let size = size_of::<Detach>();
    // SAFETY: `detach` lives through the call, which only reads it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, LINK_DETACH, &raw const detach, size) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn link_pin(pin_dir: &Path, interface: &str) -> PathBuf {
    pin_dir.join(format!("link-{interface}"))
}

/// The pinned link if it holds the hook. One that does not, since the interface was made anew, is
/// unpinned: it will never forward again.
fn pinned(pin: &Path, hook: &Hook) -> Result<Option<PinnedLink>, Error> {
    if !pin.exists() {
        return Ok(None);
    }
    let failed = |error| Error::kernel(format!("pinned link {pin:?}"), &error);
    let link = PinnedLink::from_pin(pin).map_err(failed)?;
    let link = FdLink::from(link);
    let program = link.info().map_err(failed)?.program_id();
    if hook.attached.is_some_and(|(_, id)| id == program) {
        drop(link);
        return PinnedLink::from_pin(pin).map(Some).map_err(failed);
    }
    unpin(pin)?;
    Ok(None)
}

fn take_over(program: &mut Xdp, link: PinnedLink, interface: &str) -> Result<(), Error> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Error::kernel(format!("replacing the program on {interface}"), error)
    };
    let link = XdpLink::try_from(FdLink::from(link)).map_err(|error| failed(&error))?;
    let id = program.attach_to_link(link).map_err(|error| failed(&error))?;
    // The pin holds the link; our handle of it is closed.
    program.take_link(id).map(drop).map_err(|error| failed(&error))
}

/// Why a program could not be attached: refused by the kernel for this mode, or something else.
enum AttachError {
    Program(ProgramError),
    Other(Error),
}

fn attach_anew(program: &mut Xdp, hook: &Hook, mode: Mode, pin: &Path) -> Result<(), AttachError> {
    let flag = match mode {
        Mode::Native => XdpMode::Driver,
        Mode::Generic => XdpMode::Skb,
    };
    let link = program
        .attach_to_if_index(hook.index, flag)
        .and_then(|id| program.take_link(id))
        .map_err(AttachError::Program)?;
    // Where links are unknown, aya attaches over netlink instead: that cannot be pinned.
    let link = FdLink::try_from(link).map_err(|error| {
        AttachError::Other(Error::OldKernel {
            what: "attach XDP programs by links",
            detail: error.to_string(),
        })
    })?;
    link.pin(pin).map(drop).map_err(|error| {
        AttachError::Other(Error::kernel(format!("pinning the link at {pin:?}"), &error))
    })
}

fn busy(interface: &str, id: u32) -> Error {
    let program = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .unwrap_or_else(|| "unnamed".to_owned());
    Error::Busy { interface: interface.to_owned(), program, id }
}

/// Asks the kernel for the interface and its XDP hook.
async fn hook(interface: &str) -> Result<Hook, Error> {
    let missing = || Error::NoInterface { name: interface.to_owned() };
    let (connection, handle, _) = rtnetlink::new_connection()
        .map_err(|error| Error::kernel("opening a netlink socket", &error))?;
    let connection = tokio::spawn(connection);
    let mut links = handle.link().get().match_name(interface.to_owned()).execute();
    let link = links.try_next().await.ok().flatten().ok_or_else(missing);
    connection.abort();
    let link = link?;
    Ok(Hook { index: link.header.index, attached: attached(&link) })
}

fn attached(link: &LinkMessage) -> Option<(Mode, u32)> {
    let xdp = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    })?;
    let mode = xdp.iter().find_map(|part| match part {
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(Mode::Generic),
        LinkXdp::Attached(XdpAttached::None) | LinkXdp::Attached(XdpAttached::Other(_)) => None,
        LinkXdp::Attached(_) => Some(Mode::Native),
        _ => None,
    })?;
    let id = xdp.iter().find_map(|part| match part {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    Some((mode, id))
}
