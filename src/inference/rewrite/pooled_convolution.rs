//! The convolution after the global pooling, as the matrix product it is.

use prost::Message;

use super::proto::{Attribute, FLOAT, Graph, INT64, Node, Tensor, TensorHeader};
use super::unused;
use super::values::Values;

/// Weights of at least this many bytes are worth it. A convolution reads its weights once for each picture, a matrix
/// product once for each batch; that matters from about the size of a core's own cache (2 MiB on Sapphire Rapids).
/// MobileNetV3's features (960 to 1280 channels, 4.9 MB) gain 0.15 ms a picture at batch 8, 3 % of the whole; the gates
/// of its squeeze-excite (0.9 MB at most) gain nothing, as their results must be put back into ONNX Runtime's blocked
/// layout.
const WORTH_IT: i64 = 2 << 20;

/// A convolution to be rewritten.
struct Found {
    node: usize,
    /// The number of the initializer that holds its weights.
    initializer: usize,
    /// The same weights as a matrix `[outputs, inputs]`.
    matrix: Tensor,
}

/// Rewrites each large 1x1 convolution of a globally pooled `[n, c, 1, 1]` as `Flatten`, `Gemm`, `Unsqueeze`; returns
/// how many there were.
pub fn to_matrix_product(graph: &mut Graph) -> usize {
    let values = Values::new(graph);
    let found: Vec<Found> = (0..graph.node.len())
        .filter_map(|node| large_pooled_convolution(graph, &values, node))
        .collect();
    if found.is_empty() {
        return 0;
    }
    let axes = unused(&values, "spatial_axes");
    let names: Vec<[String; 2]> = found
        .iter()
        .map(|found| {
            let output = &graph.node[found.node].output[0];
            ["flat", "product"].map(|kind| unused(&values, &format!("{output}/{kind}")))
        })
        .collect();

    // From the last to the first, so that the numbers still to come stay right.
    for (found, [flat, product]) in found.iter().zip(&names).rev() {
        graph.initializer[found.initializer] = found.matrix.encode_to_vec().into();
        let node = &graph.node[found.node];
        let mut inputs = vec![flat.as_str()];
        inputs.extend(node.input[1..].iter().map(String::as_str));
        let replacement = [
            Node::new("Flatten", &[&node.input[0]], flat).with(Attribute::int("axis", 1)),
            Node::new("Gemm", &inputs, product).with(Attribute::int("transB", 1)),
            Node::new("Unsqueeze", &[product, &axes], &node.output[0]),
        ];
        graph.node.splice(found.node..=found.node, replacement);
    }
    let axes = Tensor {
        dims: vec![2],
        data_type: Some(INT64),
        int64_data: vec![2, 3],
        name: Some(axes),
        ..Tensor::default()
    };
    graph.initializer.push(axes.encode_to_vec().into());
    found.len()
}

/// The node of that number, if it is such a convolution.
fn large_pooled_convolution(graph: &Graph, values: &Values, number: usize) -> Option<Found> {
    let node = &graph.node[number];
    let [pooled, weights, ..] = node.input.as_slice() else {
        return None;
    };
    // Of a single pixel, strides and dilations change nothing; pads would, and so would groups.
    let plain = node.op() == Some("Conv")
        && node.output.len() == 1
        && node.attributes().all(|attribute| match attribute.name() {
            "group" => attribute.i() == 1,
            "pads" => attribute.ints.iter().all(|pad| *pad == 0),
            "auto_pad" => matches!(attribute.s(), b"NOTSET" | b"VALID"),
            "kernel_shape" | "strides" | "dilations" => true,
            _ => false,
        });
    let (_, pool) = values.producer(pooled)?;
    let overridable = graph.input.iter().any(|input| input.name() == weights);
    if !plain || pool.op() != Some("GlobalAveragePool") || overridable || values.uses(weights) != 1
    {
        return None;
    }
    let initializer = graph.initializer.iter().position(|tensor| {
        TensorHeader::decode(&tensor[..]).is_ok_and(|header| {
            header.name() == weights && header.data_type() == FLOAT && is_large(&header.dims)
        })
    })?;
    let mut matrix = Tensor::decode(&graph.initializer[initializer][..]).ok()?;
    matrix.dims.truncate(2);
    Some(Found {
        node: number,
        initializer,
        matrix,
    })
}

