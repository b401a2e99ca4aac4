//! The lab: a client, a router, switches, balancers and real servers, each in a network namespace
//! of its own, with real programs in them.
//!
//! ```no_run
//! use tests::{Lab, LabOptions, address};
//!
//! fn main() -> anyhow::Result<()> {
//!     let lab = Lab::new(LabOptions::reals(2))?;
//!     let vip = address::vip(10);
//!     for real in lab.reals() {
//!         real.set_up_dsr(vip)?;
//!     }
//!     let _servers = lab.reals().iter().map(|real| real.nginx(&[vip])).collect::<Result<Vec<_>, _>>()?;
//!     let daemon = lab.daemon(&lab.config(r#"
//!         [[vip]]
//!         name = "web"
//!         address = "192.0.2.10"
//!         ports = ["tcp/80"]
//!         [[vip.real]]
//!         address = "10.0.0.11"
//!         [[vip.real]]
//!         address = "10.0.0.12"
//!     "#))?;
//!     assert_eq!(daemon.lbctl(&["status"])?.code, 0);
//!     println!("{}", lab.client().curl(&format!("http://{vip}/"), &[])?.stdout);
//!     Ok(())
//! }
//! ```
//!
//! Everybody in it has an IPv4 and an IPv6 address ([`address`]). What else a lab may have is in
//! [`LabOptions`]: long frames, a second LAN, more balancers.
//!
//! Everything is a guard. What a guard cannot undo, because the test was killed, the kernel undoes:
//! namespaces are anonymous and live as long as their file descriptors, programs are killed when
//! the test process dies ([`process`]), and the directories of dead processes are swept by the next
//! lab. A lab wants root.

pub mod access;
pub mod address;
pub mod backend;
mod background;
pub mod balancer;
pub mod bench;
pub mod bin;
pub mod booted;
mod bpf;
pub mod capture;
pub mod certificates;
pub mod changes;
pub mod checked;
pub mod clean;
pub mod client;
pub mod counters;
pub mod cpu;
pub mod daemon;
pub mod debian;
pub mod faulty;
pub mod flood;
pub mod golden;
pub mod grpc_health;
pub mod import;
pub mod invariant;
pub mod lab;
pub mod load;
mod mounts;
pub mod name_server;
pub mod netns;
pub mod nginx;
pub mod packet;
pub mod persist;
pub mod port;
pub mod process;
pub mod rack;
pub mod real;
pub mod simulation;
mod site;
pub mod sshd;
pub mod talk;
pub mod terminal;
mod topology;
pub mod udp_echo;
pub mod unit;
pub mod verifier;
pub mod wait;
pub mod webhook;
pub mod world;
pub mod xdp;

pub use access::AccessPort;
pub use backend::{Bare, Shell};
pub use balancer::Balancer;
pub use booted::Booted;
pub use capture::{Capture, Captured};
pub use certificates::{Certificates, Identity};
pub use client::Client;
pub use counters::Counters;
pub use daemon::Daemon;
pub use faulty::{Faulty, Full, Manner};
pub use flood::Flood;
pub use grpc_health::GrpcHealth;
pub use lab::{Lab, LabOptions};
pub use load::{Load, LoadOptions};
pub use name_server::NameServer;
pub use netns::Netns;
pub use nginx::{Listen, Nginx};
pub use persist::Persist;
pub use port::Port;
pub use process::{Output, Process};
pub use rack::Rack;
pub use real::Real;
pub use sshd::{SshKeys, Sshd};
pub use talk::Talk;
pub use terminal::Terminal;
pub use udp_echo::UdpEcho;
pub use unit::{Service, Unit};
pub use webhook::Webhook;
