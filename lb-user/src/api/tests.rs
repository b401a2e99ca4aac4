//! The client and the server, back to back over a socket.

use std::{path::PathBuf, thread};

use tokio::{net::UnixListener, runtime, sync::mpsc};

use super::{
    client::{self, Client},
    request::{Change, Refusal, Request, Requests},
    server,
    types::*,
};
use crate::config::change::RealPatch;

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
        tokio::spawn(axum::serve(listener, server::control(Requests::new(sender))).into_future());
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
