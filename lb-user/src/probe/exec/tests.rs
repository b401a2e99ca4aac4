use std::{
    fs::{Permissions, set_permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
};

use nix::{
    sys::{signal::kill, stat::Mode},
    unistd::{Pid, mkfifo},
};
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe::{OpenOptions, Receiver, Sender},
};

use super::*;

/// Long enough that no test waits for it unless something is broken.
const LONG: Duration = Duration::from_secs(60);

/// Not a test, but what `Runner::start` starts within tests.
#[test]
#[ignore = "the process that other tests start"]
fn the_helper_itself() {
    if std::env::var_os(HELPER).is_some() {
        let _ = helper();
    }
}

fn runner() -> Runner {
    let user = if nix::unistd::geteuid().is_root() { "nobody".to_owned() } else { own_name() };
    Runner::start(&user).unwrap()
}

fn own_name() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name
}

fn shell(script: &str) -> Command {
    Command {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        timeout: LONG,
        output_limit: OUTPUT,
        ..Command::default()
    }
}

async fn output(runner: &Runner, script: &str) -> Output {
    runner.run(shell(script)).await.unwrap()
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().unwrap())
}

/// A pipe with a name, for everyone.
fn fifo(dir: &TempDir) -> PathBuf {
    set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("pipe");
    mkfifo(&path, Mode::empty()).unwrap();
    set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    path
}

/// A pipe with a name: who reads it learns when all have ended who write to it.
struct Witness {
    dir: TempDir,
    reader: Receiver,
    /// Keeps the pipe from ending before it has begun.
    writer: Option<Sender>,
}

impl Witness {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(&dir);
        let reader = OpenOptions::new().open_receiver(&path).unwrap();
        let writer = Some(OpenOptions::new().open_sender(&path).unwrap());
        Self { dir, reader, writer }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("pipe")
    }

    /// Waits until something is written.
    async fn begin(&mut self) {
        self.reader.read_u8().await.unwrap();
    }

    /// Waits until all have ended who write; what they have written.
    async fn end(&mut self) -> String {
        self.writer = None;
        let mut text = String::new();
        self.reader.read_to_string(&mut text).await.unwrap();
        text
    }
}

/// Waits until a process is gone, reaped too.
async fn gone(pid: Pid) {
    while Path::new(&format!("/proc/{pid}")).exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_program_ends_with_its_code_and_its_output() {
    let runner = runner();
    let found = output(&runner, "echo; echo good; echo bad >&2; exit 3").await;
    assert_eq!(found.end, End::Code(3));
    assert_eq!(found.end.to_string(), "exit code 3");
    assert_eq!((found.stdout.as_str(), found.stderr.as_str()), ("\ngood\n", "bad\n"));
    assert_eq!(found.first_line(), Some("good"));
    assert_eq!(output(&runner, "exit 0").await.end, End::Code(0));
}

#[tokio::test]
async fn a_program_that_crashes_is_told_by_its_signal() {
    let runner = runner();
    for (number, text) in [(11, "killed by SIGSEGV"), (40, "killed by signal 40")] {
        let found = output(&runner, &format!("kill -{number} $$")).await;
        assert_eq!((found.end, found.end.to_string().as_str()), (End::Signal(number), text));
    }
}

#[tokio::test]
async fn many_programs_run_at_the_same_time_and_answers_are_not_confused() {
    let runner = runner();
    let dir = tempfile::tempdir().unwrap();
    let pipe = fifo(&dir);
    // Each waits for the other.
    let (read, write) = (format!("cat {}", pipe.display()), format!("echo x >{}", pipe.display()));
    let (read, written) = tokio::join!(output(&runner, &read), output(&runner, &write));
    assert_eq!((written.end, written.stdout.as_str()), (End::Code(0), ""));
    assert_eq!((read.end, read.stdout.as_str()), (End::Code(0), "x\n"));
}

#[tokio::test]
async fn programs_run_as_the_user_without_privileges_and_cannot_get_them_back() {
    let found =
        output(&runner(), "id -un; grep -E 'NoNewPrivs|CapPrm|CapEff' /proc/self/status").await;
    let user = if nix::unistd::geteuid().is_root() { "nobody".to_owned() } else { own_name() };
    let lines: Vec<String> =
        found.stdout.lines().map(|line| line.replace(char::is_whitespace, "")).collect();
    let zero = "0000000000000000";
    assert_eq!(
        lines,
        [user, format!("CapPrm:{zero}"), format!("CapEff:{zero}"), "NoNewPrivs:1".to_owned()]
    );
}

#[tokio::test]
async fn the_environment_is_what_was_given_and_a_path() {
    let env = BTreeMap::from([("LB_REAL".to_owned(), "192.0.2.1".to_owned())]);
    let argv = vec!["/usr/bin/env".to_owned()];
    let found = runner().run(Command { argv, env, ..shell("") }).await.unwrap();
    let mut lines: Vec<_> = found.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["LB_REAL=192.0.2.1", &format!("PATH={}", program::PATH)]);
}

