//! Steps that make bytes, or make floats of them.

use super::keep::Keep;
use super::program::{Arena, MAX_INPUTS, Program, Step, Value, Workspace, in_bands};
use crate::kernels::{
    BLOCK, ByteBlock, ByteConvolution, ByteRows, ByteRun, Image, Layout, Quantum, clear_halo,
    import_rows,
};
use std::ops::Range;

/// What such a step computes.
#[derive(Debug)]
pub(super) enum ByteKind {
    /// An input of the program, as bytes at once.
    Import(usize),
    /// An image of floats as bytes.
    Quantise,
    /// An image of bytes as floats.
    Dequantise,
    Block(Box<ByteBlock>),
    /// Makes bytes, or floats if the convolution does.
    Dense(ByteConvolution),
}

impl ByteKind {
    pub fn name(&self) -> &'static str {
        match self {
            ByteKind::Import(_) => "import int8",
            ByteKind::Quantise => "to int8",
            ByteKind::Dequantise => "from int8",
            ByteKind::Block(_) => "block int8",
            ByteKind::Dense(_) => "dense int8",
        }
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        match self {
            ByteKind::Block(block) => block.bytes(),
            ByteKind::Dense(convolution) => convolution.bytes(),
            _ => 0,
        }
    }

    /// Makes `workspace` large enough for it.
    pub fn grow(&self, step: &Step, workspace: &mut Workspace) {
        match self {
            ByteKind::Block(block) => workspace.bytes.grow(block),
            ByteKind::Import(_) => {
                let layout = step.output.map_or(Layout::EMPTY, |output| output.layout);
                workspace.row.grow(layout.row_len());
            }
            _ => {}
        }
    }
}

impl Program {
    pub(super) fn byte_step(
        &self,
        kind: &ByteKind,
        step: &Step,
        output: Value,
        arena: &mut Arena,
        inputs: &[impl AsRef<[f32]> + Sync],
        keep: &Keep,
    ) {
        // Taken out of the arena while it is written, so that the inputs can be borrowed from the rest.
        let mut buffer = std::mem::take(&mut arena.slots[output.slot]);
        let Arena {
            slots,
            scratch,
            threads,
            ..
        } = arena;
        let scratch = &mut scratch[..*threads];
        let layout = output.layout;
        let kernels = &self.kernels.bytes;
        let mut images = [Image {
            layout: Layout::EMPTY,
            data: &[][..],
        }; MAX_INPUTS];
        let reads_bytes = matches!(
            kind,
            ByteKind::Block(_) | ByteKind::Dense(_) | ByteKind::Dequantise
        );
        if reads_bytes {
            for (image, input) in images.iter_mut().zip(&step.inputs) {
                *image = keep.bytes(*input, slots);
            }
        }
        let images = &images[..step.inputs.len()];
        let skip = step.skip.map(|value| keep.bytes(value, slots));
        let run = |rows| ByteRun {
            kernels,
            inputs: images,
            skip,
            layout,
            rows,
        };
        let Some(quantum) = output.quantum else {
            let from = step.inputs[0].quantum;
            floats_of_bytes(kind, from, &run, scratch, &mut buffer);
            slots[output.slot] = buffer;
            return;
        };
        let bytes = &mut buffer.bytes_mut()[..layout.len()];
        let body = body(layout, bytes);
        let inverse = 1.0 / quantum.scale;
        match kind {
            ByteKind::Import(number) => {
                let planes = inputs[*number].as_ref();
                in_bands(layout, body, scratch, |rows, out, workspace| {
                    let row = &mut workspace.row[..layout.row_len()];
                    for (y, out) in rows.zip(out.chunks_exact_mut(layout.row_len())) {
                        import_rows(planes, layout, y..y + 1, row);
                        kernels.quantise(row, inverse, quantum.zero, out);
                    }
                });
            }
            ByteKind::Quantise => {
                let image = keep.image(step.inputs[0], slots);
                in_bands(layout, body, scratch, |rows, out, _| {
                    each_row(layout, image, rows, out, |from, to| {
                        kernels.quantise(from, inverse, quantum.zero, to);
                    });
                });
            }
            ByteKind::Block(block) => in_bands(layout, body, scratch, |rows, out, workspace| {
                block.run(&run(rows), &mut workspace.bytes, out);
            }),
            ByteKind::Dense(convolution) => in_bands(layout, body, scratch, |rows, out, _| {
                convolution.rows(&run(rows), ByteRows::Bytes(out));
            }),
            ByteKind::Dequantise => {}
        }
        clear_halo(layout, quantum.zero, bytes);
        slots[output.slot] = buffer;
    }
}

/// A step that makes floats, of bytes that mean `from`.
fn floats_of_bytes<'a>(
    kind: &ByteKind,
    from: Option<Quantum>,
    run: &(impl Fn(Range<usize>) -> ByteRun<'a> + Sync),
    scratch: &mut [Workspace],
    buffer: &mut [f32],
) {
    let ByteRun {
        kernels,
        inputs,
        layout,
        ..
    } = run(0..0);
    let rows = body(layout, buffer);
    match kind {
        ByteKind::Dense(convolution) => in_bands(layout, rows, scratch, |rows, out, _| {
            convolution.rows(&run(rows), ByteRows::Floats(out));
        }),
        ByteKind::Dequantise => {
            let Quantum { scale, zero } = from.unwrap_or(Quantum {
                scale: 1.0,
                zero: 0,
            });
            in_bands(layout, rows, scratch, |rows, out, _| {
                each_row(layout, inputs[0], rows, out, |from, to| {
                    kernels.dequantise(from, scale, zero, to);
                });
            });
        }
        _ => {}
    }
    clear_halo(layout, 0.0, buffer);
}

/// The rows of an image without those of its halo.
fn body<T>(layout: Layout, data: &mut [T]) -> &mut [T] {
    &mut data[layout.halo * layout.row_len()..][..layout.height * layout.row_len()]
}

/// Every block of every row in `rows`, without halos: `work(from, to)`.
fn each_row<T, U>(
    layout: Layout,
    image: Image<T>,
    rows: Range<usize>,
    out: &mut [U],
    work: impl Fn(&[T], &mut [U]),
) {
    let length = layout.width * BLOCK;
    for (y, out) in rows.zip(out.chunks_exact_mut(layout.row_len())) {
        let from = image.at(y as isize, 0);
        for (block, out) in out.chunks_exact_mut(layout.block_len()).enumerate() {
            let from = &from[block * image.layout.block_len()..][..length];
            work(from, &mut out[layout.halo * BLOCK..][..length]);
        }
    }
}
