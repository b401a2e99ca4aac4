use std::collections::BTreeMap;

use super::{super::exec::Runner, *};
use crate::model::ExecCheck;

fn check(script: &str) -> CheckKind {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).into();
    let environment = BTreeMap::from([("LB_FAMILY".to_owned(), "mine".to_owned())]);
    CheckKind::Exec(ExecCheck { command, environment })
}

fn prober() -> Prober {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    let user = if user == "root" { "nobody" } else { &user };
    Prober::new(Some(Runner::start(user).unwrap()))
}

fn detoured() -> Target {
    Target {
        connect: "198.18.0.1".parse().unwrap(),
        address: "192.0.2.10".parse().unwrap(),
        real: "10.0.0.1".parse().unwrap(),
        vip: "192.0.2.10".parse().unwrap(),
    }
}

#[tokio::test]
async fn a_program_passes_with_code_0_only() {
    let prober = prober();
    for (script, expected) in [
        ("true", Ok("exit code 0".to_owned())),
        ("echo fine; echo and more", Ok("exit code 0: fine".to_owned())),
        ("echo no >&2; exit 1", wrong("exit code 1: no")),
        ("kill -ABRT $$", wrong("killed by SIGABRT")),
        ("printf 'a\\033[2Jb'; false", wrong("exit code 1: a\\u{1b}[2Jb")),
        ("yes", wrong("wrote more than 65536 bytes, killed")),
    ] {
        let result = prober.probe(&check(script), &detoured(), LONG).await;
        assert_eq!(result.map(|answer| answer.summary), expected, "{script}");
    }
    let result = prober.probe(&check("sleep 1000"), &detoured(), SHORT).await;
    assert_eq!(result, Err(Failure::Timeout("running the program")));
}

#[tokio::test]
async fn a_program_is_told_whom_to_check() {
    let script = "echo $LB_VIP $LB_REAL $LB_ADDRESS $LB_SERVER_ADDRESS $LB_FAMILY";
    let answer = prober().probe(&check(script), &detoured(), LONG).await.unwrap();
    let expected = "exit code 0: 192.0.2.10 10.0.0.1 198.18.0.1 192.0.2.10 mine";
    assert_eq!(answer.summary, expected);
}

#[tokio::test]
async fn a_program_that_cannot_be_run_says_nothing_of_the_server() {
    let gone = ExecCheck { command: vec!["/gone".to_owned()], environment: BTreeMap::new() };
    let result = prober().probe(&CheckKind::Exec(gone), &detoured(), LONG).await;
    let reason = "/gone cannot be run: No such file or directory (os error 2)";
    assert_eq!(result, Err(Failure::Local(reason.to_owned())));
    let result = Prober::new(None).probe(&check("true"), &detoured(), LONG).await;
    assert!(matches!(result, Err(Failure::Local(_))));
}
