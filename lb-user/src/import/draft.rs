//! A configuration on its way from their words to ours.

use std::{net::IpAddr, path::PathBuf};

use crate::model::{Check, Vip};

/// Something of the original that is not in ours, or that is there with a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The file it stands in.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// The words of the original, on one line.
    pub words: String,
    /// Why it could not be carried over, and what to do instead.
    pub reason: String,
}

/// A whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The interfaces that the original names, if it does.
    pub interfaces: Vec<String>,
    /// In the order of the original.
    pub vips: Vec<DraftVip>,
    /// What belongs to no VIP.
    pub notes: Vec<Note>,
}

/// A VIP to be.
#[derive(Clone, Debug)]
pub struct DraftVip {
    /// Without reals; its checks in `checks`.
    pub vip: Vip,
    /// Its checks, with the line each stood in.
    pub checks: Vec<Check>,
    /// Its pool.
    pub reals: Vec<DraftReal>,
    /// What of it could not be carried over.
    pub notes: Vec<Note>,
}

/// A real to be.
#[derive(Clone, Debug)]
pub struct DraftReal {
    /// Its address.
    pub address: IpAddr,
    /// 0 to 256.
    pub weight: u16,
    /// What of it could not be carried over.
    pub notes: Vec<Note>,
}
