//! Small graphs for the tests of the rewrites.

use prost::Message;

use super::plain_table;
use super::proto::{
    Dimension, FLOAT, Graph, ModelProto, Node, OperatorSet, Shape, Tensor, TensorType, Type,
    ValueInfo,
};
use super::{Rewritten, Target, rewrite};

/// What most of them are rewritten for.
pub const CPU: Target = Target::Cpu { exact: false };

/// A model from `x` to `y`, both f32, with the shape of `x` as given and opset 13.
pub fn model(shape: &[i64], nodes: Vec<Node>, constants: Vec<Tensor>) -> ModelProto {
    let value = |name: &str, shape: &[i64]| ValueInfo {
        name: Some(name.to_string()),
        r#type: Some(Type {
            tensor_type: Some(TensorType {
                elem_type: Some(FLOAT),
                shape: Some(Shape {
                    dim: shape
                        .iter()
                        .map(|dim| Dimension {
                            dim_value: Some(*dim),
                            ..Dimension::default()
                        })
                        .collect(),
                }),
            }),
            ..Type::default()
        }),
        ..ValueInfo::default()
    };
    ModelProto {
        ir_version: Some(7),
        opset_import: vec![OperatorSet {
            domain: Some(String::new()),
            version: Some(13),
        }],
        graph: Some(Graph {
            node: nodes,
            name: Some("test".to_string()),
            initializer: (constants.iter())
                .map(|one| one.encode_to_vec().into())
                .collect(),
            input: vec![value("x", shape)],
            output: vec![value("y", shape)],
            ..Graph::default()
        }),
        ..ModelProto::default()
    }
}

/// An f32 tensor, stored as raw bytes.
pub fn tensor(name: &str, dims: &[i64], values: &[f32]) -> Tensor {
    Tensor {
        dims: dims.to_vec(),
        data_type: Some(FLOAT),
        name: Some(name.to_string()),
        raw_data: Some(
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        ),
        ..Tensor::default()
    }
}

/// `name = op(inputs)`, the inputs in one string.
pub fn node(name: &str, op: &str, inputs: &str) -> Node {
    Node::new(op, &inputs.split(' ').collect::<Vec<_>>(), name)
}

/// What `rewrite` makes of a model, read again.
pub fn rewritten(model: &ModelProto) -> Option<(Graph, Rewritten)> {
    let rewritten = rewrite(&model.encode_to_vec().into(), CPU, &plain_table()).unwrap()?;
    let again = ModelProto::decode(&rewritten.model[..]).unwrap();
    assert_eq!(
        rewrite(&rewritten.model, CPU, &plain_table()).unwrap(),
        None,
        "a second rewrite"
    );
    Some((again.graph.unwrap(), rewritten))
}

/// The operators of a graph, in order.
pub fn operators(graph: &Graph) -> Vec<&str> {
    graph.node.iter().filter_map(Node::op).collect()
}

pub fn constants() -> Vec<Tensor> {
    let scalars = [("zero", 0.0), ("one", 1.0), ("three", 3.0), ("six", 6.0)];
    let others = [
        ("half", 0.5),
        ("sixth", 0.166_666_67),
        ("inf", f32::INFINITY),
    ];
    scalars
        .into_iter()
        .chain(others)
        .map(|(name, value)| tensor(name, &[1], &[value]))
        .collect()
}
