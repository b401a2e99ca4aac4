//! A table that forgets what was not touched for the longest time.

/// An LRU table, of which only is kept how many entries were touched last in each second. Since the oldest go
/// first, that says which are left: all that were touched since the *horizon*. So a flood is one addition
/// a second, and the model is exact to a second: of one that is forgotten in part, a flood's entries are
/// taken for those that are left. (The kernel's tables forget earlier: each CPU evicts in batches, from lists
/// of its own.)
#[derive(Clone, Debug)]
pub struct Lru {
    size: u64,
    touched: Vec<u32>,
    /// The first second of which anything is left, and the first of which all is.
    oldest: u32,
    horizon: u32,
    held: u64,
    peak: u64,
}

impl Lru {
    /// An empty table of this size, for this many seconds.
    #[must_use]
    pub fn new(size: u32, seconds: u32) -> Self {
        let touched = vec![0; seconds as usize + 1];
        Self { size: u64::from(size), touched, oldest: 0, horizon: 0, held: 0, peak: 0 }
    }

    /// Whether an entry that was touched last in this second is still there.
    #[must_use]
    pub fn holds(&self, last: u32) -> bool {
        last >= self.horizon
    }

    /// Some entries more.
    pub fn insert(&mut self, now: u32, count: u32) {
        self.touched[now as usize] += count;
        self.held += u64::from(count);
        while self.held > self.size && self.oldest < now {
            let left = u64::from(self.touched[self.oldest as usize]);
            let gone = left.min(self.held - self.size);
            self.touched[self.oldest as usize] -= gone as u32;
            self.held -= gone;
            self.horizon = self.horizon.max(self.oldest + u32::from(gone > 0));
            self.oldest += u32::from(gone == left);
        }
        self.peak = self.peak.max(self.held.min(self.size));
    }

    /// An entry less, unless it is forgotten already.
    pub fn remove(&mut self, last: u32) {
        if self.holds(last) {
            self.touched[last as usize] -= 1;
            self.held -= 1;
        }
    }

    /// Up to so many entries less that nothing was asked of since this second: a flood's.
    pub fn remove_foreign(&mut self, last: u32, count: u32) {
        let touched = &mut self.touched[last as usize];
        let gone = count.min(*touched);
        *touched -= gone;
        self.held -= u64::from(gone);
    }

    /// How many entries there are.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.held.min(self.size)
    }

    /// An entry that is asked for, and noted again if it is forgotten; returns whether it was there.
    pub fn touch(&mut self, last: u32, now: u32) -> bool {
        let held = self.holds(last);
        self.remove(last);
        self.insert(now, 1);
        held
    }

    /// How long an entry that nobody touches lasts at this many insertions a second, in milliseconds.
    #[must_use]
    pub fn lasts(&self, rate: u64) -> u64 {
        self.size * 1000 / rate.max(1)
    }

    /// The most entries that there were at once.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::random::Random;

    #[test]
    fn a_table_with_room_forgets_nothing() {
        let mut lru = Lru::new(10, 100);
        (0..10).for_each(|now| lru.insert(now, 1));
        assert!(lru.holds(0));
        assert_eq!(lru.peak(), 10);
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut lru = Lru::new(10, 100);
        (0..11).for_each(|now| lru.insert(now, 1));
        assert!(!lru.holds(0) && lru.holds(1));
        assert_eq!(lru.peak(), 10);
    }

    #[test]
    fn what_is_touched_stays() {
        let mut lru = Lru::new(3, 100);
        lru.insert(0, 1);
        for now in 1..50 {
            lru.insert(now, 1);
            assert!(lru.touch(now - 1, now), "at {now}");
        }
    }

    #[test]
    fn a_flood_leaves_nothing_but_itself() {
        let mut lru = Lru::new(1 << 20, 100);
        lru.insert(0, 500_000);
        lru.insert(1, 1_000_000);
        assert!(!lru.holds(0) && lru.holds(1));
        assert_eq!(lru.lasts(1 << 21), 500);
    }

    #[test]
    fn what_is_left_of_a_flood_fills_the_table_until_it_is_removed() {
        let mut lru = Lru::new(1000, 100);
        lru.insert(0, 10);
        lru.insert(1, 5000);
        lru.insert(2, 0);
        assert!(!lru.holds(1) && lru.holds(2));
        assert_eq!(lru.used(), 1000);
        lru.remove_foreign(1, 5000);
        assert_eq!(lru.used(), 0);
    }

    /// One key a second, so that the model is exact.
    #[test]
    fn the_model_agrees_with_a_list_of_keys() {
        let (mut random, mut lru) = (Random(1), Lru::new(20, 5000));
        let (mut list, mut last) = (Vec::new(), [None; 60]);
        for now in 0..5000 {
            let key = random.below(60) as usize;
            let held = list.iter().position(|other| *other == key);
            assert_eq!(last[key].is_some_and(|last| lru.holds(last)), held.is_some());
            match (held, last[key]) {
                (Some(place), Some(last)) => {
                    list.remove(place);
                    lru.touch(last, now);
                }
                _ => lru.insert(now, 1),
            }
            list.push(key);
            list.drain(..list.len().saturating_sub(20));
            last[key] = Some(now);
        }
    }
}
