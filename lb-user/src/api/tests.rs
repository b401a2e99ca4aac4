//! The client and the server, back to back over a socket.

use std::{path::PathBuf, sync::Arc, thread};

use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixListener, UnixStream},
    runtime,
    sync::{mpsc, watch},
};

use super::{
    access::{Gate, Rights},
    client::{self, Client},
    request::{self, Capture, Change, Refusal, Request, Requests},
    serve, server,
    types::*,
};
use crate::{
    config::change::RealPatch,
    event::{Event, Filter, Happening, Journal},
};

/// Serves what `owner` answers to one question of `ask`; gives the outcome of both.
fn serve<T: Send + 'static>(
    owner: impl FnOnce(Request) -> String,
    ask: impl FnOnce(Client) -> T + Send + 'static,
) -> (Option<String>, T) {
    let directory = tempfile::tempdir().unwrap();
    let socket: PathBuf = directory.path().join("lbd.sock");
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = UnixListener::bind(&socket).unwrap();
        let (sender, mut requests) = mpsc::channel(1);
        let router = server::control(Requests::new(sender));
        let gate = Gate::new(&socket, Rights::of(None));
        tokio::spawn(serve::control(listener, router, gate, std::future::pending()));
        let (done, answered) = tokio::sync::oneshot::channel::<()>();
        let client = thread::spawn(move || {
            let answer = ask(Client::new(&socket).unwrap());
            drop(done);
            answer
        });
        let asked = tokio::select! {
            request = requests.recv() => request.map(owner),
            _ = answered => None,
        };
        // The thread may still wait for the answer, which this one serves.
        let answer = tokio::task::spawn_blocking(|| client.join().unwrap()).await.unwrap();
        (asked, answer)
    })
}

/// The change that reaches the owner of the state, who does it.
fn change(ask: impl FnOnce(Client) -> Result<Done, client::Error> + Send + 'static) -> Change {
    let (sender, received) = std::sync::mpsc::channel();
    let (_, answer) = serve(
        move |request| {
            let Request::Change(change, reply) = request else { panic!("{request:?}") };
            sender.send(change).unwrap();
            reply.send(Ok(Done::new("done".into()))).unwrap();
            String::new()
        },
        ask,
    );
    assert_eq!(answer.unwrap().message, "done");
    received.recv().unwrap()
}

/// The problem that the server answers by itself.
fn problem<T: std::fmt::Debug + Send + 'static>(
    ask: impl FnOnce(Client) -> Result<T, client::Error> + Send + 'static,
) -> Problem {
    let (asked, answer) = serve(|request| format!("{request:?}"), ask);
    assert_eq!(asked, None, "nobody needs to be asked");
    match answer.unwrap_err() {
        client::Error::Problem(problem) => problem,
        other => panic!("{other}"),
    }
}

const REAL: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 13));

const GOOD: &str = "node.interfaces = [\"eth0\"]\n";

#[test]
fn a_real_is_removed_at_once_only_where_that_is_said() {
    for now in [false, true] {
        let change = change(move |client| client.delete_real("web", REAL, now));
        let Change::RemoveReal(vip, REAL, said) = change else { panic!("{change:?}") };
        assert_eq!((vip.as_str(), said), ("web", now));
    }
}

#[test]
fn the_deadline_of_a_drain_travels_with_the_change() {
    let patch = |state: &str| RealPatch {
        state: Some(state.into()),
        timeout: Some("10m".into()),
        ..RealPatch::default()
    };
    let drain = patch("drain");
    let change = change(move |client| client.set_real("web", REAL, &drain));
    let Change::SetReal(_, REAL, patched) = change else { panic!("{change:?}") };
    assert_eq!(patched.drain_timeout().unwrap().unwrap().as_secs(), 600);

    let disable = patch("disabled");
    let problem = problem(move |client| client.set_real("web", REAL, &disable));
    assert_eq!(problem.status, 400);
    assert!(problem.detail.contains("deadline of a drain"), "{}", problem.detail);
}

#[test]
fn a_configuration_arrives_read_and_with_its_bound() {
    let query = ApplyQuery { config: GOOD.into(), max_moved: Some(0.05) };
    let change = change(move |client| client.apply(&query));
    let Change::Apply(new) = change else { panic!("{change:?}") };
    assert_eq!((new.text.as_str(), new.max_moved), (GOOD, Some(0.05)));
    assert_eq!(new.model.node.interfaces, ["eth0"]);
}

