//! `lbctl` and the socket behind it: what is added can be shown, changed, removed, and survives a restart.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tests::{Output, Rack};

#[test]
fn what_is_added_is_shown_changed_removed_and_kept_across_restarts() -> Result<()> {
    let mut rack = Rack::new(2)?;
    let file = rack.daemon.config_file();
    let commented = format!("# The rack in the cellar.\n{}", fs::read_to_string(&file)?);
    rack.daemon.terminate()?;
    fs::write(&file, &commented)?;
    rack.daemon.restart()?;

    rack.lbctl(&[
        "vip",
        "add",
        "dns",
        "--address",
        "192.0.2.53",
        "--port",
        "udp/53",
        "--port",
        "tcp/53",
        "--real",
        "10.0.0.11,weight=2",
        "--real",
        "10.0.0.12,mac=02:00:00:00:00:0c",
        "--hash",
        "source",
        "--announce",
        "none",
        "--check",
        "tcp:53",
        "--sorry",
        "10.0.0.99",
        "--idle-timeout",
        "5m",
    ])?;
    rack.lbctl(&["real", "add", "dns", "10.0.0.13", "--weight", "0"])?;
    rack.lbctl(&["real", "set", "dns", "10.0.0.11", "--weight", "5"])?;
    rack.lbctl(&["real", "disable", "dns", "10.0.0.12"])?;
    rack.lbctl(&["vip", "set", "dns", "--sorry", "none", "--port", "udp/53"])?;

    let text = fs::read_to_string(&file)?;
    assert!(text.starts_with(&commented), "what was there before is there as it was:\n{text}");
    for restarted in [false, true] {
        if restarted {
            rack.daemon.restart()?;
        }
        let vip = rack.lbctl(&["-o", "json", "vip", "show", "dns"])?.json()?;
        assert_eq!(vip["address"], "192.0.2.53");
        assert_eq!(vip["ports"], serde_json::json!(["udp/53"]));
        assert_eq!((&vip["hash"], &vip["announce"]), (&"source".into(), &"none".into()));
        assert_eq!(vip["sorry"], Value::Null);
        let reals = vip["reals"].as_array().context("reals")?;
        let column = |key: &str| reals.iter().map(|real| real[key].clone()).collect::<Vec<_>>();
        assert_eq!(column("address"), ["10.0.0.11", "10.0.0.12", "10.0.0.13"]);
        assert_eq!(column("weight"), [5, 1, 0]);
        assert_eq!(column("state"), ["active", "disabled", "active"]);
        assert_eq!(reals[1]["mac"], "02:00:00:00:00:0c");
    }

    rack.lbctl(&["real", "del", "dns", "10.0.0.12", "--now"])?;
    let reals = rack.lbctl(&["-o", "json", "real", "list", "dns"])?.json()?;
    assert_eq!(reals.as_array().map(Vec::len), Some(2));
    rack.lbctl(&["vip", "del", "dns"])?;
    assert_eq!(fs::read_to_string(&file)?.trim_end(), commented.trim_end());
    Ok(())
}

#[test]
fn status_has_every_field_that_scripts_rely_on() -> Result<()> {
    let rack = Rack::new(1)?;
    rack.answers(3)?;
    let status = rack.status()?;
    let has = |value: &Value, keys: &[&str]| {
        for key in keys {
            assert!(value.get(key).is_some(), "{key} is missing in {value}");
        }
    };
    has(&status, &["node", "vips", "outcomes"]);
    has(&status["node"], &["version", "seed_id", "daemon", "interfaces"]);
    assert_eq!(status["node"]["daemon"], "running");
    assert_eq!(status["node"]["interfaces"][0]["name"], "eth0");
    assert_eq!(status["node"]["interfaces"][0]["xdp"], "native");
    let vip = &status["vips"][0];
    has(
        vip,
        &[
            "name",
            "address",
            "ports",
            "state",
            "ring",
            "tracked_slots",
            "packets",
            "bytes",
            "flows",
        ],
    );
    assert_eq!((&vip["state"], &vip["ring"]), (&"up".into(), &1021.into()));
    let real = &vip["reals"][0];
    has(
        real,
        &["address", "mac", "interface", "state", "health", "reason", "since", "weight", "share"],
    );
    has(real, &["packets", "bytes", "flows"]);
    assert_eq!((&real["health"], &real["share"]), (&"unknown".into(), &1.0.into()));
    has(&status["outcomes"], &["forwarded", "not_vip", "truncated"]);
    Ok(())
}

