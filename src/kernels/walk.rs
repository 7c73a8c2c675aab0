//! How a fused block goes over its image: in vertical strips, or panel by panel. The same for floats and for bytes.

use super::layout::BLOCK;
use super::maker::Window;
use std::ops::Range;

/// Ring, depthwise row and what feeds them should fit into this: half of a common second-level cache.
const STRIP_BYTES: usize = 448 << 10;
/// Images of at most this many output pixels go panel by panel.
const SMALL_PIXELS: usize = 400;

/// The shapes of a block's images, and the pieces in which they are made.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    stride: usize,
    /// Blocks of channels that the depthwise convolution sees.
    blocks: usize,
    /// Rows and columns that it sees.
    pub height: usize,
    width: usize,
    /// Rows and columns of the output.
    pub out_height: usize,
    pub out_width: usize,
    /// Output columns of a strip.
    strip: usize,
    /// Whether all rows of one panel of channels are made before the next panel's.
    pub small: bool,
}

impl Walk {
    /// Over a depthwise input of `blocks` blocks and `height` × `width` pixels of numbers of `number_bytes`; `projects`
    /// says whether a projection follows.
    pub fn new(
        stride: usize,
        blocks: usize,
        (height, width): (usize, usize),
        number_bytes: usize,
        projects: bool,
    ) -> Walk {
        let (out_height, out_width) = (height.div_ceil(stride), width.div_ceil(stride));
        let column_bytes = (3 * stride + 1) * blocks * BLOCK * number_bytes;
        let strips = (out_width * column_bytes).div_ceil(STRIP_BYTES);
        Walk {
            stride,
            blocks,
            height,
            width,
            out_height,
            out_width,
            strip: out_width.div_ceil(strips),
            small: projects && out_height * out_width <= SMALL_PIXELS,
        }
    }

    /// The output columns of each strip.
    pub fn strips(&self) -> impl Iterator<Item = Range<usize>> {
        let (strip, width) = (self.strip, self.out_width);
        (0..width)
            .step_by(strip)
            .map(move |start| start..(start + strip).min(width))
    }

    /// The window onto the depthwise input that output columns `columns` need.
    pub fn window(
        &self,
        blocks: Range<usize>,
        first_block: usize,
        columns: &Range<usize>,
    ) -> Window {
        Window::of(blocks, first_block, columns, self.stride, self.width)
    }

    /// Numbers of one ring row of `blocks` blocks.
    pub fn ring_row(&self, blocks: usize) -> usize {
        blocks * ((self.columns() - 1) * self.stride + 3) * BLOCK
    }

    /// Numbers of one row that is stretched to a ring row; see [`Window::low_row_len`].
    pub fn low_row(&self, blocks: usize) -> usize {
        self.ring_row(blocks) + blocks * BLOCK
    }

    /// Numbers of the depthwise output that wait for the projection.
    pub fn depthwise(&self) -> usize {
        let rows = if self.small { self.out_height } else { 1 };
        self.blocks * self.columns() * rows * BLOCK
    }

    /// Output columns that are made together.
    fn columns(&self) -> usize {
        if self.small {
            self.out_width
        } else {
            self.strip
        }
    }
}
