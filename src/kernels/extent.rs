//! How far into a slice a kernel reaches, computed so that no size can wrap around.

use super::layout::BLOCK;

/// Numbers of a slice, from its start, that a kernel may touch; `None` where a `usize` cannot hold the count.
#[derive(Clone, Copy)]
pub(super) struct Extent(Option<usize>);

impl Extent {
    /// One block of channels of one pixel.
    pub const BLOCK: Extent = Extent(Some(BLOCK));

    /// As many numbers as the product of `factors`.
    pub fn product(factors: &[usize]) -> Extent {
        let product = factors
            .iter()
            .try_fold(1usize, |product, factor| product.checked_mul(*factor));
        Extent(product)
    }

    /// The same `count` times (at least once), each `stride` numbers after the one before.
    pub fn repeated(self, count: usize, stride: usize) -> Extent {
        let last = count
            .checked_sub(1)
            .and_then(|more| more.checked_mul(stride));
        Extent(
            last.zip(self.0)
                .and_then(|(last, own)| last.checked_add(own)),
        )
    }

    /// `count` pixels, each `step` pixels after the one before.
    pub fn pixels(count: usize, step: usize) -> Extent {
        // A saturated stride is refused by `repeated`, unless there is one pixel and no stride is ever taken.
        Extent::BLOCK.repeated(count, step.saturating_mul(BLOCK))
    }

    /// Panics unless a slice of `length` numbers holds it: what makes the kernels' pointers sound.
    #[track_caller]
    pub fn check(self, length: usize, what: &str) {
        assert!(
            self.0.is_some_and(|numbers| numbers <= length),
            "a kernel's row reaches outside its {what}: {:?} of {length} numbers",
            self.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_usize_cannot_count_is_in_no_slice() {
        for extent in [
            Extent::product(&[usize::MAX, 2]),
            Extent::BLOCK.repeated(2, usize::MAX - 15),
            Extent::BLOCK.repeated(0, 1),
            Extent::pixels(2, usize::MAX),
        ] {
            assert_eq!(extent.0, None);
        }
        assert_eq!(Extent::pixels(1, usize::MAX).0, Some(BLOCK));
        assert_eq!(Extent::pixels(3, 2).repeated(4, 100).0, Some(300 + 80));
    }
}
