use std::{
    fs::{Permissions, set_permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    sync::Mutex,
};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    time::Instant,
};

use super::*;
use crate::event::{Filter, Happening, journal::WAITING};

/// Longer than whatever a test waits for.
const LONG: Duration = Duration::from_secs(3600);

fn journal() -> (TempDir, Journal) {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(directory.path());
    (directory, journal)
}

fn record(journal: &mut Journal) {
    let what = Happening::Config { vip: None, change: "changed".into() };
    journal.record(Timestamp::UNIX_EPOCH, what);
}

fn posting(url: impl ToString) -> model::Hooks {
    model::Hooks { webhook: Some(url.to_string()), ..model::Hooks::default() }
}

/// A call of a hook: when, where to, and of which event.
type Call = (Instant, String, u64);

/// A hook that tells of its calls and answers them as the test wants.
struct Stub {
    calls: mpsc::UnboundedSender<Call>,
    /// What it answers first; then it does well.
    answers: Arc<Mutex<Vec<Result<(), String>>>>,
    /// It hangs while this is closed.
    gate: Arc<Semaphore>,
}

impl Way for Stub {
    fn name(&self, hooks: &model::Hooks) -> Option<String> {
        hooks.webhook.clone()
    }

    async fn call(&mut self, hooks: &model::Hooks, event: &str) -> Result<(), String> {
        let event: Event = serde_json::from_str(event).unwrap();
        let call = (Instant::now(), hooks.webhook.clone().unwrap(), event.number);
        self.calls.send(call).unwrap();
        drop(self.gate.acquire().await.unwrap());
        self.answers.lock().unwrap().pop().unwrap_or(Ok(()))
    }
}

/// The running line of a [`Stub`].
struct Stage {
    hooks: Hooks,
    calls: mpsc::UnboundedReceiver<Call>,
    gate: Arc<Semaphore>,
}

impl Stage {
    /// A hook that fails so many times.
    fn failing(times: usize, journal: &Journal) -> Self {
        let (config, _) = watch::channel(posting("a"));
        let (sender, calls) = mpsc::unbounded_channel();
        let gate = Arc::new(Semaphore::new(1));
        let answers = Arc::new(Mutex::new(vec![Err("it fails".to_owned()); times]));
        let way = Stub { calls: sender, answers, gate: Arc::clone(&gate) };
        let line = Line::new(way, &config, journal.subscribe());
        let tasks = vec![tokio::spawn(line.run())];
        Self { hooks: Hooks { config, tasks }, calls, gate }
    }

