//! What is needed, and what therefore is to be done next on a machine that has some of it.

use std::{collections::BTreeSet, ops::RangeInclusive};

use super::compiler::Compiler;

/// The versions of LLVM that the linker can be built with.
pub const LLVM: RangeInclusive<u32> = 21..=23;

/// How much is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// To build.
    Build,
    /// To build, and to run the demo.
    Demo,
    /// To build, and to make packages.
    Dist,
    /// All that, and to run the tests.
    Test,
    /// All that, and to fuzz.
    Fuzz,
    /// To run the tests under other kernels, too.
    Kernels,
}

impl Scope {
    /// Whether what `part` needs is needed for this.
    fn includes(self, part: Self) -> bool {
        part == self || part == Self::Build || part <= Self::Test && self >= Self::Test
    }
}

/// How one sees that a package is not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// There is such a program.
    Program(&'static str),
    /// There is a compiler for BPF.
    BpfCompiler,
    /// Python makes environments.
    Venv,
}

/// A Debian package.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// What makes it superfluous.
    pub sign: Sign,
    /// Who needs it.
    pub scope: Scope,
    /// What it is for.
    pub purpose: &'static str,
}

/// All packages.
const PACKAGES: &[Package] = &[
    package("gcc", Sign::Program("cc"), Scope::Build, "links programs for this machine"),
    package(
        "rustc-web",
        Sign::BpfCompiler,
        Scope::Build,
        "compiles for BPF (117 MB with the next)",
    ),
    package("libstd-rust-web-dev-bpf", Sign::BpfCompiler, Scope::Build, "Rust's `core` for BPF"),
    package("iproute2", Sign::Program("ip"), Scope::Demo, "sets up network namespaces"),
    package("ethtool", Sign::Program("ethtool"), Scope::Demo, "turns off what veth only pretends"),
    package("nginx-light", Sign::Program("nginx"), Scope::Demo, "is the real servers"),
    package("dnsmasq-base", Sign::Program("dnsmasq"), Scope::Test, "is the name servers"),
    package("curl", Sign::Program("curl"), Scope::Demo, "is the clients"),
    package("iputils-ping", Sign::Program("ping"), Scope::Demo, "is the clients, too"),
    package("tmux", Sign::Program("tmux"), Scope::Test, "is the terminals"),
    package("tcpdump", Sign::Program("tcpdump"), Scope::Demo, "shows packets on the wire"),
    // Another python on PATH does not see the modules of Debian's packages.
    package(
        "python3",
        Sign::Program("/usr/bin/python3"),
        Scope::Test,
        "runs programs that check what lbctl prints",
    ),
    package("python3-venv", Sign::Venv, Scope::Test, "keeps programs from PyPI to themselves"),
    package("g++", Sign::Program("c++"), Scope::Fuzz, "compiles libFuzzer"),
    package(
        "qemu-system-x86",
        Sign::Program("qemu-system-x86_64"),
        Scope::Kernels,
        "runs other kernels",
    ),
    package("busybox-static", Sign::Program("busybox"), Scope::Kernels, "starts a guest"),
    package("kmod", Sign::Program("modprobe"), Scope::Kernels, "knows what a module needs"),
    package("xz-utils", Sign::Program("xz"), Scope::Kernels, "unpacks kernels"),
    package("zstd", Sign::Program("zstd"), Scope::Kernels, "unpacks kernels"),
];

const fn package(name: &'static str, sign: Sign, scope: Scope, purpose: &'static str) -> Package {
    Package { name, sign, scope, purpose }
}

/// The programs that packages are recognised by.
pub fn programs() -> impl Iterator<Item = &'static str> {
    PACKAGES.iter().filter_map(|package| match package.sign {
        Sign::Program(name) => Some(name),
        Sign::BpfCompiler | Sign::Venv => None,
    })
}

/// What a machine has.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Of [`programs`], those that are there.
    pub programs: BTreeSet<&'static str>,
    /// What compiles for BPF.
    pub compiler: Option<Compiler>,
    /// The LLVM of a bpf-linker that was built here, in `.tools`.
    pub own_linker: Option<u32>,
    /// Whether another bpf-linker is on PATH.
    pub linker_on_path: bool,
    /// Whether what makes packages is there, in `.tools`.
    pub deb: bool,
    /// Whether there is apt, which alone can fetch the packages that are only unpacked.
    pub apt: bool,
    /// Whether these packages are there.
    pub unpacked: bool,
    /// Whether Python makes environments.
    pub venv: bool,
    /// Whether the programs from PyPI are there.
    pub python: bool,
}

