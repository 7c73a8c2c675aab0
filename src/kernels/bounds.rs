//! Rows whose description wraps around, or reaches one number too far, are refused before a pointer is made of them.

use super::tests::noise;
use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Strides that bring the second block back before or onto the slice when they are added without care.
const WRAPPING: [usize; 4] = [
    usize::MAX - 15,
    usize::MAX - 47,
    usize::MAX - 63,
    usize::MAX / 2 + 1,
];

/// Whether `call` panics with the words of a bound, for all kernels.
#[track_caller]
fn refused(what: &str, call: impl Fn(&Kernels)) {
    for kernels in Kernels::available() {
        let panic = catch_unwind(AssertUnwindSafe(|| call(&kernels))).expect_err(what);
        let words = panic
            .downcast_ref::<String>()
            .map_or("", |words| words.as_str());
        assert!(words.contains("reaches outside its"), "{what}: {words}");
    }
}

#[test]
fn dense_rows_that_wrap_are_refused() {
    let data = noise(1, 64 * BLOCK);
    for stride in WRAPPING {
        let row = |in_stride, out_block, skip_stride, step, pixels| {
            let data = &data;
            move |kernels: &Kernels| {
                let sources = [Source {
                    data,
                    channels: 32,
                    block_stride: in_stride,
                }];
                let row = DenseRow {
                    sources: &sources,
                    step,
                    weights: data,
                    panel: 2,
                    start: Start::Bias(data),
                    finish: Finish {
                        skip: Some((data, skip_stride)),
                        ..Finish::default()
                    },
                    pixels,
                    out_block,
                };
                kernels.dense(&row, &mut [0.0; 2 * BLOCK]);
            }
        };
        refused("input", row(stride, BLOCK, BLOCK, 1, 1));
        refused("output", row(BLOCK, stride, BLOCK, 1, 1));
        refused("skip", row(BLOCK, BLOCK, stride, 1, 1));
        refused("step", row(BLOCK, 2 * BLOCK, BLOCK, stride, 2));
        refused("pixels", row(BLOCK, BLOCK, BLOCK, 1, stride));
        row(BLOCK, BLOCK, BLOCK, 1, 1)(&Kernels::available()[0]);
    }
    let data = &data[..];
    let many = [Source {
        data,
        channels: usize::MAX / 2 + 9,
        block_stride: 0,
    }; 2];
    refused("channels", |kernels| {
        let row = DenseRow {
            sources: &many,
            step: 1,
            weights: data,
            panel: 1,
            start: Start::Output,
            finish: Finish::default(),
            pixels: 1,
            out_block: BLOCK,
        };
        kernels.dense(&row, &mut [0.0; BLOCK]);
    });
}

#[test]
fn depthwise_rows_that_wrap_are_refused() {
    let data = noise(2, 64 * BLOCK);
    let data = &data[..];
    for stride in WRAPPING {
        let row = |block_stride, out_block, blocks, pixels| {
            move |kernels: &Kernels| {
                let row = DepthwiseRow {
                    rows: [data; 3],
                    block_stride,
                    step: 2,
                    weights: data,
                    bias: data,
                    relu: false,
                    blocks,
                    pixels,
                    out_block,
                };
                kernels.depthwise(&row, &mut [0.0; 2 * BLOCK]);
            }
        };
        refused("input", row(stride, BLOCK, 2, 1));
        refused("output", row(BLOCK, stride, 2, 1));
        refused("blocks", row(0, 0, stride, 1));
        refused("pixels", row(BLOCK, BLOCK, 1, stride));
        row(BLOCK, BLOCK, 2, 1)(&Kernels::available()[0]);
    }
}

#[test]
fn stretched_rows_that_wrap_are_refused() {
    let data = noise(3, 8 * BLOCK);
    let data = &data[..];
    let between = |left| Between { left, weight: 0.5 };
    for stride in WRAPPING {
        let row = |block_stride, out_block, left| {
            move |kernels: &Kernels| {
                let row = StretchRow {
                    input: data,
                    block_stride,
                    between: &[between(left)],
                    base: 0,
                    blocks: 2,
                    out_block,
                };
                kernels.stretch(&row, &mut [0.0; 2 * BLOCK]);
            }
        };
        refused("input", row(stride, BLOCK, 0));
        refused("output", row(BLOCK, stride, 0));
        refused("neighbour", row(BLOCK, BLOCK, u32::MAX));
        row(BLOCK, BLOCK, 0)(&Kernels::available()[0]);
    }
}

