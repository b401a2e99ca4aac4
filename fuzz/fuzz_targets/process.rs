//! The datapath on whatever bytes libFuzzer comes up with.
#![no_main]

use lb_user::dataplane::Memory;
use libfuzzer_sys::fuzz_target;
use tests::{invariant, world};

thread_local! {
    static WORLD: Memory = world::host().0;
}

fuzz_target!(|frame: &[u8]| {
    WORLD.with(|memory| {
        invariant::check(memory, frame);
        invariant::check_flow(memory, frame);
    });
});
