//! How large the tables must be to go on from what stands in them.

use lb_common::{RealWord, Seed, Tick};

use super::{Block, Desired, DesiredReal, DesiredVip, Role, State, claim};
use crate::model::{Real, Room, Vip};

/// The room in which all of these VIPs find place, beside what is there already: a VIP that goes on with its
/// ring and its pool needs no more, and whatever does need more finds it behind the last that is in use.
#[must_use]
pub fn needed(state: &State, vips: &[Vip]) -> Room {
    let real = |real: &Real| DesiredReal {
        address: real.address,
        weight: real.weight,
        word: RealWord::NONE,
        role: Role::Out,
    };
    let vips = vips.iter().map(|vip| DesiredVip::new(vip, false, real)).collect();
    let desired = Desired { seed: Seed([0; 2]), now: Tick(0), vips };
    let claims = claim(state, &desired);
    let more = desired.vips.iter().zip(claims);
    let more = more.map(|(vip, claimed)| more_for(vip, claimed.map(|index| &state.blocks[index])));
    used(state) + more.sum()
}

/// Up to where the tables are in use.
fn used(state: &State) -> Room {
    state.blocks.iter().fold(Room { slots: 0, places: 0 }, |used, block| {
        let slots = block.ring + Room::ring(block.ring_len());
        used.max(Room { slots, places: block.pool + block.places })
    })
}

/// What a VIP needs that it does not have.
fn more_for(vip: &DesiredVip, old: Option<&Block>) -> Room {
    let known = |real: &DesiredReal| old.is_some_and(|old| old.members.contains_key(&real.address));
    let come = vip.pool().filter(|real| !known(real)).count();
    let members = (old.map_or(0, |old| old.members.len()) + come) as u32;
    let enough = old.is_some_and(|old| members < old.places);
    Room {
        slots: if old.is_some() { 0 } else { Room::ring(vip.ring_len) },
        places: if enough { 0 } else { Room::pool(members) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, plan};

    fn vips(reals: &[u16]) -> Vec<Vip> {
        let vip = |(number, reals): (usize, &u16)| {
            let real =
                |real: u16| format!("{{ address = \"10.0.{}.{}\" }}", real / 250, real % 250);
            let reals: Vec<_> = (1..=*reals).map(real).collect();
            format!(
                "[[vip]]\nname = \"v{number}\"\naddress = \"192.0.2.{number}\"\nports = [\"tcp/80\"]\nreal = [{}]\n",
                reals.join(", ")
            )
        };
        let text: String = (1..).zip(reals).map(vip).collect();
        config::parse(&format!("node.interfaces = [\"eth0\"]\n{text}")).expect("a file").vips
    }

    /// The state with these VIPs after another one, read from the maps.
    fn after(state: &State, vips: &[Vip], room: Room) -> State {
        let real = |real: &Real| DesiredReal {
            address: real.address,
            weight: real.weight,
            word: RealWord::NONE,
            role: Role::Out,
        };
        let vips = vips.iter().map(|vip| DesiredVip::new(vip, false, real)).collect();
        let desired = Desired { seed: Seed([0; 2]), now: Tick(0), vips };
        let before = State::new(room, state.blocks.clone(), state.entries.clone());
        let mut state = plan::plan(&before, &desired).expect("there is room").state;
        for block in &mut state.blocks {
            (block.name, block.planned) = (None, None);
        }
        state
    }

    #[test]
    fn from_nothing_it_is_the_sum_of_what_all_take() {
        let vips = vips(&[2, 10, 200]);
        let needed = needed(&State::default(), &vips);
        assert_eq!(needed, vips.iter().map(Room::of).sum());
        assert_eq!(needed, Room { slots: 1024 + 4096 + 262_144, places: 8 + 16 + 512 });
        assert_eq!(used(&after(&State::default(), &vips, needed)), needed);
    }

    #[test]
    fn what_goes_on_needs_no_more_and_what_comes_finds_its_place() {
        let state = after(&State::default(), &vips(&[2, 10]), Room::LEAST);
        let taken = used(&state);
        assert_eq!(needed(&state, &vips(&[2, 10])), taken);
        assert_eq!(needed(&state, &vips(&[7, 10])), taken, "there is place for 5 more");
        for next in [vec![20, 10], vec![2, 10, 300], vec![50, 50, 50], vec![], vec![100]] {
            let next = vips(&next);
            let room = needed(&state, &next);
            assert!(room.holds(taken) && room.holds(used(&after(&state, &next, room))));
        }
    }
}
