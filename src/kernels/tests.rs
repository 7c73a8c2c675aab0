//! Every instruction set of this processor against the safe references, over sizes, strides and alignments.

use super::*;
use proptest::prelude::*;

/// Numbers between −1 and 1 that depend on nothing but `seed`.
pub(super) fn noise(seed: u64, length: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..length).map(|_| next()).collect()
}

/// Rounding aside: sums of a few hundred products of such numbers.
pub(super) fn close(a: &[f32], b: &[f32]) -> bool {
    a.iter()
        .zip(b)
        .all(|(a, b)| (a - b).abs() <= 1e-4 * (1.0 + b.abs()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn dense_rows_equal_their_reference(
        channels in prop::collection::vec(1usize..40, 1..4),
        panel in 1usize..=4,
        pixels in 1usize..50,
        step in 1usize..=3,
        shift in 0usize..16,
        flags in 0u8..16,
        seed: u64,
    ) {
        let row = ((pixels - 1) * step + 1) * BLOCK;
        let data = noise(seed, shift + row * 3);
        let sources: Vec<Source> = channels
            .iter()
            .map(|channels| Source { data: &data[shift..], channels: *channels, block_stride: row })
            .collect();
        let depth: usize = channels.iter().sum();
        let weights = noise(seed ^ 1, depth * panel * BLOCK);
        let bias = noise(seed ^ 2, panel * BLOCK);
        let skip = noise(seed ^ 3, panel * pixels * BLOCK);
        let finish = Finish {
            relu_first: flags & 1 != 0,
            skip: (flags & 2 != 0).then_some((&skip[..], pixels * BLOCK)),
            relu_last: flags & 4 != 0,
        };
        let start = if flags & 8 != 0 { Start::Output } else { Start::Bias(&bias) };
        let out_block = pixels * BLOCK;
        let row = DenseRow { sources: &sources, step, weights: &weights, panel, start, finish, pixels, out_block };
        let before = noise(seed ^ 4, panel * out_block);
        let mut twin = before.clone();
        dense_reference(&row, &mut twin);
        for kernels in Kernels::available() {
            let mut out = before.clone();
            kernels.dense(&row, &mut out);
            prop_assert!(close(&out, &twin), "{}", kernels.name);
        }
    }

    #[test]
    fn depthwise_rows_equal_their_reference(
        blocks in 1usize..4,
        pixels in 1usize..40,
        step in 1usize..=2,
        relu: bool,
        seed: u64,
    ) {
        let block_stride = ((pixels - 1) * step + 3) * BLOCK;
        let data = noise(seed, 3 * blocks * block_stride);
        let (weights, bias) = (noise(seed ^ 1, blocks * 9 * BLOCK), noise(seed ^ 2, blocks * BLOCK));
        let mut rows = data.chunks_exact(blocks * block_stride);
        let rows = std::array::from_fn(|_| rows.next().expect("three rows"));
        let out_block = pixels * BLOCK;
        let row =
            DepthwiseRow { rows, block_stride, step, weights: &weights, bias: &bias, relu, blocks, pixels, out_block };
        let mut twin = vec![0.0; blocks * out_block];
        depthwise_reference(&row, &mut twin);
        for kernels in Kernels::available() {
            let mut out = vec![f32::NAN; blocks * out_block];
            kernels.depthwise(&row, &mut out);
            prop_assert!(close(&out, &twin), "{}", kernels.name);
        }
    }

    #[test]
    fn stretched_and_blended_rows_equal_their_references(
        blocks in 1usize..3,
        input in 2usize..20,
        factor in 1usize..4,
        weight in 0.0f32..1.0,
        seed: u64,
    ) {
        let upsample = Upsample::new((2, input), (2, input * factor), |_, at, output, input| {
            if output == 1 { 0.0 } else { at as f32 * (input - 1) as f32 / (output - 1) as f32 }
        });
        let (above, below) = (noise(seed, blocks * input * BLOCK), noise(seed ^ 1, blocks * input * BLOCK));
        let blended: Vec<f32> = above.iter().zip(&below).map(|(a, b)| a + weight * (b - a)).collect();
        let columns = 0..input * factor;
        let out_block = columns.len() * BLOCK;
        let mut twin = vec![0.0; blocks * out_block];
        stretch_reference(&upsample.stretch_row(&blended, &columns, out_block), &mut twin);
        for kernels in Kernels::available() {
            let mut mixed = vec![0.0; blended.len()];
            kernels.blend(&above, &below, weight, &mut mixed);
            prop_assert!(close(&mixed, &blended), "{}", kernels.name);
            let mut out = vec![f32::NAN; twin.len()];
            upsample.stretch(&kernels, &blended, &columns, out_block, &mut out);
            prop_assert!(close(&out, &twin), "{}", kernels.name);
        }
    }

    #[test]
    fn logistic_is_within_two_ulp_of_one(values in prop::collection::vec(-120.0f32..120.0, 0..70)) {
        for kernels in Kernels::available() {
            let mut out = values.clone();
            kernels.logistic(&mut out);
            for (out, value) in out.iter().zip(&values) {
                let exact = 1.0 / (1.0 + (-f64::from(*value)).exp());
                prop_assert!((f64::from(*out) - exact).abs() < 3e-7, "{value}: {out} is not {exact}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "outside its source")]
fn a_row_that_reaches_outside_its_slice_is_refused() {
    let data = [0.0; 2 * BLOCK];
    let sources = [Source {
        data: &data,
        channels: 16,
        block_stride: 0,
    }];
    let row = DenseRow {
        sources: &sources,
        step: 1,
        weights: &[0.0; 256],
        panel: 1,
        start: Start::Output,
        finish: Finish::default(),
        pixels: 3,
        out_block: 48,
    };
    Kernels::available()[0].dense(&row, &mut [0.0; 48]);
}

#[test]
fn an_unknown_instruction_set_is_an_error_that_names_the_known() {
    let error = Kernels::choose(Some("mmx")).expect_err("there are no such kernels");
    assert!(error.to_string().contains("portable"), "{error}");
    assert_eq!(
        Kernels::choose(Some("portable")).map(|kernels| kernels.name),
        Ok("portable")
    );
}

/// A planar image `[channels][height][width]`.
#[derive(Clone)]
pub(super) struct Planes {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub data: Vec<f32>,
}

impl Planes {
    pub fn noise(seed: u64, channels: usize, height: usize, width: usize) -> Planes {
        Planes {
            channels,
            height,
            width,
            data: noise(seed, channels * height * width),
        }
    }

    fn at(&self, channel: usize, y: isize, x: isize) -> f32 {
        let inside =
            (0..self.height as isize).contains(&y) && (0..self.width as isize).contains(&x);
        if inside {
            self.data[(channel * self.height + y as usize) * self.width + x as usize]
        } else {
            0.0
        }
    }

    fn make(
        channels: usize,
        height: usize,
        width: usize,
        value: impl Fn(usize, usize, usize) -> f32,
    ) -> Planes {
        let plane = height * width;
        let data = (0..channels * plane)
            .map(|at| value(at / plane, at % plane / width, at % width))
            .collect();
        Planes {
            channels,
            height,
            width,
            data,
        }
    }

    pub fn layout(&self, halo: usize) -> Layout {
        Layout {
            channels: self.channels,
            height: self.height,
            width: self.width,
            halo,
        }
    }

    pub fn import(&self, halo: usize) -> Floats {
        let layout = self.layout(halo);
        let mut floats = Floats::zeros(layout.len());
        let body = halo * layout.row_len()..(halo + self.height) * layout.row_len();
        import_rows(&self.data, layout, 0..self.height, &mut floats[body]);
        floats
    }

    /// The twin of every dense convolution: `weights[out][channel][tap]`.
    pub fn convolve(
        &self,
        geometry: Geometry,
        weights: &[f32],
        bias: &[f32],
        out: (usize, usize),
    ) -> Planes {
        let (taps, kernel) = (geometry.taps(), geometry.kernel);
        Planes::make(bias.len(), out.0, out.1, |o, y, x| {
            let mut sum = bias[o];
            for channel in 0..self.channels {
                for tap in 0..taps {
                    let y =
                        (y * geometry.stride.0 + tap / kernel.1) as isize - geometry.pad.0 as isize;
                    let x =
                        (x * geometry.stride.1 + tap % kernel.1) as isize - geometry.pad.1 as isize;
                    sum += weights[(o * self.channels + channel) * taps + tap]
                        * self.at(channel, y, x);
                }
            }
            sum
        })
    }

    pub fn depthwise(&self, stride: usize, weights: &[f32], bias: &[f32]) -> Planes {
        let (height, width) = (self.height.div_ceil(stride), self.width.div_ceil(stride));
        Planes::make(self.channels, height, width, |c, y, x| {
            (0..9).fold(bias[c], |sum, tap| {
                let (y, x) = (
                    (y * stride + tap / 3) as isize - 1,
                    (x * stride + tap % 3) as isize - 1,
                );
                sum + weights[c * 9 + tap] * self.at(c, y, x)
            })
        })
    }

    pub fn upsample(&self, height: usize, width: usize) -> Planes {
        let place = |at: usize, output: usize, input: usize| align_corners(at, output, input);
        Planes::make(self.channels, height, width, |c, y, x| {
            let (y, x) = (place(y, height, self.height), place(x, width, self.width));
            let (top, left) = (
                (y as usize).min(self.height - 2),
                (x as usize).min(self.width - 2),
            );
            let (v, u) = (y - top as f32, x - left as f32);
            let at = |dy: usize, dx: usize| self.at(c, (top + dy) as isize, (left + dx) as isize);
            (at(0, 0) * (1.0 - u) + at(0, 1) * u) * (1.0 - v)
                + (at(1, 0) * (1.0 - u) + at(1, 1) * u) * v
        })
    }

    pub fn plus(&self, other: &Planes) -> Planes {
        let data = self
            .data
            .iter()
            .zip(&other.data)
            .map(|(a, b)| a + b)
            .collect();
        Planes {
            data,
            ..self.clone()
        }
    }

    pub fn relu(self, wanted: bool) -> Planes {
        let data = self
            .data
            .iter()
            .map(|value| if wanted { value.max(0.0) } else { *value })
            .collect();
        Planes { data, ..self }
    }

    pub fn beside(&self, other: &Planes) -> Planes {
        let data = self.data.iter().chain(&other.data).copied().collect();
        Planes {
            channels: self.channels + other.channels,
            data,
            ..self.clone()
        }
    }
}

pub(super) fn align_corners(at: usize, output: usize, input: usize) -> f32 {
    at as f32 * (input - 1) as f32 / (output - 1) as f32
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn convolutions_equal_their_reference(
        (height, width) in (3usize..9, 3usize..9),
        (inputs, outs) in (1usize..40, 1usize..70),
        kernel in 1usize..=3,
        stride in (1usize..=3, 1usize..=3),
        relu_last: bool,
        seed: u64,
    ) {
        let geometry = Geometry { kernel: (kernel, kernel), stride, pad: (kernel / 2, kernel / 2) };
        let image = Planes::noise(seed, inputs, height, width);
        let out = |length: usize, stride: usize| (length + 2 * (kernel / 2) - kernel) / stride + 1;
        let (out_height, out_width) = (out(height, stride.0), out(width, stride.1));
        let weights = noise(seed ^ 1, outs * inputs * kernel * kernel);
        let bias = noise(seed ^ 2, outs);
        let skip = Planes::noise(seed ^ 3, outs, out_height, out_width);
        let twin = image.convolve(geometry, &weights, &bias, (out_height, out_width)).plus(&skip).relu(relu_last);
        let halo = kernel / 2;
        let data = image.import(halo);
        let layout = twin.layout(1);
        for kernels in Kernels::available() {
            let packed = Convolution::pack(geometry, &bias, &[inputs], kernels.panel, |o, _, c, tap| {
                weights[(o * inputs + c) * kernel * kernel + tap]
            });
            let mut out = Floats::zeros(layout.len());
            let body = layout.row_len()..(1 + out_height) * layout.row_len();
            let skip_data = skip.import(0);
            let skip = Image { layout: skip.layout(0), data: &skip_data };
            let activation = Activation { relu_first: false, relu_last };
            let image = Image { layout: image.layout(halo), data: &data };
            let run = Run { kernels: &kernels, inputs: &[image], skip: Some(skip), layout, rows: 0..out_height };
            packed.rows(&run, activation, &mut out[body]);
            let mut planes = vec![0.0; twin.data.len()];
            (0..out_height).for_each(|y| export_row(Image { layout, data: &out }, y, &mut planes));
            prop_assert!(close(&planes, &twin.data), "{}", kernels.name);
        }
    }

    /// Everything a block can be: expanded from one input and from an upsampled one, upsampled or from memory; stride
    /// 1 and 2; wide enough for strips, small enough for panels.
    #[test]
    fn blocks_equal_their_reference(
        (height, width) in (2usize..8, prop_oneof![2usize..12, 90usize..140]),
        (first, second) in (1usize..20, 1usize..20),
        expanded in prop_oneof![1usize..40, 100usize..150],
        outs in 1usize..40,
        stride in 1usize..=2,
        kind in 0usize..5,
        hardly_grows in 0usize..3,
        relu: [bool; 3],
        seed: u64,
    ) {
        let (height, width) = (height * 2, width * 2);
        let low_width = [width / 2, width - 1, width][hardly_grows];
        let full = Planes::noise(seed, first, height, width);
        let low = Planes::noise(seed ^ 1, second, height / 2, low_width);
        let upsample = Upsample::new((height / 2, low_width), (height, width), |_, at, output, input| {
            align_corners(at, output, input)
        });
        let (w_full, w_low) = (noise(seed ^ 2, expanded * first), noise(seed ^ 3, expanded * second));
        let bias = noise(seed ^ 4, expanded);
        let expand = |planes: &Planes, weights: &[f32], bias: &[f32]| {
            planes.convolve(Geometry::POINT, weights, bias, (planes.height, planes.width))
        };
        let up = low.upsample(height, width);
        let none = vec![0.0; expanded];
        let made = match kind {
            0 => expand(&full, &w_full, &bias).relu(relu[0]),
            1 => expand(&full, &w_full, &none).plus(&expand(&up, &w_low, &bias)).relu(relu[0]),
            2 => expand(&up, &w_low, &bias).relu(relu[0]),
            3 => up.beside(&full),
            _ => full.clone(),
        };
        let channels = made.channels;
        let (w_depth, b_depth) = (noise(seed ^ 5, channels * 9), noise(seed ^ 6, channels));
        let (w_out, b_out) = (noise(seed ^ 7, outs * channels), noise(seed ^ 8, outs));
        let depth = made.depthwise(stride, &w_depth, &b_depth).relu(relu[1]);
        let projected = depth.convolve(Geometry::POINT, &w_out, &b_out, (depth.height, depth.width));
        let skip = Planes::noise(seed ^ 9, outs, depth.height, depth.width);
        let twin = projected.relu(relu[2]).plus(&skip);
        let (full_data, low_data, skip_data) = (full.import(1), low.import(0), skip.import(0));
        let full_image = Image { layout: full.layout(1), data: &full_data };
        let low_image = Image { layout: low.layout(0), data: &low_data };
        for kernels in Kernels::available() {
            let point = |weights: &[f32], bias: &[f32], depth: usize| {
                Convolution::pack(Geometry::POINT, bias, &[depth], kernels.panel, |o, _, c, _| weights[o * depth + c])
            };
            let expand = |full: bool, low: bool| Part::Expand {
                full: full.then(|| point(&w_full, &bias, first)),
                inputs: usize::from(full),
                low: low.then(|| (point(&w_low, &bias, second), upsample.clone())),
                relu: relu[0],
            };
            let upsampled = Part::Upsample { channels: second, upsample: upsample.clone() };
            let memory = Part::Memory { channels: first };
            let (parts, inputs) = match kind {
                0 => (vec![expand(true, false)], vec![full_image]),
                1 => (vec![expand(true, true)], vec![full_image, low_image]),
                2 => (vec![expand(false, true)], vec![low_image]),
                3 => (vec![upsampled, memory], vec![low_image, full_image]),
                _ => (vec![memory], vec![full_image]),
            };
            let split: Vec<usize> = parts.iter().map(Part::channels).collect();
            let packed = Depthwise::pack(stride, relu[1], &b_depth, &split, |channel, tap| w_depth[channel * 9 + tap]);
            let starts: Vec<usize> = split.iter().scan(0, |sum, n| Some(std::mem::replace(sum, *sum + n))).collect();
            let project = Convolution::pack(Geometry::POINT, &b_out, &split, kernels.panel, |o, part, channel, _| {
                w_out[o * channels + starts[part] + channel]
            });
            let activation = Activation { relu_first: relu[2], relu_last: false };
            let block = Block::new(parts, packed, Some(project), activation, (height, width));
            let mut scratch = Scratch::default();
            scratch.grow(&block.scratch());
            let layout = twin.layout(0);
            let mut out = Floats::zeros(layout.len());
            let skip = Image { layout: skip.layout(0), data: &skip_data };
            // In two bands, as two threads would.
            for rows in [0..twin.height / 2, twin.height / 2..twin.height] {
                let body = &mut out[rows.start * layout.row_len()..rows.end * layout.row_len()];
                let run = Run { kernels: &kernels, inputs: &inputs, skip: Some(skip), layout, rows };
                block.run(&run, &mut scratch, body);
            }
            let mut planes = vec![0.0; twin.data.len()];
            (0..twin.height).for_each(|y| export_row(Image { layout, data: &out }, y, &mut planes));
            prop_assert!(close(&planes, &twin.data), "{} kind {kind}", kernels.name);
        }
    }
}
