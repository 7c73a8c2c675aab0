//! Voice activity detection (VAD) by level.

use super::{AudioError, check_rate};

/// Length of the blocks whose level is taken, in ms.
pub const LEVEL_BLOCK_MS: u32 = 10;

/// The level of a block without sound, in dB below full scale; also the lowest level told. 16 bits reach down to -96 dB.
const LOWEST_DB: f32 = -100.0;
/// Blocks a second.
const BLOCKS_PER_SECOND: u64 = 1_000 / LEVEL_BLOCK_MS as u64;

/// What counts as speech: the parameters of the voice activity detector. Levels are RMS over 10 ms, in dB relative to full scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VadParams {
    /// Speech begins this far above the noise floor, dB. A voice stands 20 to 50 dB above a room's noise.
    pub begin_above_floor_db: f32,
    /// Speech goes on down to this far above the noise floor, dB.
    pub end_above_floor_db: f32,
    /// Nothing below this level begins speech, dB, however quiet the floor is: breath and the noise of a 16-bit source.
    pub quietest_speech_db: f32,
    /// The noise floor is never taken to be above this, dB, so that speech without a pause is not learnt as noise.
    pub highest_floor_db: f32,
    /// How fast the floor rises towards a level above it, dB a second. It falls with the first quieter block.
    pub floor_rise_db_per_second: f32,
    /// Speech is taken to go on for this long after its last loud block, ms: longer than a stop consonant's closure.
    pub hangover_ms: u32,
}

impl Default for VadParams {
    fn default() -> Self {
        Self {
            begin_above_floor_db: 12.0,
            end_above_floor_db: 6.0,
            quietest_speech_db: -55.0,
            highest_floor_db: -40.0,
            floor_rise_db_per_second: 2.0,
            hangover_ms: 200,
        }
    }
}

/// A voice activity detector (VAD): tells speech from silence, block by block, by level, with hysteresis, hangover, and a
/// noise floor that adapts.
///
/// Its time is the position in the sound, so it depends neither on a clock nor on how the sound is cut.
#[derive(Debug, Clone)]
pub struct VoiceActivityDetector {
    limits: VadParams,
    rate_hz: u64,
    position: u64,
    block: u64,
    /// Sum of the squares of the block so far; 64 bits hold 480 squares of 16-bit samples exactly.
    energy: u64,
    energy_samples: u64,
    floor_db: f32,
    level_db: f32,
    loud: bool,
    /// Blocks left of the hangover.
    hanging: u32,
}

impl VoiceActivityDetector {
    /// A detector for sound at `rate_hz`; it begins in silence.
    ///
    /// # Errors
    /// [`AudioError::Rate`] outside 8–48 kHz.
    pub fn new(rate_hz: u32, limits: VadParams) -> Result<Self, AudioError> {
        check_rate(rate_hz)?;
        Ok(Self {
            limits,
            rate_hz: u64::from(rate_hz),
            position: 0,
            block: 0,
            energy: 0,
            energy_samples: 0,
            floor_db: LOWEST_DB,
            level_db: LOWEST_DB,
            loud: false,
            hanging: 0,
        })
    }

    /// The next sample is the first of another sound, of the same source: the noise floor is kept.
    pub fn restart(&mut self) {
        let (limits, rate_hz, floor_db) = (self.limits, self.rate_hz, self.floor_db);
        *self = Self {
            limits,
            rate_hz,
            position: 0,
            block: 0,
            energy: 0,
            energy_samples: 0,
            floor_db,
            level_db: LOWEST_DB,
            loud: false,
            hanging: 0,
        };
    }

    /// Takes samples and calls `sink(end, speech)` for each block that they complete: the position of the first sample
    /// after the block, and whether it counts as speech.
    pub fn push(&mut self, samples: &[i16], mut sink: impl FnMut(u64, bool)) {
        let mut rest = samples;
        while !rest.is_empty() {
            // Blocks end at whole samples without drift, whatever the rate.
            let end = ((self.block + 1) * self.rate_hz).div_ceil(BLOCKS_PER_SECOND);
            let (now, later) = rest.split_at(rest.len().min((end - self.position) as usize));
            self.energy += now
                .iter()
                .map(|s| u64::from(s.unsigned_abs()).pow(2))
                .sum::<u64>();
            self.energy_samples += now.len() as u64;
            self.position += now.len() as u64;
            rest = later;
            if self.position == end {
                self.end_block();
                sink(end, self.is_speech());
            }
        }
    }

    /// Whether the last whole block counts as speech.
    pub fn is_speech(&self) -> bool {
        self.loud || self.hanging > 0
    }

    /// The level of the last whole block: RMS in dB relative to full scale, -100..=0.
    #[cfg(test)]
    fn level_db(&self) -> f32 {
        self.level_db
    }

    /// The noise floor as it is taken to be, in dB relative to full scale.
    #[cfg(test)]
    fn floor_db(&self) -> f32 {
        self.floor_db
    }

