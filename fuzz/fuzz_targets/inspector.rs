#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| lipsyncd::protocol::fuzz::inspector(data));
