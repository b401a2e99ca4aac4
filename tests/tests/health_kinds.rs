//! Every kind of check, at the VIP on each real: what passes, and what is said of what does not. IPv4 and IPv6 alike.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};
use tests::{
    Certificates, Identity, Lab, Listen, Manner, Real,
    checked::{self, at_vips, check, everywhere, lab, start, start_with},
    process::put_program,
    wait,
};

/// Not the name of the servers, by which they are checked.
const NAME: &str = "www.example.test";

#[test]
fn a_tcp_check_passes_where_connections_are_taken() -> Result<()> {
    takes_connections("tcp", "connected")
}

#[test]
fn a_syn_check_passes_where_syns_are_answered() -> Result<()> {
    takes_connections("syn", "SYN-ACK")
}

fn takes_connections(kind: &str, passed: &str) -> Result<()> {
    let lab = lab(4)?;
    let _nginx = lab.real(1).nginx_at(&at_vips(80))?;
    let _full = lab.real(3).full(&at_vips(80))?;
    // What it does with connections is not what is asked.
    let _silent = lab.real(4).faulty_tcp(&at_vips(80), Manner::Silent)?;
    let rack = start(lab, &check(&format!("type = \"{kind}\"")))?;
    rack.become_all(&[
        (1, "up", &[passed]),
        (2, "down", &["refused"]),
        (3, "down", &["timeout"]),
        (4, "up", &[passed]),
    ])?;
    drop(_nginx);
    rack.become_all(&[(1, "down", &["refused"]), (4, "up", &[passed])])
}

#[test]
fn an_http_check_passes_with_the_status_and_the_body_that_are_expected() -> Result<()> {
    let lab = lab(9)?;
    let _nginx = lab.real(1).nginx_at(&at_vips(80))?;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n".to_vec();
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let manners = [
        (3, Manner::Silent),
        (4, Manner::garbage()),
        (5, Manner::Drips(answer)),
        (6, Manner::Floods(head)),
        (7, Manner::http("503 Service Unavailable", "ok")),
        (8, Manner::http("200 OK", "nothing of the sort")),
        (9, Manner::Closes),
    ];
    let _servers = faulty(&lab, 80, &manners)?;
    let keys = r#"type = "http", path = "/healthz", status = "200", body = "ok""#;
    let rack = start(lab, &check(keys))?;
    rack.become_all(&[
        (1, "up", &["http 200"]),
        (2, "down", &["refused"]),
        (3, "down", &["timeout"]),
        (4, "down", &["HTTP/1.1"]),
        (5, "down", &["timeout"]),
        (6, "down", &["body"]),
        (7, "down", &["http 503"]),
        (8, "down", &["http 200", "\"ok\"", "body"]),
        (9, "down", &["closed"]),
    ])
}

/// A server for both VIPs on each of these reals.
fn faulty(lab: &Lab, port: u16, manners: &[(usize, Manner)]) -> Result<Vec<tests::Faulty>> {
    let start = |(real, manner): &(usize, Manner)| {
        lab.real(*real).faulty_tcp(&at_vips(port), manner.clone())
    };
    manners.iter().map(start).collect()
}

#[test]
fn a_method_a_host_and_ranges_of_status_codes_are_as_they_are_configured() -> Result<()> {
    let lab = lab(2)?;
    let nginx = lab.real(1).nginx_at(&at_vips(80))?;
    let _busy = lab.real(2).faulty_tcp(&at_vips(80), Manner::http("429 Too Many Requests", ""))?;
    let keys = r#"type = "http", method = "HEAD", path = "/nowhere", host = "shop.example", status = "200-299,404,429""#;
    let rack = start(lab, &check(keys))?;
    rack.become_all(&[(1, "up", &["http 404"]), (2, "up", &["http 429"])])?;
    let log = nginx.access_log()?;
    let asked = log.iter().filter(|line| line.contains("404 \"HEAD /nowhere HTTP/1.1\""));
    assert!(asked.count() >= 4, "{log:?}");
    Ok(())
}

