//! The network around a daemon of many VIPs, and their configurations.

use std::{
    fmt::Write as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    Lab, LabOptions, address,
    packet::{Link, SYN},
};

/// How many VIPs there are, and how many reals each has.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) vips: u32,
    pub(super) reals: u32,
    /// The first real of each so-manieth VIP is the one behind the second interface.
    far: u32,
    /// From how many servers the pools are drawn.
    servers: u32,
    /// Servers are not asked for their MAC addresses.
    fixed: bool,
}

impl Shape {
    pub(super) const LARGE: Self =
        Self { name: "10000 × 10", vips: 10_000, reals: 10, far: 25, servers: 113, fixed: false };
    const WIDE: Self =
        Self { name: "100 × 1000", vips: 100, reals: 1000, far: 1, servers: 1103, fixed: true };
    pub(super) const MANY: Self =
        Self { name: "1000 × 10", vips: 1000, reals: 10, far: 1, servers: 113, fixed: false };
    pub(super) const ALL: [Self; 3] = [Self::LARGE, Self::WIDE, Self::MANY];
    pub(super) const QUICK: [Self; 1] =
        [Self { name: "100 × 10", vips: 100, reals: 10, far: 1, servers: 113, fixed: false }];

    /// The name of a VIP, from 0.
    pub(super) fn vip(vip: u32) -> String {
        format!("vip{vip}")
    }

    /// The address of a VIP.
    fn address(vip: u32) -> Ipv4Addr {
        Ipv4Addr::from(0xac10_0001 + vip)
    }

    pub(super) fn last(&self) -> u32 {
        self.vips - 1
    }

    /// The servers of a VIP: as many in a row as it has reals, each a stride from the one before; starts and
    /// strides make all pools different (113 times 112 are).
    fn servers(&self, vip: u32) -> impl Iterator<Item = u32> {
        // Their number is a prime, so that every stride reaches as many.
        let servers = self.servers;
        let stride = 1 + vip / servers % (servers - 1);
        (0..self.reals).map(move |real| (vip + real * stride) % servers)
    }

    /// The second real of a VIP: what changes are made to.
    pub(super) fn second(&self, vip: u32) -> Option<Ipv4Addr> {
        self.servers(vip).nth(1).map(server)
    }

    /// The VIPs in the words of the file; of those for which `is_heavy` says so, the second real has twice the
    /// weight.
    pub(super) fn text(&self, is_heavy: impl Fn(u32) -> bool) -> Result<String> {
        let mut text = String::new();
        for vip in 0..self.vips {
            writeln!(
                text,
                "[[vip]]\nname = \"{}\"\naddress = \"{}\"",
                Self::vip(vip),
                Self::address(vip)
            )?;
            writeln!(text, "ports = [\"tcp/80\"]\nannounce = \"none\"")?;
            writeln!(text, "idle_timeout = \"1s\"\n")?;
            let far = vip % self.far == 0;
            for (index, number) in self.servers(vip).enumerate() {
                match index {
                    0 if far => {
                        writeln!(text, "[[vip.real]]\naddress = \"{}\"", address::far_real(1))?
                    }
                    _ => writeln!(text, "[[vip.real]]\naddress = \"{}\"", server(number))?,
                }
                if self.fixed && !(far && index == 0) {
                    writeln!(text, "mac = \"{}\"", address::mac(address::real(1)))?;
                }
                if index == 1 && is_heavy(vip) {
                    writeln!(text, "weight = 2")?;
                }
                text.push('\n');
            }
        }
        Ok(text)
    }

    /// A connection to the last VIP begins, at the router.
    pub(super) fn syn(&self, lab: &Lab, port: u16) -> Vec<u8> {
        let balancer = lab.balancers()[0].mac();
        Link::new(address::mac(address::ROUTER_LAN), balancer)
            .ipv4(Ipv4Addr::new(198, 51, 100, 2), Self::address(self.last()))
            .tcp(port, 80)
            .flags(SYN)
            .build()
    }

    /// What frames to the last VIP are, for a capture.
    pub(super) fn filter(&self) -> String {
        format!("dst host {}", Self::address(self.last()))
    }
}

fn server(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a02_0001 + number)
}

/// A lab in which one machine has the addresses of all servers, and another stands behind the balancer's second
/// interface.
pub(super) fn lab() -> Result<Lab> {
    let lab = Lab::new(LabOptions { second_lan_reals: 1, ..LabOptions::reals(1) })?;
    lab.real(1).netns().ip("route add local 10.2.0.0/16 dev lo")?;
    lab.balancer().ip("route add 10.2.0.0/16 dev eth0")?;
    Ok(lab)
}

/// The file of the pinned arena of rings, as the balancer sees it.
pub(super) fn pinned_rings(dir: &Path) -> Result<PathBuf> {
    for entry in dir.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("RINGS") {
            return Ok(path);
        }
        if path.is_dir()
            && let Ok(found) = pinned_rings(&path)
        {
            return Ok(found);
        }
    }
    None.with_context(|| format!("no pinned rings in {}", dir.display()))
}
