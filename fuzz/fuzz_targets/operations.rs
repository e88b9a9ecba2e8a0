//! Requests, crashes and recoveries against the model: the crash tests', with the fuzzer's bytes.
#![no_main]

#[path = "../../tests/it/crash/check.rs"]
mod check;
#[path = "../../tests/it/crash/model.rs"]
mod model;
#[path = "../../tests/it/crash/sequence.rs"]
mod sequence;
#[path = "../../tests/it/crash/workload.rs"]
mod workload;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sequence::operations(data);
});
