//! See `pulsedb::fuzzing::change`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulsedb::fuzzing::change(data));