#[test]
fn http_2_without_tls_passes_where_it_is_spoken() -> Result<()> {
    let lab = lab(4)?;
    let listens = at_vips(80).map(|place| Listen { place, tls: None, http2: true });
    let _two = lab.real(1).nginx_with(&listens)?;
    let _one = lab.real(2).nginx_at(&at_vips(80))?;
    let _servers = faulty(&lab, 80, &[(3, Manner::garbage()), (4, Manner::Silent)])?;
    let rack = start(lab, &check(r#"type = "http", path = "/healthz", version = "2""#))?;
    rack.become_all(&[
        (1, "up", &["http 200"]),
        (2, "down", &["HTTP/2"]),
        (3, "down", &["HTTP/2"]),
        (4, "down", &["timeout"]),
    ])
}

/// nginx with TLS on port 443 of both VIPs.
fn with_tls(real: &Real, identity: Identity, http2: bool) -> Result<tests::Nginx> {
    let listens = at_vips(443).map(|place| Listen { place, tls: Some(identity.clone()), http2 });
    real.nginx_with(&listens)
}

/// The keys of an https check that trusts this authority.
fn https(authority: &Path, more: &str) -> String {
    format!(
        "type = \"https\", port = 443, path = \"/healthz\", sni = \"{NAME}\", ca = {:?}, {more}",
        authority.display().to_string()
    )
}

#[test]
fn an_https_check_passes_with_a_certificate_that_is_valid() -> Result<()> {
    let lab = lab(8)?;
    let certificates = Certificates::new(lab.dir())?;
    let elsewhere = lab.dir().join("elsewhere");
    fs::create_dir(&elsewhere)?;
    let strange = Certificates::new(&elsewhere)?;
    let _nginx = [
        with_tls(lab.real(1), certificates.valid(NAME)?, true)?,
        with_tls(lab.real(2), certificates.expired(NAME)?, true)?,
        with_tls(lab.real(3), certificates.valid("other.example.test")?, true)?,
        with_tls(lab.real(4), strange.valid(NAME)?, true)?,
        lab.real(5).nginx_at(&at_vips(443))?,
    ];
    let _servers = faulty(&lab, 443, &[(6, Manner::Silent), (7, Manner::garbage())])?;
    let rack = start(lab, &check(&https(&certificates.authority(), "status = \"200\"")))?;
    rack.become_all(&[
        (1, "up", &["http 200"]),
        (2, "down", &["certificate", "expired"]),
        (3, "down", &["certificate", NAME]),
        (4, "down", &["certificate", "not trusted"]),
        (5, "down", &["TLS"]),
        (6, "down", &["timeout"]),
        (7, "down", &["TLS"]),
        (8, "down", &["refused"]),
    ])
}

#[test]
fn http_2_with_tls_passes_where_it_is_offered() -> Result<()> {
    let lab = lab(2)?;
    let certificates = Certificates::new(lab.dir())?;
    let identity = certificates.valid(NAME)?;
    let _two = with_tls(lab.real(1), identity.clone(), true)?;
    let _one = with_tls(lab.real(2), identity, false)?;
    let rack = start(lab, &check(&https(&certificates.authority(), "version = \"2\"")))?;
    rack.become_all(&[(1, "up", &["http 200"]), (2, "down", &["HTTP/2"])])
}

#[test]
fn a_certificate_that_is_not_verified_may_be_anybodys() -> Result<()> {
    let lab = lab(3)?;
    let certificates = Certificates::new(lab.dir())?;
    let _nginx = [
        with_tls(lab.real(1), certificates.valid("other.example.test")?, true)?,
        with_tls(lab.real(2), certificates.expired(NAME)?, true)?,
        lab.real(3).nginx_at(&at_vips(443))?,
    ];
    let keys = r#"type = "https", port = 443, path = "/healthz", verify = false"#;
    let rack = start(lab, &check(keys))?;
    rack.become_all(&[(1, "up", &["http 200"]), (2, "up", &["http 200"]), (3, "down", &["TLS"])])
}

#[test]
fn a_dns_check_passes_where_the_name_has_the_record() -> Result<()> {
    let lab = lab(5)?;
    let _server = lab.real(1).name_server(&checked::vips())?;
    let _silent = lab.real(3).faulty_udp(&at_vips(53), Manner::Silent)?;
    let _garbage = lab.real(4).faulty_udp(&at_vips(53), Manner::garbage())?;
    let _flood = lab.real(5).faulty_udp(&at_vips(53), Manner::Floods(b"no answer".to_vec()))?;
    let rack =
        start(lab, &check(&format!("type = \"dns\", name = \"{NAME}\", answer = \"192.0.2.80\"")))?;
    rack.become_all(&[
        (1, "up", &["NOERROR"]),
        (2, "down", &["refused"]),
        (3, "down", &["timeout"]),
        // What is no answer to the question may be anybody's, and is not heard.
        (4, "down", &["timeout"]),
        (5, "down", &["timeout"]),
    ])
}

/// Has the kernel say every time that nobody listens. Usually it does so once a second.
fn refuse_always(real: &Real) -> Result<()> {
    real.netns().sysctl(&[("ipv4/icmp_ratelimit", "0"), ("ipv6/icmp/ratelimit", "0")])
}

#[test]
fn a_dns_check_tells_the_code_and_what_is_missing_in_the_answer() -> Result<()> {
    for (name, record, answer, health, words) in [
        (NAME, "AAAA", "2001:db8::80", "up", &["NOERROR"][..]),
        (NAME, "A", "192.0.2.81", "down", &["NOERROR", "192.0.2.81"]),
        ("nowhere.example.test", "A", "192.0.2.80", "down", &["NXDOMAIN"]),
        ("www.elsewhere.test", "A", "192.0.2.80", "down", &["REFUSED"]),
    ] {
        let lab = lab(1)?;
        let _server = lab.real(1).name_server(&checked::vips())?;
        let keys = format!(
            "type = \"dns\", name = \"{name}\", record = \"{record}\", answer = \"{answer}\""
        );
        start(lab, &check(&keys))?.become_all(&[(1, health, words)])?;
    }
    Ok(())
}

#[test]
fn a_dns_check_over_tcp_passes_where_the_server_speaks_it() -> Result<()> {
    let lab = lab(6)?;
    let _server = lab.real(1).name_server(&checked::vips())?;
    let manners = [
        (3, Manner::Silent),
        (4, Manner::garbage()),
        (5, Manner::Drips(vec![1; 100])),
        (6, Manner::Closes),
    ];
    let _servers = faulty(&lab, 53, &manners)?;
    let keys = format!("type = \"dns\", name = \"{NAME}\", transport = \"tcp\", port = 53");
    let rack = start(lab, &check(&keys))?;
    rack.become_all(&[
        (1, "up", &["NOERROR"]),
        (2, "down", &["refused"]),
        (3, "down", &["timeout"]),
        (4, "down", &[]),
        (5, "down", &["timeout"]),
        (6, "down", &["closed"]),
    ])
}

#[test]
fn a_udp_check_passes_with_an_answer_that_begins_as_expected() -> Result<()> {
    let lab = lab(6)?;
    let mut echoes = Vec::new();
    for vip in checked::vips() {
        echoes.push(lab.real(1).udp_echo(vip, 53)?);
        echoes.push(lab.real(2).udp_echo(vip, 53)?);
    }
    let _silent = lab.real(4).faulty_udp(&at_vips(53), Manner::Silent)?;
    let _garbage = lab.real(5).faulty_udp(&at_vips(53), Manner::garbage())?;
    let _flood = lab.real(6).faulty_udp(&at_vips(53), Manner::Floods(b"real1 ping".to_vec()))?;
    refuse_always(lab.real(3))?;
    // The echo's name, and what was sent.
    let keys = r#"type = "udp", send = "hex:70696e67", expect = "real1 ping""#;
    let rack = start(lab, &check(keys))?;
    rack.become_all(&[
        (1, "up", &["answered"]),
        (2, "down", &["something else", "real2 ping"]),
        (3, "down", &["refused"]),
        (4, "down", &["timeout"]),
        (5, "down", &["something else"]),
        (6, "up", &["answered"]),
    ])
}

#[test]
fn an_icmp_check_passes_where_pings_of_the_vip_are_answered() -> Result<()> {
    let lab = lab(2)?;
    let ignore = |value| {
        let files = ["ipv4/icmp_echo_ignore_all", "ipv6/icmp/echo_ignore_all"];
        lab.real(2).netns().sysctl(&files.map(|file| (file, value)))
    };
    ignore("1")?;
    let rack = start(lab, &check("type = \"icmp\""))?;
    rack.become_all(&[(1, "up", &["ping answered"]), (2, "down", &["timeout"])])?;
    let files = ["ipv4/icmp_echo_ignore_all", "ipv6/icmp/echo_ignore_all"];
    rack.lab.real(2).netns().sysctl(&files.map(|file| (file, "0")))?;
    rack.become_all(&[(2, "up", &["ping answered"])])
}

#[test]
fn a_grpc_check_passes_as_long_as_the_service_says_that_it_serves() -> Result<()> {
    let lab = lab(7)?;
    let places = at_vips(50_051);
    let serves = lab.real(1).grpc_health(&places, None)?;
    let does_not = lab.real(2).grpc_health(&places, None)?;
    let _unknown = lab.real(3).grpc_health(&places, None)?;
    serves.set("db", true)?;
    does_not.set("db", false)?;
    let http = places.map(|place| Listen { place, tls: None, http2: true });
    let _nginx = lab.real(4).nginx_with(&http)?;
    let _servers = faulty(&lab, 50_051, &[(5, Manner::Silent), (6, Manner::garbage())])?;
    let rack = start(lab, &check("type = \"grpc\", port = 50051, service = \"db\""))?;
    rack.become_all(&[
        (1, "up", &["SERVING"]),
        (2, "down", &["NOT_SERVING"]),
        (3, "down", &["NOT_FOUND"]),
        (4, "down", &["gRPC"]),
        (5, "down", &["timeout"]),
        (6, "down", &["HTTP/2"]),
        (7, "down", &["refused"]),
    ])?;
    serves.set("db", false)?;
    does_not.set("db", true)?;
    rack.become_all(&[(1, "down", &["NOT_SERVING"]), (2, "up", &["SERVING"])])
}

#[test]
fn a_grpc_check_with_tls_wants_a_certificate_that_is_valid() -> Result<()> {
    let lab = lab(3)?;
    let certificates = Certificates::new(lab.dir())?;
    let places = at_vips(50_051);
    let _servers = [
        lab.real(1).grpc_health(&places, Some(&certificates.valid(NAME)?))?,
        lab.real(2).grpc_health(&places, Some(&certificates.expired(NAME)?))?,
        lab.real(3).grpc_health(&places, None)?,
    ];
    let keys = format!(
        "type = \"grpc\", port = 50051, tls = true, sni = \"{NAME}\", ca = {:?}",
        certificates.authority().display().to_string()
    );
    let rack = start(lab, &check(&keys))?;
    rack.become_all(&[
        (1, "up", &["SERVING"]),
        (2, "down", &["certificate", "expired"]),
        (3, "down", &["TLS"]),
    ])
}

/// Writes a program that everybody may run.
fn program(dir: &Path, name: &str, text: &str) -> Result<String> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    let path = dir.join(name);
    put_program(&path, text)?;
    Ok(path.to_str().context("a path")?.to_owned())
}

/// Enough for a shell and curl.
const UNHURRIED: &str =
    "interval = \"1s\", fast_interval = \"200ms\", timeout = \"1s\", rise = 2, fall = 2";

/// How long the program sleeps that is to be killed: a number that nobody else sleeps.
fn nap() -> String {
    format!("86399.{}", std::process::id())
}

/// Each real has another fate.
fn fates(nap: &str) -> String {
    format!(
        r#"#!/bin/sh
case "$LB_REAL" in
10.0.0.11|*::11) echo all is well; exit 0 ;;
10.0.0.12|*::12) echo disk full; exit 3 ;;
10.0.0.13|*::13) exec sleep {nap} ;;
10.0.0.14|*::14) exec yes ;;
10.0.0.15|*::15) kill -SEGV $$ ;;
10.0.0.16|*::16)
    case "$LB_ADDRESS" in *:*) at="[$LB_ADDRESS]" ;; *) at=$LB_ADDRESS ;; esac
    exec curl -sfg "http://$at/healthz" ;;
