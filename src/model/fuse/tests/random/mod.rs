//! Random small graphs of the operators that exporters write for networks of faces.

mod shapes;

use super::builder::{Builder, Inputs, Value, float, int, ints, text};

/// A graph, the values of its inputs, and what it is made of.
pub struct RandomGraph {
    pub onnx: Vec<u8>,
    pub inputs: Inputs,
    pub operators: Vec<&'static str>,
}

/// No image is larger on one side, and none has more channels.
const LARGEST_SIDE: usize = 26;
const MOST_CHANNELS: usize = 96;

type Step = fn(&mut Grow) -> Option<Value>;

/// The operators, each with how often it is picked.
const STEPS: &[(&str, usize, Step)] = &[
    ("conv", 8, Grow::conv),
    ("point conv", 5, Grow::point_conv),
    ("depthwise", 4, Grow::depthwise),
    ("inverted residual", 6, Grow::inverted_residual),
    ("activation", 8, Grow::activation),
    ("batch norm", 3, Grow::batch_norm),
    ("constant", 5, Grow::with_constant),
    ("two images", 6, Grow::two_images),
    ("squeeze and excite", 2, Grow::squeeze_excite),
    ("resize", 6, Grow::resize),
    ("pool", 3, Grow::pool),
    ("concat", 6, Grow::concat),
    ("vector", 4, Grow::vector),
    ("slice", 3, Grow::slice),
    ("pad", 2, Grow::pad),
    ("transposed", 2, Grow::transposed),
    ("norm", 2, Grow::instance_norm),
    ("rearrange", 2, Grow::rearrange),
];

/// The graph of a seed.
pub fn graph(seed: u64) -> RandomGraph {
    let mut builder = Builder::new(seed, if seed.is_multiple_of(2) { 13 } else { 17 });
    let random = &mut builder.random;
    let channels = random.pick(&[1, 2, 3, 6, 6, 8, 15, 16, 17, 20, 33]);
    let (height, width) = (random.between(2, 13), random.between(2, 13));
    let length = random.pick(&[1, 4, 16, 19]);
    let image = builder.input("input", [channels, height, width]);
    let vector = builder.input("audio", [length, 1, 1]);
    let steps = builder.random.between(3, 9);
    let mut grow = Grow {
        builder,
        values: vec![image],
        vector,
    };
    let mut operators = Vec::new();
    while operators.len() < steps {
        let all: usize = STEPS.iter().map(|(_, weight, _)| weight).sum();
        let mut at = grow.builder.random.below(all);
        let step = STEPS.iter().find(|(_, weight, _)| {
            let found = at < *weight;
            at = at.wrapping_sub(*weight);
            found
        });
        let (name, _, step) = step.expect("below the sum of all");
        if let Some(value) = step(&mut grow) {
            grow.values.push(value);
            operators.push(*name);
        }
    }
    // Both inputs are read, whatever was picked.
    let last = grow.last();
    let sum = grow
        .builder
        .node("ReduceSum", &["audio"], vec![int("keepdims", 1)], [1, 1, 1]);
    let tenth = grow.builder.constant(&[], vec![0.1]);
    let scaled = grow
        .builder
        .node("Mul", &[&sum.name, &tenth], vec![], [1, 1, 1]);
    let output = grow
        .builder
        .node("Add", &[&last.name, &scaled.name], vec![], last.shape);
    let mut outputs = vec![output];
    if grow.builder.random.once_in(3) && grow.values.len() > 2 {
        let at = grow.builder.random.between(1, grow.values.len() - 2);
        outputs.push(grow.values[at].clone());
    }
    let (onnx, inputs) = grow.builder.finish(&outputs);
    RandomGraph {
        onnx,
        inputs,
        operators,
    }
}

/// A graph while it is made.
struct Grow {
    builder: Builder,
    values: Vec<Value>,
    vector: Value,
}

impl Grow {
    fn last(&self) -> Value {
        self.values.last().expect("the input").clone()
    }

    /// Mostly the last value, or an older one.
    fn any(&mut self) -> Value {
        if self.builder.random.once_in(5) {
            let at = self.builder.random.below(self.values.len());
            return self.values[at].clone();
        }
        self.last()
    }

