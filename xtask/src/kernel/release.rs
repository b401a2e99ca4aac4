//! Debian's kernels: which suite has the one that is asked for, and in which packages.

use std::{cmp::Reverse, collections::BTreeSet, fmt, str::FromStr};

use anyhow::{Result, bail, ensure};

/// A kernel as one asks for it: `6.1`, or `6.12.117` for a certain one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted(String);

impl FromStr for Wanted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers: Vec<_> = text.split('.').collect();
        let number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        ensure!(
            (2..=3).contains(&numbers.len()) && numbers.iter().all(number),
            "\"{text}\" is not a kernel's version, such as 6.1 or 6.12"
        );
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a kernel's packages are.
#[derive(Debug, PartialEq, Eq)]
pub struct Suite {
    /// What it is called.
    pub name: &'static str,
    /// Archive and suite, for a list of sources.
    pub sources: &'static [&'static str],
}

const BULLSEYE: Suite =
    Suite { name: "bullseye", sources: &["debian bullseye", "debian-security bullseye-security"] };
const BOOKWORM: Suite =
    Suite { name: "bookworm", sources: &["debian bookworm", "debian-security bookworm-security"] };
const TRIXIE: Suite =
    Suite { name: "trixie", sources: &["debian trixie", "debian-security trixie-security"] };
const BACKPORTS: Suite = Suite { name: "trixie-backports", sources: &["debian trixie-backports"] };

impl Wanted {
    /// The suite that keeps this kernel up to date.
    pub fn suite(&self) -> &'static Suite {
        match self.numbers()[..] {
            [5, 10, ..] => &BULLSEYE,
            [6, 1, ..] => &BOOKWORM,
            [6, 12, ..] => &TRIXIE,
            _ => &BACKPORTS,
        }
    }

    fn numbers(&self) -> Vec<u32> {
        numbers(&self.0)
    }

    /// The packages of the newest such kernel, given the names of all packages.
    pub fn packages(&self, names: &str) -> Result<Vec<String>> {
        let parts = |name: &str| {
            let (kind, release) = name.strip_prefix("linux-")?.split_once('-')?;
            matches!(kind, "image" | "binary" | "modules" | "base")
                .then(|| (kind.to_owned(), release.to_owned()))
        };
        let all: BTreeSet<_> = names.lines().filter_map(parts).collect();
        // Others are for clouds, for real time or not signed, and have fewer modules or the same.
        let plain = |release: &str| {
            let version = release.strip_suffix("-amd64")?;
            let whole = version.split(['-', '+']).next()?.matches('.').count() == 2;
            (whole && !version.contains("cloud") && !version.contains("rt")).then_some(())
        };
        let mut releases: Vec<_> = all
            .iter()
            .filter(|(kind, release)| kind == "image" && plain(release).is_some())
            .map(|(_, release)| release)
            .filter(|release| numbers(release).starts_with(&self.numbers()))
            .collect();
        releases.sort_by_key(|release| Reverse(numbers(release)));
        let Some(release) = releases.first() else {
            bail!("Debian's {} has no kernel {self}", self.suite().name);
        };
        let own = all.iter().filter(|(_, other)| other == *release);
        Ok(own.map(|(kind, release)| format!("linux-{kind}-{release}")).collect())
    }
}

/// All numbers in a version, in order: `6.1.0-56-amd64` is 6, 1, 0, 56, 64.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "\
linux-image-6.1.0-9-amd64
linux-image-6.1.0-56-amd64
linux-image-6.1.0-56-cloud-amd64
linux-image-6.1.0-56-rt-amd64
linux-image-6.1.0-57-amd64-unsigned
linux-image-6.1-amd64
linux-image-amd64
linux-image-6.12.117+deb13-amd64
linux-base-7.2.12+deb13-amd64
linux-binary-7.2.12+deb13-amd64
linux-image-7.2.12+deb13-amd64
linux-image-7.2.9+deb13-amd64
linux-modules-7.2.12+deb13-amd64
linux-modules-7.3.4+deb13-amd64
linux-headers-7.2.12+deb13-amd64
";

    fn packages(wanted: &str) -> Result<Vec<String>> {
        wanted.parse::<Wanted>()?.packages(NAMES)
    }

    #[test]
    fn the_newest_plain_kernel_is_taken() -> Result<()> {
        assert_eq!(packages("6.1")?, ["linux-image-6.1.0-56-amd64"]);
        Ok(())
    }

    #[test]
    fn six_one_is_not_six_twelve() -> Result<()> {
        assert_eq!(packages("6.12")?, ["linux-image-6.12.117+deb13-amd64"]);
        Ok(())
    }

    #[test]
    fn a_kernel_in_parts_is_taken_whole() -> Result<()> {
        let parts = ["base", "binary", "image", "modules"];
        assert_eq!(packages("7.2")?, parts.map(|part| format!("linux-{part}-7.2.12+deb13-amd64")));
        Ok(())
    }

    #[test]
    fn a_kernel_that_is_not_there_is_said_so() {
        let error = packages("7.3").expect_err("only modules of it are there");
        assert_eq!(error.to_string(), "Debian's trixie-backports has no kernel 7.3");
    }

    #[test]
    fn only_versions_are_kernels() {
        for text in ["", "6", "six", "6.", "6.1.2.3", "6.1-amd64", "../6.1"] {
            assert!(text.parse::<Wanted>().is_err(), "{text}");
        }
    }
}