*) exit 9 ;;
esac
"#
    )
}

#[test]
fn an_exec_check_passes_when_the_program_exits_with_0() -> Result<()> {
    let lab = lab(6)?;
    let nginx = lab.real(6).nginx_at(&at_vips(80))?;
    let nap = nap();
    let command = program(lab.dir(), "fates", &fates(&nap))?;
    let check = format!("check = {{ type = \"exec\", command = [{command:?}], {UNHURRIED} }}\n");
    let mut rack = start(lab, &check)?;
    rack.become_all(&[
        (1, "up", &["exit code 0", "all is well"]),
        (2, "down", &["exit code 3", "disk full"]),
        (3, "down", &["timeout", "program"]),
        (4, "down", &["wrote more than"]),
        (5, "down", &["SIGSEGV"]),
        // It has been at the VIP there, since nothing listens at the real's own address.
        (6, "up", &["exit code 0", "ok"]),
    ])?;
    drop(nginx);
    rack.become_all(&[(6, "down", &["exit code 7"])])?;
    rack.daemon.terminate()?;
    wait::until("the end of what was run", wait::PATIENCE, || Ok((!runs(&nap)?).then_some(())))
}

/// Whether anything runs that has this word in its command.
fn runs(word: &str) -> Result<bool> {
    let commands = fs::read_dir("/proc")?.flatten().map(|entry| entry.path().join("cmdline"));
    // What has just ended cannot be read.
    let mut texts = commands.flat_map(fs::read);
    Ok(texts.any(|text| String::from_utf8_lossy(&text).contains(word)))
}