    /// A convolution of `from`; `None` where nothing would be left of the image.
    fn convolve(
        &mut self,
        from: &Value,
        outs: usize,
        (kernel, stride, dilation): ([usize; 2], [usize; 2], usize),
        pads: [usize; 4],
        groups: usize,
    ) -> Option<Value> {
        let [channels, height, width] = from.shape;
        let side = |length: usize, axis: usize| {
            let all = length + pads[axis] + pads[axis + 2];
            let spans = (kernel[axis] - 1) * dilation + 1;
            (all >= spans).then(|| (all - spans) / stride[axis] + 1)
        };
        let (height, width) = (side(height, 0)?, side(width, 1)?);
        if height.max(width) > LARGEST_SIDE {
            return None;
        }
        let depth = channels / groups;
        let scale = 1.7 / ((depth * kernel[0] * kernel[1]) as f32).sqrt();
        let weights = self
            .builder
            .noise(&[outs, depth, kernel[0], kernel[1]], scale);
        let bias = self.builder.noise(&[outs], 0.5);
        let mut inputs = vec![&from.name[..], &weights];
        if !self.builder.random.once_in(4) {
            inputs.push(&bias);
        }
        let attributes = vec![
            ints("kernel_shape", &kernel),
            ints("strides", &stride),
            ints("pads", &pads),
            ints("dilations", &[dilation; 2]),
            int("group", groups as i64),
        ];
        let shape = [outs, height, width];
        Some(self.builder.node("Conv", &inputs, attributes, shape))
    }

    fn outs(&mut self) -> usize {
        let random = &mut self.builder.random;
        random.pick(&[1, 3, 5, 8, 15, 16, 17, 24, 31, 33, 48, 64, 70])
    }

    fn conv(&mut self) -> Option<Value> {
        let from = self.any();
        let outs = self.outs();
        let random = &mut self.builder.random;
        let square = random.pick(&[1, 2, 3, 3, 3, 3, 5]);
        let kernel = match random.once_in(4) {
            true => [random.between(1, 4), random.between(1, 4)],
            false => [square; 2],
        };
        let stride = match random.once_in(3) {
            true => [random.between(1, 3), random.between(1, 3)],
            false => [1, 1],
        };
        let dilation = if random.once_in(8) { 2 } else { 1 };
        let pads = match random.below(4) {
            0 => [0; 4],
            1 => std::array::from_fn(|side| random.below(kernel[side % 2])),
            _ => std::array::from_fn(|side| kernel[side % 2] / 2),
        };
        let channels = from.shape[0];
        let grouped = channels.is_multiple_of(2) && outs.is_multiple_of(2) && random.once_in(8);
        self.convolve(
            &from,
            outs,
            (kernel, stride, dilation),
            pads,
            if grouped { 2 } else { 1 },
        )
    }

    fn point_conv(&mut self) -> Option<Value> {
        let (from, outs) = (self.any(), self.outs());
        self.convolve(&from, outs, ([1, 1], [1, 1], 1), [0; 4], 1)
    }

    fn depthwise(&mut self) -> Option<Value> {
        let from = self.any();
        let random = &mut self.builder.random;
        let stride = random.pick(&[1, 1, 2]);
        let pads = match random.once_in(4) {
            true => std::array::from_fn(|_| random.below(3)),
            false => [1; 4],
        };
        let channels = from.shape[0];
        self.convolve(&from, channels, ([3, 3], [stride; 2], 1), pads, channels)
    }

    fn relu(&mut self, of: &Value) -> Value {
        self.builder.node("Relu", &[&of.name], vec![], of.shape)
    }

    fn inverted_residual(&mut self) -> Option<Value> {
        let from = self.any();
        let stride = self.builder.random.pick(&[1, 1, 1, 2]);
        let channels = (2 * from.shape[0]).min(MOST_CHANNELS);
        let outs = match self.builder.random.once_in(2) {
            true => from.shape[0],
            false => self.outs(),
        };
        let wide = self.convolve(&from, channels, ([1, 1], [1, 1], 1), [0; 4], 1)?;
        let wide = match self.builder.random.once_in(4) {
            true => self.activate(&wide),
            false => self.relu(&wide),
        };
        let shape = ([3, 3], [stride; 2], 1);
        let depth = self.convolve(&wide, channels, shape, [1; 4], channels)?;
        let depth = self.relu(&depth);
        let out = self.convolve(&depth, outs, ([1, 1], [1, 1], 1), [0; 4], 1)?;
        if out.shape == from.shape && !self.builder.random.once_in(3) {
            let names = [&from.name[..], &out.name];
            return Some(self.builder.node("Add", &names, vec![], out.shape));
        }
        Some(out)
    }

    fn activation(&mut self) -> Option<Value> {
        let from = self.any();
        Some(self.activate(&from))
    }

