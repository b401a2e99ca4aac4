//! From a draft to a configuration that the check accepts.
//!
//! What it refuses goes, with its reason as a note, until nothing is left to refuse: programs that are
//! not on this machine, addresses that no server can have, more than fits into the tables.

use std::{collections::BTreeMap, fmt, path::Path};

use super::{
    Draft, DraftVip, Imported, Note, Unreadable, merge,
    text::{self, Owner, Text},
    weights,
};
use crate::config::{self, Errors};

/// How often something is taken out before the whole is given up. What one run of the check shows goes
/// at once, so that a few are enough.
const ROUNDS: usize = 40;

/// The limits of tables are found VIP by VIP: after so many rounds all go that stand behind it.
const PATIENCE: usize = 4;

/// The longest words of the original that are quoted whole, in characters.
const WORDS: usize = 100;

impl fmt::Display for Note {
    /// As in `keepalived.conf:12: ha_suspend: not carried over`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: String = self.words.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((end, _)) = words.char_indices().nth(WORDS) {
            words.truncate(end);
            words.push('…');
        }
        let told = format!("{}:{}: {words}: {}", self.file.display(), self.line, self.reason);
        f.write_str(&text::one_line(&told))
    }
}

/// Writes a draft.
///
/// # Errors
///
/// When so much of it is refused that nothing sensible is left.
pub(super) fn write(mut draft: Draft, file: &Path) -> Result<Imported, Unreadable> {
    merge::merge(&mut draft);
    merge::name(&mut draft.vips);
    let text = accepted(&mut draft, file).and_then(|text| {
        // Of those reals that are left.
        let fitted =
            draft.vips.iter_mut().fold(false, |any, vip| weights::fit(&mut vip.reals) | any);
        if fitted { accepted(&mut draft, file) } else { Ok(text) }
    });
    let text = text.map_err(|refused| {
        let message =
            format!("what it says cannot be carried over as a whole: {}", refused.messages());
        Unreadable { file: file.to_owned(), line: 1, column: 1, message }
    })?;
    Ok(Imported {
        toml: text.toml,
        vips: draft.vips.len(),
        reals: draft.vips.iter().map(|vip| vip.reals.len()).sum(),
        omissions: omissions(&draft, file),
        remarks: draft.remarks,
    })
}

fn accepted(draft: &mut Draft, file: &Path) -> Result<Text, Errors> {
    let head = format!("From {}, by lbctl import.", file.display());
    let mut round = 0;
    loop {
        in_order(&mut draft.notes, file);
        draft.vips.iter_mut().for_each(|vip| in_order(&mut vip.notes, file));
        let text = text::text(draft, &head);
        let Err(errors) = config::parse(&text.toml) else {
            return Ok(text);
        };
        round += 1;
        if round > ROUNDS || !prune(draft, &text, &errors, round > PATIENCE) {
            return Err(errors);
        }
    }
}

fn omissions(draft: &Draft, file: &Path) -> Vec<Note> {
    let of = |vip: &DraftVip| merge::all_notes(vip.clone());
    let mut notes: Vec<Note> = draft.vips.iter().flat_map(of).chain(draft.notes.clone()).collect();
    in_order(&mut notes, file);
    notes
}

/// In the order of the original: those of the file itself, then those of the files that it includes.
fn in_order(notes: &mut [Note], file: &Path) {
    let place = |note: &Note| (note.file != file, note.file.clone(), note.line);
    notes.sort_by_cached_key(place);
}

/// Takes out what is refused; says whether there was anything to take out.
fn prune(draft: &mut Draft, text: &Text, errors: &Errors, all: bool) -> bool {
    let mut refused: BTreeMap<Owner, String> = BTreeMap::new();
    for problem in errors.problems() {
        refused.entry(text.owner(problem.line)).or_insert_with(|| problem.message.clone());
    }
    let alone = refused.iter().next().filter(|_| all && refused.len() == 1);
    if let Some((&Owner::Vip(first), reason)) = alone {
        let reason = reason.clone();
        let behind = first + 1..draft.vips.len();
        refused.extend(behind.map(|index| (Owner::Vip(index), reason.clone())));
    }
    // From the last to the first, so that indices stay right; a VIP goes after what is in it.
    let mut order: Vec<_> = refused.into_iter().collect();
    order.sort_by_key(|(owner, _)| std::cmp::Reverse(depth(*owner)));
    order
        .into_iter()
        .map(|(owner, reason)| take_out(draft, owner, &reason))
        .fold(false, |a, b| a | b)
}

/// Sorts what is in a VIP behind it.
fn depth(owner: Owner) -> (usize, u8, usize) {
    match owner {
        Owner::Node => (0, 0, 0),
        Owner::Vip(vip) => (vip, 1, 0),
        Owner::Key(vip, _) => (vip, 2, 0),
        Owner::Check(vip, at) => (vip, 3, at),
        Owner::Real(vip, at) => (vip, 4, at),
    }
}

fn take_out(draft: &mut Draft, owner: Owner, reason: &str) -> bool {
    match owner {
        Owner::Node => {
            let named = std::mem::take(&mut draft.interfaces);
            if !named.is_empty() {
                draft
                    .remarks
                    .push(format!("The interfaces {} cannot be used: {reason}", named.join(", ")));
            }
            !named.is_empty()
        }
        Owner::Vip(index) => {
            let vip = draft.vips.remove(index);
            let note = vip.origin.note(format!("left out: {reason}"));
            draft.notes.push(note);
            draft.notes.append(&mut merge::all_notes(vip));
            true
        }
        Owner::Key(index, key) => take_key(&mut draft.vips[index], key, reason),
        Owner::Check(index, at) => {
            let vip = &mut draft.vips[index];
            let gone = vip.checks.remove(at);
            let check = text::check(&gone.check);
            vip.notes.push(
                gone.origin.note(format!("left out: {reason}; it would be: check = {check}")),
            );
            true
        }
        Owner::Real(index, at) => {
            let vip = &mut draft.vips[index];
            let gone = vip.reals.remove(at);
            vip.notes.push(gone.origin.note(format!("left out: {reason}")));
            vip.notes.extend(gone.notes);
            true
        }
    }
}

/// Makes a key what it is where nothing is said.
fn take_key(it: &mut DraftVip, key: &str, reason: &str) -> bool {
    let plain = super::draft::plain(it.vip.address, Vec::new());
    let vip = &mut it.vip;
    match key {
        "sorry" => vip.sorry = None,
        "min_up" | "min_up_high" => vip.min_up = None,
        "panic_threshold" => vip.panic_threshold = None,
        "slow_start" => vip.slow_start = None,
        "idle_timeout" => vip.idle_timeout = plain.idle_timeout,
        "drain_timeout" => vip.drain_timeout = plain.drain_timeout,
        "udp_idle_timeout" => vip.udp_idle_timeout = plain.udp_idle_timeout,
        _ => return false,
    }
    it.notes.push(it.origin.note(format!("{key} is left out: {reason}")));
    true
}
