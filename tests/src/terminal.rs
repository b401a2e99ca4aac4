//! A terminal with somebody at its keys: tmux, as one that can be read.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{Netns, Output, Process, wait};

/// From one look at the screen to the next: each is a process.
const PAUSE: Duration = Duration::from_millis(30);

/// A program on a terminal of its own. Both end with this guard, and so does tmux, which is nobody
/// else's: its socket is in a directory of its own.
#[derive(Debug)]
pub struct Terminal {
    _server: Process,
    netns: Netns,
    dir: TempDir,
}

impl Terminal {
    /// Runs a line of shell on a terminal of so many columns and rows, in this namespace. When it has
    /// ended its exit code is on the screen, as `ended with 0`.
    pub fn start(netns: &Netns, line: &str, (columns, rows): (u16, u16)) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut server = netns.command("tmux");
        server.args(["-u", "-f", "/dev/null", "-D", "-S"]).arg(dir.path().join("tmux"));
        // The environment of the program on the terminal is that of the server.
        server.env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR").env_remove("TMUX");
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = netns.spawn(server)?;
        let socket = dir.path().join("tmux");
        wait::until("tmux's socket", wait::PATIENCE, || {
            if let Some(status) = server.exited()? {
                bail!("tmux ended with {status}");
            }
            Ok(socket.exists().then_some(()))
        })?;
        let terminal = Self { _server: server, netns: netns.clone(), dir };
        let [columns, rows] = [columns, rows].map(|number| number.to_string());
        let script = format!("{line}; echo ended with $?; exec cat");
        let new = ["new-session", "-d", "-x", &columns, "-y", &rows, "sh", "-c", &script];
        wait::until("a session of tmux", wait::PATIENCE, || {
            Ok((terminal.run(&new)?.code == 0).then_some(()))
        })?;
        Ok(terminal)
    }

    /// Presses keys, by tmux's names for them.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        self.run(&[&["send-keys"], keys].concat())?.success().map(drop)
    }

    /// Changes its size.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let [columns, rows] = [columns, rows].map(|number| number.to_string());
        self.run(&["resize-window", "-x", &columns, "-y", &rows])?.success().map(drop)
    }

    /// All that is on it.
    pub fn screen(&self) -> Result<String> {
        Ok(self.run(&["capture-pane", "-p"])?.success()?.stdout)
    }

    /// Waits until the screen is so; gives it.
    pub fn shows(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
        self.shows_after(what, || Ok(()), is_so)
    }

    /// The same, while something is done before each look at it.
    pub fn shows_after(
        &self,
        what: &str,
        mut something: impl FnMut() -> Result<()>,
        is_so: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let mut last = String::new();
        let shown = wait::until(what, wait::PATIENCE, || {
            something()?;
            last = self.screen()?;
            let so = is_so(&last);
            if !so {
                std::thread::sleep(PAUSE);
            }
            Ok(so.then(|| last.clone()))
        });
        shown.with_context(|| format!("the screen was\n{last}"))
    }

    /// Something that tmux says of it, `alternate_on`.
    pub fn property(&self, name: &str) -> Result<String> {
        let format = format!("#{{{name}}}");
        let said = self.run(&["display-message", "-p", &format])?.success()?.stdout;
        Ok(said.trim_end().to_owned())
    }

    /// The id of the process of this name on it.
    pub fn process(&self, program: &str) -> Result<i32> {
        let tty = self.property("pane_tty")?;
        let tty = tty.trim_start_matches("/dev/");
        let listed = Output::of(self.netns.command("ps").args(["-t", tty, "-o", "pid=,comm="]))?;
        let listed = listed.success()?.stdout;
        let mut lines = listed.lines().filter_map(|line| line.trim().split_once(' '));
        let (id, _) = lines
            .find(|(_, name)| name.trim() == program)
            .with_context(|| format!("no {program} among\n{listed}"))?;
        Ok(id.parse()?)
    }

    fn run(&self, words: &[&str]) -> Result<Output> {
        let mut tmux = self.netns.command("tmux");
        tmux.arg("-u").arg("-S").arg(self.dir.path().join("tmux")).args(words);
        Output::of(&mut tmux)
    }
}
