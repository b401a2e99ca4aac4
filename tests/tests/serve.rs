//! Real clients are served: pages by nginx and curl, datagrams by an echo, answers past the balancer.

use std::{net::IpAddr, thread};

use anyhow::Result;
use tests::{Rack, address, wait};

#[test]
fn every_real_serves_pages_and_datagrams_of_the_vip() -> Result<()> {
    let rack = Rack::new(3)?;
    let answers = rack.answers(90)?;
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(answers.values().all(|count| *count > 10), "{answers:?}");

    let page = rack.lab.client().curl("http://192.0.2.10/", &["-i"])?.success()?;
    assert!(page.stdout.starts_with("HTTP/1.1 200") && page.stdout.contains("X-Real: real"));

    let mut names = std::collections::BTreeSet::new();
    for number in 0..60 {
        let answer =
            rack.lab.client().udp_exchange(Rack::echo(), format!("{number}").as_bytes())?;
        let answer = String::from_utf8(answer)?;
        assert!(answer.ends_with(&number.to_string()), "{answer}");
        names.insert(answer.split(|c: char| !c.is_alphanumeric()).next().map(str::to_owned));
    }
    assert_eq!(names.len(), 3, "{names:?}");
    Ok(())
}

#[test]
fn answers_go_past_the_balancer() -> Result<()> {
    let rack = Rack::new(2)?;
    let port = rack.lab.balancer_port();
    let mut answers = port.capture("src host 192.0.2.10 and dst host 198.51.100.2")?;
    let mut requests = port.capture("outbound and dst host 192.0.2.10")?;
    let before = port.counters()?;
    let size = rack
        .lab
        .client()
        .curl("http://192.0.2.10/large", &["-o", "/dev/null", "-w", "%{size_download}"])?
        .success()?;
    let size: u64 = size.stdout.trim().parse()?;
    let moved = port.counters()? - before;
    assert_eq!(answers.count()?, 0, "an answer came back to the balancer");
    assert!(requests.count()? > 0, "no request came to the balancer");
    let (incoming, outgoing) = (moved.tx_bytes, moved.rx_bytes);
    assert_eq!(size, 64 << 20);
    assert!(size > 20 * (incoming + outgoing), "{size} received, {incoming} in, {outgoing} out");
    Ok(())
}

#[test]
fn what_is_counted_is_what_was_sent() -> Result<()> {
    let rack = Rack::new(2)?;
    rack.answers(20)?;
    let status = rack.status()?;
    let vip = &status["vips"][0];
    assert_eq!(vip["flows"], 20);
    let reals = vip["reals"].as_array().expect("reals");
    for counter in ["packets", "bytes", "flows"] {
        let sum: u64 = reals.iter().filter_map(|real| real[counter].as_u64()).sum();
        assert_eq!(vip[counter], sum, "{counter}");
        assert!(sum > 0);
    }
    assert_eq!(status["outcomes"]["forwarded"], vip["packets"]);
    Ok(())
}

#[test]
fn a_client_keeps_its_real_with_a_source_hash() -> Result<()> {
    let rack = Rack::new(3)?;
    rack.lbctl(&["vip", "set", "web", "--hash", "source"])?;
    assert_eq!(rack.answers(20)?.len(), 1);
    Ok(())
}

#[test]
fn a_real_comes_in_when_it_can_be_reached() -> Result<()> {
    let rack = Rack::new(2)?;
    let late = rack.lab.real(2);
    late.netns().ip("link set eth0 down")?;
    // The neighbour entry of a machine that is gone lives on for a while; the operator's flush ends
    // it, and harms nobody else.
    rack.lab.balancer().ip("neigh flush all")?;
    rack.lbctl(&["real", "del", "web", "10.0.0.12"])?;
    rack.lbctl(&["real", "add", "web", "10.0.0.12"])?;
    wait::until("the reason", wait::PATIENCE, || {
        let status = rack.status()?;
        let real = &status["vips"][0]["reals"][1];
        let reason = real["reason"].as_str().unwrap_or_default();
        Ok((real["health"] == "down" && reason.contains("neighbour unresolved")).then_some(()))
    })?;
    assert_eq!(rack.status()?["vips"][0]["state"], "degraded");
    assert_eq!(rack.answers(10)?.len(), 1);

    late.netns().ip_batch("link set eth0 up\nroute replace default via 10.0.0.1\n")?;
    rack.usable(2)?;
    assert_eq!(rack.answers(40)?.len(), 2);
    Ok(())
}