fn fails(output: Output, code: i32, parts: &[&str]) {
    assert_eq!(output.code, code, "{output:?}");
    assert_eq!(output.stderr.trim_end().lines().count(), 1, "{}", output.stderr);
    for part in parts {
        assert!(output.stderr.contains(part), "{:?} does not say {part:?}", output.stderr);
    }
}

#[test]
fn errors_name_the_object_in_one_line_and_the_exit_code_says_who_is_at_fault() -> Result<()> {
    let rack = Rack::new(1)?;
    let before = fs::read_to_string(rack.daemon.config_file())?;
    let lbctl = |words: &[&str]| rack.daemon.lbctl(words);
    let add = |name, address| ["vip", "add", name, "--address", address, "--port", "tcp/80"];
    fails(lbctl(&add("web", "192.0.2.11"))?, 2, &["\"web\"", "exists"]);
    fails(lbctl(&add("other", "192.0.2.10"))?, 2, &["tcp/80", "web"]);
    fails(lbctl(&add("other", "fe80::10"))?, 2, &["fe80::10", "link-local"]);
    fails(lbctl(&add("other", "::ffff:192.0.2.10"))?, 2, &["192.0.2.10"]);
    fails(lbctl(&["vip", "show", "wbe"])?, 1, &["wbe", "web"]);
    fails(lbctl(&["vip", "del", "wbe"])?, 1, &["wbe", "web"]);
    fails(lbctl(&["real", "del", "web", "10.0.0.99"])?, 1, &["10.0.0.99", "web"]);
    fails(lbctl(&["real", "add", "web", "10.0.0.11"])?, 2, &["10.0.0.11", "already"]);
    let down = ["trace", "--src", "1.2.3.4:5", "--dst", "192.0.2.10:80", "--down", "10.0.0.77"];
    fails(lbctl(&down)?, 2, &["10.0.0.77"]);
    assert_eq!(fs::read_to_string(rack.daemon.config_file())?, before);
    Ok(())
}

#[test]
fn what_export_prints_is_a_configuration_that_says_the_same() -> Result<()> {
    let mut rack = Rack::new(2)?;
    rack.lbctl(&["real", "set", "web", "10.0.0.12", "--weight", "7"])?;
    let exported = rack.lbctl(&["export"])?.stdout;
    let fixed = |status: Value| {
        let mut vip = status["vips"][0].clone();
        for real in vip["reals"].as_array_mut().into_iter().flatten() {
            real["since"] = Value::Null;
        }
        vip
    };
    let before = fixed(rack.status()?);
    rack.daemon.terminate()?;
    fs::write(rack.daemon.config_file(), exported)?;
    rack.daemon.restart()?;
    assert_eq!(fixed(rack.status()?), before);
    Ok(())
}

#[test]
fn a_trace_explains_what_is_not_forwarded_too() -> Result<()> {
    let rack = Rack::dual(1)?;
    let (v4, v6) = ("198.51.100.2:1", "[2001:db8:1::2]:1");
    for (source, destination, verdict, outcome) in [
        (v4, "192.0.2.10:80", "forward", "forwarded"),
        (v4, "192.0.2.10:81", "pass", "vip_local"),
        (v4, "192.0.2.99:80", "pass", "not_vip"),
        (v6, "[2001:db8:2::10]:80", "forward", "forwarded"),
        (v6, "[2001:db8:2::10]:81", "pass", "vip_local"),
        (v6, "[2001:db8:2::99]:80", "pass", "not_vip"),
    ] {
        let words = ["-o", "json", "trace", "--src", source, "--dst", destination, "--syn"];
        let trace = rack.lbctl(&words)?.json()?;
        assert_eq!((&trace["verdict"], &trace["outcome"]), (&verdict.into(), &outcome.into()));
    }
    let mixed = rack.daemon.lbctl(&["trace", "--src", v4, "--dst", "[2001:db8:2::10]:80"])?;
    fails(mixed, 2, &["family"]);
    // Another configuration, tried on what is known now.
    let file = rack.lab.dir().join("other.toml");
    fs::write(&file, rack.lab.config(&Rack::vips(1)).replace("tcp/80", "tcp/81"))?;
    let file = file.to_str().context("a path")?;
    let words = [
        "-o",
        "json",
        "trace",
        "--src",
        "198.51.100.2:1",
        "--dst",
        "192.0.2.10:81",
        "--config",
        file,
    ];
    let trace = rack.lbctl(&words)?.json()?;
    assert_eq!((&trace["verdict"], &trace["real"]), (&"forward".into(), &"10.0.0.11".into()));
    assert_eq!(trace["predicted"], true);
    Ok(())
}

