//! `cargo xtask test`: all tests, as root where they need it, and what came of them.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, ExitCode, ExitStatus, Stdio},
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{
    command,
    kernel::{Outcome, Programs, Wanted},
    setup::{self, Scope},
};

/// Run all tests. Those in network namespaces need root: sudo may ask for a password.
#[derive(clap::Args)]
pub struct Options {
    /// Under this kernel of Debian's, in QEMU, the tests of the loaded object and in network
    /// namespaces; 6.1,6.12 for several. ARGS are for their programs then: names of programs, such as `golden`, and what
    /// each takes, such as a test's NAME.
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    kernel: Vec<Wanted>,
    /// For `cargo test`, such as `-p tests NAME -- --nocapture`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Installs what the tests need, builds as the invoking user, and tests as root.
pub fn run(options: &Options) -> Result<ExitCode> {
    if !options.kernel.is_empty() {
        return under_kernels(options);
    }
    let host = setup::ensure(Scope::Test)?;
    let begin = Instant::now();
    // The tests start these, which cargo does not build for another package's tests.
    command::run(command::cargo().args(["build", "--package=lb-user", "--bins"]))?;
    let mut cargo = command::cargo();
    cargo.args(arguments(&options.args));
    if let Some(runner) = command::root_runner()? {
        eprintln!("the tests make network namespaces, as root: sudo may ask for your password");
        // Now, not in the middle of the tests' output.
        command::run(&mut command::as_root("true")?)?;
        cargo.env(command::runner_variable(&host), runner);
    }
    let (tally, status) = tallied(&mut cargo)?;
    tally.report(status, begin);
    Ok(command::exit_code(status))
}

/// Runs cargo, passes on what it prints, and adds up what the test programs say of themselves.
pub fn tallied(cargo: &mut Command) -> Result<(Tally, ExitStatus)> {
    command::say(cargo);
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("running cargo")?;
    let mut tally = Tally::default();
    let output = child.stdout.take().context("cargo's output is piped")?;
    for line in BufReader::new(output).split(b'\n') {
        tally.pass_on(&line.context("reading cargo's output")?);
    }
    let status = child.wait().context("waiting for cargo")?;
    Ok((tally, status))
}

/// Runs the tests under one kernel after the other, whatever fails on the way.
fn under_kernels(options: &Options) -> Result<ExitCode> {
    setup::ensure(Scope::Kernels)?;
    let programs = Programs::build()?;
    let mut good = true;
    let mut summary = String::new();
    for kernel in &options.kernel {
        let mut tally = Tally::default();
        let outcome = programs.run(kernel, &options.args, |line| tally.pass_on(line));
        for name in &tally.failures {
            summary += &format!("Linux {kernel} failed: {name}\n");
        }
        let Tally { passed, failed, ignored, .. } = tally;
        summary += &format!("Linux {kernel}: {passed} passed, {failed} failed, {ignored} ignored");
        match outcome {
            Ok(Outcome { passed, programs, seconds }) => {
                good &= passed == programs;
                summary += &format!(" in {programs} test programs, {seconds:.0} s\n");
            }
            Err(error) => {
                good = false;
                summary += &format!(", but not to the end: {error:#}\n");
            }
        }
    }
    print!("\n{summary}");
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The arguments of cargo: everything is tested, unless packages are named, and to the end,
/// whatever fails on the way.
fn arguments(args: &[String]) -> Vec<String> {
    let own = args.iter().take_while(|arg| *arg != "--");
    let named = own.clone().any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    let scope = (!named).then_some("--workspace");
    let fixed = ["test", "--no-fail-fast"].into_iter().chain(scope);
    fixed.map(str::to_owned).chain(args.iter().cloned()).collect()
}

/// What the test programs say of themselves, added up.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    programs: u32,
    /// How many tests passed.
    pub passed: u32,
    failed: u32,
    ignored: u32,
    failures: Vec<String>,
}

impl Tally {
    /// Prints the line, and reads it.
    fn pass_on(&mut self, line: &[u8]) {
        let mut stdout = std::io::stdout().lock();
        // The tests go on, whoever has stopped to watch.
        let _ = stdout.write_all(line).and_then(|()| stdout.write_all(b"\n"));
        self.read(&String::from_utf8_lossy(line));
    }

    fn read(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
        // "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; …"
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|l| l.split_once(". "))
        else {
            return;
        };
        self.programs += 1;
        for count in counts.split("; ") {
            match count.split_once(' ').map(|(number, what)| (number.parse::<u32>(), what)) {
                Some((Ok(number), "passed")) => self.passed += number,
                Some((Ok(number), "failed")) => self.failed += number,
                Some((Ok(number), "ignored")) => self.ignored += number,
                // Of benchmarks and of filters, and the time.
                _ => {}
            }
        }
    }

    fn report(&self, status: ExitStatus, begin: Instant) {
        let Self { programs, passed, failed, ignored, failures } = self;
        let seconds = begin.elapsed().as_secs_f32();
        println!();
        for name in failures {
            println!("failed: {name}");
        }
        println!(
            "{passed} passed, {failed} failed, {ignored} ignored in {programs} test programs, \
             {seconds:.0} s with building"
        );
        if !status.success() && *failed == 0 {
            println!("but cargo failed ({status}), see above: a build, or a program that died");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn everything_is_tested_unless_packages_are_named() {
        assert_eq!(arguments(&[]), words("test --no-fail-fast --workspace"));
        assert_eq!(arguments(&words("-p tests")), words("test --no-fail-fast -p tests"));
        assert_eq!(
            arguments(&words("drain -- -p")),
            words("test --no-fail-fast --workspace drain -- -p"),
        );
    }

    #[test]
    fn the_results_of_all_programs_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test ring::short ... ok",
            "test ring::long ... FAILED",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s",
            "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
        ] {
            tally.read(line);
        }
        let failures = vec!["ring::long".to_owned()];
        assert_eq!(tally, Tally { programs: 2, passed: 5, failed: 1, ignored: 1, failures });
    }
}