    fn end_block(&mut self) {
        let mean = self.energy as f64 / self.energy_samples as f64 / (32_768.0 * 32_768.0);
        self.level_db = ((10.0 * mean.log10()) as f32).max(LOWEST_DB);
        self.energy = 0;
        self.energy_samples = 0;
        self.block += 1;
        let limits = &self.limits;
        let rise = limits.floor_rise_db_per_second / BLOCKS_PER_SECOND as f32;
        self.floor_db = self.level_db.min(
            self.floor_db
                .max(limits.quietest_speech_db - limits.begin_above_floor_db)
                + rise,
        );
        self.floor_db = self.floor_db.min(limits.highest_floor_db);
        let above = if self.loud {
            limits.end_above_floor_db
        } else {
            limits.begin_above_floor_db
        };
        let hysteresis = limits.begin_above_floor_db - above;
        let quietest = limits.quietest_speech_db - hysteresis;
        let was_loud = self.loud;
        self.loud = self.level_db >= (self.floor_db + above).max(quietest);
        if self.loud || was_loud {
            self.hanging = limits.hangover_ms / LEVEL_BLOCK_MS;
        } else {
            self.hanging = self.hanging.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 16_000;

    /// Noise at a level in dB.
    fn noise(ms: u32, level_db: f32) -> Vec<i16> {
        let mut state = 77u32;
        let peak = 32_768.0 * 10f32.powf(level_db / 20.0) * 3f32.sqrt();
        (0..ms * RATE / 1_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * peak) as i16
            })
            .collect()
    }

    /// The share of blocks of `samples` that count as speech.
    fn share(detector: &mut VoiceActivityDetector, samples: &[i16]) -> f32 {
        let (mut blocks, mut speech) = (0, 0);
        detector.push(samples, |_, is| {
            blocks += 1;
            speech += u32::from(is);
        });
        speech as f32 / blocks as f32
    }

    fn detector() -> VoiceActivityDetector {
        VoiceActivityDetector::new(RATE, VadParams::default()).unwrap()
    }

    #[test]
    fn a_voice_in_a_quiet_room_is_speech_and_its_pauses_are_not() {
        let mut detector = detector();
        assert_eq!(share(&mut detector, &noise(500, -70.0)), 0.0);
        assert!((detector.level_db() + 70.0).abs() < 2.0);
        assert_eq!(share(&mut detector, &noise(500, -25.0)), 1.0);
        // The hangover, then silence.
        assert_eq!(share(&mut detector, &noise(200, -70.0)), 1.0);
        assert_eq!(share(&mut detector, &noise(500, -70.0)), 0.0);
    }

    #[test]
    fn a_noisy_room_is_learnt_in_seconds_and_a_voice_still_heard() {
        let mut detector = detector();
        share(&mut detector, &noise(10_000, -45.0));
        assert_eq!(share(&mut detector, &noise(1_000, -45.0)), 0.0);
        assert_eq!(share(&mut detector, &noise(1_000, -25.0)), 1.0);
    }

    #[test]
    fn speech_without_a_pause_is_not_learnt_as_noise() {
        let mut detector = detector();
        assert_eq!(share(&mut detector, &noise(60_000, -25.0)), 1.0);
    }

    #[test]
    fn between_the_two_thresholds_speech_goes_on_but_does_not_begin() {
        let limits = VadParams {
            hangover_ms: 0,
            floor_rise_db_per_second: 0.0,
            ..VadParams::default()
        };
        let mut detector = VoiceActivityDetector::new(RATE, limits).unwrap();
        assert_eq!(share(&mut detector, &noise(300, -58.0)), 0.0);
        assert_eq!(share(&mut detector, &noise(300, -50.0)), 1.0);
        assert_eq!(share(&mut detector, &noise(300, -58.0)), 1.0);
        assert_eq!(share(&mut detector, &noise(300, -64.0)), 0.0);
    }

    #[test]
    fn blocks_do_not_depend_on_pieces_nor_drift_at_odd_rates() {
        let samples = noise(3_000, -30.0);
        let run = |size: usize| {
            let mut detector = VoiceActivityDetector::new(11_025, VadParams::default()).unwrap();
            let mut blocks = Vec::new();
            samples
                .chunks(size)
                .for_each(|piece| detector.push(piece, |end, speech| blocks.push((end, speech))));
            (blocks, detector.level_db(), detector.floor_db())
        };
        assert_eq!(run(1), run(1_000));
        assert_eq!(run(7), run(100_000));
        assert_eq!(run(7).0[99].0, 11_025);
    }

    #[test]
    fn a_restart_keeps_the_floor() {
        let mut detector = detector();
        detector.push(&noise(5_000, -50.0), |_, _| {});
        let floor = detector.floor_db();
        detector.restart();
        assert_eq!((detector.floor_db(), detector.is_speech()), (floor, false));
    }
}
