//! See `kvs_edge::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = kvs_edge::fuzzing::run_target("fragment", data);
});
