//! The tests of the `tests` crate, as they are built here, under another kernel.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context, Result, bail, ensure};

mod guest;
mod image;
mod initramfs;
mod package;
mod release;

pub use release::Wanted;

use crate::command;

/// How the guest tells that a program has ended.
const ENDED: &str = "guest: exit code ";

/// Programs of tests, and where the programs they test are.
#[derive(Debug)]
pub struct Programs {
    /// Those first that tell most about a kernel.
    tests: Vec<Program>,
    bin_dir: PathBuf,
}

/// A program of tests.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Program {
    name: String,
    file: String,
}

/// What came of a kernel.
#[derive(Debug)]
pub struct Outcome {
    /// How many programs ended well.
    pub passed: usize,
    /// How many there are.
    pub programs: usize,
    /// How long it took, from the start to the end of the guest.
    pub seconds: f32,
}

impl Programs {
    /// Builds them, not as root.
    pub fn build() -> Result<Self> {
        ensure!(cfg!(target_arch = "x86_64"), "other kernels are only run on x86-64");
        command::run(command::cargo().args(["build", "--package=lb-user", "--bins"]))?;
        let mut cargo = command::cargo();
        cargo.args(["test", "--no-run", "--package=tests", "--test=*", "--message-format=json"]);
        command::say(&cargo);
        let messages = String::from_utf8(package::output(&mut cargo)?)?;
        let mut tests: Vec<_> = messages.lines().filter_map(test_program).collect();
        // Whether the object loads at all comes first, and whether it works, next.
        tests.sort_by_key(|Program { name, .. }| {
            (name != "verifier", name != "golden", name.clone())
        });
        let Program { file, .. } = tests.first().context("the tests crate has no tests")?;
        // target/debug/deps/golden-0123456789abcdef
        let bin_dir = PathBuf::from(file).ancestors().nth(2).map(PathBuf::from);
        Ok(Self { tests, bin_dir: bin_dir.context("cargo names no directory")? })
    }

    /// Runs them under this kernel, with these arguments, and hands on what they print. Programs
    /// that the first arguments name are run, the others not.
    pub fn run(
        &self,
        wanted: &Wanted,
        args: &[String],
        mut line: impl FnMut(&[u8]),
    ) -> Result<Outcome> {
        let kernel = package::prepare(wanted)?;
        let (tests, args) = self.chosen(args);
        eprintln!("$ Linux {}", kernel.release);
        let console = command::workspace().join(format!("target/kernels/{wanted}.console"));
        let begin = Instant::now();
        let mut codes = Vec::new();
        let end = guest::run(&kernel, &self.job(&tests, args), &console, |text| {
            match text.strip_prefix(ENDED.as_bytes()) {
                Some(code) => codes.push(code.trim_ascii().to_owned()),
                None => line(text),
            }
        });
        let told = codes.len();
        if end.is_err() || told < tests.len() {
            let last = fs::read(&console).unwrap_or_default();
            let last = String::from_utf8_lossy(&last);
            let begin = last.lines().count().saturating_sub(40);
            eprintln!("the guest's last words:");
            last.lines().skip(begin).for_each(|line| eprintln!("  {line}"));
        }
        end?;
        if let Some(Program { name, .. }) = tests.get(told) {
            bail!("the guest died in {name}");
        }
        let passed = codes.iter().filter(|code| *code == b"0").count();
        let seconds = begin.elapsed().as_secs_f32();
        Ok(Outcome { passed, programs: told, seconds })
    }

