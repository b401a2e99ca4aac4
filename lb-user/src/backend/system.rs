//! Which systems real servers run, and what follows from it.

use super::{Format, files::Way};

words! {
    /// What a real server runs.
    #[derive(Default)]
    System, "system" {
        /// Any Linux: the script finds out the rest.
        #[default]
        Linux = "linux",
        /// Debian.
        Debian = "debian",
        /// Ubuntu.
        Ubuntu = "ubuntu",
        /// Red Hat Enterprise Linux.
        Rhel = "rhel",
        /// CentOS.
        Centos = "centos",
        /// Rocky Linux.
        Rocky = "rocky",
        /// AlmaLinux.
        Alma = "alma",
        /// Fedora.
        Fedora = "fedora",
        /// SUSE and openSUSE.
        Suse = "suse",
        /// Alpine Linux.
        Alpine = "alpine",
        /// Arch Linux.
        Arch = "arch",
        /// FreeBSD.
        Freebsd = "freebsd",
        /// Windows Server.
        Windows = "windows",
    }
}

impl System {
    /// What sets one up.
    #[must_use]
    pub fn format(self) -> Format {
        match self {
            Self::Freebsd => Format::Freebsd,
            Self::Windows => Format::Windows,
            _ => Format::Script,
        }
    }

    /// Whether this sets one up.
    #[must_use]
    pub fn takes(self, format: Format) -> bool {
        match self.format() {
            Format::Script => !matches!(format, Format::Freebsd | Format::Windows),
            only => format == only,
        }
    }

    /// In which way it keeps its network's configuration, as a rule; where there are several, the
    /// script looks.
    #[must_use]
    pub fn way(self) -> Option<Way> {
        match self {
            Self::Linux | Self::Freebsd | Self::Windows => None,
            Self::Debian | Self::Alpine => Some(Way::Ifupdown),
            Self::Ubuntu => Some(Way::Netplan),
            Self::Rhel | Self::Centos | Self::Rocky | Self::Alma | Self::Fedora => {
                Some(Way::NetworkManager)
            }
            Self::Suse => Some(Way::Systemd),
            Self::Arch => Some(Way::Networkd),
        }
    }
}