/// Whether `[outputs, inputs, 1, 1]` of f32 is worth it.
fn is_large(dims: &[i64]) -> bool {
    match dims {
        [outputs, inputs, 1, 1] => outputs.saturating_mul(*inputs).saturating_mul(4) >= WORTH_IT,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::ModelProto;
    use super::super::test_graphs::{model, node, operators, rewritten, tensor};
    use super::*;

    const OUTPUTS: i64 = 1024;
    const INPUTS: i64 = 512;

    /// What to do with the convolution before it is put into the graph.
    type Change = fn(Node) -> Node;

    /// Pooling, convolution and ReLU; the weights are of 2 MiB.
    fn head(change: Change) -> ModelProto {
        let convolution = Attribute {
            ints: vec![1, 1],
            ..named("kernel_shape")
        };
        let nodes = vec![
            node("p", "GlobalAveragePool", "x"),
            change(node("c", "Conv", "p w b").with(convolution)),
            node("y", "Relu", "c"),
        ];
        let weights = vec![0.0; (OUTPUTS * INPUTS) as usize];
        let constants = vec![
            tensor("w", &[OUTPUTS, INPUTS, 1, 1], &weights),
            tensor("b", &[OUTPUTS], &weights[..OUTPUTS as usize]),
        ];
        model(&[2, INPUTS, 7, 7], nodes, constants)
    }

    fn named(name: &str) -> Attribute {
        Attribute {
            name: Some(name.to_string()),
            ..Attribute::default()
        }
    }

    #[test]
    fn large_convolution_of_a_pooled_map_becomes_a_matrix_product() {
        let (graph, rewritten) = rewritten(&head(|node| node)).unwrap();
        assert_eq!(rewritten.report.gemm, 1);
        assert_eq!(
            operators(&graph),
            ["GlobalAveragePool", "Flatten", "Gemm", "Unsqueeze", "Relu"]
        );
        assert_eq!(graph.node[2].input, ["c/flat", "w", "b"]);
        assert_eq!(graph.node[3].output, ["c"]);
        let weights = Tensor::decode(&graph.initializer[0][..]).unwrap();
        assert_eq!(weights.dims, [OUTPUTS, INPUTS]);
        let axes = Tensor::decode(&graph.initializer[2][..]).unwrap();
        assert_eq!(axes.name(), "spatial_axes");
        assert_eq!(axes.int64_data, [2, 3]);
    }

    #[test]
    fn names_that_are_taken_are_avoided() {
        let mut model = head(|node| node);
        let graph = model.graph.as_mut().unwrap();
        graph.node.push(node("c/flat", "Relu", "spatial_axes"));
        let (graph, _) = rewritten(&model).unwrap();
        assert_eq!(graph.node[1].output, ["c/flat_"]);
        assert_eq!(graph.node[3].input, ["c/product", "spatial_axes_"]);
    }

    #[test]
    fn other_convolutions_are_left_alone() {
        let others: [(&str, Change); 4] = [
            ("not pooled", |mut node| {
                node.input[0] = "x".to_string();
                node
            }),
            ("padded", |node| {
                node.with(Attribute {
                    ints: vec![0, 0, 1, 1],
                    ..named("pads")
                })
            }),
            ("grouped", |node| node.with(Attribute::int("group", 2))),
            ("unknown attribute", |node| node.with(named("swirl"))),
        ];
        for (what, change) in others {
            assert!(rewritten(&head(change)).is_none(), "{what}");
        }
        let mut small = head(|node| node);
        let graph = small.graph.as_mut().unwrap();
        graph.initializer[0] = tensor("w", &[1, 2, 1, 1], &[0.0; 2]).encode_to_vec().into();
        assert!(rewritten(&small).is_none(), "small");
    }
}
