//! The lab's servers do what the tests of checks take for granted, the faulty ones too.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tests::{Certificates, Lab, LabOptions, Listen, Manner, Output, Real, Webhook, address};

/// A lab with a real that has both VIPs.
fn lab() -> Result<Lab> {
    let lab = Lab::new(LabOptions::reals(1))?;
    for vip in [address::vip(10), address::vip6(10)] {
        lab.real(1).set_up_dsr(vip)?;
    }
    Ok(lab)
}

/// A port of both VIPs and of both of the real's own addresses.
fn places(real: &Real, port: u16) -> [SocketAddr; 4] {
    [address::vip(10), address::vip6(10), real.address(), real.address6()]
        .map(|address| SocketAddr::new(address, port))
}

/// Runs curl in the real.
fn curl(real: &Real, words: &[&str]) -> Result<Output> {
    let mut command = real.netns().command("curl");
    Output::of(command.args(["-sSg", "--max-time", "30"]).args(words))
}

#[test]
fn nginx_shows_the_certificate_it_was_given_and_speaks_both_versions_of_http() -> Result<()> {
    let lab = lab()?;
    let real = lab.real(1);
    let certificates = Certificates::new(lab.dir())?;
    let good = certificates.valid("www.example.test")?;
    let expired = certificates.expired("www.example.test")?;
    let mut listens = Vec::new();
    for (port, identity) in [(443, good), (444, expired)] {
        let listen = |place| Listen { place, tls: Some(identity.clone()), http2: true };
        listens.extend(places(real, port).map(listen));
    }
    listens.extend(places(real, 81).map(|place| Listen { place, tls: None, http2: true }));
    let _nginx = real.nginx_with(&listens)?;

    let authority = certificates.authority();
    let authority = authority.to_str().context("a path")?;
    let written = ["-o", "/dev/null", "-w", "%{http_code} %{http_version}"];
    for place in places(real, 443) {
        let (ip, url) = (place.ip(), "https://www.example.test/healthz");
        for (version, said) in [("--http1.1", "200 1.1"), ("--http2", "200 2")] {
            let resolve = format!("www.example.test:443:{ip}");
            let words = ["--resolve", &resolve, "--cacert", authority, version, url];
            let output = curl(real, &[&written[..], &words].concat())?.success()?;
            assert_eq!(output.stdout, said, "{place}");
        }
        let resolve = format!("www.example.test:444:{ip}");
        let words = ["--resolve", &resolve, "--cacert", authority];
        let output = curl(real, &[&words[..], &["https://www.example.test:444/"]].concat())?;
        assert_eq!(output.code, 60, "{output:?}");
        assert!(output.stderr.contains("expired"), "{output:?}");
    }
    for place in places(real, 81) {
        let words = ["--http2-prior-knowledge", &format!("http://{place}/healthz")];
        let output = curl(real, &[&written[..], &words].concat())?.success()?;
        assert_eq!(output.stdout, "200 2", "{place}");
    }
    Ok(())
}

#[test]
fn the_name_server_answers_at_all_its_addresses_by_udp_and_tcp() -> Result<()> {
    let lab = lab()?;
    let real = lab.real(1);
    let _server = real.name_server(&places(real, 53).map(|place| place.ip()))?;
    // RFC 1035, section 4.1: a header with one question, type A, class IN.
    let mut query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    query.extend(b"\x03www\x07example\x04test\x00\x00\x01\x00\x01");
    let is_right =
        |answer: &[u8]| answer.starts_with(b"\x12\x34") && answer.ends_with(&[192, 0, 2, 80]);
    for place in places(real, 53) {
        let answer = ask(real, place, &query)?;
        assert!(is_right(&answer), "{place}: {answer:?}");
        let mut stream = real.netns().run(|| Ok(TcpStream::connect(place)?))?;
        stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer)?;
        assert!(is_right(&answer), "{place}: {answer:?}");
    }
    Ok(())
}

/// Sends a datagram in the real and waits for the answer.
fn ask(real: &Real, place: SocketAddr, question: &[u8]) -> Result<Vec<u8>> {
    let socket = real.netns().run(|| Ok(UdpSocket::bind(SocketAddr::new(place.ip(), 0))?))?;
    socket.connect(place)?;
    socket.set_read_timeout(Some(Duration::from_secs(15)))?;
    socket.send(question)?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).with_context(|| format!("no answer from {place}"))?;
    answer.truncate(length);
    Ok(answer)
}