    /// The programs that the first arguments name, else all, and the other arguments.
    fn chosen<'a>(&self, args: &'a [String]) -> (Vec<Program>, &'a [String]) {
        let named = |arg: &String| self.tests.iter().any(|test| test.name == *arg);
        let (names, args) = args.split_at(args.iter().take_while(|arg| named(arg)).count());
        let chosen = |test: &&Program| names.is_empty() || names.contains(&test.name);
        (self.tests.iter().filter(chosen).cloned().collect(), args)
    }

    /// What the guest does. One test at a time: an emulated processor is slow, and the tests'
    /// patience is not endless.
    fn job(&self, tests: &[Program], args: &[String]) -> String {
        let quote = |text: String| guest::quoted(&text);
        let home = command::workspace().join("tests");
        let path = quote(command::path().to_string_lossy().into_owned());
        let bin_dir = quote(self.bin_dir.display().to_string());
        // The snapshot is that of the kernel it was reviewed under. Here, it is written anew, into
        // memory, to be shown.
        let mut job = format!(
            "export PATH={path} HOME=/root LANG=C.UTF-8 LB_BIN_DIR={bin_dir} UPDATE_SNAPSHOTS=1\n\
             cd {}\n\
             rm -f snapshots/verifier.txt\n",
            quote(home.display().to_string())
        );
        let args: String = args.iter().map(|arg| format!(" {}", guest::quoted(arg))).collect();
        for Program { name, file } in tests {
            let file = guest::quoted(file);
            job += &format!("echo {}\n", guest::quoted(&format!("     Running {name}")));
            // On a line of its own, wherever the program's output has stopped.
            job += &format!(
                "{file} --test-threads=1 --color=never{args}\n\
                 code=$?; echo; echo \"{ENDED}$code\"\n"
            );
        }
        job + "[ ! -e snapshots/verifier.txt ] || cat snapshots/verifier.txt\n"
    }
}

/// The program of tests that one of cargo's messages tells of.
fn test_program(message: &str) -> Option<Program> {
    let value = |key: &str| {
        let (_, rest) = message.split_once(&format!("\"{key}\":\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let test = message.contains("\"reason\":\"compiler-artifact\"")
        && message.contains("\"kind\":[\"test\"]");
    if test { Some(Program { name: value("name")?, file: value("executable")? }) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_tests_are_found_in_cargos_messages() {
        let artifact = |kind: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"kind":["{kind}"],"name":"golden"}},"executable":{executable}}}"#
            )
        };
        let file = "/target/debug/deps/golden-3df2";
        let quoted = format!("\"{file}\"");
        let found = test_program(&artifact("test", &quoted));
        assert_eq!(found, Some(Program { name: "golden".to_owned(), file: file.to_owned() }));
        assert_eq!(test_program(&artifact("bin", &quoted)), None);
        assert_eq!(test_program(&artifact("test", "null")), None);
        assert_eq!(test_program(r#"{"reason":"build-finished","success":true}"#), None);
    }

    fn programs() -> Programs {
        let program = |name: &str| Program { name: name.to_owned(), file: format!("/deps/{name}") };
        Programs { tests: ["golden", "lab"].map(program).to_vec(), bin_dir: "/bins".into() }
    }

    #[test]
    fn programs_are_chosen_by_the_first_arguments_that_name_any() {
        let programs = programs();
        let chosen = |args: &[&str]| {
            let args: Vec<_> = args.iter().map(|&arg| arg.to_owned()).collect();
            let (tests, args) = programs.chosen(&args);
            let tests: Vec<_> = tests.into_iter().map(|test| test.name).collect();
            (tests.join(" "), args.join(" "))
        };
        let all = "golden lab";
        for (args, expected) in [
            (&[][..], (all, "")),
            (&["drain"], (all, "drain")),
            (&["lab"], ("lab", "")),
            (&["golden", "drain", "lab"], ("golden", "drain lab")),
            (&["lab", "golden", "--nocapture"], (all, "--nocapture")),
            (&["--skip", "lab"], (all, "--skip lab")),
        ] {
            let (tests, args) = chosen(args);
            assert_eq!((&*tests, &*args), expected);
        }
    }

    #[test]
    fn each_program_tells_its_exit_code() {
        let programs = programs();
        let job = programs.job(&programs.tests, &["drain".to_owned()]);
        for name in ["golden", "lab"] {
            let (_, rest) = job.split_once(&format!("'/deps/{name}' --test-threads=1")).unwrap();
            let rest = rest.strip_prefix(" --color=never 'drain'\ncode=$?;").unwrap();
            assert!(rest.starts_with(" echo; echo \"guest: exit code $code\"\n"), "{job}");
        }
        assert!(job.contains("LB_BIN_DIR='/bins'"));
    }
}
