//! Commands of this machine: found, started, and as root where they must be.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus},
};

use anyhow::{Context, Result, ensure};

/// Where Debian keeps what is root's, which is not on other people's PATH.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The workspace's directory.
pub fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// The cargo that started this, in the workspace's directory, as if from a shell: what it says of the package that
/// it runs would make it build again what looks at such variables, here and, back in the shell, there.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).env("PATH", path());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text == "OUT_DIR"
            || text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
        {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// PATH, and root's directories after it.
pub fn path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    for dir in SBIN {
        path.push(":");
        path.push(dir);
    }
    path
}

/// Where this program is, if it is anywhere.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = path();
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| {
        fs::metadata(file)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// Whether this process is root.
pub fn is_root() -> Result<bool> {
    let own = fs::metadata("/proc/self").context("reading /proc/self")?;
    Ok(own.uid() == 0)
}

/// The command as root: itself, or through sudo.
pub fn as_root(program: &str) -> Result<Command> {
    if is_root()? {
        return Ok(Command::new(program));
    }
    let mut sudo = Command::new(sudo(&format!("run {program}"))?);
    sudo.args(["--", program]);
    Ok(sudo)
}

/// What cargo must put before a program so that it runs as root, with this environment; `None`
/// where this is root already.
pub fn root_runner() -> Result<Option<OsString>> {
    if is_root()? {
        return Ok(None);
    }
    sudo("run tests and demo in network namespaces")?;
    let path = path().into_string().ok().filter(|path| !path.contains(char::is_whitespace));
    let path = path.context("PATH holds a space: cargo could not hand it on to sudo")?;
    // sudo replaces PATH, whatever it is asked to keep.
    Ok(Some(format!("sudo -E env PATH={path}").into()))
}

fn sudo(purpose: &str) -> Result<PathBuf> {
    find("sudo").with_context(|| format!("sudo is not installed; be root to {purpose}"))
}

/// The variable by which cargo learns of a runner for the programs of this host.
pub fn runner_variable(host: &str) -> String {
    format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_"))
}

/// Says what is done, and does it; fails where it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    ensure!(status.success(), "{} failed: {status}", words(command));
    Ok(())
}

/// Says what is done, and does it.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    say(command);
    command.status().with_context(|| format!("running {}", words(command)))
}

/// Says what is about to be done.
pub fn say(command: &Command) {
    eprintln!("$ {}", words(command));
}

/// This program's exit code for that of another.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The command as one would type it.
fn words(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let words = [program].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_variable_is_the_one_cargo_reads() {
        let variable = runner_variable("x86_64-unknown-linux-gnu");
        assert_eq!(variable, "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER");
    }

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["build", "--workspace"]);
        assert_eq!(words(&command), "cargo build --workspace");
    }

    #[test]
    fn a_program_that_is_nowhere_is_not_found() {
        assert_eq!(find("no-such-program-anywhere"), None);
        assert!(find("sh").is_some());
    }
}
