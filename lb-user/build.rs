//! Builds the BPF object that `lbd` carries, by a cargo run of its own for the target
//! `bpfel-unknown-none`: always in release (the verifier refuses what a debug build contains) and in
//! one target directory for all host profiles.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "bpfel-unknown-none";
const HINT: &str = "run `cargo xtask setup`, which installs what is missing or says what to install";

/// A compiler for the BPF target.
enum Compiler {
    /// One that has `core` for the target, as Debian's rustc-web.
    Ready(PathBuf),
    /// A rustup nightly that builds `core` from rust-src.
    Nightly,
}

fn main() {
    let root = root();
    for path in ["lb-ebpf", "lb-common", "Cargo.toml", "Cargo.lock", ".tools/bin"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    for variable in ["LB_EBPF_RUSTC", "PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let result = build(&root);
    if let Err(error) = result {
        println!("cargo::error=the BPF object: {error}");
        std::process::exit(1);
    }
}

fn root() -> PathBuf {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    here.parent().map(Path::to_owned).unwrap_or(here)
}

fn build(root: &Path) -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    // OUT_DIR is TARGET_DIR/PROFILE/build/PACKAGE/out.
    let target_dir = out.ancestors().nth(4).ok_or("OUT_DIR is not in a target directory")?.join("ebpf");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["build", "--release", "--package", "lb-ebpf", "--bin", "lb"]);
    cargo.args(["--target", TARGET, "--target-dir"]).arg(&target_dir);
    for variable in ["RUSTUP_TOOLCHAIN", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "RUSTFLAGS"] {
        cargo.env_remove(variable);
    }
    match compiler()? {
        Compiler::Ready(rustc) => cargo.env("RUSTC", rustc),
        Compiler::Nightly => {
            cargo.env_remove("RUSTC").env("RUSTUP_TOOLCHAIN", "nightly").arg("-Zbuild-std=core")
        }
    };
    let flags = ["--cfg=bpf_target_arch=\"x86_64\"", "-Cdebuginfo=2", "-Clink-arg=--btf"];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    // aya-ebpf uses one unstable feature.
    cargo.env("RUSTC_BOOTSTRAP", "aya_ebpf");
    let linker = root.join(".tools/bin/bpf-linker");
    if linker.exists() {
        cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    } else if !on_path("bpf-linker") {
        return Err(format!("bpf-linker is missing: {HINT}"));
    }
    let output = cargo.output().map_err(|error| format!("starting cargo: {error}"))?;
    if !output.status.success() {
        // Each line of an error is shown only if it is marked.
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        log.lines().for_each(|line| println!("cargo::error={line}"));
        return Err("its build failed, see above".to_owned());
    }
    let object = target_dir.join(TARGET).join("release/lb");
    std::fs::copy(&object, out.join("lb")).map_err(|error| format!("{}: {error}", object.display()))?;
    Ok(())
}

fn compiler() -> Result<Compiler, String> {
    if let Some(rustc) = env::var_os("LB_EBPF_RUSTC").map(PathBuf::from) {
        return match has_core(&rustc) {
            true => Ok(Compiler::Ready(rustc)),
            false => Err(format!("LB_EBPF_RUSTC={} has no core for {TARGET}", rustc.display())),
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).chain(["/usr/bin".into()]).map(|dir| dir.join("rustc"));
    if let Some(rustc) = on_path.filter(|rustc| rustc.exists()).find(|rustc| has_core(rustc)) {
        return Ok(Compiler::Ready(rustc));
    }
    let sysroot = rustc_says(Path::new("rustup"), &["run", "nightly", "rustc", "--print", "sysroot"]);
    let source = sysroot.map(|sysroot| sysroot.join("lib/rustlib/src/rust/library/core"));
    if source.is_some_and(|source| source.exists()) {
        return Ok(Compiler::Nightly);
    }
    Err(format!("no compiler for {TARGET}: {HINT}"))
}

/// Whether a compiler has a precompiled `core` for the BPF target.
fn has_core(rustc: &Path) -> bool {
    rustc_says(rustc, &["--print", "target-libdir", "--target", TARGET])
        .and_then(|dir| dir.read_dir().ok())
        .is_some_and(|mut files| {
            files.any(|file| {
                file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
            })
        })
}

fn rustc_says(program: &Path, arguments: &[&str]) -> Option<PathBuf> {
    let output = Command::new(program).args(arguments).env_remove("RUSTC_WRAPPER").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()))
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).exists())
}