    fn activate(&mut self, from: &Value) -> Value {
        let (name, shape) = (&from.name[..], from.shape);
        let operator = self.builder.random.pick(&[
            "Relu",
            "Relu",
            "Sigmoid",
            "Sigmoid",
            "Sigmoid",
            "Tanh",
            "LeakyRelu",
            "Clip",
            "Clip",
            "PRelu",
            "Elu",
            "HardSigmoid",
            "HardSwish",
            "Softplus",
            "Swish",
            "Gelu",
            "Abs",
            "Neg",
        ]);
        let alpha = 0.05 + 0.3 * self.builder.random.float().abs();
        match operator {
            "LeakyRelu" | "Elu" => {
                let attributes = vec![float("alpha", alpha)];
                self.builder.node(operator, &[name], attributes, shape)
            }
            "HardSigmoid" => {
                let attributes = vec![float("alpha", alpha), float("beta", 0.4)];
                self.builder.node(operator, &[name], attributes, shape)
            }
            "PRelu" => {
                let slopes = self.builder.noise(&[shape[0], 1, 1], 0.4);
                self.builder.node(operator, &[name, &slopes], vec![], shape)
            }
            "Clip" => self.clip(from),
            "Swish" => {
                let gate = self.builder.node("Sigmoid", &[name], vec![], shape);
                self.builder.node("Mul", &[name, &gate.name], vec![], shape)
            }
            "HardSwish" if self.builder.opset < 14 => self.clip(from),
            "Gelu" => {
                let root = self.builder.constant(&[], vec![std::f32::consts::SQRT_2]);
                let (one, half) = (
                    self.builder.constant(&[], vec![1.0]),
                    self.builder.constant(&[], vec![0.5]),
                );
                let scaled = self.builder.node("Div", &[name, &root], vec![], shape);
                let erf = self.builder.node("Erf", &[&scaled.name], vec![], shape);
                let sum = self.builder.node("Add", &[&erf.name, &one], vec![], shape);
                let product = self.builder.node("Mul", &[name, &sum.name], vec![], shape);
                self.builder
                    .node("Mul", &[&product.name, &half], vec![], shape)
            }
            _ => self.builder.node(operator, &[name], vec![], shape),
        }
    }

    fn clip(&mut self, from: &Value) -> Value {
        let random = &mut self.builder.random;
        let low = random.pick(&[None, Some(0.0), Some(0.0), Some(-0.4), Some(0.2)]);
        let high = random.pick(&[None, Some(6.0), Some(0.7), Some(1.0)]);
        let mut bound = |value: Option<f32>| match value {
            Some(value) => self.builder.constant(&[], vec![value]),
            None => String::new(),
        };
        let bounds = [bound(low), bound(high)];
        let inputs = [&from.name[..], &bounds[0], &bounds[1]];
        self.builder.node("Clip", &inputs, vec![], from.shape)
    }

    fn batch_norm(&mut self) -> Option<Value> {
        let from = self.any();
        let channels = from.shape[0];
        let random = &mut self.builder.random;
        let epsilon = random.pick(&[1e-5, 1e-3, 0.1]);
        let positive = |value: f32| 0.6 + 0.4 * value;
        let scale = random.floats(channels, 1.0).into_iter().map(positive);
        let scale = scale.collect();
        let variance = random.floats(channels, 1.0).into_iter().map(positive);
        let variance = variance.collect();
        let scale = self.builder.constant(&[channels], scale);
        let bias = self.builder.noise(&[channels], 0.3);
        let mean = self.builder.noise(&[channels], 0.3);
        let variance = self.builder.constant(&[channels], variance);
        let inputs = [&from.name[..], &scale, &bias, &mean, &variance];
        let attributes = vec![float("epsilon", epsilon)];
        Some(
            self.builder
                .node("BatchNormalization", &inputs, attributes, from.shape),
        )
    }

    fn with_constant(&mut self) -> Option<Value> {
        let from = self.any();
        let [channels, height, width] = from.shape;
        let dims = match self.builder.random.below(8) {
            0 => vec![],
            1 => vec![1],
            2 => vec![channels, 1, 1],
            3 => vec![1, channels, 1, 1],
            4 => vec![1, 1, height, width],
            5 => vec![height, width],
            6 => vec![1, 1, 1, width],
            _ => vec![1, channels, height, width],
        };
        let operator = self
            .builder
            .random
            .pick(&["Add", "Add", "Sub", "Mul", "Mul", "Div", "Max", "Min"]);
        let count = dims.iter().product();
        let mut values = self.builder.random.floats(count, 1.0);
        if operator == "Div" {
            values
                .iter_mut()
                .for_each(|value| *value = 1.5 + *value * 0.5);
        }
        let constant = self.builder.constant(&dims, values);
        let mut inputs = [&from.name[..], &constant];
        if operator != "Div" && self.builder.random.once_in(3) {
            inputs.reverse();
        }
        Some(self.builder.node(operator, &inputs, vec![], from.shape))
    }

