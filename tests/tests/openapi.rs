//! The description of the API: what stands in the repository is what the code makes, and the daemon does what it
//! says (schemathesis).

use std::{
    env, fs,
    io::{self, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use lb_user::api::server;
use tests::{Output, Rack};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_document_in_the_repository_is_what_the_code_makes() -> Result<()> {
    let file = root().join("docs/openapi.json");
    let made = server::document();
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&file, &made)?;
    }
    let committed = fs::read_to_string(&file).context("docs/openapi.json")?;
    assert!(
        committed == made,
        "docs/openapi.json is not what the code makes: review and accept it with UPDATE_SNAPSHOTS=1 cargo test -p tests --test openapi"
    );
    Ok(())
}

/// Carries what comes to a local port to a socket, as schemathesis speaks TCP only.
fn proxy(socket: PathBuf) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if let Ok(server) = UnixStream::connect(&socket) {
                thread::spawn(move || carry(&client, &server));
            }
        }
    });
    Ok(address)
}

fn carry(client: &TcpStream, server: &UnixStream) {
    thread::scope(|scope| {
        scope.spawn(|| {
            // Either may end at any time.
            let _ = io::copy(&mut &*client, &mut &*server);
            let _ = server.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut &*server, &mut &*client);
        let _ = client.shutdown(Shutdown::Both);
    });
}

/// What ends the daemon is left out, and what goes on for ever.
const LEFT_OUT: [&str; 3] = ["/v1/detach", "/v1/events", "/v1/capture"];

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method";

#[test]
fn the_daemon_serves_the_document() -> Result<()> {
    let rack = Rack::new(1)?;
    let mut stream = UnixStream::connect(rack.lab.socket())?;
    stream.write_all(b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let answer = io::read_to_string(stream)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("application/json"), "{head}");
    assert!(body == fs::read_to_string(root().join("docs/openapi.json"))?);
    Ok(())
}

#[test]
fn schemathesis_finds_nothing_that_is_not_described() -> Result<()> {
    let program = root().join(".tools/python/bin/schemathesis");
    ensure!(program.exists(), "{} is missing: run `cargo xtask setup`", program.display());
    let rack = Rack::new(2)?;
    let address = proxy(rack.lab.socket())?;
    let document = rack.lab.dir().join("openapi.json");
    fs::write(&document, server::document())?;
    let mut command = Command::new(program);
    command.current_dir(rack.lab.dir()).args([
        "run",
        "--no-color",
        "--seed",
        "1",
        "--max-examples",
        "5",
    ]);
    command.args(["--generation-deterministic", "--request-timeout", "20", "--max-time", "40"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--checks", CHECKS]);
    for path in LEFT_OUT {
        command.args(["--exclude-path", path]);
    }
    command.arg("--url").arg(format!("http://{address}")).arg(&document);
    let output = Output::of(&mut command)?;
    println!("{}", output.stdout);
    ensure!(output.code == 0, "{}", output.stderr);
    // It goes on without what it cannot follow.
    ensure!(!output.stdout.contains("nresolvable"), "a reference leads nowhere");
    ensure!(output.stdout.contains("Tested: 21"), "not everything was asked for");
    assert_eq!(rack.status()?["node"]["daemon"], "running");
    Ok(())
}