#[test]
fn a_changed_mac_address_is_followed() -> Result<()> {
    let rack = Rack::new(1)?;
    let real = rack.lab.real(1);
    real.netns().ip_batch(
        "link set eth0 down\nlink set eth0 address 02:00:00:00:00:77\nlink set eth0 up\n\
         route replace default via 10.0.0.1\n",
    )?;
    // What a machine says when it comes up; the bridge may not listen to the first.
    let frame = gratuitous([2, 0, 0, 0, 0, 0x77], [10, 0, 0, 11]);
    let port = tests::Port::new(real.netns(), "eth0");
    wait::until("the new MAC address", wait::PATIENCE, || {
        port.send(&[&frame])?;
        Ok((rack.status()?["vips"][0]["reals"][0]["mac"] == "02:00:00:00:00:77").then_some(()))
    })?;
    // The router learns it, too.
    rack.lab.router().ip("neigh flush all")?;
    assert_eq!(rack.answers(5)?.len(), 1);
    Ok(())
}

/// An ARP announcement (RFC 5227, section 3).
fn gratuitous(mac: [u8; 6], address: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend(mac);
    frame.extend(address);
    frame.extend([0xff; 6]);
    frame.extend(address);
    frame
}

#[test]
fn a_path_with_a_smaller_mtu_is_found_out_by_the_real_that_needs_to_know() -> Result<()> {
    let rack = Rack::new(3)?;
    // The client still says that it takes 1460 bytes a segment; the router cannot pass them on.
    rack.lab.router().ip("link set dev wan mtu 1280")?;
    let words = ["-o", "json", "trace", "--dst", "192.0.2.10:80", "--src", "198.51.100.2:41000"];
    let owner = rack.lbctl(&words)?.json()?["real"].as_str().unwrap_or_default().to_owned();
    let mut told = Vec::new();
    for real in rack.lab.reals() {
        let errors =
            rack.lab.real_port(real).capture("outbound and icmp[icmptype] == icmp-unreach")?;
        told.push((real.address().to_string(), errors));
    }
    let words = ["-o", "/dev/null", "-w", "%{size_download}", "--local-port", "41000"];
    let size = rack.lab.client().curl("http://192.0.2.10/large", &words)?.success()?.stdout;
    assert_eq!(size.trim().parse::<u64>()?, tests::nginx::LARGE);
    for (real, errors) in &mut told {
        assert_eq!(errors.count()? > 0, *real == owner, "{real}, owner {owner}");
    }
    Ok(())
}

#[test]
fn datagrams_larger_than_the_path_takes_are_served_both_ways() -> Result<()> {
    let rack = Rack::new(3)?;
    let mut names = std::collections::BTreeSet::new();
    for number in 0..40u8 {
        let payload = vec![number; 8000];
        let answer = rack.lab.client().udp_exchange(Rack::echo(), &payload)?;
        assert!(answer.ends_with(&payload), "{} bytes", answer.len());
        names.insert(answer[..answer.len() - payload.len()].to_vec());
    }
    assert_eq!(names.len(), 3, "every real has put datagrams together");
    assert_eq!(rack.status()?["outcomes"]["fragment"], 0);
    Ok(())
}

#[test]
fn a_ping_of_the_vip_is_answered_whoever_has_the_address() -> Result<()> {
    let rack = Rack::new(1)?;
    let mut command = rack.lab.client().netns().command("ping");
    command.args(["-c", "3", "-i", "0.05", "-s", "1000", "-W", "5", "192.0.2.10"]);
    let ping = tests::Output::of(&mut command)?.success()?;
    assert!(ping.stdout.contains("3 received"), "{}", ping.stdout);
    assert_eq!(rack.status()?["outcomes"]["echo_answered"], 3);
    Ok(())
}

#[test]
fn a_weight_is_the_share_of_new_flows() -> Result<()> {
    let rack = Rack::new(2)?;
    rack.lbctl(&["real", "set", "web", "10.0.0.11", "--weight", "3"])?;
    let status = rack.status()?;
    let share =
        |index: usize| status["vips"][0]["reals"][index]["share"].as_f64().unwrap_or_default();
    assert!((share(0) - 0.75).abs() < 0.002, "{}", share(0));
    assert!((share(1) - 0.25).abs() < 0.002, "{}", share(1));
    Ok(())
}

#[test]
fn disabling_a_real_moves_its_flows_and_no_others() -> Result<()> {
    let rack = Rack::new(3)?;
    let owners = || -> Result<Vec<String>> {
        (0..60)
            .map(|flow| {
                let source = format!("198.51.100.2:{}", 20_000 + flow);
                let to = ["--dst", "192.0.2.10:80", "--syn"];
                let words = [&["-o", "json", "trace", "--src", &source][..], &to].concat();
                let trace = rack.lbctl(&words)?.json()?;
                Ok(trace["real"].as_str().unwrap_or("nobody").to_owned())
            })
            .collect()
    };
    let before = owners()?;
    rack.lbctl(&["real", "disable", "web", "10.0.0.12"])?;
    let during = owners()?;
    for (was, is) in before.iter().zip(&during) {
        assert!(if was == "10.0.0.12" { is != was } else { is == was }, "{was} {is}");
    }
    assert_eq!(rack.answers(20)?.get("real2"), None);
    rack.lbctl(&["real", "enable", "web", "10.0.0.12"])?;
    assert_eq!(owners()?, before, "new flows go where they went");
    Ok(())
}

