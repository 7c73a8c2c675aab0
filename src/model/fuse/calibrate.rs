//! What the images of a network hold: seen while it runs in floats, used when it is lowered to bytes.

use super::graph::{Graph, Op};
use crate::kernels::{BLOCK, Image, Quantum};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The least and the most that an image held, or one channel of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::model) struct Span {
    pub least: f32,
    pub most: f32,
}

impl Span {
    /// Holds nothing yet.
    pub const EMPTY: Span = Span {
        least: f32::INFINITY,
        most: f32::NEG_INFINITY,
    };

    fn add(&mut self, value: f32) {
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    pub(super) fn join(self, other: Span) -> Span {
        Span {
            least: self.least.min(other.least),
            most: self.most.max(other.most),
        }
    }

    /// The bytes for it; none below zero after a ReLU.
    pub(super) fn quantum(self, relu: bool) -> Quantum {
        Quantum::holding(if relu { 0.0 } else { self.least }, self.most)
    }
}

/// What one operator's image held.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model) struct Observed {
    /// The operator's name in the network.
    pub name: String,
    /// One for each channel, or one for all.
    pub channels: Vec<Span>,
}

impl Observed {
    /// Of all channels together.
    pub(super) fn span(&self) -> Span {
        self.channels.iter().copied().fold(Span::EMPTY, Span::join)
    }

    /// Of one channel.
    pub(super) fn channel(&self, channel: usize) -> Span {
        self.channels[channel % self.channels.len()]
    }
}

/// Watches the images of all programs of a network, which are numbered one after another.
#[derive(Clone, Debug)]
pub(in crate::model) struct Observer {
    seen: Arc<Mutex<Vec<Observed>>>,
    /// Number of the first image of this program.
    first: usize,
}

impl Observer {
    pub fn new() -> Observer {
        Observer {
            seen: Arc::default(),
            first: 0,
        }
    }

    /// The same observer for a program of these images.
    pub(super) fn for_program(&self, names: impl Iterator<Item = (String, usize)>) -> Observer {
        let mut seen = self.lock();
        let first = seen.len();
        seen.extend(names.map(|(name, channels)| Observed {
            name,
            channels: vec![Span::EMPTY; channels],
        }));
        Observer {
            seen: self.seen.clone(),
            first,
        }
    }

    /// Looks at an image of the program.
    pub(super) fn see(&self, id: usize, image: Image) {
        let mut seen = self.lock();
        let spans = &mut seen[self.first + id].channels;
        let layout = image.layout;
        let each = spans.len() > 1;
        for y in 0..layout.height {
            let row = image.at(y as isize, 0);
            for block in 0..layout.blocks() {
                let pixels = &row[block * layout.block_len()..][..layout.width * BLOCK];
                let first = if each { block * BLOCK } else { 0 };
                let channels = (layout.channels - block * BLOCK).min(BLOCK);
                for pixel in pixels.chunks_exact(BLOCK) {
                    for (lane, value) in pixel[..channels].iter().enumerate() {
                        spans[first + if each { lane } else { 0 }].add(*value);
                    }
                }
            }
        }
    }

    /// What was seen of every image so far; of those that no step writes, and that are never bytes, zeros.
    pub fn seen(&self) -> Vec<Observed> {
        let mut seen = self.lock().clone();
        for span in seen.iter_mut().flat_map(|observed| &mut observed.channels) {
            if *span == Span::EMPTY {
                *span = Span {
                    least: 0.0,
                    most: 0.0,
                };
            }
        }
        seen
    }

    /// A panic leaves nothing half done that matters: spans only grow.
    fn lock(&self) -> MutexGuard<'_, Vec<Observed>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a network is to be computed.
#[derive(Clone, Debug, Default)]
pub(in crate::model) enum Precision {
    /// In floats, as fast as may be.
    #[default]
    Floats,
    /// In floats, one operator after another, and watched.
    Observed(Observer),
    /// In bytes where that is quicker, which are to hold what was observed.
    Bytes(Arc<Vec<Observed>>),
}

/// For each node whether it is a dense convolution that a depthwise one reads, which can have a scale for each channel.
pub(super) fn expanded(graph: &Graph) -> Vec<bool> {
    let mut expanded = vec![false; graph.nodes.len()];
    for node in &graph.nodes {
        let Op::Depthwise { input, .. } = node.op else {
            continue;
        };
        let parts = match &graph.nodes[input].op {
            Op::Concat(parts) => parts.clone(),
            _ => vec![input],
        };
        for part in parts {
            expanded[part] = matches!(graph.nodes[part].op, Op::Dense(_));
        }
    }
    expanded
}
