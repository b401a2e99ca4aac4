//! Imports of whatever libFuzzer comes up with.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tests::import::check(data));
