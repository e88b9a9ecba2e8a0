//! See `pulsedb::fuzzing::backup_manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulsedb::fuzzing::backup_manifest(data));
