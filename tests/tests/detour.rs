//! Addresses that stand for a VIP at one real: ordinary sockets reach exactly that, the way clients do.

use std::{
    collections::{BTreeMap, HashSet},
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use caps::{CapSet, Capability};
use lb_user::{
    detour::{Detour, Detours, Error},
    model::{Mac, ProbePrefixes},
};
use tests::{Lab, LabOptions, Output, Rack, Real, address, wait};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// How long an answer may take that will come.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long one is waited for that must not come.
const SILENCE: Duration = Duration::from_millis(700);

const VIPS: [IpAddr; 2] = [address::vip(10), address::vip6(10)];

/// Runs the work in the balancer, with no more rights than a daemon has.
fn within<T: Send>(lab: &Lab, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    within_as_root(lab, async || {
        let rights: HashSet<_> =
            [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW].into();
        caps::set(None, CapSet::Effective, &rights)?;
        caps::set(None, CapSet::Permitted, &rights)?;
        work().await
    })
}

/// Runs the work in the balancer. It may change the lab.
fn within_as_root<T: Send>(lab: &Lab, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    lab.in_balancer(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work())
    })
}

fn index(interface: &str) -> Result<u32> {
    Ok(nix::net::if_::if_nametoindex(interface)?)
}

/// What a real has beside a VIP.
fn rip(real: &Real, vip: IpAddr) -> IpAddr {
    if vip.is_ipv4() { real.address() } else { real.address6() }
}

fn detour(real: &Real, vip: IpAddr) -> Result<Detour> {
    Ok(Detour { vip, mac: real.mac(), interface: index("eth0")? })
}

/// The VIPs at all reals.
fn all(lab: &Lab) -> Result<BTreeMap<Detour, IpAddr>> {
    let each = lab.reals().iter().flat_map(|real| VIPS.map(|vip| (real, vip)));
    each.map(|(real, vip)| Ok((detour(real, vip)?, rip(real, vip)))).collect()
}

/// The address that stands for a VIP at a real.
async fn stand_in(detours: &mut Detours, lab: &Lab, real: &Real, vip: IpAddr) -> Result<IpAddr> {
    let mut made = detours.set(&all(lab)?).await;
    let made = made.remove(&detour(real, vip)?).context("the detour is missing")?;
    made.map_err(anyhow::Error::msg)
}

/// Who serves the page there.
async fn page(to: SocketAddr) -> Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(PATIENCE, exchange).await.with_context(|| format!("{to}"))??;
    let name = answer.lines().find_map(|line| line.strip_prefix("X-Real: "));
    Ok(name.with_context(|| answer.clone())?.to_owned())
}

/// What is answered to a datagram.
async fn datagram(to: SocketAddr, payload: &[u8]) -> Result<Vec<u8>> {
    let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse()?;
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    socket.send(payload).await?;
    let mut answer = vec![0; 65_536];
    let length = timeout(PATIENCE, socket.recv(&mut answer)).await.context("no answer")??;
    answer.truncate(length);
    Ok(answer)
}

/// So many bytes in a ping, which must be answered.
fn ping(to: IpAddr, size: usize) -> Result<()> {
    let mut command = Command::new("ping");
    command.args(["-c", "2", "-i", "0.05", "-W", "10", "-s", &size.to_string(), &to.to_string()]);
    let output = Output::of(&mut command)?.success()?;
    ensure!(output.stdout.contains("2 received"), "{}", output.stdout);
    Ok(())
}

/// That nobody answers a connection.
async fn silence(to: SocketAddr) -> Result<()> {
    match timeout(SILENCE, TcpStream::connect(to)).await {
        Err(_) => Ok(()),
        Ok(answer) => bail!("{to} is answered: {answer:?}"),
    }
}

/// That all that is sent over IP gets to each real, and its answer back.
async fn everything_works(lab: &Lab) -> Result<()> {
    let mut detours = Detours::new(ProbePrefixes::default())?;
    for real in lab.reals() {
        for vip in VIPS {
            let to = stand_in(&mut detours, lab, real, vip).await?;
            assert_eq!(page(SocketAddr::new(to, 80)).await?, real.name());
            let answer = datagram(SocketAddr::new(to, 53), b"hello").await?;
            assert_eq!(answer, [real.name().as_bytes(), b" hello"].concat());
            let large = vec![7; 4000];
            let answer = datagram(SocketAddr::new(to, 53), &large).await?;
            assert_eq!(answer.len(), real.name().len() + 1 + large.len());
            ping(to, 56)?;
            ping(to, 3000)?;
        }
    }
    detours.close().await;
    Ok(())
}

