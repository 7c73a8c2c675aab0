//! Builds ONNX files node by node, with the shapes of what they compute.

use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

/// Numbers that depend on nothing but the seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF1);
        (0..4).for_each(|_| _ = random.next());
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// From `least` to `most`.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Between −1 and 1.
    pub fn float(&mut self) -> f32 {
        (self.next() & 0xFF_FFFF) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.float() * scale).collect()
    }
}

/// An image `[1, channels, height, width]` of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub name: String,
    pub shape: [usize; 3],
}

/// The inputs' shapes and values, in order.
pub type Inputs = Vec<(Vec<usize>, Vec<f32>)>;

pub struct Builder {
    pub random: Random,
    pub opset: i64,
    graph: GraphProto,
    inputs: Inputs,
    count: usize,
}

pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i,
        ..AttributeProto::default()
    }
}

pub fn ints(name: &str, ints: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: ints.iter().map(|value| *value as i64).collect(),
        ..AttributeProto::default()
    }
}

pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Float as i32,
        f,
        ..AttributeProto::default()
    }
}

pub fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::String as i32,
        s: value.as_bytes().to_vec(),
        ..AttributeProto::default()
    }
}

fn info(name: &str, shape: &[usize]) -> ValueInfoProto {
    let side = |side: &usize| Dimension {
        denotation: String::new(),
        value: Some(dimension::Value::DimValue(*side as i64)),
    };
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(TensorShapeProto {
            dim: shape.iter().map(side).collect(),
        }),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            denotation: String::new(),
            value: Some(type_proto::Value::TensorType(tensor)),
        }),
        ..ValueInfoProto::default()
    }
}

impl Builder {
    pub fn new(seed: u64, opset: i64) -> Builder {
        Builder {
            random: Random::new(seed),
            opset,
            graph: GraphProto {
                name: format!("graph {seed}"),
                ..GraphProto::default()
            },
            inputs: Vec::new(),
            count: 0,
        }
    }

    fn fresh(&mut self, of: &str) -> String {
        self.count += 1;
        format!("{of}_{}", self.count)
    }

    /// An input of the network, with values between −1 and 1.
    pub fn input(&mut self, name: &str, shape: [usize; 3]) -> Value {
        let sides = [1, shape[0], shape[1], shape[2]];
        self.graph.input.push(info(name, &sides));
        let values = self.random.floats(sides.iter().product(), 1.0);
        self.inputs.push((sides.to_vec(), values));
        Value {
            name: name.into(),
            shape,
        }
    }

    /// A constant of floats.
    pub fn constant(&mut self, dims: &[usize], values: Vec<f32>) -> String {
        let name = self.fresh("constant");
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            dims: dims.iter().map(|side| *side as i64).collect(),
            data_type: DataType::Float as i32,
            float_data: values,
            ..TensorProto::default()
        });
        name
    }

    /// A constant of random floats.
    pub fn noise(&mut self, dims: &[usize], scale: f32) -> String {
        let values = self.random.floats(dims.iter().product(), scale);
        self.constant(dims, values)
    }

    /// A constant list of whole numbers.
    pub fn whole(&mut self, values: &[i64]) -> String {
        let name = self.fresh("whole");
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            dims: vec![values.len() as i64],
            data_type: DataType::Int64 as i32,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        });
        name
    }

    /// A node of one output, which is an image.
    pub fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        shape: [usize; 3],
    ) -> Value {
        let name = self.fresh(operator);
        self.graph.node.push(NodeProto {
            name: format!("/{name}"),
            op_type: operator.into(),
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![name.clone()],
            attribute: attributes,
            ..NodeProto::default()
        });
        Value { name, shape }
    }

    /// The file, with these outputs.
    pub fn finish(mut self, outputs: &[Value]) -> (Vec<u8>, Inputs) {
        for value in outputs {
            let [channels, height, width] = value.shape;
            let output = info(&value.name, &[1, channels, height, width]);
            self.graph.output.push(output);
        }
        let proto = ModelProto {
            ir_version: 8,
            producer_name: "tests".into(),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: self.opset,
            }],
            graph: Some(self.graph),
            ..ModelProto::default()
        };
        (proto.encode_to_vec(), self.inputs)
    }
}
