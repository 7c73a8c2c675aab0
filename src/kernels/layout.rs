//! How an activation lies in memory: rows of blocks of sixteen channels.
//!
//! ```text
//! [height + 2·halo][channels / 16, rounded up][width + 2·halo][16]
//! ```
//!
//! Sixteen neighbouring floats are sixteen channels of one pixel, so no kernel ever meets a ragged row end, a stride
//! or an odd width: those only change which pixel comes next. A row holds all its channels, so a band of rows is one
//! slice, and bands can be given to threads with `split_at_mut`. The halo is a border of zeros that the convolution
//! reading the activation asks for. Lanes past the last channel hold zero.

use bytemuck::{Pod, Zeroable};
use std::marker::PhantomData;

/// Channels in a block: the lanes of one logical vector.
pub const BLOCK: usize = 16;

/// Shape of an activation and the border of zeros around it (pixels on each side).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub halo: usize,
}

impl Layout {
    /// Of no image.
    pub const EMPTY: Layout = Layout {
        channels: 0,
        height: 0,
        width: 0,
        halo: 0,
    };

    /// Blocks of sixteen channels.
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(BLOCK)
    }

    /// Floats from one block of a row to the next.
    pub fn block_len(&self) -> usize {
        (self.width + 2 * self.halo) * BLOCK
    }

    /// Floats in one row of all channels, halo included.
    pub fn row_len(&self) -> usize {
        self.blocks() * self.block_len()
    }

    /// Floats in the whole activation, halo included.
    pub fn len(&self) -> usize {
        (self.height + 2 * self.halo) * self.row_len()
    }

    /// Where the first block of pixel `x` of row `y` starts; both may lie up to `halo` outside the image.
    ///
    /// # Panics
    /// If the pixel lies outside the halo.
    pub fn offset(&self, y: isize, x: isize) -> usize {
        let inside = |at: isize, length: usize| {
            let at = at + self.halo as isize;
            assert!(
                at >= 0 && at as usize <= length + 2 * self.halo,
                "pixel outside the halo"
            );
            at as usize
        };
        inside(y, self.height) * self.row_len() + inside(x, self.width) * BLOCK
    }
}

/// An activation that is read.
#[derive(Clone, Copy)]
pub struct Image<'a, T = f32> {
    pub layout: Layout,
    pub data: &'a [T],
}

impl<'a, T> Image<'a, T> {
    /// From pixel `x` of row `y` on (see [`Layout::offset`]).
    pub fn at(&self, y: isize, x: isize) -> &'a [T] {
        &self.data[self.layout.offset(y, x)..]
    }

    /// As one operand of a convolution, from pixel `x` of row `y` on.
    pub fn source(&self, y: isize, x: isize) -> super::Source<'a, T> {
        super::Source {
            data: self.at(y, x),
            channels: self.layout.channels,
            block_stride: self.layout.block_len(),
        }
    }
}

/// Sixty-four bytes: a cache line, and one AVX-512 register.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; BLOCK]);

// SAFETY: sixteen floats, of which all zeros are a value.
unsafe impl Zeroable for Line {}
// SAFETY: `repr(C)` around sixteen floats, and its alignment equals its size: no padding, and every pattern of bits is
// a value.
unsafe impl Pod for Line {}

/// Numbers that start on a cache line, so that no aligned block is ever split between two.
#[derive(Clone)]
pub struct Aligned<T> {
    lines: Vec<Line>,
    number: PhantomData<T>,
}

/// What images of `f32` and their weights lie in.
pub type Floats = Aligned<f32>;

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Aligned {
            lines: Vec::new(),
            number: PhantomData,
        }
    }
}

impl<T: Pod> Aligned<T> {
    /// Numbers in a line.
    const LINE: usize = size_of::<Line>() / size_of::<T>();

    /// At least `length` zeros.
    pub fn zeros(length: usize) -> Self {
        Aligned {
            lines: vec![Line([0.0; BLOCK]); length.div_ceil(Self::LINE)],
            number: PhantomData,
        }
    }

    /// Makes it at least `length` numbers long; what it held is lost.
    pub fn grow(&mut self, length: usize) {
        if self.len() < length {
            *self = Aligned::zeros(length);
        }
    }
}

impl Floats {
    /// The same memory as bytes.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.lines)
    }

    /// The same memory as bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}

