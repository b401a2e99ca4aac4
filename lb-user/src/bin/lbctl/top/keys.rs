//! What a key does.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    deed::{Deed, Kind},
    model::{List, Mode, Model},
};

/// So many rows are a page.
const PAGE: isize = 10;

/// What is to be done outside of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// To end.
    Quit,
    /// To stop until the shell goes on with us.
    Suspend,
    /// To ask the daemon at once.
    Refresh,
    /// To have this done.
    Do(Deed),
}

impl Model {
    /// A key was pressed.
    pub fn press(&mut self, key: KeyEvent) -> Effect {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Effect::Quit,
            KeyCode::Char('z') if control => return Effect::Suspend,
            KeyCode::Char('l') if control => return Effect::Refresh,
            KeyCode::Char(_) if control => return Effect::None,
            _ => {}
        }
        self.note = None;
        match std::mem::take(&mut self.mode) {
            Mode::Browse => self.browse(key.code),
            Mode::Filter => self.type_filter(key.code),
            Mode::Confirm(deed, question) => self.answer(key.code, deed, question),
            Mode::Help if key.code == KeyCode::Char('q') => Effect::Quit,
            Mode::Help => Effect::None,
        }
    }

    fn browse(&mut self, key: KeyCode) -> Effect {
        match key {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Char('r') => return Effect::Refresh,
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-PAGE),
            KeyCode::PageDown => self.step(PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => self.enter(),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left | KeyCode::Char('h') => self.leave(),
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.note = Some(format!("sorted: {}", self.sort.label()));
                self.settle();
            }
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Char('d') => self.propose(Kind::Drain),
            KeyCode::Char('e') => self.propose(Kind::Enable),
            _ => {}
        }
        Effect::None
    }

    fn enter(&mut self) {
        if self.open.is_none() && self.vip().is_some() {
            self.open = self.vips.cursor.item().cloned();
            self.reals = List::default();
            self.settle();
        }
    }

    /// Out of the filter first, then out of the VIP.
    fn leave(&mut self) {
        if !self.filter().is_empty() {
            self.filter().clear();
        } else if self.open.take().is_some() {
            self.reals = List::default();
        }
        self.settle();
    }

    fn type_filter(&mut self, key: KeyCode) -> Effect {
        self.mode = Mode::Filter;
        match key {
            KeyCode::Char(letter) => self.filter().push(letter),
            KeyCode::Backspace if self.filter().pop().is_none() => self.mode = Mode::Browse,
            KeyCode::Enter => self.mode = Mode::Browse,
            KeyCode::Esc => {
                self.filter().clear();
                self.mode = Mode::Browse;
            }
            KeyCode::Up => self.step(-1),
            KeyCode::Down => self.step(1),
            _ => {}
        }
        self.settle();
        Effect::None
    }

    /// Asks whether it is to be done, if there is anything to do.
    fn propose(&mut self, kind: Kind) {
        if self.open.is_none() {
            self.note = Some("Enter opens the VIP; then select a real".to_owned());
            return;
        }
        let (Some(vip), Some(real)) = (self.vip(), self.real()) else {
            self.note = Some("no real is selected".to_owned());
            return;
        };
        let deed = Deed { kind, vip: vip.name.clone(), real: real.address };
        match deed.question(vip, real) {
            Ok(question) => self.mode = Mode::Confirm(deed, question),
            Err(reason) => self.note = Some(reason),
        }
    }

    /// Only a clear yes or no is an answer.
    fn answer(&mut self, key: KeyCode, deed: Deed, question: String) -> Effect {
        match key {
            KeyCode::Char('y' | 'Y') => {
                self.note = Some("asking lbd".to_owned());
                Effect::Do(deed)
            }
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {
                self.note = Some("nothing was done".to_owned());
                Effect::None
            }
            _ => {
                self.mode = Mode::Confirm(deed, question);
                Effect::None
            }
        }
    }
}
