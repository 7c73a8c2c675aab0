//! Steps that need no kernels of their own: sums, masks, cuts, copies. They write pixels; halos are the program's.

use crate::kernels::{BLOCK, Image, Layout};

/// Row after row, block after block, pixel after pixel: `write(y, block, output pixels)`.
fn each_block(layout: Layout, body: &mut [f32], mut write: impl FnMut(usize, usize, &mut [f32])) {
    for (y, row) in body.chunks_exact_mut(layout.row_len()).enumerate() {
        for (block, out) in row.chunks_exact_mut(layout.block_len()).enumerate() {
            write(
                y,
                block,
                &mut out[layout.halo * BLOCK..][..layout.width * BLOCK],
            );
        }
    }
}

/// `block` of row `y`, from its first pixel on.
fn pixels<'a>(image: Image<'a>, y: usize, block: usize) -> &'a [f32] {
    &image.at(y as isize, 0)[block * image.layout.block_len()..][..image.layout.width * BLOCK]
}

pub(super) fn sum(images: &[Image], bias: &[f32], relu: bool, layout: Layout, body: &mut [f32]) {
    each_block(layout, body, |y, block, out| {
        out.copy_from_slice(pixels(images[0], y, block));
        for image in &images[1..] {
            out.iter_mut()
                .zip(pixels(*image, y, block))
                .for_each(|(out, value)| *out += value);
        }
        let bias = bias.get(block * BLOCK..).unwrap_or_default();
        for pixel in out.chunks_exact_mut(BLOCK) {
            pixel
                .iter_mut()
                .zip(bias)
                .for_each(|(out, bias)| *out += bias);
            if relu {
                pixel.iter_mut().for_each(|out| *out = out.max(0.0));
            }
        }
    });
}

pub(super) fn masked(image: Image, mask: &[f32], layout: Layout, body: &mut [f32]) {
    each_block(layout, body, |y, block, out| {
        let pixels = pixels(image, y, block).chunks_exact(BLOCK);
        let factors = &mask[y * layout.width..];
        for ((out, pixel), factor) in out.chunks_exact_mut(BLOCK).zip(pixels).zip(factors) {
            out.iter_mut()
                .zip(pixel)
                .for_each(|(out, value)| *out = value * factor);
        }
    });
}

pub(super) fn clamped(image: Image, (low, high): (f32, f32), layout: Layout, body: &mut [f32]) {
    each_block(layout, body, |y, block, out| {
        let values = pixels(image, y, block);
        for (out, value) in out.iter_mut().zip(values) {
            *out = value.max(low).min(high);
        }
    });
}

/// The only pixel of `image`, everywhere.
pub(super) fn spread(image: Image, layout: Layout, body: &mut [f32]) {
    each_block(layout, body, |_, block, out| {
        let pixel = pixels(image, 0, block);
        for out in out.chunks_exact_mut(BLOCK) {
            out.copy_from_slice(pixel);
        }
    });
}

pub(super) fn concat(images: &[Image], layout: Layout, body: &mut [f32]) {
    each_block(layout, body, |y, block, out| {
        out.fill(0.0);
        let mut first = 0;
        for image in images {
            for channel in
                first.max(block * BLOCK)..(first + image.layout.channels).min((block + 1) * BLOCK)
            {
                let from =
                    &pixels(*image, y, (channel - first) / BLOCK)[(channel - first) % BLOCK..];
                let to = out[channel % BLOCK..].iter_mut().step_by(BLOCK);
                to.zip(from.iter().step_by(BLOCK))
                    .for_each(|(to, from)| *to = *from);
            }
            first += image.layout.channels;
        }
    });
}

/// Value by value: only small images are reshaped.
pub(super) fn reshape(image: Image, layout: Layout, body: &mut [f32]) {
    let from = image.layout;
    let (plane, row) = (from.height * from.width, from.width);
    each_block(layout, body, |y, block, out| {
        for (x, pixel) in out.chunks_exact_mut(BLOCK).enumerate() {
            for (lane, out) in pixel.iter_mut().enumerate() {
                let channel = block * BLOCK + lane;
                let at = (channel * layout.height + y) * layout.width + x;
                *out = if channel < layout.channels {
                    let (channel, y, x) = (at / plane, at % plane / row, at % row);
                    pixels(image, y, channel / BLOCK)[x * BLOCK + channel % BLOCK]
                } else {
                    0.0
                };
            }
        }
    });
}