#[test]
fn a_bad_configuration_is_answered_with_every_place() {
    let config = "[node]\ninterfaces = []\nxpd = 1\n".to_owned();
    let query = PlanQuery { config };
    let problem = problem(move |client| client.plan(&query));
    assert_eq!(problem.status, 400);
    let places: Vec<_> = problem.places.iter().map(|place| (place.line, place.column)).collect();
    assert_eq!(places, [(2, 14), (3, 1)]);
    assert!(problem.detail.contains("did you mean \"xdp\"?"), "{}", problem.detail);
}

#[test]
fn a_bound_or_a_limit_that_makes_no_sense_is_refused() {
    let query = ApplyQuery { config: GOOD.into(), max_moved: Some(5.0) };
    assert!(problem(move |client| client.apply(&query)).detail.contains("from 0 to 1"));
    for limit in [0, FlowsQuery::MOST + 1] {
        let query = FlowsQuery { limit: Some(limit), ..FlowsQuery::default() };
        assert!(problem(move |client| client.flows(&query)).detail.contains("from 1 to 100000"));
    }
}

#[test]
fn flows_are_asked_for_by_real() {
    let query = FlowsQuery { real: Some(REAL), ..FlowsQuery::default() };
    let (asked, answer) = serve(
        |request| {
            let Request::Flows(query, reply) = request else { panic!("{request:?}") };
            let table = TableStatus { used: 0, size: 1024 };
            let (pinned, fresh, datagrams) = (table, table, table);
            let flows = Flows { flows: Vec::new(), pinned, fresh, datagrams, more: false };
            reply.send(Ok(flows)).unwrap();
            format!("{query:?} {}", query.limit())
        },
        move |client| client.flows(&query),
    );
    let expected = FlowsQuery { real: Some(REAL), ..FlowsQuery::default() };
    assert_eq!(asked, Some(format!("{expected:?} 1000")));
    assert_eq!(answer.unwrap().pinned.size, 1024);
}

#[test]
fn every_answer_says_the_daemons_version_be_it_good_or_bad() {
    for good in [true, false] {
        let owner = move |request| {
            let Request::Export(reply) = request else { panic!("{request:?}") };
            let answer = if good { Ok(GOOD.to_owned()) } else { Err(Refusal::failed("no")) };
            reply.send(answer).unwrap();
            String::new()
        };
        let ask = |client: Client| {
            let answer = client.export().is_ok();
            (answer, client.daemon_version().map(str::to_owned))
        };
        let (_, answer) = serve(owner, ask);
        assert_eq!(answer, (good, Some(env!("CARGO_PKG_VERSION").to_owned())));
    }
}

fn change_of(vip: &str) -> Happening {
    Happening::Config { vip: Some(vip.into()), change: format!("vip \"{vip}\" changed") }
}

/// What an owner of the state answers whose journal has a change of each of these VIPs; what else is done
/// with the journal, it does then.
fn tell(
    vips: &'static [&'static str],
    then: impl FnOnce(&mut Journal),
) -> impl FnOnce(Request) -> String {
    move |request| {
        let Request::Events(query, reply) = request else { panic!("{request:?}") };
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(directory.path());
        for vip in vips {
            journal.record(jiff::Timestamp::UNIX_EPOCH, change_of(vip));
        }
        let filter = query.vip.as_deref().map_or_else(Filter::all, |name| Filter::of(name, None));
        let last = journal.last(query.last.map(|last| last as usize), &filter);
        let coming = query.follow.then(|| journal.subscribe());
        reply.send(Ok(request::Events { last, coming, filter })).unwrap();
        then(&mut journal);
        String::new()
    }
}

/// The numbers of the events that a client gets, and how that ends.
fn heard(lines: client::Events) -> (Vec<u64>, Option<String>) {
    let mut numbers = Vec::new();
    for line in lines {
        match line {
            Ok(EventLine::Event(Event { number, .. })) => numbers.push(number),
            Ok(EventLine::Missed { missed }) => panic!("{missed} are missing"),
            Err(error) => return (numbers, Some(error.to_string())),
        }
    }
    (numbers, None)
}

