//! Builds the BPF objects and puts them at `$OUT_DIR/lb`, `$OUT_DIR/capture` and `$OUT_DIR/detour`, where the
//! daemon includes them, and `$OUT_DIR/bench`, for the benchmark, which learns of the directory by `DEP_LB_EBPF_OBJECTS`.
//!
//! The compiler is the first of: `$LB_EBPF_RUSTC`; a rustc that has `core` for BPF; rustup's
//! nightly with its sources. `cargo xtask setup` provides one, and chooses in the same order
//! (xtask/src/setup/compiler.rs).

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

const BPF: &str = "bpfel-unknown-none";

/// The balancer, the one that captures, the programs of detours, and those of the benchmark.
const OBJECTS: [&str; 4] = ["lb", "capture", "detour", "bench"];

/// What compiles for BPF.
enum Compiler {
    /// It has a compiled `core`.
    Rustc(PathBuf),
    /// Rustup's nightly, which compiles `core` itself.
    Nightly,
}

fn main() {
    if let Err(error) = objects() {
        // Such a line makes the build fail, and is shown without all else that is printed here, as
        // it would be after a failure's exit code.
        for line in format!("{error:#}").lines() {
            println!("cargo::error={line}");
        }
    }
}

fn objects() -> Result<()> {
    let manifest = PathBuf::from(var("CARGO_MANIFEST_DIR")?);
    let root = manifest.parent().context("lb-user lies in the workspace")?;
    watch(root);

    let out = PathBuf::from(var("OUT_DIR")?);
    let target_dir = target_dir(&out)?.join("ebpf");
    build(cargo(&compiler()?)?, root, &target_dir)?;

    println!("cargo::metadata=objects={}", out.display());
    OBJECTS.iter().try_for_each(|name| {
        let object = target_dir.join(BPF).join("release").join(name);
        let copied = fs::copy(&object, out.join(name));
        copied.map(drop).with_context(|| format!("copying {}", object.display()))
    })
}

/// Tells cargo when to run this again.
fn watch(root: &Path) {
    println!("cargo::rerun-if-env-changed=LB_EBPF_RUSTC");
    for path in ["lb-ebpf", "lb-common", "Cargo.lock", "Cargo.toml", ".tools/bin"] {
        let path = root.join(path);
        // To cargo a path that does not exist has always changed. `.tools` need not exist.
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

/// The target directory of the outer build. The object is built below it, once for all of the
/// host's profiles; not in the directory itself, on which the outer cargo holds a lock.
fn target_dir(out: &Path) -> Result<PathBuf> {
    let tagged = out.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists());
    let dir = tagged.with_context(|| format!("{} is in no target directory", out.display()))?;
    // With `--target`, cargo puts a directory between, tagged as well.
    let between = dir.ends_with(var("TARGET")?);
    Ok(dir.parent().filter(|_| between).unwrap_or(dir).to_owned())
}

fn compiler() -> Result<Compiler> {
    if let Some(rustc) = env::var_os("LB_EBPF_RUSTC").map(PathBuf::from) {
        ensure!(has_core(&rustc), "LB_EBPF_RUSTC={}: no `core` for {BPF}", rustc.display());
        return Ok(Compiler::Rustc(rustc));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut rustcs =
        env::split_paths(&path).chain(["/usr/bin".into()]).map(|dir| dir.join("rustc"));
    if let Some(rustc) = rustcs.find(|rustc| rustc.exists() && has_core(rustc)) {
        return Ok(Compiler::Rustc(rustc));
    }
    let nightly = printed(nightly("rustc").args(["--print", "sysroot"]));
    if nightly.is_some_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library/core").exists()) {
        return Ok(Compiler::Nightly);
    }
    bail!("no compiler for {BPF} on this machine; `cargo xtask setup` installs one")
}

fn has_core(rustc: &Path) -> bool {
    let libdir = printed(Command::new(rustc).args(["--print", "target-libdir", "--target", BPF]));
    let files = libdir.and_then(|dir| fs::read_dir(dir).ok());
    files.is_some_and(|files| {
        files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

/// The path a command prints, if there is such a command and it succeeds.
fn printed(command: &mut Command) -> Option<PathBuf> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end()))
}

fn nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]);
    command
}

/// The cargo that goes with the compiler.
fn cargo(compiler: &Compiler) -> Result<Command> {
    match compiler {
        Compiler::Rustc(rustc) => {
            let mut cargo = Command::new(var("CARGO")?);
            // aya-ebpf needs one unstable feature.
            cargo.arg("build").env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "aya_ebpf");
            Ok(cargo)
        }
        Compiler::Nightly => {
            let mut cargo = nightly("cargo");
            cargo.args(["build", "-Zbuild-std=core"]).env_remove("RUSTC");
            Ok(cargo)
        }
    }
}

fn build(mut cargo: Command, root: &Path, target_dir: &Path) -> Result<()> {
    let arch = var("CARGO_CFG_TARGET_ARCH")?;
    // No BTF: nothing here needs it, and the kernel refuses what Rust's enums become in it.
    let flags = format!("--cfg=bpf_target_arch=\"{arch}\"");
    cargo
        .args(["--quiet", "--release", "--package=lb-ebpf", "--target", BPF])
        .args(OBJECTS.map(|name| format!("--bin={name}")))
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker(root)?);
    // Clippy and rust-analyzer stand in for rustc by these, and would check instead of building;
    // rustup's choice of a toolchain for the host does not apply here.
    for name in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(name);
    }
    let output = cargo.output().with_context(|| format!("running {cargo:?}"))?;
    let diagnostics = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("lb-ebpf does not build for {BPF}:\n{diagnostics}");
    }
    for line in diagnostics.lines() {
        println!("cargo::warning={line}");
    }
    Ok(())
}

fn linker(root: &Path) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = [root.join(".tools/bin")].into_iter().chain(env::split_paths(&path));
    dirs.map(|dir| dir.join("bpf-linker"))
        .find(|linker| linker.exists())
        .context("no bpf-linker on this machine; `cargo xtask setup` installs it")
}

fn var(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("cargo sets {name}"))
}
