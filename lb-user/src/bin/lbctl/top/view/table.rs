//! Tables that leave out columns where there is no room for all.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Rect},
    style::{Modifier, Style},
    text::Line,
    widgets::{Cell, Row, Table},
};

use crate::output::count;

/// A column.
pub(super) struct Column {
    /// Its heading.
    pub(super) title: &'static str,
    /// How wide it is.
    pub(super) width: usize,
    /// To which side it leans.
    pub(super) side: Alignment,
    /// What is left out first; zero never is.
    pub(super) spare: u8,
    /// How much of it is there at least, if it is the first.
    least: usize,
}

impl Column {
    /// Words.
    pub(super) fn words(title: &'static str, width: usize, spare: u8) -> Self {
        let width = width.max(title.len());
        Self { title, width, side: Alignment::Left, spare, least: width.min(FIRST) }
    }

    /// All of it, as long as another column can be left out.
    pub(super) fn whole(self) -> Self {
        Self { least: self.width, ..self }
    }

    /// A number.
    pub(super) fn number(title: &'static str, width: usize, spare: u8) -> Self {
        Self { side: Alignment::Right, ..Self::words(title, width, spare) }
    }
}

/// A row: its cells with their styles.
pub(super) type Cells = Vec<(String, Style)>;

/// Which columns fit into this width, and how wide each is. The first takes what is left over up to its
/// width, at least what it says; the last, if it is there, the rest.
fn fit(columns: &[Column], width: usize) -> Vec<(usize, usize)> {
    let mut kept: Vec<_> = (0..columns.len()).collect();
    let needed = |kept: &[usize]| {
        let others = kept.iter().skip(1).map(|at| columns[*at].width + 1).sum::<usize>();
        others + columns[0].least
    };
    while needed(&kept) > width {
        let Some(first) = kept.iter().copied().max_by_key(|at| columns[*at].spare) else { break };
        if columns[first].spare == 0 {
            break;
        }
        kept.retain(|at| *at != first);
    }
    let others = needed(&kept) - columns[0].least;
    let first = width.saturating_sub(others).min(columns[0].width);
    let rest = width.saturating_sub(others + first);
    kept.iter()
        .map(|at| match *at {
            0 => (0, first),
            at if at + 1 == columns.len() && columns[at].side == Alignment::Left => {
                (at, columns[at].width + rest)
            }
            at => (at, columns[at].width),
        })
        .collect()
}

/// What is left of the first column at least, if it is so wide and says nothing else.
const FIRST: usize = 15;

/// Draws a heading and as many rows as there is room for, the selected one in sight.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    (columns, rows): (&[Column], &[Cells]),
    selected: Option<usize>,
    ellipsis: char,
) {
    let fitting = fit(columns, area.width.into());
    let cell = |at: usize, width: usize, text: &str, style: Style| {
        let line = Line::styled(cut(text, width, ellipsis), style);
        Cell::from(line.alignment(columns[at].side))
    };
    let heading =
        fitting.iter().map(|(at, width)| cell(*at, *width, columns[*at].title, Style::new()));
    let heading = Row::new(heading).style(Style::new().add_modifier(Modifier::DIM));
    let room = usize::from(area.height.saturating_sub(1));
    let from = first_shown(rows.len(), selected.unwrap_or(0), room);
    let shown = rows.iter().enumerate().skip(from).take(room).map(|(number, cells)| {
        let row = Row::new(fitting.iter().filter_map(|(at, width)| {
            cells.get(*at).map(|(text, style)| cell(*at, *width, text, *style))
        }));
        let here = selected == Some(number);
        row.style(if here { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() })
    });
    let widths = fitting.iter().map(|(_, width)| Constraint::Length(*width as u16));
    frame.render_widget(Table::new(shown, widths).header(heading).column_spacing(1), area);
}

/// Which row is at the top, so that the selected one is in the middle where there are rows on both
/// sides.
fn first_shown(rows: usize, selected: usize, room: usize) -> usize {
    selected.saturating_sub(room / 2).min(rows.saturating_sub(room))
}

/// As much of the text as fits.
pub(super) fn cut(text: &str, width: usize, ellipsis: char) -> String {
    // Nothing that would move the cursor comes from the daemon to the terminal.
    let clean = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    if text.chars().count() <= width {
        return clean.collect();
    }
    let mut cut: String = clean.take(width.saturating_sub(1)).collect();
    if width > 0 {
        cut.push(ellipsis);
    }
    cut
}

/// A rate: with a decimal while it is small, `-` where it is not known.
pub(super) fn amount(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate > 0.0 && rate < 9.95 => format!("{:.1}", rate.max(0.1)),
        Some(rate) => count(rate.round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        vec![
            Column::words("NAME", 30, 0),
            Column::words("ADDRESS", 20, 1),
            Column::number("RATE", 9, 0),
            Column::words("REASON", 20, 2),
        ]
    }

    #[test]
    fn columns_are_left_out_where_there_is_no_room_and_the_most_dispensable_first() {
        for (width, expected) in [
            (100, vec![(0, 30), (1, 20), (2, 9), (3, 38)]),
            (70, vec![(0, 18), (1, 20), (2, 9), (3, 20)]),
            (60, vec![(0, 29), (1, 20), (2, 9)]),
            (40, vec![(0, 30), (2, 9)]),
            (20, vec![(0, 10), (2, 9)]),
        ] {
            assert_eq!(fit(&columns(), width), expected, "{width}");
        }
    }

    #[test]
    fn the_selected_row_is_in_sight() {
        for (rows, selected, room, first) in
            [(3, 2, 5, 0), (10, 0, 4, 0), (10, 5, 4, 3), (10, 9, 4, 6), (0, 0, 4, 0), (5, 4, 1, 4)]
        {
            assert_eq!(first_shown(rows, selected, room), first, "{selected} of {rows}");
        }
    }

    #[test]
    fn what_is_too_long_is_cut_off_and_marked_and_nothing_moves_the_cursor() {
        assert_eq!(cut("degraded", 8, '…'), "degraded");
        assert_eq!(cut("degraded", 5, '…'), "degr…");
        assert_eq!(cut("a\u{1b}[2Jb\n", 20, '…'), "a [2Jb ");
        assert_eq!(cut("abc", 0, '…'), "");
    }

    #[test]
    fn a_small_rate_has_a_decimal_and_is_never_shown_as_none() {
        for (rate, text) in [
            (None, "-"),
            (Some(0.0), "0"),
            (Some(0.01), "0.1"),
            (Some(1.26), "1.3"),
            (Some(9.96), "10"),
            (Some(12_345.6), "12.3k"),
        ] {
            assert_eq!(amount(rate), text);
        }
    }
}
