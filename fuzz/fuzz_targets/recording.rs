#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(lipsyncd::recording::read_recording(data)));