/// What the detours have put into the kernel.
fn traces(lab: &Lab) -> Result<String> {
    let mut left = String::new();
    for words in ["-4 route show table all", "-6 route show table all", "neigh show nud permanent"]
    {
        let lines = lab.balancer().ip(words)?;
        let ours = lines.lines().filter(|line| line.contains("198.1") || line.contains("2001:2:"));
        left.extend(ours.map(|line| format!("{line}\n")));
    }
    let programs = lab.in_balancer(|| {
        let ways = [TcAttachType::Ingress, TcAttachType::Egress];
        let known = ways.map(|way| SchedClassifier::query_tcx("eth0", way));
        Ok(known.into_iter().flatten().map(|(_, programs)| programs.len()).sum::<usize>())
    })?;
    for way in ["ingress", "egress"] {
        let mut tc = lab.balancer().command("tc");
        left += &Output::of(tc.args(["filter", "show", "dev", "eth0", way]))?.stdout;
    }
    if programs > 0 {
        left += &format!("{programs} programs\n");
    }
    Ok(left)
}

/// That nothing is left in the end: a process that another test is just starting has all descriptors for a
/// moment, and so the programs.
fn nothing_is_left(lab: &Lab) -> Result<()> {
    let empty = || Ok(traces(lab)?.is_empty().then_some(()));
    wait::until("the detours' end", wait::PATIENCE, empty)
        .with_context(|| format!("{:?}", traces(lab)))
}

#[test]
fn sockets_reach_each_real_under_the_vip_that_the_balancer_itself_has() -> Result<()> {
    let rack = Rack::dual(2)?;
    // Nothing that arrives may come from where it would not be sent to.
    let strict = ["all", "eth0"].map(|name| format!("ipv4/conf/{name}/rp_filter"));
    rack.lab.balancer().sysctl(&strict.each_ref().map(|name| (name.as_str(), "1")))?;
    within(&rack.lab, async || everything_works(&rack.lab).await)?;
    // The clients' path is as it was.
    assert_eq!(rack.answers_at(Rack::web(), 40)?.len(), 2);
    assert_eq!(rack.answers_at(Rack::web6(), 40)?.len(), 2);
    nothing_is_left(&rack.lab)
}

#[test]
fn checksums_may_be_left_to_the_network_cards() -> Result<()> {
    for with_daemon in [false, true] {
        let (lab, _nginx, _echoes) = Rack::servers_at(2, &VIPS)?;
        for netns in lab.reals().iter().map(Real::netns).chain([lab.balancer()]) {
            let mut ethtool = netns.command("ethtool");
            ethtool.args(["-K", "eth0", "tx", "on", "tso", "on", "gso", "on"]);
            Output::of(&mut ethtool)?.success()?;
        }
        let vips = Rack::vips(2) + "\n" + &Rack::vips6(2);
        let _daemon = with_daemon.then(|| lab.daemon(&lab.config(&vips))).transpose()?;
        within(&lab, async || everything_works(&lab).await)?;
    }
    Ok(())
}

#[test]
fn a_real_without_the_vip_is_silent_although_its_own_address_answers() -> Result<()> {
    let rack = Rack::dual(2)?;
    let [without, other] = [rack.lab.real(1), rack.lab.real(2)];
    VIPS.iter().try_for_each(|vip| without.remove_vip(*vip))?;
    let ask = async |detours: &mut Detours| {
        for vip in VIPS {
            assert_eq!(page(SocketAddr::new(rip(without, vip), 80)).await?, "real1");
            let to = stand_in(detours, &rack.lab, without, vip).await?;
            silence(SocketAddr::new(to, 80)).await?;
            let to = stand_in(detours, &rack.lab, other, vip).await?;
            assert_eq!(page(SocketAddr::new(to, 80)).await?, "real2");
        }
        anyhow::Ok(())
    };
    within(&rack.lab, async || ask(&mut Detours::new(ProbePrefixes::default())?).await)?;

    // What it hands on to another that has the VIP is answered by that, but that is not it.
    without.netns().sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
    for vip in VIPS {
        without.netns().ip(&format!("route replace {vip} via {}", rip(other, vip)))?;
    }
    let filter = format!("outbound and tcp and ether src {}", without.mac());
    let mut handed_on = rack.lab.real_port(other).capture(&filter)?;
    within(&rack.lab, async || ask(&mut Detours::new(ProbePrefixes::default())?).await)?;
    assert!(handed_on.count()? > 0, "it was handed on");
    Ok(())
}