#[test]
fn what_a_daemon_that_is_killed_runs_ends_with_it() -> Result<()> {
    let lab = lab(1)?;
    // Another number than other tests' of this process.
    let nap = nap() + "1";
    let command = program(lab.dir(), "hangs", &format!("#!/bin/sh\nsleep {nap}\n"))?;
    let keys =
        format!("type = \"exec\", command = [{command:?}], interval = \"1m\", timeout = \"1m\"");
    let mut rack = start(lab, &format!("check = {{ {keys} }}\n"))?;
    wait::until("the program", wait::PATIENCE, || Ok(runs(&nap)?.then_some(())))?;
    rack.daemon.kill9()?;
    wait::until("the end of the program", wait::PATIENCE, || Ok((!runs(&nap)?).then_some(())))
}

#[test]
fn a_program_runs_as_a_user_without_rights_and_knows_what_it_is_for() -> Result<()> {
    let lab = lab(1)?;
    let text = r#"#!/bin/sh
[ "$(id -u)" = 65534 ] || { echo "I am $(id)"; exit 1; }
[ "$1" = "two words" ] || { echo "told $1"; exit 2; }
[ "$SHELF" = 7 ] || { echo "no shelf"; exit 3; }
case "$LB_VIP" in 192.0.2.10|2001:db8:2::10) ;; *) echo "VIP $LB_VIP"; exit 4 ;; esac
[ -z "$NOTIFY_SOCKET$RUST_LOG" ] || { echo "too much is known"; exit 5; }
grep -q '^CapEff:.0*$' /proc/self/status || { echo "too much is allowed"; exit 6; }
echo fine
"#;
    let command = program(lab.dir(), "asks", text)?;
    let keys = format!(
        "type = \"exec\", command = [{command:?}, \"two words\"], env = {{ SHELF = \"7\" }}"
    );
    let rack = start(lab, &format!("check = {{ {keys}, {UNHURRIED} }}\n"))?;
    rack.become_all(&[(1, "up", &["fine"])])
}

