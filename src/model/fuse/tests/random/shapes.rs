//! Operators that change an image's sides.

use super::*;

impl Grow {
    pub fn resize(&mut self) -> Option<Value> {
        let from = self.any();
        let [channels, height, width] = from.shape;
        let random = &mut self.builder.random;
        let scales = [2.0, 2.0, 1.5, 1.0, 1.25, 2.5, 3.0, 0.5, 1.1, 0.8];
        let scale = random.pick(&scales);
        let scale = match random.once_in(3) {
            true => [scale, random.pick(&scales)],
            false => [scale; 2],
        };
        let side = |length: usize, scale: f32| (length as f32 * scale) as usize;
        let sides = [side(height, scale[0]), side(width, scale[1])];
        // A resize that leaves a side as long as it is moves its pixels all the same; onnxruntime copies them.
        if (sides[0] == height && scale[0] != 1.0) || (sides[1] == width && scale[1] != 1.0) {
            return None;
        }
        if sides.iter().any(|side| !(1..=LARGEST_SIDE).contains(side)) {
            return None;
        }
        let mode = random.pick(&["linear", "linear", "linear", "nearest", "cubic"]);
        let mut coordinates = random.pick(&[
            "half_pixel",
            "half_pixel",
            "align_corners",
            "asymmetric",
            "pytorch_half_pixel",
        ]);
        let mut attributes = vec![text("mode", mode)];
        if mode == "nearest" {
            // Elsewhere, places lie so near to the middle between two pixels that rounding decides.
            coordinates = "asymmetric";
            attributes.push(text("nearest_mode", "floor"));
            if scale
                .iter()
                .any(|scale| ![0.5, 1.0, 2.0, 3.0].contains(scale))
            {
                return None;
            }
        }
        attributes.push(text("coordinate_transformation_mode", coordinates));
        // tract places the only pixel of such a side half a pixel too far left.
        if mode == "cubic" && coordinates == "pytorch_half_pixel" && sides.contains(&1) {
            return None;
        }
        if mode == "cubic" {
            attributes.push(float("cubic_coeff_a", -0.75));
        }
        let shape = [channels, sides[0], sides[1]];
        let by_sizes = self.builder.random.once_in(3);
        if by_sizes {
            let sizes = [1, channels as i64, sides[0] as i64, sides[1] as i64];
            let sizes = self.builder.whole(&sizes);
            let inputs = [&from.name[..], "", "", &sizes];
            return Some(self.builder.node("Resize", &inputs, attributes, shape));
        }
        let scales = self
            .builder
            .constant(&[4], vec![1.0, 1.0, scale[0], scale[1]]);
        let inputs = [&from.name[..], "", &scales];
        Some(self.builder.node("Resize", &inputs, attributes, shape))
    }