#[test]
fn winograd_rows_that_wrap_are_refused() {
    let data = noise(4, 64 * BLOCK);
    let data = &data[..];
    for stride in WRAPPING {
        let values = |block_stride, out_block, out_value, tiles| {
            move |kernels: &Kernels| {
                let row = ValuesRow {
                    rows: [data; 4],
                    block_stride,
                    blocks: 2,
                    tiles,
                    out_value,
                    out_block,
                };
                kernels.values(&row, &mut [0.0; 32 * BLOCK]);
            }
        };
        refused("input", values(stride, BLOCK, 2 * BLOCK, 1));
        refused("output block", values(BLOCK, stride, 2 * BLOCK, 1));
        refused("output value", values(BLOCK, BLOCK, stride, 1));
        refused("tiles", values(BLOCK, BLOCK, 2 * BLOCK, stride));
        values(BLOCK, BLOCK, 2 * BLOCK, 1)(&Kernels::available()[0]);
        let gather = |block_stride, value_stride, out_block, skip_stride, pixels| {
            move |kernels: &Kernels| {
                let row = GatherRow {
                    products: data,
                    value_stride,
                    block_stride,
                    second: false,
                    bias: data,
                    finish: Finish {
                        skip: Some((data, skip_stride)),
                        ..Finish::default()
                    },
                    blocks: 2,
                    pixels,
                    out_block,
                };
                kernels.gather(&row, &mut [0.0; 2 * BLOCK]);
            }
        };
        refused("products", gather(stride, 2 * BLOCK, BLOCK, BLOCK, 1));
        refused("value", gather(BLOCK, stride, BLOCK, BLOCK, 1));
        refused("output", gather(BLOCK, 2 * BLOCK, stride, BLOCK, 1));
        refused("skip", gather(BLOCK, 2 * BLOCK, BLOCK, stride, 1));
        refused("pixels", gather(BLOCK, 2 * BLOCK, BLOCK, BLOCK, stride));
        gather(BLOCK, 2 * BLOCK, BLOCK, BLOCK, 1)(&Kernels::available()[0]);
    }
}

#[test]
fn dense_rows_of_bytes_that_wrap_are_refused() {
    let (data, weights) = (vec![1u8; 8 * BLOCK], vec![1i8; 64 * 32]);
    let (bias, multipliers, halves) = (vec![0; 2 * BLOCK], vec![1.0; 2 * BLOCK], vec![0; 64]);
    let (data, weights, bias) = (&data[..], &weights[..], &bias[..]);
    let (multipliers, halves) = (&multipliers[..], &halves[..]);
    for stride in WRAPPING {
        let row = |in_stride, out_block, skip_stride, middle_stride, step, pixels| {
            move |kernels: &Kernels| {
                let sources = [Source {
                    data,
                    channels: 32,
                    block_stride: in_stride,
                }];
                let row = ByteRow {
                    sources: &sources,
                    step,
                    weights,
                    panel: 2,
                    bias,
                    multipliers,
                    middle: Some(Middle {
                        data: halves,
                        block_stride: middle_stride,
                        shift: 1,
                    }),
                    pixels,
                    out_block,
                };
                let skip = ByteSkip {
                    data,
                    block_stride: skip_stride,
                    ratio: 1.0,
                    offset: 0.0,
                    relu_first: false,
                };
                let mut out = [0; 2 * BLOCK];
                kernels
                    .bytes
                    .dense(&row, ByteOut::Bytes(&mut out, Some(skip)));
            }
        };
        refused("input", row(stride, BLOCK, BLOCK, BLOCK, 1, 1));
        refused("output", row(BLOCK, stride, BLOCK, BLOCK, 1, 1));
        refused("skip", row(BLOCK, BLOCK, stride, BLOCK, 1, 1));
        refused("partial sums", row(BLOCK, BLOCK, BLOCK, stride, 1, 1));
        refused("step", row(BLOCK, BLOCK, BLOCK, BLOCK, stride, 2));
        refused("pixels", row(BLOCK, BLOCK, BLOCK, BLOCK, 1, stride));
        row(BLOCK, BLOCK, BLOCK, BLOCK, 1, 1)(&Kernels::available()[0]);
    }
}

#[test]
fn depthwise_rows_of_bytes_that_wrap_are_refused() {
    let (data, weights) = (vec![1u8; 8 * BLOCK], vec![1i8; 64 * 32]);
    let (bias, multipliers) = (vec![0; 2 * BLOCK], vec![1.0; 2 * BLOCK]);
    let (data, weights, bias, multipliers) = (&data[..], &weights[..], &bias[..], &multipliers[..]);
    for stride in WRAPPING {
        let row = |block_stride, out_block, blocks, pixels| {
            move |kernels: &Kernels| {
                let row = ByteDepthwiseRow {
                    rows: [data; 3],
                    block_stride,
                    step: 1,
                    weights,
                    bias,
                    multipliers,
                    blocks,
                    pixels,
                    out_block,
                };
                kernels.bytes.depthwise(&row, &mut [0; 2 * BLOCK]);
            }
        };
        refused("input", row(stride, BLOCK, 2, 1));
        refused("output", row(BLOCK, stride, 2, 1));
        refused("blocks", row(0, 0, stride, 1));
        refused("pixels", row(BLOCK, BLOCK, 1, stride));
        row(BLOCK, BLOCK, 2, 1)(&Kernels::available()[0]);
    }
}
