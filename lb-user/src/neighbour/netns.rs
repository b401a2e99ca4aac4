//! Network namespaces for tests: without a name, held by a file descriptor, so that nothing is
//! left behind whatever becomes of the test. They take root.

use std::{fs::File, os::fd::AsRawFd, process::Command, thread};

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace, there as long as this value.
pub(crate) struct Namespace(File);

/// A balancer and a machine on one cable, `eth0` at both ends, with nothing on it but the kernel's
/// link-local addresses.
pub(crate) struct Cable {
    pub(crate) balancer: Namespace,
    pub(crate) machine: Namespace,
}

pub(crate) const BALANCER_MAC: &str = "02:00:00:00:00:01";
pub(crate) const MACHINE_MAC: &str = "02:00:00:00:00:02";

impl Namespace {
    pub(crate) fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let namespace = Self(File::open("/proc/thread-self/ns/net").unwrap());
            ip("link set lo up");
            namespace
        };
        thread::spawn(make).join().unwrap()
    }

    /// Runs `work` in the namespace, on a thread of its own.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        let done = thread::scope(|scope| scope.spawn(enter).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs asynchronous `work` in the namespace.
    pub(crate) fn run_async<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(work())
        })
    }

    pub(crate) fn ip(&self, arguments: &str) {
        self.run(|| ip(arguments));
    }

    /// Whether the kernel does it.
    pub(crate) fn try_ip(&self, arguments: &str) -> bool {
        let words = arguments.split_whitespace();
        self.run(|| Command::new("ip").args(words).output().unwrap().status.success())
    }

    /// Sets a value below `/proc/sys/net`.
    pub(crate) fn sysctl(&self, name: &str, value: &str) {
        self.run(|| std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap());
    }
}

impl Cable {
    pub(crate) fn new() -> Self {
        let (balancer, machine) = (Namespace::new(), Namespace::new());
        Self::lay(&balancer, &machine, "eth0", BALANCER_MAC, MACHINE_MAC);
        Self { balancer, machine }
    }

    /// Lays a cable, with interfaces of the same name and these MAC addresses at its ends.
    pub(crate) fn lay(balancer: &Namespace, machine: &Namespace, name: &str, at: &str, to: &str) {
        let end = format!("/proc/{}/fd/{}", std::process::id(), machine.0.as_raw_fd());
        balancer.ip(&format!(
            "link add {name} address {at} type veth peer name {name} address {to} netns {end}"
        ));
        for namespace in [balancer, machine] {
            // Else an IPv6 address takes two seconds until it may be used.
            namespace.sysctl(&format!("ipv6/conf/{name}/accept_dad"), "0");
            namespace.ip(&format!("link set {name} up"));
        }
    }
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The index of `eth0` where this is called.
pub(crate) fn eth0() -> u32 {
    nix::net::if_::if_nametoindex("eth0").unwrap()
}
