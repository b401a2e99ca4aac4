//! A draft as TOML, of which only that is written which is not so anyway. Every line knows whose it is.

use std::{fmt::Display, time::Duration};

use lb_common::limits;
use toml_edit::{InlineTable, Value};

use super::{Draft, DraftReal, DraftVip, Note, draft};
use crate::{
    config::export,
    model::{Amount, Check, RealState, Vip, Watermarks},
};

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// `[node]`, and comments that belong to nothing.
    Node,
    /// A VIP, by its index: what it cannot do without.
    Vip(usize),
    /// A key of a VIP that can go.
    Key(usize, &'static str),
    /// One of its checks.
    Check(usize, usize),
    /// One of its reals.
    Real(usize, usize),
}

/// The text, line by line.
#[derive(Default)]
pub(super) struct Text {
    pub(super) toml: String,
    owners: Vec<Owner>,
}

impl Text {
    /// Whose a line is, from 1.
    pub(super) fn owner(&self, line: usize) -> Owner {
        self.owners.get(line.saturating_sub(1)).copied().unwrap_or(Owner::Node)
    }

    fn line(&mut self, owner: Owner, line: impl Display) {
        self.toml.push_str(&format!("{line}\n"));
        self.owners.push(owner);
    }

    fn key(&mut self, owner: Owner, key: &str, value: impl Display) {
        self.line(owner, format_args!("{key} = {value}"));
    }

    fn comment(&mut self, text: &str) {
        self.line(Owner::Node, format_args!("# {}", one_line(text)));
    }

    fn notes<'a>(&mut self, notes: impl IntoIterator<Item = &'a Note>) {
        notes.into_iter().for_each(|note| self.comment(&note.to_string()));
    }
}

/// The whole draft.
pub(super) fn text(draft: &Draft, head: &str) -> Text {
    let mut text = Text::default();
    text.comment(head);
    draft.remarks.iter().for_each(|remark| text.comment(remark));
    text.line(Owner::Node, "");
    node(&mut text, draft);
    draft.vips.iter().enumerate().for_each(|(index, it)| vip(&mut text, index, it));
    if !draft.notes.is_empty() {
        text.line(Owner::Node, "");
        text.comment("Not carried over, and part of no VIP above:");
        text.notes(&draft.notes);
    }
    text
}

fn node(text: &mut Text, draft: &Draft) {
    if draft.interfaces.is_empty() {
        text.comment("Adapt this: the interfaces on which clients' packets arrive.");
    }
    text.line(Owner::Node, "[node]");
    let names: Vec<_> = draft.interfaces.iter().map(quoted).collect();
    let names = if names.is_empty() { "\"eth0\"".to_owned() } else { names.join(", ") };
    text.key(Owner::Node, "interfaces", format_args!("[{names}]"));
}

fn vip(text: &mut Text, index: usize, it: &DraftVip) {
    let owner = Owner::Vip(index);
    text.line(owner, "");
    it.remarks.iter().for_each(|remark| text.comment(remark));
    text.notes(&it.notes);
    let ports: Vec<_> = it.vip.ports.iter().map(quoted).collect();
    text.line(owner, "[[vip]]");
    text.key(owner, "name", quoted(&it.vip.name));
    text.key(owner, "address", quoted(it.vip.address));
    text.key(owner, "ports", format_args!("[{}]", ports.join(", ")));
    for (key, value) in keys(&it.vip) {
        text.key(Owner::Key(index, key), key, value);
    }
    checks(text, index, it);
    it.reals.iter().enumerate().for_each(|(at, it)| real(text, Owner::Real(index, at), it));
}

/// What is not so anyway.
fn keys(vip: &Vip) -> Vec<(&'static str, String)> {
    let plain = draft::plain(vip.address, Vec::new());
    let (low, high) = vip.min_up.map(|Watermarks { low, high }| (low, high)).unzip();
    let high = high.filter(|high| Some(*high) != low);
    let unless = |same: bool, value: String| (!same).then_some(value);
    let time = |time: Duration, plain: Duration| unless(time == plain, duration(time));
    let keys = [
        ("state", unless(vip.enabled, quoted(vip.state()))),
        ("announce", unless(vip.announce == plain.announce, quoted(vip.announce))),
        ("hash", unless(vip.hash == plain.hash, quoted(vip.hash))),
        ("idle_timeout", time(vip.idle_timeout, plain.idle_timeout)),
        ("drain_timeout", time(vip.drain_timeout, plain.drain_timeout)),
        ("on_deadline", unless(vip.on_deadline == plain.on_deadline, quoted(vip.on_deadline))),
        ("udp_idle_timeout", time(vip.udp_idle_timeout, plain.udp_idle_timeout)),
        ("udp", unless(vip.udp == plain.udp, quoted(vip.udp))),
        ("slow_start", vip.slow_start.map(duration)),
        ("sorry", vip.sorry.map(quoted)),
        ("min_up", low.map(amount)),
        ("min_up_high", high.map(amount)),
        ("panic_threshold", vip.panic_threshold.map(|share| quoted(format_args!("{share}%")))),
    ];
    keys.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// One as an inline table, several as a list of such, each on a line.
fn checks(text: &mut Text, index: usize, it: &DraftVip) {
    let owner = |at| Owner::Check(index, at);
    match it.checks.as_slice() {
        [] => {}
        [alone] => text.key(owner(0), "check", check(&alone.check)),
        several => {
            text.line(Owner::Vip(index), "check = [");
            for (at, it) in several.iter().enumerate() {
                text.line(owner(at), format_args!("  {},", check(&it.check)));
            }
            text.line(Owner::Vip(index), "]");
        }
    }
}

/// A check without what is so anyway.
pub(super) fn check(check: &Check) -> InlineTable {
    let mut table = export::check(check);
    let (fast, timeout) = draft::paced(check.interval);
    let quick = [
        ("interval", check.interval == draft::check(check.kind.clone()).interval),
        ("fast_interval", check.fast_interval == fast),
        ("timeout", check.timeout == timeout),
        ("rise", check.rise == 2),
        ("fall", check.fall == 3),
    ];
    let words = [
        ("via", "vip"),
        ("initial", "down"),
        ("method", "GET"),
        ("path", "/"),
        ("status", "200-399"),
        ("version", "1.1"),
        ("transport", "udp"),
    ];
    let words =
        words.map(|(key, word)| (key, table.get(key).and_then(Value::as_str) == Some(word)));
    for (key, _) in quick.into_iter().chain(words).filter(|(_, so_anyway)| *so_anyway) {
        table.remove(key);
    }
    table
}

fn real(text: &mut Text, owner: Owner, it: &DraftReal) {
    text.line(owner, "");
    text.notes(&it.notes);
    text.line(owner, "[[vip.real]]");
    text.key(owner, "address", quoted(it.address));
    if it.weight != 1 {
        text.key(owner, "weight", it.weight.min(limits::WEIGHT_MAX.into()));
    }
    if it.state != RealState::Active {
        text.key(owner, "state", quoted(it.state));
    }
    if it.force_up {
        text.key(owner, "force_up", true);
    }
}

fn amount(amount: Amount) -> String {
    match amount {
        Amount::Count(count) => count.to_string(),
        Amount::Share(_) => quoted(amount),
    }
}

fn quoted(word: impl Display) -> String {
    Value::from(word.to_string()).to_string()
}

fn duration(duration: Duration) -> String {
    quoted(humantime::format_duration(duration))
}

/// What was typed may be anything.
pub(super) fn one_line(text: &str) -> String {
    let escaped = |c: char| {
        if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
    };
    text.chars().map(escaped).collect()
}
