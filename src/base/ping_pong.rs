//! The idle walk: the frames of an idle video forth and back.

/// The idle frame for a frame number that may run past the last: 0 1 2 … n-1 n-2 … 1 0 1 …
///
/// `frame_count` 0 gives 0.
pub fn ping_pong(frame_id: u32, frame_count: u32) -> u32 {
    if frame_count < 2 {
        return 0;
    }
    let period = 2 * (u64::from(frame_count) - 1);
    let step = u64::from(frame_id) % period;
    step.min(period - step) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_walked_to_and_fro() {
        let walk: Vec<u32> = (0..10).map(|id| ping_pong(id, 4)).collect();
        assert_eq!(walk, [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]);
        assert_eq!((ping_pong(7, 1), ping_pong(7, 0)), (0, 0));
        assert_eq!(
            (0..5).map(|id| ping_pong(id, 2)).collect::<Vec<_>>(),
            [0, 1, 0, 1, 0]
        );
        for id in [u32::MAX - 1, u32::MAX] {
            assert_eq!(ping_pong(id, 1 << 31), id - (u32::MAX - 1));
        }
    }
}