#[test]
fn where_nobody_listens_the_socket_is_told() -> Result<()> {
    let rack = Rack::dual(1)?;
    within(&rack.lab, async || {
        let mut detours = Detours::new(ProbePrefixes::default())?;
        for vip in VIPS {
            let to = stand_in(&mut detours, &rack.lab, rack.lab.real(1), vip).await?;
            let to = SocketAddr::new(to, 81);
            let refused = timeout(PATIENCE, TcpStream::connect(to)).await?;
            assert_eq!(
                refused.map(drop).map_err(|error| error.kind()),
                Err(ErrorKind::ConnectionRefused)
            );
            let refused = datagram(to, b"hello").await.expect_err("nobody listens");
            let refused = refused.downcast::<std::io::Error>()?;
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        }
        Ok(())
    })
}

#[test]
fn a_real_with_another_mac_address_has_another_detour() -> Result<()> {
    let (lab, _nginx, _echoes) = Rack::servers_at(2, &VIPS)?;
    let real = lab.real(1);
    let moved = Mac([2, 0, 0, 0, 0, 0x77]);
    within_as_root(&lab, async || {
        let mut detours = Detours::new(ProbePrefixes::default())?;
        let mut wanted = all(&lab)?;
        let before = detours.set(&wanted).await;
        real.netns().ip_batch(&format!(
            "link set eth0 down\nlink set eth0 address {moved}\nlink set eth0 up\n\
             address replace {}/64 dev eth0 nodad\naddress replace fe80::a:0:0:11/64 dev eth0 nodad\n\
             route replace default via 10.0.0.1\nroute replace default via {}\n",
            real.address6(),
            address::ROUTER_LAN6
        ))?;
        for vip in VIPS {
            let (old, new) = (detour(real, vip)?, Detour { mac: moved, ..detour(real, vip)? });
            wanted.remove(&old);
            wanted.insert(new, rip(real, vip));
            let after = detours.set(&wanted).await;
            let address = |made: &BTreeMap<Detour, Result<IpAddr, String>>, detour| {
                made[&detour].clone().map_err(anyhow::Error::msg)
            };
            silence(SocketAddr::new(address(&before, old)?, 80)).await?;
            assert_eq!(page(SocketAddr::new(address(&after, new)?, 80)).await?, "real1");
            let stays = detour(lab.real(2), vip)?;
            assert_eq!(address(&before, stays)?, address(&after, stays)?);
        }
        detours.close().await;
        Ok(())
    })?;
    nothing_is_left(&lab)
}

#[test]
fn what_a_killed_daemon_has_left_is_removed() -> Result<()> {
    let (lab, _nginx, _echoes) = Rack::servers_at(2, &VIPS)?;
    let query = || SchedClassifier::query_tcx("eth0", TcAttachType::Ingress);
    let has_links = lab.in_balancer(|| Ok(query().is_ok()))?;
    within(&lab, async || {
        let mut detours = Detours::new(ProbePrefixes::default())?;
        stand_in(&mut detours, &lab, lab.real(1), VIPS[0]).await?;
        if has_links {
            // Its descriptors go, and the programs with them.
            drop(detours);
        } else {
            std::mem::forget(detours);
        }
        Ok(())
    })?;
    let left = traces(&lab)?;
    assert!(left.contains("198.18.0.0/24 via 198.19.255.254 dev eth0"), "{left}");
    assert!(left.contains("2001:2::/120 via 2001:2::ff:ffff:fffe dev eth0"), "{left}");
    within(&lab, async || {
        Detours::clean().await?;
        Ok(Detours::check(ProbePrefixes::default()).await?)
    })?;
    nothing_is_left(&lab)?;
    // And all of it can be made again.
    within(&lab, async || everything_works(&lab).await)
}

#[test]
fn what_the_kernel_has_removed_is_there_again() -> Result<()> {
    let (lab, _nginx, _echoes) = Rack::servers_at(1, &VIPS)?;
    within_as_root(&lab, async || {
        let mut detours = Detours::new(ProbePrefixes::default())?;
        let wanted = all(&lab)?;
        let before = detours.set(&wanted).await;
        lab.balancer().ip_batch("link set eth0 down\nlink set eth0 up\n")?;
        // IPv6 addresses go with the interface.
        lab.balancer().ip(&format!("address replace {}/64 dev eth0 nodad", address::BALANCER6))?;
        lab.balancer().ip("address replace fe80::a:0:0:2/64 dev eth0 nodad")?;
        assert_eq!(detours.set(&wanted).await, before);
        for made in before.values() {
            let to = made.clone().map_err(anyhow::Error::msg)?;
            assert_eq!(page(SocketAddr::new(to, 80)).await?, "real1");
        }
        Ok(())
    })
}

