//! What keeps the datapath from being loaded or attached.

use std::{io, path::PathBuf};

use aya::programs::ProgramError;
use thiserror::Error;

use super::form::Form;

/// What keeps the datapath from being loaded or attached. Each says what to do.
#[derive(Debug, Error)]
pub enum Error {
    /// Not root, and no capabilities.
    #[error(
        "no permission to {what}: run lbd as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NoPermission {
        /// What was tried.
        what: &'static str,
    },
    /// The tables are too large for this machine.
    #[error(
        "not enough memory for tables with {slots} ring slots and {places} places for reals (12 bytes a \
         slot, and 40 a place with 32 more for every CPU): use fewer VIPs or smaller pools"
    )]
    NoMemory {
        /// Slots for rings.
        slots: u32,
        /// Places for pools.
        places: u32,
    },
    /// The pin directory is elsewhere.
    #[error(
        "pin_dir {path:?} is not on a BPF file system: `mount -t bpf bpf /sys/fs/bpf`, or choose \
         a directory below one"
    )]
    NoBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// The pin directory cannot be used.
    #[error("pin directory {path:?}: {source}")]
    PinDirectory {
        /// The directory or file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A pinned map is not the one that this layout describes.
    #[error(
        "{path:?} is not a map of this program (it is {found}, not {expected}): \
         run `lbd --config FILE --detach` once to remove what is pinned, then start again"
    )]
    ForeignMap {
        /// Its pin.
        path: PathBuf,
        /// What it is.
        found: Form,
        /// What it should be.
        expected: Form,
    },
    /// The configuration names an interface that is not there.
    #[error("interface \"{name}\" does not exist; `ip link` shows those that do")]
    NoInterface {
        /// Its name.
        name: String,
    },
    /// Another program has the hook.
    #[error(
        "interface \"{interface}\" is busy: XDP program \"{program}\" (id {id}) is attached; detach it with \
         `ip link set dev {interface} xdp off` or choose another interface"
    )]
    Busy {
        /// The interface.
        interface: String,
        /// The other program's name.
        program: String,
        /// Its id.
        id: u32,
    },
    /// The driver cannot, and generic XDP is not wanted.
    #[error(
        "interface \"{interface}\": the driver has no native XDP ({source}); set xdp = \"auto\" \
         or xdp = \"generic\""
    )]
    NoNative {
        /// The interface.
        interface: String,
        /// What the kernel says.
        source: ProgramError,
    },
    /// The kernel lacks what is needed.
    #[error("this kernel cannot {what} ({detail}); Linux 5.10 or newer is needed")]
    OldKernel {
        /// What is missing.
        what: &'static str,
        /// What the kernel says.
        detail: String,
    },
    /// The kernel refused something.
    #[error("{what}: {detail}")]
    Kernel {
        /// What was tried.
        what: String,
        /// What the kernel says.
        detail: String,
    },
}

impl Error {
    /// The kernel's refusal, with its own words.
    pub(super) fn kernel(
        what: impl Into<String>,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        Self::Kernel { what: what.into(), detail: chain(error) }
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
