//! What is kept of a frame between runs: the images that depend on the picture alone.

use super::bytes::ByteKind;
use super::program::{Kind, Program, Value};
use crate::kernels::{Floats, Image};

impl Program {
    /// Plans what to keep of each frame: images that depend on input `frame_input` alone and that others read, at
    /// most `bytes` of them. Those nearest to the input are the largest and save the least, so they are given up
    /// first and computed again. `None` if nothing is won within `bytes`.
    pub fn keep_plan(&self, frame_input: usize, bytes: u64) -> Option<KeepPlan> {
        let mut of_frame = vec![false; self.values()];
        for step in &self.steps {
            let Some(output) = step.output else { continue };
            of_frame[output.id] = match step.kind {
                Kind::Import(number) | Kind::Bytes(ByteKind::Import(number)) => {
                    number == frame_input
                }
                _ => step.reads().all(|value| of_frame[value.id]),
            };
        }
        let mut wanted = vec![false; self.values()];
        for step in &self.steps {
            if step.output.is_none_or(|output| !of_frame[output.id]) {
                step.reads()
                    .filter(|value| of_frame[value.id])
                    .for_each(|value| wanted[value.id] = true);
            }
        }
        let kept: Vec<Value> = self
            .steps
            .iter()
            .filter_map(|step| step.output)
            .filter(|value| wanted[value.id])
            .collect();
        let size = |values: &[Value]| values.iter().map(Value::floats).sum::<usize>();
        let given_up = (0..kept.len())
            .find(|first| (size(&kept[*first..]) * size_of::<f32>()) as u64 <= bytes)?;
        let mut plan = KeepPlan {
            at: vec![None; self.values()],
            spared: Vec::new(),
            floats: 0,
            saved: 0,
        };
        for value in &kept[given_up..] {
            plan.at[value.id] = Some(plan.floats);
            plan.floats += value.floats();
        }
        let mut needed = vec![false; self.values()];
        for step in self.steps.iter().rev() {
            let runs = step.output.is_none_or(|output| needed[output.id]);
            plan.spared.push(!runs);
            if runs {
                let made = step.reads().filter(|value| plan.at[value.id].is_none());
                made.for_each(|value| needed[value.id] = true);
            } else {
                plan.saved += step.multiplications;
            }
        }
        plan.spared.reverse();
        (plan.saved > 0).then_some(plan)
    }

    fn values(&self) -> usize {
        self.steps
            .iter()
            .filter_map(|step| step.output)
            .map(|value| value.id + 1)
            .max()
            .unwrap_or(0)
    }
}

/// What is kept of a frame between runs: made by [`Program::keep_plan`].
#[derive(Clone, Debug)]
pub(in crate::model) struct KeepPlan {
    /// Where each image lies, by its id.
    at: Vec<Option<usize>>,
    /// Steps that a kept frame spares.
    spared: Vec<bool>,
    floats: usize,
    /// Multiplications that a kept frame spares.
    pub saved: usize,
}

impl KeepPlan {
    /// Bytes kept of one frame.
    pub fn bytes(&self) -> usize {
        self.floats * size_of::<f32>()
    }

    /// Room for one frame.
    pub fn room(&self) -> Floats {
        Floats::zeros(self.floats)
    }
}

/// What a run does with what is kept of its frame.
pub(in crate::model) enum Keep<'a> {
    /// Nothing is kept.
    No,
    /// The frame is new: fill the room.
    Fill(&'a KeepPlan, &'a mut Floats),
    /// The frame was seen before: take what is kept, spare what made it.
    Use(&'a KeepPlan, &'a Floats),
}

impl Keep<'_> {
    pub(super) fn spares(&self, step: usize) -> bool {
        matches!(self, Keep::Use(plan, _) if plan.spared[step])
    }

    pub(super) fn store(&mut self, value: Value, made: &[f32]) {
        let Keep::Fill(plan, room) = self else { return };
        if let Some(at) = plan.at[value.id] {
            let length = value.floats();
            room[at..at + length].copy_from_slice(&made[..length]);
        }
    }

    /// Where an image lies, and its first float.
    fn room<'b>(&'b self, value: Value, slots: &'b [Floats]) -> (&'b Floats, usize) {
        if let Keep::Use(plan, room) = self
            && let Some(at) = plan.at[value.id]
        {
            return (room, at);
        }
        (&slots[value.slot], 0)
    }

    /// An image of floats.
    pub(super) fn image<'b>(&'b self, value: Value, slots: &'b [Floats]) -> Image<'b> {
        let (room, at) = self.room(value, slots);
        Image {
            layout: value.layout,
            data: &room[at..],
        }
    }

    /// An image of bytes.
    pub(super) fn bytes<'b>(&'b self, value: Value, slots: &'b [Floats]) -> Image<'b, u8> {
        let (room, at) = self.room(value, slots);
        Image {
            layout: value.layout,
            data: &room.bytes()[at * size_of::<f32>()..],
        }
    }
}
