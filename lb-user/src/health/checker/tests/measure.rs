//! What the checks of many servers cost. A measurement, which says what it has found and judges nothing:
//! `cargo test --release -p lb-user --lib health::checker::tests::measure -- --ignored --nocapture`

use std::{fs, net::SocketAddr};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    time::timeout,
};

use super::*;

const REALS: u16 = 5000;
const TIME: Duration = Duration::from_secs(30);

/// Opens a TCP connection, as the least that any check does.
#[derive(Clone)]
struct Connect(u16);

impl Probe for Connect {
    async fn probe(
        &self,
        _: &CheckKind,
        target: &Target,
        most: Duration,
    ) -> Result<Answer, Failure> {
        let began = Instant::now();
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            socket.set_zero_linger()?;
            socket.connect(SocketAddr::new(target.connect, self.0)).await
        };
        match timeout(most, connect).await {
            Ok(Ok(_)) => Ok(Answer { summary: "connected".to_owned(), took: began.elapsed() }),
            Ok(Err(error)) => Err(Failure::Local(error.to_string())),
            Err(_) => Err(Failure::Timeout("connecting")),
        }
    }
}

/// Accepts connections at all addresses, in a thread of its own.
fn serve() -> u16 {
    let (port, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
            port.send(listener.local_addr().unwrap().port()).unwrap();
            loop {
                drop(listener.accept().await);
            }
        })
    });
    told.recv().unwrap()
}

/// How long the thread of the checks has been on a processor.
fn busy() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let is_it = |name: String| name.trim() == "health";
    let thread =
        tasks.into_iter().find(|task| fs::read_to_string(task.join("comm")).is_ok_and(is_it));
    let spent = fs::read_to_string(thread.unwrap().join("schedstat")).unwrap();
    Duration::from_nanos(spent.split(' ').next().unwrap().parse().unwrap())
}

fn loopback(real: u16) -> Assignment {
    let [high, low] = real.to_be_bytes();
    let address = IpAddr::from([127, 1, high, low]);
    let target = Target { connect: address, address: VIP, real: address, vip: VIP };
    let rip_target = Target { address, ..target.clone() };
    let key = Key { vip: "web".to_owned(), real: address };
    Assignment { key, vip_target: Some(target), rip_target, ..assignment(1, check()) }
}

#[test]
#[ignore = "a measurement"]
fn what_it_costs_to_check_many() {
    let mut one = CpuSet::new();
    one.set(0).unwrap();
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
    let (findings, mut found) = mpsc::channel(1024);
    let checker = Checker::start(Connect(serve()), findings, || ()).unwrap();
    checker.set((1..=REALS).map(loopback).collect());
    let mut up = BTreeSet::new();
    while up.len() < usize::from(REALS) {
        let Finding { key, standing } = found.blocking_recv().unwrap();
        if standing.up() {
            up.insert(key)
        } else {
            up.remove(&key)
        };
    }
    println!("{REALS} are up; at most {:?} late at the start", checker.slip());
    thread::sleep(Duration::from_secs(5));
    let (before, _) = (busy(), checker.slip());
    thread::sleep(TIME);
    let (spent, slip) = (busy() - before, checker.slip());
    let share = spent.as_secs_f64() / TIME.as_secs_f64() * 100.0;
    println!("{share:.1} % of a processor; at most {slip:?} late; news: {:?}", found.try_recv());
}
