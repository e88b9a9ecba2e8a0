//! See `pulsedb::fuzzing::question`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulsedb::fuzzing::question(data));
