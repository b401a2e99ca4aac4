//! How the model looks on a screen of any size.

mod header;
mod overlay;
mod rows;
mod table;

use std::time::Instant;

use jiff::Timestamp;
use lb_user::api::types::EventLine;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::{Line, Text},
    widgets::{Block, Borders, Paragraph},
};

use super::{
    look::Look,
    model::{Mode, Model},
};
use table::cut;

/// The smallest screen that all of this fits on.
pub const SMALLEST: (u16, u16) = (60, 15);

/// From this height on there is room for curves.
const HIGH: u16 = 20;

/// What is drawn, and when.
pub struct View<'a> {
    /// What is known.
    pub model: &'a Model,
    /// What the terminal can show.
    pub look: Look,
    /// Now, to tell what is old.
    pub now: Instant,
    /// Now, to be shown.
    pub clock: Timestamp,
}

impl View<'_> {
    /// Draws all of it.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
            return too_small(frame, area);
        }
        let curves = if area.height >= HIGH { 3 } else { 0 };
        let [head, curve, body, footer] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Length(curves),
            Constraint::Min(0),
            Constraint::Length(1),
        ])
        .areas(area);
        self.header(frame, head);
        self.curves(frame, curve);
        if self.model.open.is_some() {
            self.one_vip(frame, body)
        } else {
            self.all_vips(frame, body)
        }
        self.footer(frame, footer);
        match &self.model.mode {
            Mode::Confirm(_, question) => self.question(frame, area, question),
            Mode::Help => self.help(frame, area),
            Mode::Browse | Mode::Filter => {}
        }
    }

    /// The VIPs, the reals of the selected one, and what has happened.
    fn all_vips(&self, frame: &mut Frame<'_>, area: Rect) {
        let reals = self.model.vip().map_or(0, |vip| vip.reals.len());
        // Each table has a title and a heading.
        let [vips, reals] = [self.model.shown_vips().len(), reals].map(|rows| rows.max(1) + 2);
        let events = (area.height / 4).max(3);
        let room = usize::from(area.height - events);
        let vips = vips.min((room - reals.min(room)).max(room / 2));
        let reals = reals.min(room - vips);
        let [vips, reals, events] = stacked(area, [vips, reals]);
        self.vip_table(frame, vips);
        self.real_table(frame, reals);
        self.events(frame, events);
    }

    /// The reals of the open VIP, all about the selected one, and what has happened to them.
    fn one_vip(&self, frame: &mut Frame<'_>, area: Rect) {
        const DETAIL: u16 = 3;
        let reals = self.model.vip().map_or(0, |vip| self.model.shown_reals(vip).len()).max(1) + 2;
        let events = (area.height / 4).max(3);
        let room = area.height - events - DETAIL;
        let [reals, detail, events] =
            stacked(area, [reals.min(usize::from(room)), usize::from(DETAIL)]);
        self.real_table(frame, reals);
        self.detail(frame, detail);
        self.events(frame, events);
    }

    fn events(&self, frame: &mut Frame<'_>, area: Rect) {
        let events = self.model.shown_events();
        let inner = self.section(frame, area, "Events (UTC)");
        let lines = events.iter().rev().take(usize::from(inner.height)).rev();
        let lines = lines.map(|event| Line::from(self.cut(&event_line(event), inner.width)));
        let lines: Vec<_> = lines.collect();
        let none = match &self.model.no_events {
            Some(reason) => self.cut(&format!("not told: {reason}"), inner.width),
            None => "nothing yet".to_owned(),
        };
        let text = if lines.is_empty() { Text::from(none) } else { Text::from(lines) };
        frame.render_widget(Paragraph::new(text), inner);
    }

    fn footer(&self, frame: &mut Frame<'_>, area: Rect) {
        let model = self.model;
        let filter = if model.open.is_some() { &model.reals.filter } else { &model.vips.filter };
        let keys = if model.open.is_some() {
            "d drain  e enable  Esc back  / filter  ? help  q quit"
        } else {
            "Enter open  / filter  s sort  ? help  q quit"
        };
        let line = match (&model.mode, &model.note) {
            (Mode::Filter, _) => format!("/{filter}_   Enter keeps the filter, Esc clears it"),
            (_, Some(note)) => note.clone(),
            (_, None) => keys.to_owned(),
        };
        let style = Style::new().add_modifier(Modifier::BOLD);
        frame.render_widget(Line::styled(self.cut(&line, area.width), style), area);
    }

    /// A part of the screen below a line with its title.
    fn section(&self, frame: &mut Frame<'_>, area: Rect, title: &str) -> Rect {
        let title = Line::styled(
            format!("{} ", self.cut(title, area.width.saturating_sub(2))),
            Style::new().add_modifier(Modifier::BOLD),
        );
        let block = Block::new().borders(Borders::TOP).border_set(self.look.border()).title(title);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        inner
    }

    fn cut(&self, text: &str, width: u16) -> String {
        cut(text, width.into(), self.look.ellipsis())
    }
}

/// Parts of these heights from the top on, and the rest.
fn stacked(area: Rect, heights: [usize; 2]) -> [Rect; 3] {
    let [first, second] =
        heights.map(|height| Constraint::Length(height.try_into().unwrap_or(u16::MAX)));
    Layout::vertical([first, second, Constraint::Min(0)]).areas(area)
}

fn too_small(frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = SMALLEST;
    let line = format!(
        "{}x{} is too small: enlarge this terminal to {width}x{height}, or press q",
        area.width, area.height
    );
    let text = Paragraph::new(line).wrap(ratatui::widgets::Wrap { trim: true });
    frame.render_widget(text, area);
}

fn event_line(line: &EventLine) -> String {
    match line {
        EventLine::Event(event) => {
            let time = event.time.strftime("%H:%M:%S");
            format!("{time}  {}", event.what)
        }
        EventLine::Missed { missed } => format!("{missed} events came too fast"),
    }
}
