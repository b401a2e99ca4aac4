//! The daemon `lbd` and the command `lbctl`.
//!
//! A module imports only modules that stand before it in this list.

#[macro_use]
pub mod model;

pub mod config;

pub mod logging;

pub mod backend;

pub mod import;

pub mod maglev;

pub mod plan;

pub mod dataplane;

pub mod neighbour;

pub mod detour;

pub mod probe;

pub mod health;

pub mod event;

pub mod ledger;

pub mod announce;

pub mod doctor;

pub mod metrics;

pub mod capture;

pub mod api;

pub mod reconcile;

pub mod daemon;

pub mod manual;
