//! See `pulsedb::fuzzing::checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulsedb::fuzzing::checkpoint(data));
