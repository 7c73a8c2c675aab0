//! Every instruction set of this processor against the safe references, to the bit; and blocks of bytes against the same in
//! floats, as near as bytes can be.

use super::super::tests::{Planes, align_corners, noise};
use super::super::*;
use super::rows::DEPTHWISE_WEIGHTS;
use proptest::prelude::*;

/// Bytes that depend on nothing but `seed`.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    noise(seed, length)
        .iter()
        .map(|value| (value * 128.0 + 128.0) as u8)
        .collect()
}

/// Numbers between `-most` and `most`.
fn whole(seed: u64, length: usize, most: i32) -> Vec<i32> {
    noise(seed, length)
        .iter()
        .map(|value| (value * (most as f32 + 0.999)) as i32)
        .collect()
}

fn weights(seed: u64, length: usize) -> Vec<i8> {
    whole(seed, length, MAX_WEIGHT)
        .iter()
        .map(|value| *value as i8)
        .collect()
}

/// Between 0 and `most`.
fn multipliers(seed: u64, length: usize, most: f32) -> Vec<f32> {
    noise(seed, length)
        .iter()
        .map(|value| (value.abs() + 0.001) * most)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn dense_rows_equal_their_reference(
        channels in prop::collection::vec(1usize..40, 0..4),
        panel in 1usize..=4,
        pixels in 1usize..30,
        step in 1usize..=3,
        shift in 0usize..16,
        halves in 0u32..16,
        coarse: bool,
        kind in 0usize..5,
        seed: u64,
    ) {
        let row = ((pixels - 1) * step + 1) * BLOCK;
        let data = bytes(seed, shift + row * 3);
        let sources: Vec<Source<u8>> = channels
            .iter()
            .map(|channels| Source { data: &data[shift..], channels: *channels, block_stride: row })
            .collect();
        let quads: usize = channels.iter().map(|channels| channels.div_ceil(4)).sum();
        let weights = weights(seed ^ 1, quads * panel * 64);
        let bias = whole(seed ^ 2, panel * BLOCK, 100_000);
        // Coarse ones saturate everywhere, the others hardly.
        let multipliers = multipliers(seed ^ 3, panel * BLOCK, if coarse { 1.0 } else { 0.001 });
        let out_block = pixels * BLOCK;
        let middle = whole(seed ^ 4, panel * out_block, 16383);
        let middle: Vec<i16> = middle.iter().map(|value| *value as i16).collect();
        let middle = Middle { data: &middle, block_stride: out_block, shift: halves };
        let skipped = bytes(seed ^ 5, panel * out_block);
        let skip = ByteSkip {
            data: &skipped,
            block_stride: out_block,
            ratio: 0.7,
            offset: 11.3,
            relu_first: kind == 1,
        };
        let row = ByteRow {
            sources: &sources,
            step,
            weights: &weights,
            panel,
            bias: &bias,
            multipliers: &multipliers,
            middle: (halves > 7).then_some(middle),
            pixels,
            out_block,
        };
        for kernels in ByteKernels::available() {
            let length = panel * out_block;
            let mut pair = [vec![7u8; length], vec![7u8; length]];
            let mut half = [vec![7i16; length], vec![7i16; length]];
            let mut float = [vec![7f32; length], vec![7f32; length]];
            for side in 0..2 {
                let mut out = match kind {
                    0 => ByteOut::Bytes(&mut pair[side], None),
                    1 | 2 => ByteOut::Bytes(&mut pair[side], Some(skip)),
                    3 => ByteOut::Halves(&mut half[side]),
                    _ => ByteOut::Floats(&mut float[side], coarse),
                };
                match side {
                    0 => kernels.dense(&row, out),
                    _ => byte_dense_reference(&row, kernels.offset, &mut out),
                }
            }
            prop_assert_eq!(&pair[0], &pair[1], "{}", kernels.name);
            prop_assert_eq!(&half[0], &half[1], "{}", kernels.name);
            prop_assert_eq!(&float[0], &float[1], "{}", kernels.name);
        }
    }

    #[test]
    fn depthwise_rows_equal_their_reference(
        blocks in 1usize..4,
        pixels in 1usize..20,
        step in 1usize..=2,
        shift in 0usize..16,
        coarse: bool,
        seed: u64,
    ) {
        // Not a byte more than the kernel may read.
        let block_stride = ((pixels - 1) * step + 3) * BLOCK;
        let data = bytes(seed, shift + 3 * blocks * block_stride);
        let rows = [0, 1, 2].map(|row| &data[shift + row * blocks * block_stride..][..blocks * block_stride]);
        let taps = weights(seed ^ 1, blocks * 9 * BLOCK);
        let mut weights = vec![0i8; blocks * DEPTHWISE_WEIGHTS];
        for (at, tap) in taps.iter().enumerate() {
            let (lane, tap_number, block) = (at % BLOCK, at / BLOCK % 9, at / BLOCK / 9);
            let row = block * DEPTHWISE_WEIGHTS + tap_number / 3 * 128 + lane * 4 + tap_number % 3;
            weights[row] = *tap;
            weights[row + 64 + 1] = *tap;
        }
        let row = ByteDepthwiseRow {
            rows,
            block_stride,
            step,
            weights: &weights,
            bias: &whole(seed ^ 2, blocks * BLOCK, 50_000),
            multipliers: &multipliers(seed ^ 3, blocks * BLOCK, if coarse { 1.0 } else { 0.005 }),
            blocks,
            pixels,
            out_block: pixels * BLOCK,
        };
        for kernels in ByteKernels::available() {
            let (mut out, mut twin) = (vec![7; blocks * pixels * BLOCK], vec![7; blocks * pixels * BLOCK]);
            kernels.depthwise(&row, &mut out);
            byte_depthwise_reference(&row, kernels.offset, &mut twin);
            prop_assert_eq!(&out, &twin, "{}", kernels.name);
        }
    }

    /// Blended, then stretched; in bytes, and in the halves between two convolutions.
    #[test]
    fn upsampled_rows_are_alike_everywhere_and_near_the_exact_ones(
        blocks in 1usize..4,
        (left, pixels) in (2usize..9, 1usize..20),
        weight in 0.0f32..=1.0,
        seed: u64,
    ) {
        let length = blocks * left * BLOCK;
        let (above, below) = (bytes(seed, length), bytes(seed ^ 1, length));
        let fixed = |weight: f32| (weight * 32768.0).round().min(32767.0) as i16;
        let places: Vec<f32> = noise(seed ^ 2, pixels)
            .iter()
            .map(|place| place.abs() * (left - 1) as f32)
            .collect();
        let neighbour = |place: f32| (place as usize).min(left - 2);
        let between: Vec<(u32, i16)> = places
            .iter()
            .map(|place| (neighbour(*place) as u32 + 5, fixed(place - neighbour(*place) as f32)))
            .collect();
        let mut first: Option<(Vec<i16>, Vec<i16>, Vec<u8>)> = None;
        for kernels in ByteKernels::available() {
            let mut blended = vec![0; length];
            kernels.blend_bytes(&above, &below, fixed(weight), &mut blended);
            let row = ByteStretchRow {
                input: &blended,
                block_stride: left * BLOCK,
                between: &between,
                base: 5,
                blocks,
                out_block: pixels * BLOCK,
            };
            let (mut halves, mut whole) = (vec![0; blocks * pixels * BLOCK], vec![0; blocks * pixels * BLOCK]);
            kernels.stretch_halves(&row, &mut halves);
            kernels.stretch_bytes(&row, &mut whole);
            for (at, byte) in whole.iter().enumerate() {
                let (block, x, lane) = (at / BLOCK / pixels, at / BLOCK % pixels, at % BLOCK);
                let column = neighbour(places[x]);
                let input = |dx: usize| {
                    let at = (block * left + column + dx) * BLOCK + lane;
                    f32::from(above[at]) * (1.0 - weight) + f32::from(below[at]) * weight
                };
                let exact = input(0) + (places[x] - column as f32) * (input(1) - input(0));
                prop_assert!((f32::from(*byte) - exact).abs() < 0.6, "{}: {byte}, {exact}", kernels.name);
            }
            let mut again = vec![0; length];
            kernels.blend_halves(&blended, &blended, fixed(weight), &mut again);
            prop_assert_eq!(&again, &blended, "the blend of two alike");
            let all = (blended, halves, whole);
            prop_assert_eq!(first.get_or_insert_with(|| all.clone()), &all, "{}", kernels.name);
        }
    }

    #[test]
    fn floats_survive_as_bytes(least in -9.0f32..1.0, more in 0.01f32..9.0, seed: u64) {
        let quantum = Quantum::holding(least, least + more);
        let values: Vec<f32> = noise(seed, 77).iter().map(|value| least + more * value.abs()).collect();
        for kernels in ByteKernels::available() {
            let (mut as_bytes, mut back) = (vec![0; 77], vec![0.0; 77]);
            kernels.quantise(&values, 1.0 / quantum.scale, quantum.zero, &mut as_bytes);
            kernels.dequantise(&as_bytes, quantum.scale, quantum.zero, &mut back);
            for (back, value) in back.iter().zip(&values) {
                // Where zero is rounded to a whole step, an end can be half a step further away.
                prop_assert!((back - value).abs() <= quantum.scale * 1.01, "{}: {back}, {value}", kernels.name);
            }
        }
    }
}

