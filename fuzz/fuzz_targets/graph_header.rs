//! See `pulsedb::fuzzing::graph_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulsedb::fuzzing::graph_header(data));
