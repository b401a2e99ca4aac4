//! What the kernel's verifier has to do for the datapath.

use std::{env, fs};

use tests::verifier::{self, Work};

/// An eighth of what kernels accept. The same program costs some of them twice what it costs others.
const LIMIT: u32 = 125_000;

/// What functions that call each other may have of stack together (kernel/bpf/verifier.c).
const STACK: u32 = 512;

/// The stack of the deepest calls as old kernels count it: the entry, and no two of the others that need
/// more than the largest. (It calls one that calls another.)
fn deepest(stack: &[u32]) -> u32 {
    let round = |size: &u32| size.next_multiple_of(32).max(32);
    let [entry, others @ ..] = stack else { return 0 };
    let mut others: Vec<u32> = others.iter().map(round).collect();
    others.sort_unstable();
    round(entry) + others.iter().rev().take(2).sum::<u32>()
}

/// A program that grows is one that some kernel's verifier will refuse one day: a change here is a
/// change to be reviewed. Accept it with `UPDATE_SNAPSHOTS=1 cargo xtask test -- verifier`. Each
/// kernel counts in its own way: one that the snapshot does not know is held to the limit only.
#[test]
fn the_verifiers_work_is_as_it_was_reviewed() {
    let work = verifier::work().expect("the programs load");
    for (name, Work { instructions, stack, .. }) in &work {
        assert!(*instructions < LIMIT, "{name}: {instructions} instructions");
        assert!(deepest(stack) <= STACK, "{name}: {stack:?} bytes of stack");
    }
    let linux = format!("Linux {}: ", linux_version());
    let found: Vec<_> = work.iter().map(|(name, work)| line(&linux, name, work)).collect();
    println!("found:\n{}", found.join("\n"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots/verifier.txt");
    let snapshot = fs::read_to_string(path).unwrap_or_default();
    let (reviewed, others): (Vec<_>, Vec<_>) =
        snapshot.lines().map(str::to_owned).partition(|line| line.starts_with(&linux));
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        println!("before:\n{}", reviewed.join("\n"));
        fs::write(path, [others, found].concat().join("\n") + "\n")
            .expect("the snapshot is written");
    } else if reviewed.is_empty() {
        assert!(!others.is_empty(), "{path} is missing or empty");
        println!("not reviewed for this kernel");
    } else {
        assert_eq!(found, reviewed, "see the comment above this test");
    }
}

fn line(linux: &str, name: &str, work: &Work) -> String {
    let Work { instructions, states, peak, stack } = work;
    let stack = stack.iter().map(u32::to_string).collect::<Vec<_>>().join("+");
    format!(
        "{linux}{name}: {instructions} instructions, {states} states, {peak} peak, stack {stack}"
    )
}

/// The kernel's version without its patch level.
fn linux_version() -> String {
    let release = nix::sys::utsname::uname().expect("a kernel");
    let release = release.release().to_string_lossy().into_owned();
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}
