//! Reals that leave: what is open goes on with them, and nothing new comes; until the deadline, or at once where
//! that is wanted.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::unix::net::UnixStream,
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use tests::{Capture, Process, Rack, Talk, address, bin, wait};

/// Short times, but a deadline that no test reaches.
const WORDS: &str = "idle_timeout = \"1s\"\nudp_idle_timeout = \"1s\"\ndrain_timeout = \"1h\"\n";

/// A VIP of [`Rack::echoing`]: its name, where it is, and the address of a real by its number.
type Vip = (&'static str, SocketAddr, fn(u8) -> IpAddr);

fn vips() -> [Vip; 2] {
    [("web", Rack::web(), address::real), ("web6", Rack::web6(), address::real6)]
}

/// Starts `lbctl`, to wait for its end later.
fn start(rack: &Rack, words: &[&str]) -> Result<Process> {
    let mut command = rack.lab.balancer().command(bin::path("lbctl")?);
    command.arg("--socket").arg(rack.lab.socket()).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    rack.lab.balancer().spawn(command)
}

/// New connections, none of which is with this real.
fn avoided(rack: &Rack, to: SocketAddr, real: u8) -> Result<()> {
    let name = format!("real{real}");
    for _ in 0..20 {
        let with = Talk::open(rack.lab.client(), to)?.real().to_owned();
        ensure!(with != name, "a new connection to {to} is with {name}");
    }
    Ok(())
}

fn restart(rack: &mut Rack) -> Result<()> {
    rack.daemon.kill9()?;
    rack.daemon.restart()
}

/// Waits until a real that was removed is in no status any more.
fn is_gone(rack: &Rack, vip: &str, real: IpAddr) -> Result<()> {
    wait::until(&format!("the end of {real}"), wait::PATIENCE, || {
        Ok(rack.real_status(vip, real)?.is_none().then_some(()))
    })
}

fn counted(rack: &Rack, outcome: &str) -> Result<u64> {
    rack.status()?["outcomes"][outcome].as_u64().context("a counter")
}

#[test]
fn a_drained_real_keeps_its_connections_across_a_restart_until_they_end() -> Result<()> {
    let (mut rack, _servers) = Rack::echoing(3, WORDS)?;
    let mut drains = Vec::new();
    for (vip, to, real) in vips() {
        let talk = Talk::open_on(&rack.lab, to, 1)?;
        let real = real(1);
        let address = real.to_string();
        let mut words = vec!["real", "drain", vip, &address, "--timeout", "10m"];
        rack.lbctl(&words)?;
        words.truncate(4);
        words.push("--wait");
        drains.push((vip, to, real, talk, start(&rack, &words)?));
    }
    let mut before = Vec::new();
    for (vip, to, real, talk, _) in &drains {
        let status =
            rack.real_becomes("a drain", (vip, *real), |real| real["drain"].is_object())?;
        assert_eq!((&status["state"], &status["share"]), (&"drain".into(), &0.0.into()));
        let drain = &status["drain"];
        assert!(drain["slots"].as_u64() > Some(0), "{drain}");
        assert_eq!(drain["removes"], false);
        let left = drain["seconds_left"].as_u64().context("seconds_left")?;
        assert!((400..=3600).contains(&left), "{drain}");
        avoided(&rack, *to, 1)?;
        talk.goes_on()?;
        before.push(drain["deadline"].clone());
    }
    restart(&mut rack)?;
    for ((vip, to, real, talk, _), deadline) in drains.iter().zip(&before) {
        let drain = rack.real_status(vip, *real)?.context("the real")?["drain"].take();
        assert_eq!(drain["deadline"], *deadline, "it ends when it would have ended");
        assert!(drain["slots"].as_u64() > Some(0), "{drain}");
        avoided(&rack, *to, 1)?;
        talk.goes_on()?;
    }
    for (vip, _, real, talk, _) in drains {
        talk.close()?;
        let empty = |real: &Value| real["drain"]["slots"] == 0 && real["drain"]["flows"] == 0;
        let status = rack.real_becomes("an empty drain", (vip, real), empty)?;
        assert_eq!(status["state"], "drain", "it stays drained");
        let again = rack.lbctl(&["real", "drain", vip, &real.to_string(), "--wait"])?;
        assert!(again.stdout.contains("is drained"), "{again:?}");
    }
    Ok(())
}

/// All that says of a connection which is older than its drain that it is alive is a mark in its slot.
#[test]
fn a_slot_stays_open_for_as_long_as_one_connection_goes_on_in_it() -> Result<()> {
    let (rack, _servers) = Rack::echoing(2, WORDS)?;
    for (vip, to, real) in vips() {
        let talk = Talk::open_on(&rack.lab, to, 1)?;
        let source = talk.source().to_string();
        let real = (vip, real(1));
        rack.lbctl(&["real", "drain", vip, &real.1.to_string()])?;
        // All others have come to rest.
        let one = |real: &Value| real["drain"]["slots"] == 1;
        rack.real_becomes("the slot of one connection", real, one)?;
        let begun = Instant::now();
        wait::until("three times the idle timeout", wait::PATIENCE, || {
            talk.goes_on()?;
            let status = rack.real_status(vip, real.1)?.context("the real")?;
            ensure!(one(&status), "{source} goes on: {}", status["drain"]);
            Ok((begun.elapsed() > Duration::from_secs(3)).then_some(()))
        })?;
        assert_eq!(rack.real_status(vip, real.1)?.context("the real")?["drain"]["flows"], 0);
        talk.close()?;
        rack.real_becomes("an empty drain", real, |real| real["drain"]["slots"] == 0)?;
    }
    Ok(())
}

#[test]
fn waiting_for_a_drain_ends_well_with_the_last_connection_and_badly_when_it_is_called_off()
-> Result<()> {
    let (rack, _servers) = Rack::echoing(2, WORDS)?;
    for (vip, to, real) in vips() {
        let (talk, real) = (Talk::open_on(&rack.lab, to, 1)?, real(1));
        let address = real.to_string();
        let drain = ["real", "drain", vip, &address, "--wait"];
        let mut waiting = start(&rack, &drain)?;
        rack.real_becomes("a drain", (vip, real), |real| real["drain"].is_object())?;
        talk.goes_on()?;
        assert_eq!(waiting.exited()?, None, "a connection is open");
        rack.lbctl(&["real", "enable", vip, &address])?;
        assert_eq!(waiting.wait()?.code(), Some(1), "somebody has called it off");
        let status = rack.real_status(vip, real)?.context("the real")?;
        assert_eq!((&status["state"], &status["drain"]), (&"active".into(), &Value::Null));
        assert!(status["share"].as_f64() > Some(0.0));
        talk.goes_on()?;
        Talk::open_on(&rack.lab, to, 1)?.close()?;

        let mut waiting = start(&rack, &drain)?;
        rack.real_becomes("a drain", (vip, real), |real| real["drain"].is_object())?;
        talk.goes_on()?;
        assert_eq!(waiting.exited()?, None, "a connection is open");
        talk.close()?;
        assert_eq!(waiting.wait()?.code(), Some(0));
    }
    Ok(())
}

#[test]
fn a_removed_real_leaves_the_file_at_once_and_the_status_with_its_last_connection() -> Result<()> {
    let (mut rack, _servers) = Rack::echoing(3, WORDS)?;
    let mut talks = Vec::new();
    for (vip, to, real) in vips() {
        let (talk, real) = (Talk::open_on(&rack.lab, to, 1)?, real(1));
        rack.lbctl(&["real", "del", vip, &real.to_string()])?;
        let quoted = format!("\"{real}\"");
        let file = fs::read_to_string(rack.daemon.config_file())?;
        let export = rack.lbctl(&["export"])?.stdout;
        assert!(!file.contains(&quoted) && !export.contains(&quoted), "{file}{export}");
        talks.push((vip, to, real, talk));
    }
    let mut before = Vec::new();
    for again in [false, true] {
        if again {
            restart(&mut rack)?;
        }
        let mut now = Vec::new();
        for (vip, to, real, talk) in &talks {
            let status = rack.real_status(vip, *real)?.context("the removed real")?;
            assert_eq!(status["state"], "drain");
            assert_eq!(status["drain"]["removes"], true);
            now.push((status["drain"]["deadline"].clone(), status["since"].clone()));
            avoided(&rack, *to, 1)?;
            talk.goes_on()?;
        }
        if again {
            assert_eq!(now, before);
        }
        before = now;
    }
    for (vip, to, real, talk) in talks {
        talk.close()?;
        is_gone(&rack, vip, real)?;
        Talk::open(rack.lab.client(), to)?.close()?;
    }
    Ok(())
}

#[test]
fn a_real_that_is_removed_and_added_again_keeps_its_connections() -> Result<()> {
    let (mut rack, _servers) = Rack::echoing(2, WORDS)?;
    for (vip, to, real) in vips() {
        let talk = Talk::open_on(&rack.lab, to, 1)?;
        let (real, address) = (real(1), real(1).to_string());
        for restarts in [false, true] {
            rack.lbctl(&["real", "del", vip, &address])?;
            talk.goes_on()?;
            if restarts {
                restart(&mut rack)?;
            }
            rack.lbctl(&["real", "add", vip, &address])?;
            talk.goes_on()?;
            let status = rack.real_status(vip, real)?.context("the real")?;
            assert_eq!((&status["state"], &status["drain"]), (&"active".into(), &Value::Null));
            Talk::open_on(&rack.lab, to, 1)?.close()?;
        }
        talk.close()?;
    }
    Ok(())
}

#[test]
fn what_is_given_up_at_once_breaks_its_connections() -> Result<()> {
    let (rack, _servers) = Rack::echoing(3, WORDS)?;
    for (vip, to, real) in vips() {
        let (first, second) = (real(1), real(2));
        let talk = Talk::open_on(&rack.lab, to, 1)?;
        rack.lbctl(&["real", "disable", vip, &first.to_string()])?;
        assert_eq!(talk.breaks()?, io::ErrorKind::ConnectionReset, "the new owner knows nothing");
        avoided(&rack, to, 1)?;

        // Removed at once, and removed at once after it was removed.
        for hastens in [false, true] {
            let talk = Talk::open_on(&rack.lab, to, 2)?;
            let words = ["real", "del", vip, &second.to_string(), "--now"];
            if hastens {
                rack.lbctl(&words[..4])?;
                talk.goes_on()?;
            }
            // Somebody must own the flow for a reset to come.
            rack.lbctl(&words)?;
            assert_eq!(talk.breaks()?, io::ErrorKind::ConnectionReset);
            is_gone(&rack, vip, second)?;
            rack.lbctl(&["real", "add", vip, &second.to_string()])?;
        }
    }
    Ok(())
}

/// Resets, whoever sends them, of either family.
const RESETS: &str = "tcp[tcpflags] & tcp-rst != 0 or (ip6 proto 6 and ip6[53] & 4 != 0)";

#[test]
fn at_the_deadline_connections_go_to_others_who_do_not_know_them() -> Result<()> {
    let (rack, _servers) = Rack::echoing(3, WORDS)?;
    for (vip, to, real) in vips() {
        let talk = Talk::open_on(&rack.lab, to, 1)?;
        let mut resets = Capture::start(rack.lab.real(1).netns(), "eth0", RESETS)?;
        let words = ["real", "drain", vip, &real(1).to_string(), "--timeout", "1s"];
        rack.lbctl(&words)?;
        assert_eq!(talk.breaks()?, io::ErrorKind::ConnectionReset);
        assert_eq!(resets.count()?, 0, "not by the drained one");
        let over = |real: &Value| real["drain"]["slots"] == 0 && real["drain"]["flows"] == 0;
        let status = rack.real_becomes("the end of its drain", (vip, real(1)), over)?;
        assert_eq!((&status["state"], &status["share"]), (&"drain".into(), &0.0.into()));
        let out = status["packets"].clone();
        avoided(&rack, to, 1)?;
        assert_eq!(rack.real_status(vip, real(1))?.context("the real")?["packets"], out);
    }
    assert_eq!(counted(&rack, "reset")?, 0);
    Ok(())
}

#[test]
fn at_the_deadline_the_balancer_itself_resets_connections_where_that_is_wanted() -> Result<()> {
    let words = WORDS.to_owned() + "on_deadline = \"reset\"\n";
    let (mut rack, _servers) = Rack::echoing(3, &words)?;
    for (vip, to, real) in vips() {
        let talks = [(); 3].map(|()| Talk::open_on(&rack.lab, to, 1));
        let talks: Vec<_> = talks.into_iter().collect::<Result<_>>()?;
        let captures = rack.lab.reals().iter();
        let captures = captures.map(|real| Capture::start(real.netns(), "eth0", RESETS));
        let mut captures: Vec<_> = captures.collect::<Result<_>>()?;
        let before = counted(&rack, "reset")?;
        rack.lbctl(&["real", "drain", vip, &real(1).to_string(), "--timeout", "1s"])?;
        for talk in &talks {
            assert_eq!(talk.breaks()?, io::ErrorKind::ConnectionReset);
        }
        for capture in &mut captures {
            assert_eq!(capture.count()?, 0, "no real was asked");
        }
        assert!(counted(&rack, "reset")? >= before + 3);
        avoided(&rack, to, 1)?;

        // What is over is so after a restart, and can be taken back.
        restart(&mut rack)?;
        avoided(&rack, to, 1)?;
        rack.lbctl(&["real", "enable", vip, &real(1).to_string()])?;
        let talk = Talk::open_on(&rack.lab, to, 1)?;
        talk.goes_on()?;
        talk.close()?;
    }
    Ok(())
}

#[test]
fn a_deadline_that_passes_while_no_daemon_runs_counts_once_one_does() -> Result<()> {
    let words = WORDS.to_owned() + "on_deadline = \"reset\"\n";
    let (mut rack, _servers) = Rack::echoing(2, &words)?;
    let talk = Talk::open_on(&rack.lab, Rack::web(), 1)?;
    rack.lbctl(&["real", "drain", "web", "10.0.0.11", "--timeout", "1s"])?;
    let began = Instant::now();
    rack.daemon.kill9()?;
    wait::until("the deadline", wait::PATIENCE, || {
        talk.goes_on()?;
        Ok((began.elapsed() > Duration::from_secs(1)).then_some(()))
    })?;
    rack.daemon.restart()?;
    assert_eq!(talk.breaks()?, io::ErrorKind::ConnectionReset);
    assert!(counted(&rack, "reset")? > 0);
    avoided(&rack, Rack::web(), 1)
}

/// Asks for the status, one question after the other, until it is told to stop.
fn ask(socket: &Path, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(b"GET /v1/status HTTP/1.0\r\n\r\n")?;
        stream.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

#[test]
fn a_deadline_is_not_missed_while_questions_are_answered() -> Result<()> {
    let (rack, _servers) = Rack::echoing(2, &WORDS.replace("1s", "10m"))?;
    let (real, socket, stop) = (address::real(1), rack.lab.socket(), AtomicBool::new(false));
    thread::scope(|scope| {
        let askers = [(); 3].map(|()| scope.spawn(|| ask(&socket, &stop)));
        let drained = (0..8).try_for_each(|_| {
            let words = ["real", "drain", "web", &real.to_string(), "--timeout", "300ms"];
            rack.lbctl(&words)?;
            let began = Instant::now();
            let over = |real: &Value| real["drain"]["slots"] == 0;
            rack.real_becomes("the end of its drain", ("web", real), over)?;
            ensure!(began.elapsed() < Duration::from_secs(3), "after {:?}", began.elapsed());
            rack.lbctl(&["real", "enable", "web", &real.to_string()]).map(drop)
        });
        stop.store(true, Ordering::Relaxed);
        for asker in askers {
            asker.join().map_err(|_| anyhow!("an asker panicked"))??;
        }
        drained
    })
}

#[test]
fn a_pool_that_is_drained_as_a_whole_keeps_its_connections_and_takes_no_new_ones() -> Result<()> {
    let (mut rack, _servers) = Rack::echoing(2, WORDS)?;
    for (vip, to, real) in vips() {
        let talks = [1, 2].map(|number| Talk::open_on(&rack.lab, to, number));
        let talks: Vec<_> = talks.into_iter().collect::<Result<_>>()?;
        let reals = [1, 2].map(|number| real(number).to_string());
        for (verb, real) in ["drain", "del"].iter().zip(&reals) {
            rack.lbctl(&["real", verb, vip, real])?;
        }
        for restarts in [false, true] {
            if restarts {
                restart(&mut rack)?;
            }
            assert_eq!(rack.vip_status(vip)?["state"], "down");
            let (from, to) = (talks[0].source().to_string(), to.to_string());
            let trace = ["-o", "json", "trace", "--src", &from, "--dst", &to, "--syn"];
            let trace = rack.lbctl(&trace)?.json()?;
            assert_eq!((&trace["verdict"], &trace["outcome"]), (&"drop".into(), &"no_real".into()));
            talks.iter().try_for_each(Talk::goes_on)?;
        }
        rack.lbctl(&["real", "enable", vip, &reals[0]])?;
        rack.lbctl(&["real", "add", vip, &reals[1]])?;
        talks.iter().try_for_each(Talk::goes_on)?;
        talks.into_iter().try_for_each(Talk::close)?;
        for number in [1, 2] {
            Talk::open_on(&rack.lab, to, number)?.close()?;
        }
    }
    Ok(())
}

/// A flow of datagrams: who answers in it.
struct Queries(UdpSocket);

impl Queries {
    fn open(rack: &Rack, to: SocketAddr) -> Result<Self> {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = rack.lab.client().netns().run(|| Ok(UdpSocket::bind(any)?))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self(socket))
    }

    fn who(&self) -> Result<String> {
        self.0.send(b"?")?;
        let mut answer = [0; 64];
        let length = self.0.recv(&mut answer).context("no answer")?;
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        Ok(answer.split(' ').next().unwrap_or_default().to_owned())
    }
}

#[test]
fn at_the_deadline_a_flow_of_datagrams_moves_and_no_datagram_is_lost() -> Result<()> {
    let words = WORDS.replace("1s", "10m");
    let (rack, _servers) = Rack::echoing(2, &words)?;
    for ((vip, to, real), on_deadline) in vips().into_iter().zip(["rehash", "reset"]) {
        rack.lbctl(&["vip", "set", vip, "--on-deadline", on_deadline])?;
        let queries = (0..64).map(|_| Queries::open(&rack, SocketAddr::new(to.ip(), 53)));
        let mut queries = queries.collect::<Result<Vec<_>>>()?.into_iter();
        let queries = queries.find(|queries| matches!(queries.who().as_deref(), Ok("real1")));
        let (queries, real) = (queries.context("a flow to real1")?, real(1));
        rack.lbctl(&["real", "drain", vip, &real.to_string()])?;
        for _ in 0..10 {
            assert_eq!(queries.who()?, "real1");
        }
        rack.lbctl(&["real", "drain", vip, &real.to_string(), "--timeout", "1s"])?;
        wait::until("another real", wait::PATIENCE, || {
            Ok((queries.who()? == "real2").then_some(()))
        })?;
        for _ in 0..10 {
            assert_eq!(queries.who()?, "real2", "it stays there");
        }
    }
    Ok(())
}