/// Something to install.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Debian packages.
    Packages(Vec<&'static Package>),
    /// bpf-linker, with this LLVM.
    Linker {
        /// The major version.
        llvm: u32,
    },
    /// cargo-deb.
    Deb,
    /// Debian packages that are unpacked and not installed.
    Unpacked,
    /// Programs from PyPI.
    Python,
}

impl Step {
    /// What to say when it was done and is still to be done.
    pub fn in_vain(&self) -> String {
        match self {
            Self::Packages(packages) => {
                let names: Vec<_> = packages.iter().map(|package| package.name).collect();
                format!(
                    "{} was installed and yet is not seen; is its compiler's LLVM one of {LLVM:?}? \
                     (Debian has that in its security suite)",
                    names.join(", ")
                )
            }
            Self::Linker { llvm } => {
                format!("bpf-linker with LLVM {llvm} was built, but does not run")
            }
            Self::Deb => "cargo-deb was built, but does not run".into(),
            Self::Python => {
                "programs from PyPI were installed in .tools/python, but are not there".into()
            }
            Self::Unpacked => "packages were unpacked in .tools/debian, but are not there".into(),
        }
    }
}

/// What to install next, if anything.
pub fn next(machine: &Machine, scope: Scope) -> Option<Step> {
    let missing: Vec<_> = PACKAGES
        .iter()
        .filter(|package| scope.includes(package.scope) && !machine.shows(package.sign))
        .collect();
    if !missing.is_empty() {
        return Some(Step::Packages(missing));
    }
    let compiler = machine.compiler.as_ref()?;
    if !machine.links(compiler) {
        return Some(Step::Linker { llvm: compiler.llvm() });
    }
    if scope.includes(Scope::Dist) && !machine.deb {
        return Some(Step::Deb);
    }
    if machine.apt && machine.lacks_unpacked(scope) {
        return Some(Step::Unpacked);
    }
    (scope.includes(Scope::Test) && !machine.python).then_some(Step::Python)
}

impl Machine {
    /// Whether packages that are only unpacked are needed for this and not there.
    pub fn lacks_unpacked(&self, scope: Scope) -> bool {
        scope.includes(Scope::Test) && !self.unpacked
    }

    fn shows(&self, sign: Sign) -> bool {
        match (sign, &self.compiler) {
            (Sign::Program(name), _) => self.programs.contains(name),
            (Sign::Venv, _) => self.venv,
            (Sign::BpfCompiler, None) => false,
            (Sign::BpfCompiler, Some(Compiler::Rustc { .. })) => true,
            // Its own LLVM serves no linker, and none of that version need be installable.
            (Sign::BpfCompiler, Some(nightly @ Compiler::Nightly { .. })) => self.links(nightly),
        }
    }

