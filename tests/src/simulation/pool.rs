//! The pool and its rings.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU16,
};

use lb_common::{Member, Seed};
use lb_user::{
    maglev::{self, Candidate, WHOLE},
    plan::Serving,
};

use super::schedule::{Change, Event};

/// A real's life: from a start to its end. A connection is with a life, not with a real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life(NonZeroU16);

#[derive(Clone, Copy, Debug)]
struct Real {
    weight: u16,
    drains: bool,
    life: Option<Life>,
}

/// All reals. The one at an index is the member with the number after it.
#[derive(Clone, Debug)]
pub struct Pool {
    reals: Vec<Real>,
    /// Of each life, whether it is not over; 0 is none.
    alive: Vec<bool>,
    seed: Seed,
    /// The ring while all is well, if no weight has changed since it was made.
    ring: Vec<u16>,
}

const WEIGHT: u16 = 100;

/// How long the ring of so many reals is: as [`lb_user::model::Vip::ring_len`] chooses.
#[must_use]
pub fn ring_len(reals: u16) -> u32 {
    let lengths = [1021, 4093, 16_381, 65_537];
    let wanted = u32::from(reals) * 400;
    lengths.into_iter().find(|len| *len >= wanted).unwrap_or(lb_common::limits::RING_MAX)
}

impl Pool {
    /// This many reals, all up.
    #[must_use]
    pub fn new(reals: u16, seed: u64) -> Self {
        let mut pool = Self {
            reals: Vec::new(),
            alive: vec![false],
            seed: Seed([seed, !seed]),
            ring: Vec::new(),
        };
        (0..reals).for_each(|_| pool.add());
        pool
    }

    /// The seed of hashes and rings.
    #[must_use]
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    fn add(&mut self) {
        let life = self.birth();
        self.reals.push(Real { weight: WEIGHT, drains: false, life });
        self.ring.clear();
    }

    fn birth(&mut self) -> Option<Life> {
        self.alive.push(true);
        let number = u16::try_from(self.alive.len() - 1).ok()?;
        NonZeroU16::new(number).map(Life)
    }

    /// Lets something happen.
    pub fn happen(&mut self, event: Event) {
        let index = usize::from(event.real);
        match event.change {
            Change::Add => self.add(),
            Change::Weight(weight) => {
                self.reals[index].weight = weight;
                self.ring.clear();
            }
            Change::Drain => self.reals[index].drains = true,
            Change::Down => {
                if let Some(life) = self.reals[index].life.take() {
                    self.alive[usize::from(life.0.get())] = false;
                }
            }
            Change::Up => {
                self.reals[index].drains = false;
                if self.reals[index].life.is_none() {
                    self.reals[index].life = self.birth();
                }
            }
        }
    }

    /// Whether this life is not over.
    #[must_use]
    pub fn is_alive(&self, life: Life) -> bool {
        self.alive[usize::from(life.0.get())]
    }

    /// The life that a packet to this member comes to; none if it is down.
    #[must_use]
    pub fn life(&self, member: Option<Member>) -> Option<Life> {
        self.reals.get(usize::from(member?.number()) - 1)?.life
    }

    /// Who can serve the flows that they have.
    #[must_use]
    pub fn serving(&self) -> Serving {
        let up = (0u16..).zip(&self.reals).filter(|(_, real)| real.life.is_some());
        up.filter_map(|(index, _)| Member::new(index + 1)).collect()
    }

    fn candidates(&self) -> Vec<Candidate> {
        let address = |index: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0001 + index));
        let candidate = |(index, real): (u32, &Real)| Candidate {
            address: address(index),
            weight: real.weight,
        };
        (0..).zip(&self.reals).map(candidate).collect()
    }

    fn takes(&self) -> impl Iterator<Item = bool> {
        self.reals.iter().map(|real| real.life.is_some() && !real.drains)
    }

    /// The owners of this design: the ring of all reals, and the slots of those that take nothing dealt to
    /// the others.
    pub fn dealt(&mut self, len: u32) -> Vec<Option<Member>> {
        let candidates = self.candidates();
        if self.ring.is_empty() {
            self.ring = maglev::ring(&candidates, &self.seed, len);
        }
        let parts: Vec<u16> = self.takes().map(|takes| if takes { WHOLE } else { 0 }).collect();
        let owners = maglev::deal(&self.ring, &candidates, &parts, &self.seed);
        owners.into_iter().map(|owner| Member::new(owner? + 1)).collect()
    }

    /// The owners of plain Maglev: a ring of those that take new flows.
    #[must_use]
    pub fn rebuilt(&self, len: u32) -> Vec<Option<Member>> {
        let mut candidates = self.candidates();
        for (candidate, takes) in candidates.iter_mut().zip(self.takes()) {
            if !takes {
                candidate.weight = 0;
            }
        }
        let ring = maglev::ring(&candidates, &self.seed, len);
        if ring.is_empty() {
            return vec![None; len as usize];
        }
        ring.into_iter().map(|owner| Member::new(owner + 1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u32 = 1021;

    fn event(change: Change) -> Event {
        Event { second: 0, real: 1, change }
    }

    #[test]
    fn all_rings_agree_while_all_is_well() {
        let mut pool = Pool::new(5, 1);
        assert_eq!(pool.dealt(LEN), pool.rebuilt(LEN));
    }

    #[test]
    fn a_drained_real_serves_and_owns_nothing() {
        let mut pool = Pool::new(5, 1);
        pool.happen(event(Change::Drain));
        let two = Member::new(2);
        assert!(!pool.dealt(LEN).contains(&two) && !pool.rebuilt(LEN).contains(&two));
        assert!(pool.life(two).is_some());
        assert!(two.is_some_and(|two| pool.serving().has(two)));
    }

    #[test]
    fn a_real_that_is_back_has_another_life() {
        let mut pool = Pool::new(5, 1);
        let before = pool.life(Member::new(2));
        pool.happen(event(Change::Down));
        assert_eq!(pool.life(Member::new(2)), None);
        pool.happen(event(Change::Up));
        let after = pool.life(Member::new(2));
        assert!(after.is_some() && after != before);
        assert!(before.is_some_and(|life| !pool.is_alive(life)));
    }

    #[test]
    fn a_ring_is_as_long_as_that_of_a_vip() {
        assert_eq!([1, 10, 100].map(ring_len), [1021, 4093, 65_537]);
    }
}