impl<T: Pod> std::ops::Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.lines)
    }
}

impl<T: Pod> std::ops::DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}

impl<T: Pod> std::fmt::Debug for Aligned<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Aligned({})", self.len())
    }
}

/// Puts rows `rows` of a planar image `[channels][height][width]` into `out`, the layout's rows `rows` (without the
/// halo rows above and below the image). The halo's columns and the lanes past the last channel become zero.
pub fn import_rows(planes: &[f32], layout: Layout, rows: std::ops::Range<usize>, out: &mut [f32]) {
    let plane = layout.height * layout.width;
    assert_eq!(planes.len(), layout.channels * plane);
    for (y, out) in rows.zip(out.chunks_exact_mut(layout.row_len())) {
        for (block, out) in out.chunks_exact_mut(layout.block_len()).enumerate() {
            out.fill(0.0);
            let channels = (layout.channels - block * BLOCK).min(BLOCK);
            let pixels = &mut out[layout.halo * BLOCK..];
            for lane in 0..channels {
                let row =
                    &planes[(block * BLOCK + lane) * plane + y * layout.width..][..layout.width];
                for (x, value) in row.iter().enumerate() {
                    pixels[x * BLOCK + lane] = *value;
                }
            }
        }
    }
}

/// The inverse of [`import_rows`] for one row `y`: writes it into `planes` `[channels][height][width]`.
pub fn export_row(image: Image, y: usize, planes: &mut [f32]) {
    let layout = image.layout;
    let plane = layout.height * layout.width;
    assert_eq!(planes.len(), layout.channels * plane);
    let row = image.at(y as isize, 0);
    for channel in 0..layout.channels {
        let pixels = &row[channel / BLOCK * layout.block_len() + channel % BLOCK..];
        let out = &mut planes[channel * plane + y * layout.width..][..layout.width];
        for (out, pixel) in out.iter_mut().zip(pixels.iter().step_by(BLOCK)) {
            *out = *pixel;
        }
    }
}

/// Makes the halo of an activation `zero` (what stands for zero there): whole rows above and below, and the columns at
/// both ends of each row.
pub fn clear_halo<T: Copy>(layout: Layout, zero: T, data: &mut [T]) {
    let row = layout.row_len();
    let side = layout.halo * BLOCK;
    if side == 0 {
        return;
    }
    data[..layout.halo * row].fill(zero);
    data[(layout.height + layout.halo) * row..layout.len()].fill(zero);
    for row in data[layout.halo * row..(layout.height + layout.halo) * row]
        .chunks_exact_mut(layout.block_len())
    {
        row[..side].fill(zero);
        let end = row.len() - side;
        row[end..].fill(zero);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_their_lines() {
        let mut floats = Floats::zeros(33);
        assert_eq!(floats.len(), 48);
        for (i, value) in floats.iter_mut().enumerate() {
            *value = i as f32;
        }
        let twin: Vec<f32> = floats.lines.iter().flat_map(|line| line.0).collect();
        let bytes: Vec<u8> = twin.iter().flat_map(|value| value.to_ne_bytes()).collect();
        assert_eq!(floats.bytes(), bytes);
        assert_eq!(floats.bytes_mut(), bytes);
        assert_eq!(twin, floats.to_vec());
        assert_eq!(floats.as_ptr() as usize % 64, 0);
    }

    #[test]
    fn planar_images_survive_the_layout() {
        let layout = Layout {
            channels: 21,
            height: 3,
            width: 5,
            halo: 2,
        };
        let planes: Vec<f32> = (0..21 * 15).map(|i| i as f32 + 1.0).collect();
        let mut data = vec![f32::NAN; layout.len()];
        let body = layout.halo * layout.row_len()..(layout.halo + layout.height) * layout.row_len();
        import_rows(&planes, layout, 0..3, &mut data[body]);
        clear_halo(layout, 0.0, &mut data);
        assert!(data.iter().all(|value| !value.is_nan()));
        assert_eq!(data.iter().sum::<f32>(), planes.iter().sum::<f32>());
        let mut back = vec![0.0; planes.len()];
        for y in 0..3 {
            export_row(
                Image {
                    layout,
                    data: &data,
                },
                y,
                &mut back,
            );
        }
        assert_eq!(planes, back);
    }
}