#[test]
fn the_grpc_server_says_of_its_health_what_it_is_told() -> Result<()> {
    let lab = lab()?;
    let real = lab.real(1);
    let server = real.grpc_health(&places(real, 50_051), None)?;
    // An empty message, without compression, and the same with the service "db".
    fs::write(lab.dir().join("whole"), [0; 5])?;
    fs::write(lab.dir().join("db"), b"\0\0\0\0\x04\x0a\x02db")?;
    let check = |place: SocketAddr, service: &str| -> Result<(Vec<u8>, String)> {
        let url = format!("http://{place}/grpc.health.v1.Health/Check");
        let (body, answer) = (lab.dir().join(service), lab.dir().join("answer"));
        let data = format!("@{}", body.display());
        let answer_file = answer.to_str().context("a path")?;
        let words = ["--http2-prior-knowledge", "-H", "content-type: application/grpc", "-H"];
        let more = ["te: trailers", "--data-binary", &data, "-o", answer_file, "-D", "-", &url];
        let head = curl(real, &[&words[..], &more].concat())?.success()?.stdout;
        Ok((fs::read(answer).unwrap_or_default(), head))
    };
    for place in places(real, 50_051) {
        assert_eq!(check(place, "whole")?.0, b"\0\0\0\0\x02\x08\x01", "SERVING");
        server.set("", false)?;
        assert_eq!(check(place, "whole")?.0, b"\0\0\0\0\x02\x08\x02", "NOT_SERVING");
        server.set("", true)?;
        let (_, head) = check(place, "db")?;
        assert!(head.contains("grpc-status: 5"), "NOT_FOUND: {head}");
    }
    server.set("db", true)?;
    assert_eq!(check(places(real, 50_051)[0], "db")?.0, b"\0\0\0\0\x02\x08\x01");
    Ok(())
}

#[test]
fn faulty_servers_are_faulty_as_they_are_told() -> Result<()> {
    let lab = lab()?;
    let real = lab.real(1);
    let places = places(real, 7);
    let tcp = real.faulty_tcp(&places, Manner::Silent)?;
    let udp = real.faulty_udp(&places, Manner::Silent)?;
    let open = |place| {
        real.netns().run(|| TcpStream::connect(place).with_context(|| format!("to {place}")))
    };
    let told = |place, manner: Manner| -> Result<Vec<u8>> {
        tcp.set(manner);
        let mut stream = open(place)?;
        stream.write_all(b"?")?;
        let mut answer = vec![0; 100_000];
        let length = stream.read(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    };
    for place in places {
        tcp.set(Manner::Silent);
        let stream = open(place)?;
        stream.set_nonblocking(true)?;
        let error = (&stream).read(&mut [0]).err().context("it is silent")?;
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        tcp.set(Manner::Closes);
        assert_eq!(open(place)?.read(&mut [0])?, 0);
        assert_eq!(told(place, Manner::Says(b"no".into()))?, b"no");
        assert_eq!(told(place, Manner::Drips(b"no".into()))?, b"n");
        assert!(told(place, Manner::Floods(b"no".into()))?.starts_with(b"no"));

        udp.set(Manner::Says(b"no".into()));
        assert_eq!(ask(real, place, b"?")?, b"no");
        udp.set(Manner::Drips(b"no".into()));
        assert_eq!(ask(real, place, b"?")?, b"n");
    }
    Ok(())
}

#[test]
fn a_full_server_leaves_connections_unanswered() -> Result<()> {
    let lab = lab()?;
    let real = lab.real(1);
    let _full = real.full(&places(real, 7))?;
    for place in places(real, 7) {
        let shortly = Duration::from_millis(100);
        let connect =
            || Ok(TcpStream::connect_timeout(&place, shortly).err().map(|error| error.kind()));
        assert_eq!(real.netns().run(connect)?, Some(io::ErrorKind::TimedOut), "{place}");
    }
    Ok(())
}

#[test]
fn what_is_posted_is_kept_after_the_refusals() -> Result<()> {
    let lab = lab()?;
    let real = lab.real(1);
    let place = places(real, 8080)[0];
    let hook = Webhook::start(real.netns(), place, 1)?;
    let url = format!("http://{place}/hook");
    let post = ["-H", "content-type: application/json", "-d", r#"{"event": "test"}"#, &url];
    curl(real, &[&["-f"][..], &post].concat())?.success().expect_err("the first is refused");
    assert!(hook.got().is_empty());
    curl(real, &[&["-f"][..], &post].concat())?.success()?;
    assert_eq!(hook.got(), [serde_json::json!({"event": "test"})]);
    Ok(())
}