/// An image of floats as bytes.
struct Whole {
    layout: Layout,
    quantum: Quantum,
    data: Vec<u8>,
}

impl Whole {
    fn of(planes: &Planes, halo: usize) -> Whole {
        let quantum = span(&planes.data);
        let layout = planes.layout(halo);
        let floats = planes.import(halo);
        let kernels = ByteKernels::first_of(&["portable"]);
        let mut data = vec![0; layout.len()];
        kernels.quantise(
            &floats[..layout.len()],
            1.0 / quantum.scale,
            quantum.zero,
            &mut data,
        );
        Whole {
            layout,
            quantum,
            data,
        }
    }

    fn image(&self) -> Image<'_, u8> {
        Image {
            layout: self.layout,
            data: &self.data,
        }
    }

    /// The same as floats.
    fn planes(&self, like: &Planes) -> Planes {
        let kernels = ByteKernels::first_of(&["portable"]);
        let mut floats = vec![0.0; self.data.len()];
        kernels.dequantise(
            &self.data,
            self.quantum.scale,
            self.quantum.zero,
            &mut floats,
        );
        let mut planes = like.clone();
        let image = Image {
            layout: self.layout,
            data: &floats,
        };
        (0..planes.height).for_each(|y| export_row(image, y, &mut planes.data));
        planes
    }
}