#[tokio::test]
async fn a_program_reads_its_input_to_the_end_or_not_at_all() {
    let runner = runner();
    let stdin = "0123456789".repeat(100_000);
    let command = Command { stdin: stdin.clone(), ..shell("wc -c") };
    assert_eq!(runner.run(command).await.unwrap().stdout.trim(), "1000000");
    let command = Command { stdin, ..shell("echo done") };
    assert_eq!(runner.run(command).await.unwrap().stdout, "done\n");
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_killed_with_all_that_it_has_started() {
    let mut witness = Witness::new();
    let script = format!(
        "exec >{}; (sleep 1000; echo never) & setsid sleep 1000 & \
         timeout 1000 sh -c 'sleep 1000 & sleep 1000' & echo x; wait",
        witness.path().display()
    );
    let command = Command { timeout: Duration::from_secs(1), ..shell(&script) };
    assert_eq!(runner().run(command).await, Err(RunError::Timeout));
    assert_eq!(witness.end().await, "x\n");
}

#[tokio::test]
async fn what_a_program_leaves_behind_ends_with_it() {
    let mut witness = Witness::new();
    let path = witness.path().display().to_string();
    let script = format!("exec 3>{path}; setsid sleep 1000 >&3 & sleep 1000 >&3 & echo $!");
    let runner = runner();
    let found = output(&runner, &script).await;
    assert_eq!((found.end, witness.end().await.as_str()), (End::Code(0), ""));
    gone(pid(&found.stdout)).await;
}

#[tokio::test]
async fn a_program_that_floods_is_killed() {
    let runner = runner();
    let mut witness = Witness::new();
    let script = format!("exec 3>{}; exec yes", witness.path().display());
    assert_eq!(runner.run(shell(&script)).await, Err(RunError::Flood(OUTPUT)));
    assert_eq!(witness.end().await, "");
    let exact = Command { output_limit: 3, ..shell("printf 123") };
    assert_eq!(runner.run(exact).await.unwrap().stdout, "123");
    let both = Command { output_limit: 5, ..shell("printf 123; printf 456 >&2") };
    assert_eq!(runner.run(both).await, Err(RunError::Flood(5)));
}

#[tokio::test]
async fn only_the_head_of_an_output_is_handed_over() {
    let found = output(&runner(), "head -c 60000 /dev/zero | tr '\\0' x").await;
    assert_eq!(found.stdout, "x".repeat(HEAD));
}

#[tokio::test]
async fn a_program_that_is_not_there_or_not_one_is_said_so() {
    let runner = runner();
    for (program, reason) in [
        ("/does/not/exist", "No such file or directory (os error 2)"),
        ("/etc/passwd", "Permission denied (os error 13)"),
    ] {
        let command = Command { argv: vec![program.to_owned()], ..shell("") };
        let error = runner.run(command).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{program} cannot be run: {reason}"));
    }
    let nothing = Command { argv: vec![], ..shell("") };
    assert!(matches!(runner.run(nothing).await, Err(RunError::Start { .. })));
}

#[tokio::test]
async fn nothing_is_run_as_a_user_who_does_not_exist_or_as_root() {
    for (user, reason) in [
        ("no-such-user", "there is no such user"),
        ("root", "would be root, whose files its programs could change"),
    ] {
        let error = Runner::start(user).unwrap().run(shell("id")).await.unwrap_err();
        let expected = format!("exec_user = \"{user}\": {reason}; name another user");
        assert_eq!(error, RunError::Helper(expected));
    }
}

/// A program that says when it runs, and then does not end.
fn endless(witness: &Witness) -> Command {
    shell(&format!("exec >{}; sleep 1000 & echo; wait", witness.path().display()))
}

#[tokio::test]
async fn a_helper_that_is_killed_is_started_again_and_what_it_ran_is_told() {
    let runner = runner();
    let helper = pid(&output(&runner, "echo $PPID").await.stdout);
    let mut witness = Witness::new();
    let command = shell(&format!("exec >{}; echo; exec sleep 1000", witness.path().display()));
    let killed = async {
        witness.begin().await;
        kill(helper, Signal::SIGKILL).unwrap();
    };
    let (result, ()) = tokio::join!(runner.run(command), killed);
    assert_eq!(result, Err(RunError::Helper("has ended; it is started again".to_owned())));
    witness.end().await;
    let found = output(&runner, "id -un; echo $PPID").await;
    let (user, next) = found.stdout.split_once('\n').unwrap();
    assert_ne!(pid(next), helper);
    assert_ne!(user, "root");
    gone(helper).await;
}

/// As the unit has it: what root starts then has no more capabilities than the thread that starts it.
#[test]
fn so_is_one_where_no_program_gains_privileges() {
    let name = "a_helper_that_is_killed_is_started_again_and_what_it_ran_is_told";
    let mut test = Process::new("setpriv");
    test.arg("--no-new-privs").arg(std::env::current_exe().unwrap());
    test.args(["--exact", &format!("probe::exec::tests::{name}")]);
    let ran = test.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn the_helper_and_its_programs_end_when_nobody_can_ask_any_more() {
    let mut witness = Witness::new();
    let runner = runner();
    let helper = pid(&output(&runner, "echo $PPID").await.stdout);
    tokio::select! {
        result = runner.run(endless(&witness)) => panic!("{result:?}"),
        () = witness.begin() => {}
    }
    drop(runner);
    witness.end().await;
    gone(helper).await;
}

const PARENT: &str = "LB_PARENT";

/// Not a test, but the parent that another test kills.
#[test]
#[ignore = "the process that another test starts"]
fn the_parent_itself() {
    if let Some(script) = std::env::var_os(PARENT) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        drop(runtime.block_on(runner().run(shell(script.to_str().unwrap()))));
    }
}

#[tokio::test]
async fn the_helper_and_its_programs_end_when_the_daemon_is_killed() {
    let mut witness = Witness::new();
    let mut parent = Process::new("/proc/self/exe")
        .args(["--exact", "probe::exec::tests::the_parent_itself", "--ignored"])
        .env(PARENT, &endless(&witness).argv[2])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    witness.begin().await;
    parent.kill().unwrap();
    parent.wait().unwrap();
    witness.end().await;
}