    pub fn pool(&mut self) -> Option<Value> {
        let from = self.any();
        let [channels, height, width] = from.shape;
        let random = &mut self.builder.random;
        let (kernel, stride) = (random.between(2, 3), random.between(1, 2));
        let pad = random.below(2);
        let ceil = random.once_in(3);
        let side = |length: usize| {
            let all = (length + 2 * pad).checked_sub(kernel)?;
            let count = if ceil {
                all.div_ceil(stride)
            } else {
                all / stride
            } + 1;
            // Whether a window that begins behind the image counts differs between versions of ONNX.
            (!ceil || (count - 1) * stride < length + pad).then_some(count)
        };
        let shape = [channels, side(height)?, side(width)?];
        let operator = random.pick(&["MaxPool", "AveragePool"]);
        let mut attributes = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &[pad; 4]),
            int("ceil_mode", i64::from(ceil)),
        ];
        if operator == "AveragePool" {
            attributes.push(int(
                "count_include_pad",
                i64::from(random.once_in(2) && !ceil),
            ));
        }
        Some(
            self.builder
                .node(operator, &[&from.name], attributes, shape),
        )
    }

    pub fn slice(&mut self) -> Option<Value> {
        let from = self.any();
        let axis = self.builder.random.pick(&[0, 0, 0, 1, 2]);
        let length = from.shape[axis];
        let start = self.builder.random.below(length);
        let end = self.builder.random.between(start + 1, length);
        let mut shape = from.shape;
        shape[axis] = end - start;
        let whole = [start, end, axis + 1, 1].map(|value| value as i64);
        let names = whole.map(|value| self.builder.whole(&[value]));
        let inputs = [&from.name[..], &names[0], &names[1], &names[2], &names[3]];
        Some(self.builder.node("Slice", &inputs, vec![], shape))
    }

    pub fn pad(&mut self) -> Option<Value> {
        let from = self.any();
        let [channels, height, width] = from.shape;
        let random = &mut self.builder.random;
        let mode = random.pick(&["constant", "constant", "reflect", "edge"]);
        let pads: [usize; 4] = std::array::from_fn(|_| random.below(3));
        if mode == "reflect" && (height < 3 || width < 3) {
            return None;
        }
        let shape = [
            channels,
            height + pads[0] + pads[2],
            width + pads[1] + pads[3],
        ];
        if shape[1].max(shape[2]) > LARGEST_SIDE {
            return None;
        }
        let value = random.pick(&[0.0, 0.0, 0.5]);
        let all = [0, 0, pads[0], pads[1], 0, 0, pads[2], pads[3]].map(|pad| pad as i64);
        let (all, value) = (
            self.builder.whole(&all),
            self.builder.constant(&[], vec![value]),
        );
        let mut inputs = vec![&from.name[..], &all];
        if mode == "constant" {
            inputs.push(&value);
        }
        Some(
            self.builder
                .node("Pad", &inputs, vec![text("mode", mode)], shape),
        )
    }

    pub fn transposed(&mut self) -> Option<Value> {
        let from = self.any();
        let [channels, height, width] = from.shape;
        let outs = self.builder.random.pick(&[1, 4, 16, 17]);
        let kernel = self.builder.random.pick(&[2, 3, 4]);
        let pad = self.builder.random.below(2);
        let side = |length: usize| (2 * (length - 1) + kernel).checked_sub(2 * pad);
        let shape = [outs, side(height)?, side(width)?];
        if shape.iter().any(|side| !(1..=LARGEST_SIDE).contains(side)) {
            return None;
        }
        let scale = 1.5 / (channels as f32).sqrt() / 2.0;
        let weights = self.builder.noise(&[channels, outs, kernel, kernel], scale);
        let bias = self.builder.noise(&[outs], 0.3);
        let attributes = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[2; 2]),
            ints("pads", &[pad; 4]),
        ];
        let inputs = [&from.name[..], &weights, &bias];
        Some(
            self.builder
                .node("ConvTranspose", &inputs, attributes, shape),
        )
    }

    pub fn instance_norm(&mut self) -> Option<Value> {
        let from = self.any();
        let [channels, height, width] = from.shape;
        if height * width < 8 {
            return None;
        }
        // A plane without differences would be divided by next to nothing.
        let ramp: Vec<f32> = (0..height * width).map(|at| at as f32 / 20.0).collect();
        let ramp = self.builder.constant(&[1, 1, height, width], ramp);
        let sum = self
            .builder
            .node("Add", &[&from.name, &ramp], vec![], from.shape);
        let scale = self.builder.noise(&[channels], 1.0);
        let bias = self.builder.noise(&[channels], 0.3);
        let inputs = [&sum.name[..], &scale, &bias];
        let attributes = vec![float("epsilon", 1e-3)];
        Some(
            self.builder
                .node("InstanceNormalization", &inputs, attributes, from.shape),
        )
    }

    pub fn rearrange(&mut self) -> Option<Value> {
        let from = self.any();
        let [channels, height, width] = from.shape;
        match self.builder.random.below(4) {
            0 => {
                let attributes = vec![ints("perm", &[0, 1, 3, 2])];
                let shape = [channels, width, height];
                Some(
                    self.builder
                        .node("Transpose", &[&from.name], attributes, shape),
                )
            }
            1 if channels.is_multiple_of(4) && 2 * height.max(width) <= LARGEST_SIDE => {
                let mode = self.builder.random.pick(&["CRD", "DCR"]);
                let attributes = vec![int("blocksize", 2), text("mode", mode)];
                let shape = [channels / 4, 2 * height, 2 * width];
                Some(
                    self.builder
                        .node("DepthToSpace", &[&from.name], attributes, shape),
                )
            }
            2 if channels.is_multiple_of(2) && 2 * height <= LARGEST_SIDE => {
                let shape = [channels / 2, 2 * height, width];
                let sides = [1, shape[0] as i64, shape[1] as i64, width as i64];
                let sides = self.builder.whole(&sides);
                Some(
                    self.builder
                        .node("Reshape", &[&from.name, &sides], vec![], shape),
                )
            }
            3 => {
                let attributes = vec![int("axis", 1)];
                Some(
                    self.builder
                        .node("Softmax", &[&from.name], attributes, from.shape),
                )
            }
            _ => None,
        }
    }
}