fn span(values: &[f32]) -> Quantum {
    let least = values.iter().copied().fold(0.0, f32::min);
    Quantum::holding(least, values.iter().copied().fold(0.0, f32::max))
}

/// Root of the mean square of the difference, as a part of the largest value.
fn lost(found: &[f32], exact: &[f32]) -> f32 {
    let squares: f32 = found.iter().zip(exact).map(|(a, b)| (a - b).powi(2)).sum();
    let most = exact.iter().fold(0f32, |most, value| most.max(value.abs()));
    (squares / exact.len() as f32).sqrt() / most.max(1e-6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn convolutions_are_near_those_of_floats(
        (height, width) in (3usize..9, 3usize..9),
        (inputs, outs) in (1usize..40, 1usize..70),
        kernel in 1usize..=3,
        stride in (1usize..=3, 1usize..=3),
        relu: bool,
        kind in 0usize..3,
        seed: u64,
    ) {
        let geometry = Geometry { kernel: (kernel, kernel), stride, pad: (kernel / 2, kernel / 2) };
        let taps = geometry.taps();
        let image = Planes::noise(seed, inputs, height, width);
        let out = |length: usize, stride: usize| (length + 2 * (kernel / 2) - kernel) / stride + 1;
        let (out_height, out_width) = (out(height, stride.0), out(width, stride.1));
        let weights = noise(seed ^ 1, outs * inputs * taps);
        let bias = noise(seed ^ 2, outs);
        let sums = image.convolve(geometry, &weights, &bias, (out_height, out_width));
        let skip = Planes::noise(seed ^ 3, outs, out_height, out_width);
        let exact = if kind == 1 { sums.relu(relu).plus(&skip) } else { sums.relu(relu) };
        let own = span(&exact.data);
        let (image, skip) = (Whole::of(&image, kernel / 2), Whole::of(&skip, 0));
        let packing = Weights {
            geometry,
            bias: &bias,
            inputs: &[(inputs, image.quantum)],
            weight: &|o, _, c, tap| weights[(o * inputs + c) * taps + tap],
        };
        let units = packing.units(|_| 0.0);
        let scales = [own.scale];
        let layout = exact.layout(1);
        let mut first = None;
        for kernels in ByteKernels::available() {
            let packed = match kind {
                0 => packing.pack(&units, Target::Bytes { scales: &scales, zero: own.zero }, &kernels),
                1 => packing.pack(&units, Target::Sum { own, skip: skip.quantum, relu_first: relu }, &kernels),
                _ => packing.pack_floats(relu, &kernels),
            };
            let body = layout.row_len()..(1 + out_height) * layout.row_len();
            let run = ByteRun {
                kernels: &kernels,
                inputs: &[image.image()],
                skip: (kind == 1).then_some(skip.image()),
                layout,
                rows: 0..out_height,
            };
            let found = if kind == 2 {
                let mut floats = vec![0.0; layout.len()];
                packed.rows(&run, ByteRows::Floats(&mut floats[body]));
                let mut planes = exact.clone();
                let image = Image { layout, data: &floats };
                (0..out_height).for_each(|y| export_row(image, y, &mut planes.data));
                planes
            } else {
                let mut data = vec![own.zero; layout.len()];
                packed.rows(&run, ByteRows::Bytes(&mut data[body]));
                Whole { layout, quantum: own, data }.planes(&exact)
            };
            let lost = lost(&found.data, &exact.data);
            prop_assert!(lost < 0.02, "{} kind {kind}: {lost}", kernels.name);
            prop_assert_eq!(&first.get_or_insert_with(|| found.clone()).data, &found.data, "{}", kernels.name);
        }
    }

    /// Everything a block can be: expanded from one input and from an upsampled one, upsampled or from memory; stride
    /// 1 and 2; wide enough for strips, small enough for panels.
    #[test]
    fn blocks_are_near_those_of_floats(
        (height, width) in (2usize..8, prop_oneof![2usize..12, 90usize..140]),
        (first, second) in (1usize..20, 1usize..20),
        expanded in prop_oneof![1usize..40, 100usize..150],
        outs in 1usize..40,
        stride in 1usize..=2,
        kind in 0usize..5,
        hardly_grows in 0usize..3,
        relu: [bool; 2],
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
        let exact = projected.plus(&skip);
        let (full, low, skip) = (Whole::of(&full, 1), Whole::of(&low, 0), Whole::of(&skip, 0));
        let (between, own) = (span(&depth.data), span(&exact.data));
        let zero = if relu[0] { 0 } else { 128 };
        let plane = height * width;
        let of_channel = |channel: usize| {
            let values = &made.data[channel * plane..][..plane];
            let most = values.iter().fold(1e-3f32, |most, value| most.max(value.abs()));
            Quantum { scale: most / if relu[0] { 255.0 } else { 127.0 }, zero }
        };
        let scales: Vec<f32> = (0..channels).map(|channel| of_channel(channel).scale).collect();
        let layout = exact.layout(0);
        let mut found: Option<Vec<u8>> = None;
        for kernels in ByteKernels::available() {
            let weigh_full = |o: usize, _: usize, c: usize, _: usize| w_full[o * first + c];
            let weigh_low = |o: usize, _: usize, c: usize, _: usize| w_low[o * second + c];
            let expand = |with_full: bool, with_low: bool| {
                let inputs: &[(usize, Quantum)] = if with_full { &[(first, full.quantum)] } else { &[] };
                let weights = Weights { geometry: Geometry::POINT, bias: &bias, inputs, weight: &weigh_full };
                let low_inputs = [(second, low.quantum)];
                let low_weights =
                    Weights { geometry: Geometry::POINT, bias: &none, inputs: &low_inputs, weight: &weigh_low };
                let low_units = low_weights.units(|_| 0.0);
                let units = weights.units(|o| if with_low { low_units[o] } else { 0.0 });
                BytePart::Expand {
                    full: weights.pack(&units, Target::Bytes { scales: &scales, zero }, &kernels),
                    inputs: usize::from(with_full),
                    low: with_low.then(|| {
                        let target = Target::Middle { units: &units };
                        (low_weights.pack(&low_units, target, &kernels), upsample.clone())
                    }),
                    zero,
                }
            };
            let upsampled =
                BytePart::Upsample { channels: second, upsample: upsample.clone(), zero: low.quantum.zero };
            let memory = BytePart::Memory { channels: first };
            let (parts, inputs) = match kind {
                0 => (vec![expand(true, false)], vec![full.image()]),
                1 => (vec![expand(true, true)], vec![full.image(), low.image()]),
                2 => (vec![expand(false, true)], vec![low.image()]),
                3 => (vec![upsampled, memory], vec![low.image(), full.image()]),
                _ => (vec![memory], vec![full.image()]),
            };
            let split: Vec<usize> = parts.iter().map(BytePart::channels).collect();
            let input = |channel: usize| match kind {
                0..=2 => of_channel(channel),
                3 if channel < second => low.quantum,
                _ => full.quantum,
            };
            let depthwise = ByteDepthwise::pack(stride, &b_depth, &split, input, between, &kernels, |channel, tap| {
                w_depth[channel * 9 + tap]
            });
            let starts: Vec<usize> = split.iter().scan(0, |sum, n| Some(std::mem::replace(sum, *sum + n))).collect();
            let inputs_of: Vec<(usize, Quantum)> = split.iter().map(|channels| (*channels, between)).collect();
            let weights = Weights {
                geometry: Geometry::POINT,
                bias: &b_out,
                inputs: &inputs_of,
                weight: &|o, part: usize, channel, _| w_out[o * channels + starts[part] + channel],
            };
            let target = Target::Sum { own, skip: skip.quantum, relu_first: false };
            let project = weights.pack(&weights.units(|_| 0.0), target, &kernels);
            let block = ByteBlock::new(parts, depthwise, Some(project), (height, width));
            let mut scratch = ByteScratch::default();
            scratch.grow(&block);
            let mut data = vec![own.zero; layout.len()];
            // In two bands, as two threads would.
            for rows in [0..exact.height / 2, exact.height / 2..exact.height] {
                let body = &mut data[rows.start * layout.row_len()..rows.end * layout.row_len()];
                let skip = Some(skip.image());
                let run = ByteRun { kernels: &kernels, inputs: &inputs, skip, layout, rows };
                block.run(&run, &mut scratch, body);
            }
            let planes = Whole { layout, quantum: own, data: data.clone() }.planes(&exact);
            let lost = lost(&planes.data, &exact.data);
            prop_assert!(lost < 0.03, "{} kind {kind}: {lost}", kernels.name);
            prop_assert_eq!(found.get_or_insert_with(|| data.clone()), &data, "{}", kernels.name);
        }
    }
}

#[test]
#[should_panic(expected = "outside its source")]
fn a_row_of_bytes_that_reaches_outside_its_slice_is_refused() {
    let data = [0; 2 * BLOCK];
    let sources = [Source {
        data: &data[..],
        channels: 16,
        block_stride: 0,
    }];
    let row = ByteRow {
        sources: &sources,
        step: 1,
        weights: &[0; 256],
        panel: 1,
        bias: &[0; 16],
        multipliers: &[0.0; 16],
        middle: None,
        pixels: 3,
        out_block: 48,
    };
    ByteKernels::available()[0].dense(&row, ByteOut::Bytes(&mut [0; 48], None));
}
