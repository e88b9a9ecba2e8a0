//! See `pulsedb::fuzzing::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulsedb::fuzzing::manifest(data));
