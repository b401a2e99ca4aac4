//! What a capture takes of a frame, by each of its programs.

use aya::{
    EbpfLoader,
    maps::{Array, RingBuf},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    Outcome,
    capture::{Captured, SNAP},
};
use lb_user::dataplane::CAPTURE;
use tests::world::SEED;

/// Of an ARP request, of TCP segments without data (with no, with twelve and with twenty bytes of options), as short as
/// Ethernet pads them, and others.
const LENGTHS: [usize; 11] = [14, 42, 54, 66, 74, 60, 255, 256, 257, 259, 1514];

/// What this program takes of a frame that is not for the balancer, if the kernel takes the program.
fn taken(name: &str) -> Option<impl FnMut(&[u8]) -> Captured> {
    let loader = EbpfLoader::new()
        .override_global("SEED", &SEED.0, true)
        .override_global("PORT", &1u8, true)
        .override_global("AYA_LOG_LEVEL", &0u8, false)
        .load(CAPTURE);
    let mut object = loader.expect("an object");
    let program: &mut Xdp = object.program_mut(name).expect("it").try_into().expect("XDP");
    program.load().ok()?;
    let wanted = object.map_mut("WANTED").expect("a map");
    let mut wanted: Array<_, [u64; 2]> = Array::try_from(wanted).expect("an array");
    wanted.set(0, [u64::MAX, 0], 0).expect("all frames");
    let mut frames = RingBuf::try_from(object.take_map("CAPTURED").expect("a map")).expect("it");
    let name = name.to_owned();
    Some(move |frame: &[u8]| {
        let program: &mut Xdp = object.program_mut(&name).expect("it").try_into().expect("XDP");
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        program.test_run(options).expect("a test run");
        let item = frames.next().expect("a frame");
        assert_eq!(item.len(), size_of::<Captured>());
        // SAFETY: as many bytes are there, and every bit pattern is a valid value.
        unsafe { item.as_ptr().cast::<Captured>().read_unaligned() }
    })
}

#[test]
fn a_capture_takes_every_byte_of_a_short_frame() {
    let mut programs = 0;
    for name in ["capture", "capture_linear"] {
        let Some(mut taken) = taken(name) else {
            println!("skipped: this kernel has no XDP frames in several buffers (before 5.18)");
            continue;
        };
        for length in LENGTHS {
            let frame: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let captured = taken(&frame);
            assert_eq!(captured.outcome, Outcome::NotForUs.index(), "{name}: {length}");
            assert_eq!(captured.came.length as usize, length, "{name}");
            let seen = &frame[..length.min(SNAP)];
            assert!(captured.came.seen() == seen, "{name}: of {length}: {:?}", captured.came);
            assert_eq!(captured.left.taken, 0, "{name}: it was not sent on");
        }
        programs += 1;
    }
    assert!(programs > 0, "one of both is there");
}
