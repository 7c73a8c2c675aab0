//! The integration tests: one binary, because linking the engine again and again is slow.

mod packages;