    fn two_images(&mut self) -> Option<Value> {
        let a = self.any();
        let same: Vec<Value> = self
            .values
            .iter()
            .filter(|b| b.shape == a.shape)
            .cloned()
            .collect();
        let at = self.builder.random.below(same.len());
        let mut b = same[at].clone();
        if b == a && !self.builder.random.once_in(4) {
            b = match self.builder.random.once_in(2) {
                true => self.activate(&a),
                false => self.convolve(&a, a.shape[0], ([3, 3], [1, 1], 1), [1; 4], 1)?,
            };
        }
        let operator = self
            .builder
            .random
            .pick(&["Add", "Add", "Add", "Sub", "Mul", "Max"]);
        let mut inputs = [&a.name[..], &b.name];
        if self.builder.random.once_in(2) {
            inputs.reverse();
        }
        Some(self.builder.node(operator, &inputs, vec![], a.shape))
    }

    fn squeeze_excite(&mut self) -> Option<Value> {
        let from = self.any();
        let channels = from.shape[0];
        let shape = [channels, 1, 1];
        let mean = match self.builder.random.once_in(2) {
            true => self
                .builder
                .node("GlobalAveragePool", &[&from.name], vec![], shape),
            false => {
                let attributes = vec![ints("axes", &[2, 3]), int("keepdims", 1)];
                self.builder
                    .node("ReduceMean", &[&from.name], attributes, shape)
            }
        };
        let less = self.convolve(&mean, channels.div_ceil(2), ([1, 1], [1, 1], 1), [0; 4], 1)?;
        let less = self.relu(&less);
        let more = self.convolve(&less, channels, ([1, 1], [1, 1], 1), [0; 4], 1)?;
        let gate = self.builder.node("Sigmoid", &[&more.name], vec![], shape);
        let operator = self.builder.random.pick(&["Mul", "Mul", "Add"]);
        let inputs = [&from.name[..], &gate.name];
        Some(self.builder.node(operator, &inputs, vec![], from.shape))
    }

    fn concat(&mut self) -> Option<Value> {
        let first = self.any();
        let axis = if self.builder.random.once_in(6) {
            self.builder.random.between(2, 3)
        } else {
            1
        };
        let others = (0..3).filter(|other| *other + 1 != axis);
        let others: Vec<usize> = others.collect();
        let fits = |value: &&Value| {
            others
                .iter()
                .all(|side| value.shape[*side] == first.shape[*side])
        };
        let fitting: Vec<Value> = self.values.iter().filter(fits).cloned().collect();
        let mut parts = vec![first.clone()];
        for _ in 0..self.builder.random.between(1, 3) {
            let at = self.builder.random.below(fitting.len());
            parts.push(fitting[at].clone());
        }
        let mut shape = first.shape;
        shape[axis - 1] = parts.iter().map(|part| part.shape[axis - 1]).sum();
        if shape[0] > MOST_CHANNELS || shape[1].max(shape[2]) > LARGEST_SIDE {
            return None;
        }
        let names: Vec<&str> = parts.iter().map(|part| &part.name[..]).collect();
        Some(
            self.builder
                .node("Concat", &names, vec![int("axis", axis as i64)], shape),
        )
    }

    /// The vector, as it is or computed, expanded over an image and beside it.
    fn vector(&mut self) -> Option<Value> {
        let from = self.any();
        let mut vector = self.vector.clone();
        if self.builder.random.once_in(2) {
            let outs = self.outs();
            vector = self.convolve(&vector, outs, ([1, 1], [1, 1], 1), [0; 4], 1)?;
        }
        if self.builder.random.once_in(3) {
            vector = self.activate(&vector);
        }
        let [_, height, width] = from.shape;
        let shape = [vector.shape[0], height, width];
        let sides = [1, shape[0] as i64, height as i64, width as i64];
        let spread = if self.builder.random.once_in(4) {
            let repeats = self.builder.whole(&[1, 1, height as i64, width as i64]);
            self.builder
                .node("Tile", &[&vector.name, &repeats], vec![], shape)
        } else {
            let sides = self.builder.whole(&sides);
            self.builder
                .node("Expand", &[&vector.name, &sides], vec![], shape)
        };
        let spread = match self.builder.random.once_in(4) {
            true => self.activate(&spread),
            false => spread,
        };
        let all = [from.shape[0] + shape[0], height, width];
        if all[0] > MOST_CHANNELS {
            return None;
        }
        let mut names = [&from.name[..], &spread.name];
        if self.builder.random.once_in(2) {
            names.reverse();
        }
        let both = self
            .builder
            .node("Concat", &names, vec![int("axis", 1)], all);
        if self.builder.random.once_in(3) {
            return Some(both);
        }
        let (outs, kernel) = (self.outs(), self.builder.random.pick(&[1, 1, 3]));
        self.convolve(&both, outs, ([kernel; 2], [1, 1], 1), [kernel / 2; 4], 1)
    }
}