#[test]
fn addresses_that_are_somebodys_are_refused_with_both_names() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let refusal = || {
        within(&lab, async || match Detours::check(ProbePrefixes::default()).await {
            Err(error @ Error::Overlap { .. }) => Ok(error.to_string()),
            other => bail!("{other:?}"),
        })
    };
    within(&lab, async || Ok(Detours::check(ProbePrefixes::default()).await?))?;
    lab.balancer().ip("route add unreachable 198.18.0.0/15")?;
    within(&lab, async || Ok(Detours::check(ProbePrefixes::default()).await?))?;
    for (words, [prefix, other]) in [
        ("route add 198.19.4.0/24 via 10.0.0.1", ["198.18.0.0/15", "route 198.19.4.0/24 dev eth0"]),
        ("route add 2001::/23 via 2001:db8:a::1", ["2001:2::/48", "route 2001::/23 dev eth0"]),
        ("address add 198.18.7.7/32 dev eth0", ["198.18.0.0/15", "address 198.18.7.7/32 dev eth0"]),
    ] {
        lab.balancer().ip(words)?;
        let text = refusal()?;
        assert!(text.contains(prefix) && text.contains(other), "{text}");
        lab.balancer().ip(&words.replace(" add ", " del "))?;
    }
    Ok(())
}

#[test]
fn a_detour_without_an_address_of_this_machine_says_so_and_the_others_work() -> Result<()> {
    let (lab, _nginx, _echoes) = Rack::servers_at(1, &VIPS)?;
    lab.balancer().ip(&format!("address del {}/64 dev eth0", address::BALANCER6))?;
    within(&lab, async || {
        let mut detours = Detours::new(ProbePrefixes::default())?;
        let made = detours.set(&all(&lab)?).await;
        let real = lab.real(1);
        let reason = made[&detour(real, VIPS[1])?].clone().expect_err("no address");
        assert!(reason.contains("no IPv6 address"), "{reason}");
        let to = made[&detour(real, VIPS[0])?].clone().map_err(anyhow::Error::msg)?;
        assert_eq!(page(SocketAddr::new(to, 80)).await?, "real1");
        Ok(())
    })
}

#[test]
fn answers_to_others_are_left_alone() -> Result<()> {
    let (lab, _nginx, _echoes) = Rack::servers_at(1, &VIPS)?;
    // The balancer is the real's way to the client: what it answers comes by, and goes on.
    lab.balancer().sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
    let real = lab.real(1);
    real.netns().ip(&format!("route replace default via {}", address::BALANCER))?;
    real.netns().ip(&format!("route replace default via {}", address::BALANCER6))?;
    for vip in VIPS {
        lab.router().ip(&format!("route replace {vip} via {}", rip(real, vip)))?;
    }
    within_as_root(&lab, async || {
        let mut detours = Detours::new(ProbePrefixes::default())?;
        stand_in(&mut detours, &lab, real, VIPS[0]).await?;
        for url in ["http://192.0.2.10/", "http://[2001:db8:2::10]/"] {
            lab.client().curl(url, &[])?.success()?;
        }
        detours.close().await;
        Ok(())
    })
}

#[test]
fn detours_lead_through_vlan_devices() -> Result<()> {
    if !Lab::has_vlan_devices()? {
        println!("not here: this kernel has no VLAN devices");
        return Ok(());
    }
    let (lab, _nginx, _echoes) = Rack::servers_at(1, &VIPS)?;
    let real = lab.real(1);
    for (netns, last) in [(lab.balancer(), 2), (real.netns(), 11)] {
        netns.ip_batch(&format!(
            "link add link eth0 name eth0.20 mtu 1496 type vlan id 20\n\
             address add 10.0.20.{last}/24 dev eth0.20\n\
             address add 2001:db8:c::{last}/64 dev eth0.20 nodad\n\
             address add fe80::c:0:0:{last}/64 dev eth0.20 nodad\nlink set eth0.20 up\n"
        ))?;
    }
    within(&lab, async || {
        let mut detours = Detours::new(ProbePrefixes::default())?;
        for (vip, near) in VIPS.into_iter().zip(["10.0.20.11", "2001:db8:c::11"]) {
            let wanted = Detour { interface: index("eth0.20")?, ..detour(real, vip)? };
            let made = detours.set(&BTreeMap::from([(wanted, near.parse()?)])).await;
            let to = made[&wanted].clone().map_err(anyhow::Error::msg)?;
            assert_eq!(page(SocketAddr::new(to, 80)).await?, "real1");
            assert_eq!(datagram(SocketAddr::new(to, 53), &[7; 4000]).await?.len(), 4006);
            ping(to, 3000)?;
        }
        detours.close().await;
        Ok(())
    })
}
