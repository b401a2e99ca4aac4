//! The selected row of a list whose rows come, go and change places.

/// A selection: it stays with its row while that is there, and else with its place.
#[derive(Debug)]
pub struct Cursor<T> {
    item: Option<T>,
    place: usize,
}

impl<T> Default for Cursor<T> {
    fn default() -> Self {
        Self { item: None, place: 0 }
    }
}

impl<T: Clone + PartialEq> Cursor<T> {
    /// The selected row, if the list had any.
    pub fn item(&self) -> Option<&T> {
        self.item.as_ref()
    }

    /// Where it is.
    pub fn place(&self) -> usize {
        self.place
    }

    /// Selects this row, once it is there.
    pub fn select(&mut self, item: T) {
        self.item = Some(item);
    }

    /// Finds the selected row in the list as it is now, or selects the one in its place.
    pub fn settle(&mut self, rows: &[T]) {
        let found = rows.iter().position(|row| Some(row) == self.item.as_ref());
        self.place = found.unwrap_or_else(|| self.place.min(rows.len().saturating_sub(1)));
        self.item = rows.get(self.place).cloned();
    }

    /// Selects the row so many further down, or up, or the nearest there is.
    pub fn step(&mut self, rows: &[T], by: isize) {
        let last = rows.len().saturating_sub(1);
        self.place = self.place.saturating_add_signed(by).min(last);
        self.item = rows.get(self.place).cloned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_stays_with_its_row_and_when_that_is_gone_with_its_place() {
        let mut cursor = Cursor::default();
        cursor.settle(&["a", "b", "c"]);
        assert_eq!(cursor.item(), Some(&"a"));
        cursor.step(&["a", "b", "c"], 1);
        cursor.settle(&["c", "a", "b"]);
        assert_eq!((cursor.item(), cursor.place()), (Some(&"b"), 2));
        cursor.settle(&["c", "a", "d"]);
        assert_eq!(cursor.item(), Some(&"d"));
        cursor.settle(&["c"]);
        assert_eq!((cursor.item(), cursor.place()), (Some(&"c"), 0));
        cursor.settle(&[]);
        assert_eq!(cursor.item(), None);
        cursor.step(&[], 1);
        assert_eq!(cursor.place(), 0);
    }

    #[test]
    fn no_step_leaves_the_list() {
        let mut cursor = Cursor::default();
        for (by, place) in [(5, 2), (-1, 1), (isize::MIN, 0), (isize::MAX, 2)] {
            cursor.step(&[1, 2, 3], by);
            assert_eq!(cursor.place(), place, "{by}");
        }
    }
}
