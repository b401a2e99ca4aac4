//! Debian packages.

use anyhow::{Context, Result, bail, ensure};

use super::plan::{Package, Sign};
use crate::command;

/// Installs its arguments. As long as `policy-rc.d` says 101, no package starts a service: nginx
/// would take port 80 of this machine. A shell removes it even after Ctrl-C; containers often have
/// one of their own.
const INSTALL: &str = r#"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" || exit
fi
apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@" >/dev/null
"#;

/// Installs the packages; on a system without apt, says what is to be installed.
pub fn install(packages: &[&Package]) -> Result<()> {
    if command::find("apt-get").is_none() {
        bail!("{}", by_hand(packages));
    }
    eprintln!("this machine lacks:");
    for package in packages {
        eprintln!("  {}: {}", package.name, package.purpose);
    }
    eprintln!("updating apt's lists of packages…");
    let mut update = command::as_root("apt-get")?;
    if let Err(error) =
        command::run(update.args(["-qq", "-o", "DPkg::Lock::Timeout=300", "update"]))
    {
        // Often of a repository that has nothing to do with this; the next step fails if it has.
        eprintln!("{error}; going on with the lists there are");
    }
    let names: Vec<_> = packages.iter().map(|package| package.name).collect();
    eprintln!("installing {}…", names.join(", "));
    let mut install = command::as_root("env")?;
    install.args(["DEBIAN_FRONTEND=noninteractive", "sh", "-c", INSTALL, "sh"]).args(&names);
    let status = install.status().context("running apt-get install")?;
    ensure!(status.success(), "apt-get install failed ({status}); {}", by_hand(packages));
    if names.contains(&"nginx-light") && command::find("systemctl").is_some() {
        // Nor at the next boot.
        command::run(command::as_root("systemctl")?.args(["--quiet", "disable", "nginx"]))?;
    }
    Ok(())
}

/// What to install where apt cannot.
fn by_hand(packages: &[&Package]) -> String {
    let mut text = String::from("please install by hand:\n");
    for package in packages {
        if let Sign::Program(program) = package.sign {
            text += &format!("  {program} (Debian's {}): {}\n", package.name, package.purpose);
        }
    }
    if packages.iter().any(|package| package.sign == Sign::BpfCompiler) {
        text += "  a compiler for BPF, and its linker on PATH:\n    \
                 rustup toolchain install nightly --component rust-src\n    \
                 bpf-linker: https://github.com/aya-rs/bpf-linker#installation\n";
    }
    text + "then run `cargo xtask setup` again"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::plan::{self, Machine, Scope, Step};

    #[test]
    fn what_to_install_by_hand_names_every_program_and_the_compiler() {
        let by_hand = |scope| match plan::next(&Machine::default(), scope) {
            Some(Step::Packages(packages)) => by_hand(&packages),
            _ => panic!("a bare machine lacks packages"),
        };
        let text = by_hand(Scope::Fuzz) + &by_hand(Scope::Kernels);
        for wanted in plan::programs().chain(["rust-src", "bpf-linker"]) {
            assert!(text.contains(wanted), "{wanted} is missing from: {text}");
        }
    }
}
