//! `cargo xtask dist`: the package for Debian, and a tarball with static programs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};

use crate::{
    command,
    setup::{self, Scope},
};

/// What people read who have no sources.
const READ: [&str; 7] = [
    "README.md",
    "BENCHMARKS.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "contrib",
    "docs",
];

/// Make the packages: target/dist/lb_VERSION_ARCH.deb, and a tarball with static programs.
#[derive(clap::Args)]
pub struct Options {
    /// Of programs that are not optimised, nor static in the tarball: quick, for tests.
    #[arg(long)]
    debug: bool,
    /// The package's version instead of the project's, such as 1.2.3-1.
    #[arg(long, value_name = "VERSION")]
    deb_version: Option<String>,
    /// Where the packages go instead of target/dist.
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

/// Installs what this needs, builds, and makes the packages.
pub fn run(options: &Options) -> Result<ExitCode> {
    let host = setup::ensure(Scope::Dist)?;
    let dist = Dist::new(options)?;
    let programs = dist.build(None)?;
    dist.stage(&programs)?;
    let deb = dist.deb(options, &programs)?;
    println!("{}", deb.display());
    let tarball = if options.debug {
        dist.tarball(&programs, "debug")?
    } else {
        let programs = dist.build(Some(&host))?;
        ["lbd", "lbctl"].iter().try_for_each(|name| ensure_static(&programs.join(name)))?;
        dist.tarball(&programs, &host)?
    };
    println!("{}", tarball.display());
    Ok(ExitCode::SUCCESS)
}

/// Where things are made, and the time that all files in them have.
struct Dist {
    /// What is beside the programs, laid out as from the root on.
    files: PathBuf,
    output: PathBuf,
    /// In seconds since 1970: that of the last commit, so that the same sources make the same packages.
    epoch: String,
    debug: bool,
}

impl Dist {
    fn new(options: &Options) -> Result<Self> {
        let dist = command::workspace().join("target/dist");
        let output = options.output.clone().unwrap_or_else(|| dist.clone());
        fs::create_dir_all(&output).with_context(|| format!("making {}", output.display()))?;
        Ok(Self { files: dist.join("files"), output, epoch: epoch()?, debug: options.debug })
    }

    /// Builds the programs, statically linked if a target is named; gives their directory.
    fn build(&self, target: Option<&str>) -> Result<PathBuf> {
        let mut cargo = command::cargo();
        cargo.args(["build", "--package=lb-user", "--bins"]);
        let mut dir = target_dir();
        if let Some(target) = target {
            // With a target, these are for the programs and not for what runs in the build.
            cargo.args(["--target", target]).env("RUSTFLAGS", "-C target-feature=+crt-static");
            dir.push(target);
        }
        if !self.debug {
            cargo.arg("--release");
        }
        command::run(&mut cargo)?;
        Ok(dir.join(if self.debug { "debug" } else { "release" }))
    }

    /// Lets the programs write their manual pages and completions, and puts what people read beside them.
    fn stage(&self, programs: &Path) -> Result<()> {
        if self.files.exists() {
            fs::remove_dir_all(&self.files)?;
        }
        ["lbctl", "lbd"].into_iter().try_for_each(|program| {
            let mut program = Command::new(programs.join(program));
            command::run(program.arg("package-files").arg(&self.files))
        })?;
        let documents = self.files.join("usr/share/doc/lb");
        fs::create_dir_all(&documents)?;
        let mut copy = Command::new("cp");
        command::run(copy.current_dir(command::workspace()).arg("-r").args(READ).arg(&documents))?;
        Ok(())
    }

    fn deb(&self, options: &Options, programs: &Path) -> Result<PathBuf> {
        let mut deb = Command::new(setup::cargo_deb());
        deb.current_dir(command::workspace()).env("SOURCE_DATE_EPOCH", &self.epoch);
        deb.args([
            "--package=lb-user",
            "--no-build",
            "--no-dbgsym",
            "--strip",
            "--quiet",
            "--output",
        ]);
        let version = options
            .deb_version
            .as_deref()
            .map_or_else(version, |version| Ok(version.to_owned()))?;
        let arch =
            printed(Command::new("dpkg").arg("--print-architecture")).unwrap_or("amd64".into());
        let file = self.output.join(format!("lb_{version}_{arch}.deb"));
        deb.arg(&file).args(["--deb-version", &version]);
        if options.debug {
            deb.args(["--profile=dev", "--fast"]);
        }
        command::run(&mut deb)?;
        ensure!(file.exists(), "no {} of {}", file.display(), programs.display());
        Ok(file)
    }

    fn tarball(&self, programs: &Path, kind: &str) -> Result<PathBuf> {
        let name = format!("lb-{}-{kind}", version()?);
        let root = command::workspace().join("target/dist").join(&name);
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fs::create_dir_all(&root)?;
        for program in ["lbd", "lbctl"] {
            let to = root.join(program);
            fs::copy(programs.join(program), &to).with_context(|| format!("copying {program}"))?;
            command::run(Command::new("strip").arg(&to))?;
        }
        let packaging = command::workspace().join("packaging");
        for file in ["lbd.service", "sysusers.conf", "tmpfiles.conf", "lb.toml"] {
            fs::copy(packaging.join(file), root.join(file))
                .with_context(|| format!("copying {file}"))?;
        }
        for file in ["install.sh", "README"] {
            let from = packaging.join("tarball").join(file);
            fs::copy(&from, root.join(file))
                .with_context(|| format!("copying {}", from.display()))?;
        }
        command::run(Command::new("cp").arg("-r").arg(self.files.join("usr/share")).arg(&root))?;
        // Where zsh looks for what is no package of Debian's.
        let zsh = root.join("share/zsh");
        fs::rename(zsh.join("vendor-completions"), zsh.join("site-functions"))?;
        self.pack(&name)
    }

    /// Packs the directory of this name so that equal files make equal archives.
    fn pack(&self, name: &str) -> Result<PathBuf> {
        let file = self.output.join(format!("{name}.tar.gz"));
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(command::workspace().join("target/dist"));
        tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=go+rX,go-w"]);
        let level = if self.debug { 1 } else { 9 };
        tar.arg(format!("--mtime=@{}", self.epoch));
        tar.arg(format!("--use-compress-program=gzip -n{level}"));
        command::run(tar.arg("-cf").arg(&file).arg(name))?;
        Ok(file)
    }
}

/// Where cargo puts what it builds.
fn target_dir() -> PathBuf {
    let dir = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    command::workspace().join(dir)
}

/// The project's version.
fn version() -> Result<String> {
    let manifest = fs::read_to_string(command::workspace().join("Cargo.toml"))?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = \""));
    Ok(line.and_then(|line| line.strip_suffix('"')).context("no version in Cargo.toml")?.to_owned())
}

/// What `$SOURCE_DATE_EPOCH` says, else when the last commit was made, else the beginning of time.
fn epoch() -> Result<String> {
    if let Ok(epoch) = env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let mut git = Command::new("git");
    git.current_dir(command::workspace()).args(["log", "-1", "--format=%ct"]);
    Ok(printed(&mut git).unwrap_or_else(|| "0".to_owned()))
}

fn printed(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// A program that needs no library of the machine it runs on.
fn ensure_static(program: &Path) -> Result<()> {
    let output = Command::new("ldd").arg(program).output().context("running ldd")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let is_static = said.contains("statically linked") || said.contains("not a dynamic executable");
    ensure!(is_static, "{} is not statically linked", program.display());
    Ok(())
}
