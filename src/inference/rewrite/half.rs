//! A graph that computes in f16, between an input and outputs that stay f32.

use half::f16;
use prost::Message;

use super::GraphError;
use super::cast::{cast_input, cast_output};
use super::proto::{Attribute, FLOAT, FLOAT16, Graph, Node, Tensor, TensorHeader, ValueInfo};

/// The operators that take f16 in the place of f32 everywhere, by `onnx.defs`. `Resize` is not among them: some of its
/// inputs must be f32.
const KNOWN: [&str; 34] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "Div",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// Makes all weights and constants f16, and puts casts behind the input and before the outputs.
///
/// # Errors
///
/// When an operator is not known to work so; the graph is then of no use.
pub fn compute_in_half(graph: &mut Graph) -> Result<(), GraphError> {
    for node in &mut graph.node {
        let op = node.op().filter(|op| KNOWN.contains(op)).map(str::to_owned);
        match op.as_deref() {
            Some("Constant") => convert_constant(node)?,
            Some("Cast") => convert_cast(node),
            Some(_) => {}
            None => return Err(unknown(node)),
        }
    }
    for bytes in &mut graph.initializer {
        if let Some(converted) = in_half(bytes)? {
            *bytes = converted.into();
        }
    }
    // What stands there of types is no longer true, and the runtime infers them anyway.
    graph.value_info.clear();

    let name = |value: &ValueInfo| value.name().to_owned();
    let outputs: Vec<String> = graph.output.iter().map(name).collect();
    let inputs: Vec<String> = graph.input.iter().map(name).collect();
    for output in outputs {
        cast_output(graph, &output);
    }
    for input in inputs {
        cast_input(graph, &input, FLOAT16);
    }
    Ok(())
}

fn unknown(node: &Node) -> GraphError {
    GraphError::NotInHalf(node.op_type.clone().unwrap_or_default())
}

fn convert_constant(node: &mut Node) -> Result<(), GraphError> {
    let holds_floats = |attribute: Attribute| attribute.name().starts_with("value_float");
    if node.attributes().any(holds_floats) {
        return Err(unknown(node));
    }
    for bytes in &mut node.attribute {
        let mut attribute = Attribute::decode(bytes.as_slice())?;
        if let Some(converted) = attribute.t.as_deref().map(in_half).transpose()?.flatten() {
            attribute.t = Some(converted);
            *bytes = attribute.encode_to_vec();
        }
    }
    Ok(())
}

fn convert_cast(node: &mut Node) {
    for bytes in &mut node.attribute {
        if let Ok(mut attribute) = Attribute::decode(bytes.as_slice())
            && attribute.name() == "to"
            && attribute.i() == i64::from(FLOAT)
        {
            attribute.i = Some(i64::from(FLOAT16));
            *bytes = attribute.encode_to_vec();
        }
    }
}

/// The bytes of an f32 tensor as f16; `None` when it is of another type. What is finite stays so.
fn in_half(bytes: &[u8]) -> Result<Option<Vec<u8>>, GraphError> {
    if TensorHeader::decode(bytes)?.data_type() != FLOAT {
        return Ok(None);
    }
    let mut tensor = Tensor::decode(bytes)?;
    let values = tensor.floats();
    let halves = values.iter().map(|&value| match f16::from_f32(value) {
        half if half.is_infinite() && value.is_finite() => {
            f16::from_f32(f16::MAX.to_f32().copysign(value))
        }
        half => half,
    });
    tensor.raw_data = Some(halves.flat_map(f16::to_le_bytes).collect());
    tensor.float_data.clear();
    tensor.data_type = Some(FLOAT16);
    Ok(Some(tensor.encode_to_vec()))
}

#[cfg(test)]
mod tests {
    use super::super::test_graphs::{model, node, operators, tensor};
    use super::*;

    #[test]
    fn weights_become_half_and_the_ends_stay_as_they_were() {
        let nodes = vec![node("a", "Mul", "x w"), node("y", "Relu", "a")];
        let weights = vec![tensor("w", &[3], &[0.1, 1e9, -1e9])];
        let before = model(&[1, 3], nodes, weights).graph.unwrap();
        let mut graph = before.clone();
        compute_in_half(&mut graph).unwrap();
        assert_eq!(operators(&graph), ["Cast", "Mul", "Relu", "Cast"]);
        assert_eq!(
            (graph.input, graph.output),
            (before.input, before.output),
            "the types of the ends"
        );
        assert_eq!(graph.node[0].input, ["x"]);
        assert_eq!(graph.node[3].output, ["y"]);
        assert_eq!(graph.node[1].input[0], graph.node[0].output[0]);
        assert_eq!(graph.node[3].input, graph.node[2].output);
        let weights = Tensor::decode(&graph.initializer[0][..]).unwrap();
        assert_eq!(weights.data_type(), FLOAT16);
        let halves: Vec<f32> = (weights.raw_data().chunks(2))
            .map(|bytes| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32())
            .collect();
        assert_eq!(halves, [f16::from_f32(0.1).to_f32(), 65504.0, -65504.0]);
    }

    #[test]
    fn operators_that_are_not_known_are_refused_by_name() {
        for op in ["Resize", "QuantizeLinear"] {
            let mut graph = model(&[1, 3], vec![node("y", op, "x")], Vec::new())
                .graph
                .unwrap();
            let error = compute_in_half(&mut graph).unwrap_err();
            assert!(error.to_string().contains(op), "{error}");
        }
    }
}
