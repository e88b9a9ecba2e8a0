//! See `pulsedb::fuzzing::tail`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulsedb::fuzzing::tail(data));
