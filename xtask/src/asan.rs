//! `cargo xtask asan`: the datapath's code on this machine, under AddressSanitizer.

use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::{
    command,
    setup::{self, Scope},
    test,
};

/// What is tested: whatever runs the datapath's code on memory of this machine, and needs neither
/// its kernel nor root. Each must find a test.
const CHECKS: [&[&str]; 3] = [
    &["--package=lb-common", "--package=lb-ebpf", "--tests"],
    // The golden table's frames, and what the fuzzer has found.
    &["--package=tests", "--lib", "invariant::"],
    &["--package=tests", "--test=differential", "on_the_host"],
];

/// Run the tests of the datapath's code that need no root under AddressSanitizer.
#[derive(clap::Args)]
pub struct Options {}

/// Installs what the build needs, and tests, whatever fails on the way.
pub fn run(_: &Options) -> Result<ExitCode> {
    let host = setup::ensure(Scope::Build)?;
    let mut good = true;
    for check in CHECKS {
        let mut cargo = command::cargo();
        cargo
            .args(["test", "--no-fail-fast", "--target-dir=target/asan"])
            // With a target, the flags are not for build scripts and macros, which would have to
            // be linked with the sanitizer; nor are they for the BPF object, whose build has its
            // own (lb-user/build.rs).
            .args(["--target", &host])
            .args(check)
            .env("CARGO_ENCODED_RUSTFLAGS", "-Zsanitizer=address")
            // Sanitizers are unstable flags, which a stable compiler takes with this.
            .env("RUSTC_BOOTSTRAP", "1");
        let (tally, status) = test::tallied(&mut cargo)?;
        // A test may be called something else one day.
        ensure!(!status.success() || tally.passed > 0, "no test for {}", check.join(" "));
        good &= status.success();
    }
    println!("{}", if good { "AddressSanitizer found nothing" } else { "failed, see above" });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