#[test]
fn a_program_runs_as_the_user_that_is_configured() -> Result<()> {
    let lab = lab(1)?;
    let text = "#!/bin/sh\n[ \"$(id -un)\" = daemon ] && id -un\n";
    let command = program(lab.dir(), "asks", text)?;
    let check = format!("check = {{ type = \"exec\", command = [{command:?}], {UNHURRIED} }}\n");
    let rack = start_with(lab, "exec_user = \"daemon\"\n\n", &check)?;
    rack.become_all(&[(1, "up", &["daemon"])])
}

#[test]
fn all_kinds_pass_at_once_on_a_real_that_serves_all() -> Result<()> {
    let lab = lab(1)?;
    let real = lab.real(1);
    let certificates = Certificates::new(lab.dir())?;
    let identity = certificates.valid(NAME)?;
    let plain = everywhere(real, 80).into_iter().map(Listen::plain);
    let tls = everywhere(real, 443).into_iter().map(|place| Listen {
        place,
        tls: Some(identity.clone()),
        http2: true,
    });
    let _nginx = real.nginx_with(&plain.chain(tls).collect::<Vec<_>>())?;
    let _names = real.name_server(&checked::vips())?;
    let _grpc = real.grpc_health(&at_vips(50_051), None)?;
    let checks = [
        "type = \"tcp\"".to_owned(),
        "type = \"syn\"".to_owned(),
        "type = \"http\", path = \"/healthz\"".to_owned(),
        https(&certificates.authority(), "rise = 2"),
        format!("type = \"dns\", name = \"{NAME}\""),
        "type = \"icmp\"".to_owned(),
        "type = \"grpc\", port = 50051".to_owned(),
        "type = \"exec\", command = [\"/bin/true\"]".to_owned(),
    ];
    let slow = "interval = \"500ms\", fast_interval = \"200ms\", timeout = \"500ms\"";
    let checks: String = checks.iter().map(|keys| format!("  {{ {keys}, {slow} }},\n")).collect();
    let mut rack = start(lab, &format!("check = [\n{checks}]\n"))?;
    rack.become_all(&[(1, "up", &[])])?;
    drop(_grpc);
    rack.become_all(&[(1, "down", &["refused"])])?;
    rack.nginx.clear();
    Ok(())
}