#[test]
fn a_trace_names_the_real_that_answers_a_client_of_either_family() -> Result<()> {
    let rack = Rack::dual(3)?;
    for vip in [Rack::web(), Rack::web6()] {
        for _ in 0..8 {
            let mut stream = rack.lab.client().connect(vip)?;
            let (source, vip) = (stream.local_addr()?.to_string(), vip.to_string());
            let words = ["-o", "json", "trace", "--src", &source, "--dst", &vip];
            let traced = rack.lbctl(&words)?.json()?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            let real = rack.lab.reals().iter().find(|real| answer.contains(real.name()));
            let real = real.context("a real has answered")?;
            let own = [real.address().to_string(), real.address6().to_string()];
            assert!(own.iter().any(|own| traced["real"] == **own), "{traced}: {}", real.name());
            assert_eq!(traced["mac"], real.mac().to_string());
        }
    }
    Ok(())
}

#[test]
fn the_socket_speaks_http_with_problems_as_rfc_9457_has_them() -> Result<()> {
    let rack = Rack::new(1)?;
    let socket = rack.lab.socket();
    let mode = fs::metadata(&socket)?.permissions().mode() & 0o777;
    assert!(mode == 0o600 || mode == 0o660, "{mode:o}");
    let curl = |words: &[&str]| -> Result<Output> {
        let mut command = rack.lab.balancer().command("curl");
        command.args(["-sS", "-w", "\n%{http_code} %{content_type}", "--unix-socket"]);
        Output::of(command.arg(&socket).args(words))?.success()
    };
    let status = curl(&["http://lbd/v1/status"])?;
    assert!(status.stdout.ends_with("200 application/json"));
    for (words, code) in [
        (&["http://lbd/v1/vips/nobody"][..], 404),
        (&["http://lbd/v1/nothing"], 404),
        (&["-X", "PUT", "http://lbd/v1/status"], 405),
        (&["-d", "{", "http://lbd/v1/vips"], 400),
        (
            &[
                "-d",
                "{\"name\":\"a\",\"address\":\"192.0.2.1\",\"ports\":[],\"colour\":1}",
                "http://lbd/v1/vips",
            ],
            400,
        ),
        (&["http://lbd/v1/trace?src=x&dst=y"], 400),
        (&["http://lbd/v1/vips/web/reals/10.0.0.300"], 400),
    ] {
        let answer = curl(words)?.stdout;
        let (body, line) = answer.rsplit_once('\n').context("an answer")?;
        assert_eq!(line, format!("{code} application/problem+json"), "{words:?}");
        let problem: Value = serde_json::from_str(body)?;
        assert_eq!(problem["status"], code);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    }
    Ok(())
}

#[test]
fn the_network_listener_only_reads() -> Result<()> {
    let mut rack = Rack::new(1)?;
    let file = rack.daemon.config_file();
    let config =
        fs::read_to_string(&file)?.replace("[node]", "[node]\nlisten = \"127.0.0.1:9101\"");
    rack.daemon.terminate()?;
    fs::write(&file, config)?;
    rack.daemon.restart()?;
    let code = |words: &[&str]| -> Result<String> {
        let mut command = rack.lab.balancer().command("curl");
        command.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}"]).args(words);
        Ok(Output::of(&mut command)?.success()?.stdout)
    };
    assert_eq!(code(&["http://127.0.0.1:9101/v1/status"])?, "200");
    assert_eq!(code(&["http://127.0.0.1:9101/healthz"])?, "200");
    assert_eq!(code(&["-X", "POST", "http://127.0.0.1:9101/v1/detach"])?, "405");
    assert_eq!(code(&["-X", "DELETE", "http://127.0.0.1:9101/v1/vips/web"])?, "405");
    assert_eq!(code(&["-X", "POST", "http://127.0.0.1:9101/v1/status"])?, "405");
    assert_eq!(rack.answers(3)?.len(), 1);
    Ok(())
}

#[test]
fn the_daemon_keeps_only_the_capabilities_that_it_needs() -> Result<()> {
    let mut rack = Rack::new(1)?;
    let status = fs::read_to_string(format!("/proc/{}/status", rack.daemon.process().id()))?;
    // CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF (include/uapi/linux/capability.h).
    let needed = 1u64 << 12 | 1 << 13 | 1 << 39;
    for set in ["CapEff:", "CapPrm:"] {
        let kept = status.lines().find_map(|line| line.strip_prefix(set)).context("a set")?;
        assert_eq!(u64::from_str_radix(kept.trim(), 16)?, needed, "{set}");
    }
    rack.lbctl(&["vip", "add", "b", "--address", "192.0.2.11", "--port", "tcp/80"])?;
    rack.lbctl(&["detach"])?;
    Ok(())
}