#[test]
fn the_events_that_were_are_told_and_that_is_the_end() {
    for (vip, last, expected) in [
        (None, None, vec![1, 2, 3, 4]),
        (None, Some(2), vec![3, 4]),
        (Some("web"), None, vec![1, 3]),
        (Some("web"), Some(1), vec![3]),
        (None, Some(0), vec![]),
    ] {
        let query = EventsQuery { vip: vip.map(str::to_owned), last, follow: false };
        let owner = tell(&["web", "dns", "web", "dns"], |_| ());
        let (_, answer) = serve(owner, move |client| heard(client.events(&query).unwrap()));
        assert_eq!(answer, (expected, None), "{vip:?} {last:?}");
    }
}

#[test]
fn a_follower_hears_what_comes_until_the_daemon_ends() {
    for (vip, expected) in [(None, vec![2, 3, 4, 5]), (Some("web"), vec![1, 3, 5])] {
        let query = EventsQuery { vip: vip.map(str::to_owned), last: Some(1), follow: true };
        let query = if vip.is_some() { EventsQuery { last: None, ..query } } else { query };
        let owner = tell(&["web", "dns"], |journal| {
            for vip in ["web", "dns", "web"] {
                journal.record(jiff::Timestamp::UNIX_EPOCH, change_of(vip));
            }
        });
        let (_, answer) = serve(owner, move |client| heard(client.events(&query).unwrap()));
        let (numbers, end) = answer;
        assert_eq!(numbers, expected);
        assert!(end.unwrap().contains("is gone, it has stopped or was killed"));
    }
}

#[test]
fn a_follower_that_is_too_slow_is_told_what_it_has_missed() {
    let query = EventsQuery { follow: true, ..EventsQuery::default() };
    let owner = tell(&["web"], |journal| {
        for _ in 0..crate::event::journal::WAITING + 2 {
            journal.record(jiff::Timestamp::UNIX_EPOCH, change_of("web"));
        }
    });
    let (_, lines) = serve(owner, move |client| {
        client.events(&query).unwrap().take(3).map(|line| line.unwrap()).collect::<Vec<_>>()
    });
    let number = |line: &EventLine| match line {
        EventLine::Event(event) => Some(event.number),
        EventLine::Missed { .. } => None,
    };
    assert_eq!(lines[1], EventLine::Missed { missed: 2 });
    assert_eq!((number(&lines[0]), number(&lines[2])), (Some(1), Some(4)));
}

#[test]
fn a_refusal_of_events_is_one_like_any_other() {
    let owner = |request| {
        let Request::Events(_, reply) = request else { panic!("{request:?}") };
        reply.send(Err(Refusal::missing("no VIP \"wbe\""))).unwrap();
        String::new()
    };
    let query = EventsQuery { vip: Some("wbe".into()), ..EventsQuery::default() };
    let (_, answer) = serve(owner, move |client| client.events(&query).map(drop));
    let Err(client::Error::Problem(problem)) = answer else { panic!("{answer:?}") };
    assert_eq!((problem.status, problem.detail.as_str()), (404, "no VIP \"wbe\""));
}

#[test]
fn a_capture_whose_asker_has_gone_away_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let socket: PathBuf = directory.path().join("lbd.sock");
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = UnixListener::bind(&socket).unwrap();
        let (sender, mut requests) = mpsc::channel(1);
        let router = server::control(Requests::new(sender));
        let gate = Gate::new(&socket, Rights::of(None));
        tokio::spawn(serve::control(listener, router, gate, std::future::pending()));
        let mut asker = UnixStream::connect(&socket).await.unwrap();
        asker.write_all(b"GET /v1/capture HTTP/1.1\r\nHost: lbd\r\n\r\n").await.unwrap();
        let Some(Request::Capture(_, reply)) = requests.recv().await else { panic!("a capture") };
        drop(asker);
        // The server is on this thread, too: it sees that.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let (_names, names) = watch::channel(Arc::default());
        let capture = Capture { number: 7, sources: Vec::new(), names, only: None };
        assert!(reply.send(Ok(capture)).is_ok(), "somebody waits for it");
        let end = requests.recv().await;
        assert!(matches!(end, Some(Request::EndCapture(7))), "{end:?}");
    });
}
