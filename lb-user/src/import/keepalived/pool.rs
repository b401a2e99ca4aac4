//! `real_server`s, and the checks that they have in common.

use std::collections::HashMap;

use super::{
    address,
    checker::{self, Target},
    pace::Pace,
    server::{self, Method},
    tree::Statement,
    words,
};
use crate::{
    import::{DraftCheck, DraftReal, Unreadable},
    model::{Check, Ports},
};

/// What a virtual server says of all its reals.
pub(super) struct Common<'a> {
    pub(super) served: &'a [Ports],
    /// The port of the virtual server, 0 where there are several.
    pub(super) port: u16,
    pub(super) method: Method,
    pub(super) virtualhost: Option<String>,
    pub(super) pace: Pace,
}

/// A real with the checks that it has of its own.
pub(super) struct Member {
    pub(super) real: DraftReal,
    checks: Vec<DraftCheck>,
    /// Whether it has a checker, carried over or not.
    checked: bool,
}

/// Reads a real; nothing where packets cannot reach it so.
pub(super) fn member(
    common: &Common<'_>,
    statement: &Statement,
) -> Result<Result<Member, super::Note>, Unreadable> {
    let address = address::address(statement, 1)?;
    let own_port = address::port(statement, 2)?;
    let mut real = DraftReal::new(statement.origin.clone(), address);
    if own_port != 0 && common.port != 0 && own_port != common.port {
        let reason = format!(
            "here with a difference: packets keep their port (so they do with DR), so this real must listen on {}; port {own_port} has no effect",
            common.port
        );
        real.notes.push(statement.note(reason));
    }
    let mut target = Target {
        address,
        port: if own_port == 0 { common.port } else { own_port },
        served: common.served,
        virtualhost: common.virtualhost.clone(),
        pace: common.pace.clone(),
    };
    let (mut checkers, mut method) = (Vec::new(), common.method);
    for it in statement.inner() {
        let Some(it) = target.pace.take(it, &mut real.notes) else { continue };
        match it.keyword() {
            "weight" => server::number(it, &mut real.notes)
                .into_iter()
                .for_each(|weight| real.weight = weight),
            "lvs_method" | "lb_kind" => method = Method::of(it),
            "virtualhost" => target.virtualhost = it.word(1).map(str::to_owned),
            _ if checker::is_one(it) => checkers.push(it),
            _ => real.notes.push(words::note(words::REAL, it)),
        }
    }
    if let Some(reason) = method.refused() {
        return Ok(Err(statement.note(format!("left out: {reason}"))));
    }
    let unknown = |it: &Statement| it.keyword().ends_with("_CHECK");
    let checked = !checkers.is_empty() || statement.inner().iter().any(unknown);
    let mut checks = Vec::new();
    for it in checkers {
        let (found, notes) = checker::read(&target, it)?;
        checks.extend(found);
        real.notes.extend(notes);
    }
    Ok(Ok(Member { real, checks, checked }))
}

/// The pool, and the checks of the VIP: those that most of the reals have. A real that has others is told
/// of, and one that has none counts as up, as it did.
pub(super) fn united(members: Vec<Member>) -> (Vec<DraftReal>, Vec<DraftCheck>) {
    let common = most_common(&members);
    let wanted = bare(&common);
    let mut pool = Vec::new();
    for Member { mut real, checks, checked } in members {
        if bare(&checks) != wanted {
            for check in checks.iter().filter(|check| !wanted.contains(&&check.check)) {
                let reason = format!(
                    "not carried over: the reals of a VIP are checked alike, and the others otherwise ({})",
                    check.check
                );
                real.notes.push(check.origin.note(reason));
            }
            let missing = wanted
                .iter()
                .filter(|check| !checks.iter().any(|own| own.check == ***check))
                .count();
            if checked && missing > 0 {
                real.notes.push(real.origin.note(
                    "here with a difference: this real is checked as the others of its VIP are",
                ));
            }
        }
        real.force_up = !checked && !wanted.is_empty();
        pool.push(real);
    }
    (pool, common)
}

fn bare(checks: &[DraftCheck]) -> Vec<&Check> {
    checks.iter().map(|check| &check.check).collect()
}

/// The first of those that are equally common.
fn most_common(members: &[Member]) -> Vec<DraftCheck> {
    let mut counts: HashMap<Vec<&Check>, usize> = HashMap::new();
    let lists = || members.iter().filter(|member| !member.checks.is_empty());
    lists().for_each(|member| *counts.entry(bare(&member.checks)).or_default() += 1);
    let most = counts.values().max();
    let first = lists().find(|member| counts.get(&bare(&member.checks)) == most);
    first.map(|member| member.checks.clone()).unwrap_or_default()
}
