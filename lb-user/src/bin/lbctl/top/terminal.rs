//! The terminal while it is ours, and as it was when it is not.

use std::{
    io::{self, Stdout, stdout},
    panic, process,
    sync::Once,
};

use crossterm::{
    cursor, execute,
    terminal::{
        Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
        enable_raw_mode,
    },
};
use ratatui::{Terminal, backend::CrosstermBackend};

/// What Rust's runtime ends a program with that panics.
const PANICKED: i32 = 101;

/// The terminal in raw mode, with a screen of ours in front of what was there. It is given back on
/// drop, and by a panic of any thread, which also ends the program.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal.
    pub fn take() -> io::Result<Self> {
        restore_on_panic();
        enter().inspect_err(|_| give_back())?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout()));
        Ok(Self { terminal: terminal.inspect_err(|_| give_back())? })
    }

    /// What draws on it.
    pub fn terminal(&mut self) -> &mut Terminal<CrosstermBackend<Stdout>> {
        &mut self.terminal
    }

    /// Gives it back while something else is done, and takes it again.
    pub fn lend(&mut self, something: impl FnOnce()) -> io::Result<()> {
        give_back();
        something();
        enter()?;
        self.repaint()
    }

    /// Draws all of it the next time, whatever is on it now. Not by the terminal's own `clear`, which asks where the cursor
    /// is: the answer would go to the thread that waits for keys.
    pub fn repaint(&mut self) -> io::Result<()> {
        execute!(stdout(), Clear(ClearType::All))?;
        self.terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(())
    }

    /// Takes it again, and all of it, from whoever has had it.
    pub fn retake(&mut self) -> io::Result<()> {
        self.lend(|| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, cursor::Hide)
}

/// As far as it can be; a terminal that is gone needs nothing.
fn give_back() {
    drop(execute!(stdout(), LeaveAlternateScreen, cursor::Show));
    drop(disable_raw_mode());
}

/// Nobody could read in raw mode, and on a screen that is about to vanish, why a program has died.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
            // The others would go on and draw where a shell is now.
            process::exit(PANICKED);
        }));
    });
}
