//! What the terminal can show.

use std::env;

use ratatui::{
    style::{Color, Modifier, Style},
    symbols::{bar, border},
};

/// What may be used beside plain letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether there may be colours.
    pub color: bool,
    /// Whether there may be letters beyond ASCII.
    pub unicode: bool,
}

const ASCII_BORDER: border::Set<'_> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

const ASCII_BARS: bar::Set<'_> = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "|",
    five_eighths: "|",
    half: ":",
    three_eighths: ":",
    one_quarter: ".",
    one_eighth: ".",
    empty: " ",
};

impl Look {
    /// As the environment says: no colours with `NO_COLOR`, no other letters without a locale that
    /// has them.
    pub fn of_environment() -> Self {
        let said = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            color: said("NO_COLOR").is_none(),
            unicode: ["LC_ALL", "LC_CTYPE", "LANG"]
                .into_iter()
                .find_map(said)
                .is_some_and(|locale| speaks_unicode(&locale)),
        }
    }

    /// The lines around a box.
    pub fn border(self) -> border::Set<'static> {
        if self.unicode { border::PLAIN } else { ASCII_BORDER }
    }

    /// The bars of a sparkline.
    pub fn bars(self) -> bar::Set<'static> {
        if self.unicode { bar::NINE_LEVELS } else { ASCII_BARS }
    }

    /// What stands for letters that were cut off.
    pub fn ellipsis(self) -> char {
        if self.unicode { '…' } else { '~' }
    }

    /// What somebody has to act on.
    pub fn bad(self) -> Style {
        self.colored(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What somebody may want to know.
    pub fn odd(self) -> Style {
        self.colored(Color::Yellow)
    }

    fn colored(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }
}

fn speaks_unicode(locale: &str) -> bool {
    let locale = locale.to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_says_whether_it_has_all_letters() {
        for locale in ["C.UTF-8", "de_DE.utf8", "en_US.UTF-8"] {
            assert!(speaks_unicode(locale), "{locale}");
        }
        for locale in ["C", "POSIX", "de_DE", "de_DE.ISO-8859-1"] {
            assert!(!speaks_unicode(locale), "{locale}");
        }
    }

    #[test]
    fn without_colours_what_is_bad_is_still_bold() {
        let look = Look { color: false, unicode: true };
        assert_eq!(look.bad(), Style::new().add_modifier(Modifier::BOLD));
        assert_eq!(look.odd(), Style::new());
    }
}