    async fn call(&mut self) -> Call {
        self.calls.recv().await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_fails_is_tried_again_with_longer_and_longer_pauses() {
    let (_directory, mut journal) = journal();
    let mut stage = Stage::failing(5, &journal);
    let start = Instant::now();
    record(&mut journal);
    let mut moments = Vec::new();
    for _ in 0..6 {
        let (moment, _, 1) = stage.call().await else { panic!("the first event first") };
        moments.push((moment - start).as_secs());
    }
    assert_eq!(moments, [0, 1, 3, 7, 15, 31]);
    record(&mut journal);
    assert_eq!(stage.call().await.2, 2);
    stage.hooks.finish(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_on_failing_is_given_up_for_the_next() {
    let (_directory, mut journal) = journal();
    let mut stage = Stage::failing(6, &journal);
    record(&mut journal);
    record(&mut journal);
    for _ in 0..6 {
        assert_eq!(stage.call().await.2, 1);
    }
    assert_eq!(stage.call().await.2, 2);
    stage.hooks.finish(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_hangs_holds_nobody_up_and_misses_the_oldest() {
    let (_directory, mut journal) = journal();
    let mut stage = Stage::failing(0, &journal);
    let closed = Arc::clone(&stage.gate).acquire_owned().await.unwrap();
    record(&mut journal);
    assert_eq!(stage.call().await.2, 1);
    // None of these waits, as nothing here is awaited.
    for _ in 0..WAITING + 10 {
        record(&mut journal);
    }
    drop(closed);
    assert_eq!(stage.call().await.2, 12, "the ten oldest of those that waited are left out");
    for number in 13..=11 + WAITING as u64 {
        assert_eq!(stage.call().await.2, number, "in their order");
    }
    stage.hooks.finish(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_is_corrected_gets_what_failed_before() {
    let (_directory, mut journal) = journal();
    let mut stage = Stage::failing(2, &journal);
    record(&mut journal);
    record(&mut journal);
    assert_eq!(stage.call().await.1, "a");
    stage.hooks.set(&posting("b"));
    let (_, url, number) = stage.call().await;
    assert_eq!((url.as_str(), number), ("b", 1));
    stage.hooks.set(&model::Hooks::default());
    record(&mut journal);
    stage.hooks.finish(LONG).await;
    assert!(stage.calls.recv().await.is_none(), "nobody is called any more");
}

#[tokio::test(start_paused = true)]
async fn at_the_end_each_event_that_waits_is_tried_once() {
    let (_directory, mut journal) = journal();
    let mut stage = Stage::failing(2, &journal);
    for _ in 0..3 {
        record(&mut journal);
    }
    let start = Instant::now();
    stage.hooks.finish(LONG).await;
    let mut numbers = Vec::new();
    while let Some((moment, _, number)) = stage.calls.recv().await {
        assert_eq!(moment, start);
        numbers.push(number);
    }
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_a_hook_that_hangs_only_so_long() {
    let (_directory, mut journal) = journal();
    let mut stage = Stage::failing(0, &journal);
    let _closed = Arc::clone(&stage.gate).acquire_owned().await.unwrap();
    record(&mut journal);
    assert_eq!(stage.call().await.2, 1);
    let (start, bound) = (Instant::now(), Duration::from_secs(2));
    stage.hooks.finish(bound).await;
    assert_eq!(start.elapsed(), bound);
    assert!(stage.calls.recv().await.is_none(), "it has ended");
}

/// A server that answers with this status, and what was posted to it.
async fn server(status: u16) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, posted) = mpsc::unbounded_channel();
    let answer = async move |State(sender): State<mpsc::UnboundedSender<String>>, body| {
        sender.send(body).unwrap();
        StatusCode::from_u16(status).unwrap()
    };
    let router = Router::new().route("/lb", post(answer)).with_state(sender);
    tokio::spawn(axum::serve(listener, router).into_future());
    (address, posted)
}

/// What a single call of a webhook comes to.
async fn posted(url: &str, patience: Duration) -> Result<(), String> {
    Webhook::new(patience).call(&posting(url), "{}").await
}

#[tokio::test]
async fn a_webhook_gets_each_event_as_json() {
    let (_directory, mut journal) = journal();
    let (address, mut posted) = server(204).await;
    let hooks = Hooks::start(&posting(format!("http://{address}/lb")), None, &journal);
    record(&mut journal);
    record(&mut journal);
    for number in [1, 2] {
        let event: serde_json::Value = serde_json::from_str(&posted.recv().await.unwrap()).unwrap();
        let expected = serde_json::json!({
            "number": number, "time": "1970-01-01T00:00:00Z", "event": "config", "change": "changed",
        });
        assert_eq!(event, expected);
    }
    hooks.finish(LONG).await;
}

#[tokio::test]
async fn a_webhook_that_does_not_take_an_event_is_told_with_the_reason() {
    for (status, reason) in
        [(500, "it answers \"500 Internal Server Error\""), (302, "it answers \"302 Found\"")]
    {
        let (address, _posted) = server(status).await;
        let error = posted(&format!("http://{address}/lb"), LONG).await.unwrap_err();
        assert_eq!(error, reason);
    }
    let free = TcpListener::bind("[::1]:0").await.unwrap().local_addr().unwrap();
    let error = posted(&format!("http://{free}/lb"), LONG).await.unwrap_err();
    assert!(error.contains("Connection refused"), "{error}");
    for (url, reason) in [
        ("", "its URL: "),
        ("no url at all", "its URL: "),
        ("ftp://192.0.2.1/", "scheme"),
        ("http://user:word@127.0.0.1/", "user name"),
    ] {
        let error = posted(url, LONG).await.unwrap_err();
        assert!(error.contains(reason), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_webhook_that_never_answers_is_left_alone_after_a_while() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = posted(&format!("http://{address}/lb"), Duration::from_millis(1)).await;
    assert!(error.unwrap_err().contains("did not answer within"));
}

#[tokio::test]
async fn a_webhook_whose_certificate_nobody_vouches_for_gets_nothing() {
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer},
    };
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(config)).accept(stream).await.err()
    });
    let error = posted(&format!("https://localhost:{port}/lb"), LONG).await.unwrap_err();
    // Where the system has no certificates at all it does not even begin.
    if error.contains("ca-certificates") {
        return;
    }
    assert!(error.contains("certificate"), "{error}");
    assert!(server.await.unwrap().is_some(), "the server is refused");
}

fn runner() -> Runner {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
    let root = nix::unistd::geteuid().is_root();
    Runner::start(if root { "nobody" } else { &user.name }).unwrap()
}

fn running(script: &str, argument: &str) -> model::Hooks {
    let exec = ["/bin/sh", "-c", script, argument].map(str::to_owned).into();
    model::Hooks { exec, ..model::Hooks::default() }
}

#[tokio::test]
async fn a_program_gets_each_event_on_its_standard_input() {
    let (directory, mut journal) = journal();
    let place = directory.path().join("got");
    std::fs::write(&place, "").unwrap();
    for (path, mode) in [(directory.path(), 0o755), (&place, 0o666)] {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let hook = running("cat >> $0", place.to_str().unwrap());
    let hooks = Hooks::start(&hook, Some(runner()), &journal);
    record(&mut journal);
    record(&mut journal);
    hooks.finish(LONG).await;
    let got = std::fs::read_to_string(&place).unwrap();
    let got: Vec<Event> = got.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kept = journal.last(None, &Filter::all());
    let kept: Vec<Event> = kept.iter().map(|event| (**event).clone()).collect();
    assert_eq!(got, kept);
}

#[tokio::test]
async fn a_program_that_fails_is_told_with_what_it_says() {
    let mut way = Program { runner: Some(runner()) };
    let error = way.call(&running("echo no mail today >&2; exit 3", ""), "{}").await.unwrap_err();
    assert_eq!(error, "exit code 3: no mail today");
    let absent = model::Hooks { exec: vec!["/nonexistent".into()], ..model::Hooks::default() };
    let error = way.call(&absent, "{}").await.unwrap_err();
    assert!(error.contains("/nonexistent cannot be run"), "{error}");
    let error = Program { runner: None }.call(&absent, "{}").await.unwrap_err();
    assert!(error.contains("restart lbd"), "{error}");
}

#[test]
fn a_hook_is_named_without_what_may_be_secret() {
    let webhook = Webhook::new(LONG);
    let name = |url: &str| webhook.name(&posting(url)).unwrap();
    assert_eq!(
        name("https://user:word@hooks.example.com/T0/secret"),
        "the webhook at hooks.example.com"
    );
    assert_eq!(name("nonsense at all"), "the webhook");
    assert_eq!(webhook.name(&model::Hooks::default()), None);
}