    /// Whether there is a linker for what this compiler makes. LLVM reads what older versions
    /// wrote. A linker does not tell its LLVM: one that stands beside a nightly is taken to suit
    /// it; else it must have been built here.
    fn links(&self, compiler: &Compiler) -> bool {
        match (self.own_linker, compiler) {
            (Some(llvm), _) => llvm >= compiler.llvm(),
            (None, Compiler::Nightly { .. }) => self.linker_on_path,
            (None, Compiler::Rustc { .. }) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: Compiler = Compiler::Rustc { llvm: 22 };
    const NIGHTLY: Compiler = Compiler::Nightly { llvm: 22 };

    fn complete(compiler: Option<Compiler>) -> Machine {
        Machine {
            programs: programs().collect(),
            compiler,
            own_linker: Some(22),
            linker_on_path: false,
            deb: true,
            apt: true,
            unpacked: true,
            venv: true,
            python: true,
        }
    }

    fn packages(machine: &Machine, scope: Scope) -> Vec<&'static str> {
        match next(machine, scope) {
            Some(Step::Packages(packages)) => packages.iter().map(|package| package.name).collect(),
            Some(Step::Linker { .. } | Step::Deb | Step::Unpacked | Step::Python) | None => vec![],
        }
    }

    #[test]
    fn a_complete_machine_lacks_nothing() {
        assert_eq!(next(&complete(Some(WEB)), Scope::Test), None);
    }

    #[test]
    fn a_bare_machine_gets_all_packages_at_once() {
        for scope in
            [Scope::Build, Scope::Demo, Scope::Dist, Scope::Test, Scope::Fuzz, Scope::Kernels]
        {
            let needed = PACKAGES.iter().filter(|package| scope.includes(package.scope));
            let names: Vec<_> = needed.map(|package| package.name).collect();
            assert_eq!(packages(&Machine::default(), scope), names);
        }
        assert!(!Scope::Kernels.includes(Scope::Fuzz));
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let mut machine = complete(Some(WEB));
        machine.programs.remove("nginx");
        assert_eq!(packages(&machine, Scope::Test), ["nginx-light"]);
    }

    #[test]
    fn a_build_needs_nothing_of_the_tests() {
        let machine = Machine { programs: ["cc"].into(), ..complete(Some(WEB)) };
        assert_eq!(next(&machine, Scope::Build), None);
    }

    #[test]
    fn packages_are_made_and_tested_with_a_program_that_a_build_does_not_need() {
        let machine = Machine { deb: false, ..complete(Some(WEB)) };
        assert_eq!(next(&machine, Scope::Build), None);
        assert_eq!(next(&machine, Scope::Dist), Some(Step::Deb));
        assert_eq!(next(&machine, Scope::Test), Some(Step::Deb));
    }

    #[test]
    fn the_demo_needs_its_programs_and_nothing_else_of_the_tests() {
        let machine = Machine { deb: false, python: false, unpacked: false, ..complete(Some(WEB)) };
        assert_eq!(next(&machine, Scope::Demo), None);
        assert_eq!(packages(&Machine { venv: false, ..machine }, Scope::Demo), Vec::<&str>::new());
        let mut machine = complete(Some(WEB));
        machine.programs.remove("nginx");
        machine.programs.remove("tmux");
        assert_eq!(packages(&machine, Scope::Demo), ["nginx-light"]);
    }

    #[test]
    fn only_other_kernels_need_an_emulator() {
        let mut machine = complete(Some(WEB));
        machine.programs.remove("qemu-system-x86_64");
        assert_eq!(next(&machine, Scope::Test), None);
        assert_eq!(packages(&machine, Scope::Kernels), ["qemu-system-x86"]);
    }

    #[test]
    fn the_tests_need_unpacked_packages_and_a_build_does_not() {
        let machine = Machine { unpacked: false, ..complete(Some(WEB)) };
        assert_eq!(next(&machine, Scope::Build), None);
        assert_eq!(next(&machine, Scope::Test), Some(Step::Unpacked));
    }

    #[test]
    fn the_tests_need_programs_from_pypi_and_what_keeps_them_to_themselves() {
        let machine = Machine { python: false, ..complete(Some(WEB)) };
        assert_eq!(next(&machine, Scope::Build), None);
        assert_eq!(next(&machine, Scope::Test), Some(Step::Python));
        let machine = Machine { venv: false, ..machine };
        assert_eq!(packages(&machine, Scope::Test), ["python3-venv"]);
    }

    #[test]
    fn without_apt_nothing_is_unpacked_and_it_is_known_to_be_missing() {
        let machine = Machine { apt: false, unpacked: false, ..complete(Some(WEB)) };
        assert_eq!(next(&machine, Scope::Test), None);
        assert!(machine.lacks_unpacked(Scope::Test));
    }

    #[test]
    fn the_linker_is_built_with_the_compilers_llvm() {
        let machine = Machine { own_linker: None, ..complete(Some(WEB)) };
        assert_eq!(next(&machine, Scope::Build), Some(Step::Linker { llvm: 22 }));
    }

    #[test]
    fn a_linker_older_than_the_compiler_is_replaced_and_a_newer_one_is_not() {
        let older = Machine { own_linker: Some(21), ..complete(Some(WEB)) };
        assert_eq!(next(&older, Scope::Build), Some(Step::Linker { llvm: 22 }));
        let newer = Machine { own_linker: Some(23), ..complete(Some(WEB)) };
        assert_eq!(next(&newer, Scope::Build), None);
    }

    #[test]
    fn a_linker_on_path_serves_a_nightly_but_not_another_compiler() {
        let nightly = Machine { own_linker: None, linker_on_path: true, ..complete(Some(NIGHTLY)) };
        assert_eq!(next(&nightly, Scope::Test), None);
        let web = Machine { compiler: Some(WEB), ..nightly };
        assert_eq!(next(&web, Scope::Test), Some(Step::Linker { llvm: 22 }));
    }

    #[test]
    fn a_nightly_without_a_linker_does_not_serve() {
        let machine = Machine { own_linker: None, ..complete(Some(NIGHTLY)) };
        assert_eq!(packages(&machine, Scope::Build), ["rustc-web", "libstd-rust-web-dev-bpf"]);
    }
}
