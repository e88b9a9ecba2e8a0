//! See `pulsedb::fuzzing::segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulsedb::fuzzing::segment(data));
