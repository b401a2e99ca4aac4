//! What stands in front of all else: the help, and a question.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Text},
    widgets::{Block, Clear, Padding, Paragraph, Wrap},
};

use super::View;

const HELP: &[&str] = &[
    "arrows, j k     select       PgUp PgDn g G  further",
    "Enter, l        open a VIP   Esc, h         back",
    "d               drain the selected real",
    "e               enable the selected real",
    "/               show only what has these words",
    "s               sort: trouble, rate or name first",
    "r               ask lbd at once",
    "q, Ctrl-C       quit         Ctrl-Z         suspend",
    "Rates are those between lbd's last two answers; - is not known.",
];

impl View<'_> {
    pub(super) fn help(&self, frame: &mut Frame<'_>, area: Rect) {
        let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::from(*line)).collect();
        let title = format!("lbctl top, every {}", humantime::format_duration(self.model.interval));
        self.show_box(frame, area, &title, Text::from(lines));
    }

    pub(super) fn question(&self, frame: &mut Frame<'_>, area: Rect, question: &str) {
        let question = question.replace(char::is_control, " ");
        let text = Text::from(vec![
            Line::from(question),
            Line::from(""),
            Line::styled("y  do it     n  leave it", Style::new().add_modifier(Modifier::BOLD)),
        ]);
        self.show_box(frame, area, "Sure?", text);
    }

    /// A box in the middle with the text wrapped in it.
    fn show_box(&self, frame: &mut Frame<'_>, area: Rect, title: &str, text: Text<'_>) {
        const FRAME: u16 = 4;
        let widest = u16::try_from(text.width()).unwrap_or(u16::MAX);
        let width = widest.saturating_add(FRAME).min(area.width.min(76));
        let inside = width.saturating_sub(FRAME).max(1);
        // Words are not broken, so that a line may take one more than its letters need.
        let rows = |line: &Line<'_>| match u16::try_from(line.width()).unwrap_or(u16::MAX) {
            width if width <= inside => 1,
            width => width / inside + 2,
        };
        let rows = text.iter().map(rows).fold(2u16, u16::saturating_add);
        let height = rows.min(area.height);
        let place = Rect {
            x: area.x + (area.width - width) / 2,
            y: area.y + (area.height - height) / 2,
            width,
            height,
        };
        let block = Block::bordered()
            .border_set(self.look.border())
            .padding(Padding::horizontal(1))
            .title(format!(" {title} "));
        frame.render_widget(Clear, place);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(block), place);
    }
}