#[test]
fn a_what_if_predicts_what_then_happens() -> Result<()> {
    let rack = Rack::new(3)?;
    let trace = |source: &str, down: Option<&str>| -> Result<serde_json::Value> {
        let mut words = vec!["-o", "json", "trace", "--src", source, "--dst", "192.0.2.10:80"];
        words.extend(down.into_iter().flat_map(|down| ["--down", down]));
        rack.lbctl(&words)?.json()
    };
    let sources: Vec<String> =
        (0..30).map(|flow| format!("198.51.100.2:{}", 30_000 + flow)).collect();
    let predicted: Vec<_> =
        sources.iter().map(|source| trace(source, Some("10.0.0.11"))).collect::<Result<_>>()?;
    rack.lbctl(&["real", "disable", "web", "10.0.0.11"])?;
    for (source, predicted) in sources.iter().zip(&predicted) {
        let happens = trace(source, None)?;
        assert_eq!(happens["real"], predicted["real"]);
        assert_eq!(happens["slot"], predicted["slot"]);
        assert_eq!((&happens["predicted"], &predicted["predicted"]), (&false.into(), &true.into()));
        assert_eq!(happens["by"], "current");
        assert_eq!(happens["interface"], "eth0");
    }
    Ok(())
}

#[test]
fn a_sorry_server_serves_while_no_real_does() -> Result<()> {
    let rack = Rack::new(3)?;
    rack.lbctl(&["real", "del", "web", "10.0.0.13"])?;
    rack.lbctl(&["vip", "set", "web", "--sorry", "10.0.0.13"])?;
    assert_eq!(rack.answers(20)?.get("real3"), None);
    for real in ["10.0.0.11", "10.0.0.12"] {
        rack.lbctl(&["real", "disable", "web", real])?;
    }
    let only_sorry = || Ok((rack.answers(3)?.get("real3") == Some(&3)).then_some(()));
    wait::until("the sorry server", wait::PATIENCE, only_sorry)?;
    rack.lbctl(&["real", "enable", "web", "10.0.0.11"])?;
    assert_eq!(rack.answers(5)?.get("real1"), Some(&5));
    Ok(())
}

#[test]
fn ports_that_nobody_serves_are_the_local_stacks_where_the_address_is_assigned() -> Result<()> {
    let rack = Rack::new(1)?;
    let counter = |label: &str| -> Result<u64> {
        Ok(rack.status()?["outcomes"][label].as_u64().unwrap_or_default())
    };
    let refused = rack.lab.client().curl("http://192.0.2.10:81/", &[])?;
    assert_eq!(refused.code, 7, "connection refused, and not a timeout: {}", refused.stderr);
    assert!(counter("vip_local")? > 0);

    rack.lbctl(&["vip", "set", "web", "--announce", "none"])?;
    wait::until("the address to go", wait::PATIENCE, || {
        Ok((!has_address(&rack, Rack::vip())?).then_some(()))
    })?;
    // The router still knows where the VIP is.
    wait::until("the drop", wait::PATIENCE, || {
        let silence = rack.lab.client().curl("http://192.0.2.10:81/", &["--max-time", "1"])?;
        assert_ne!(silence.code, 0);
        Ok((counter("no_service")? > 0).then_some(()))
    })
}

fn has_address(rack: &Rack, address: IpAddr) -> Result<bool> {
    Ok(rack.lab.balancer().ip("address show dev eth0")?.contains(&format!("{address}/32")))
}

#[test]
fn many_clients_at_once_are_all_served() -> Result<()> {
    let rack = Rack::new(3)?;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| rack.answers(50))).collect();
        for client in clients {
            let answers = client.join().expect("a client")?;
            assert_eq!(answers.values().sum::<usize>(), 50);
        }
        Ok(())
    })
}

#[test]
fn generic_xdp_serves_as_well_and_says_so() -> Result<()> {
    let (lab, nginx, echoes) = Rack::servers(2)?;
    let config = lab.config(&Rack::vips(2)).replace("interfaces", "xdp = \"generic\"\ninterfaces");
    let daemon = lab.daemon(&config)?;
    let rack = Rack { daemon, nginx, echoes, lab };
    rack.usable(2)?;
    assert_eq!(rack.status()?["node"]["interfaces"][0]["xdp"], "generic");
    assert_eq!(rack.answers(40)?.len(), 2);
    assert_eq!(address::vip(10), Rack::vip());
    Ok(())
}
