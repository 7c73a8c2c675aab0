//! The sample rates of clients' audio.

/// The lowest sample rate taken, in Hz (telephone speech).
pub const MIN_SAMPLE_RATE_HZ: u32 = 8_000;
/// The highest sample rate taken, in Hz (what sound cards deliver).
pub const MAX_SAMPLE_RATE_HZ: u32 = 48_000;
/// The sample rate of audio where nobody said otherwise, in Hz.
pub const DEFAULT_SAMPLE_RATE_HZ: u32 = 24_000;
