//! The preprocessing at the head of a graph, taken out of it.
//!
//! What stands between the input and the first convolution (`x * 2 - 1`, `(x - mean) / deviation`, a transposition to
//! planes) depends on nothing but a byte and its channel. There are 256 bytes and 3 channels: a table says it all, and
//! the host, which must turn bytes into f32 anyway, gets it for nothing and with the very bits of the graph.

use std::collections::HashSet;

use super::proto::{FLOAT, Graph, Node};
use super::values::{Constant, Values};
use super::{Layout, Table, remove};

/// Channels of a colour picture.
const CHANNELS: usize = 3;

/// From `[n, h, w, c]` to `[n, c, h, w]`.
pub const TO_PLANES: [i64; 4] = [0, 3, 1, 2];

/// What a node does with a pixel and a constant.
type Operator = fn(f32, f32) -> f32;

/// One node at the head of the graph, as the host would do it.
enum Step {
    Nothing,
    ToPlanes,
    Map {
        operator: Operator,
        constant: [f32; CHANNELS],
    },
}

/// Takes the preprocessing out of the graph, which gets its input by `table`, and then wants its input by the table
/// that is returned. `None`, and the graph as it was, when there is nothing to take out or the input is not one batch
/// of f32 colour pictures.
pub fn hoist_preprocessing(graph: &mut Graph, table: &Table) -> Option<Table> {
    let layout = picture_layout(graph)?;
    let input = &graph.input[0];
    let mut table = table.clone();
    let mut now = layout;
    let mut gone = HashSet::new();
    let values = Values::new(graph);
    let mut value = input.name();
    while let Some((number, node)) = values.only_consumer(value)
        && let Some(step) = step(&values, node, value, now)
        && gone.insert(number)
    {
        match step {
            Step::Nothing => {}
            Step::ToPlanes => now = Layout::Nchw,
            Step::Map { operator, constant } => {
                for (table, constant) in table.iter_mut().zip(constant) {
                    table
                        .iter_mut()
                        .for_each(|entry| *entry = operator(*entry, constant));
                }
            }
        }
        value = &node.output[0];
    }
    // A graph that is nothing but preprocessing would lose its output.
    if gone.is_empty() || graph.output.iter().any(|output| output.name() == value) {
        return None;
    }

    let (value, name) = (value.to_string(), input.name().to_string());
    graph.read_instead(&value, &name);
    if layout != now
        && let Some(dims) = graph.input[0].dims_mut()
    {
        // `[n, h, w, c]` becomes `[n, c, h, w]`.
        dims[1..].rotate_right(1);
    }
    remove(graph, &gone);
    Some(table)
}

/// The order of the axes of the one input, when that is a batch of f32 colour pictures.
pub fn picture_layout(graph: &Graph) -> Option<Layout> {
    let [input] = graph.input.as_slice() else {
        return None;
    };
    let tensor = input.r#type.as_ref()?.tensor_type.as_ref()?;
    let dims = &tensor.shape.as_ref()?.dim;
    if tensor.elem_type() != FLOAT || dims.len() != TO_PLANES.len() {
        return None;
    }
    let is_colour = |axis: usize| dims[axis].dim_value == Some(CHANNELS as i64);
    match (is_colour(1), is_colour(3)) {
        (true, false) => Some(Layout::Nchw),
        (false, true) => Some(Layout::Nhwc),
        _ => None,
    }
}

/// What a node does to pixels in that layout; `None` when a table of bytes cannot do it.
fn step(values: &Values, node: &Node, value: &str, layout: Layout) -> Option<Step> {
    let channels = |number: usize| {
        let constant = values.constant(node.input.get(number)?)?;
        per_channel(constant, layout)
    };
    let (operator, swapped): (Operator, Operator) = match node.op()? {
        "Identity" => return Some(Step::Nothing),
        "Transpose" => {
            let perm = node.attribute("perm")?.ints;
            return (layout == Layout::Nhwc && perm == TO_PLANES).then_some(Step::ToPlanes);
        }
        "Add" => (|x, c| x + c, |x, c| c + x),
        "Mul" => (|x, c| x * c, |x, c| c * x),
        "Sub" => (|x, c| x - c, |x, c| c - x),
        "Div" => (|x, c| x / c, |x, c| c / x),
        _ => return None,
    };
    let map = match node.input.as_slice() {
        [x, _] if x == value => Step::Map {
            operator,
            constant: channels(1)?,
        },
        [_, x] if x == value => Step::Map {
            operator: swapped,
            constant: channels(0)?,
        },
        _ => return None,
    };
    (node.output.len() == 1).then_some(map)
}

/// One value for each channel, if the constant broadcasts along the channel axis of `layout` and no other.
fn per_channel(constant: &Constant, layout: Layout) -> Option<[f32; CHANNELS]> {
    // Counted from the end, as broadcasting does.
    let axis = match layout {
        Layout::Nhwc => 0,
        Layout::Nchw => 2,
    };
    let broadcasts = constant.dims.len() <= TO_PLANES.len()
        && (constant.dims.iter().rev().enumerate())
            .all(|(number, dim)| *dim == 1 || (number == axis && *dim == CHANNELS as i64));
    match constant.values.as_slice() {
        [all] if broadcasts => Some([*all; CHANNELS]),
        values if broadcasts => values.try_into().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Feed;
    use super::super::proto::{Attribute, ModelProto, Tensor};
    use super::super::test_graphs::{model, node, operators, rewritten, tensor};
    use super::*;

    const NHWC: [i64; 4] = [2, 5, 7, 3];

    fn to_planes(name: &str, input: &str) -> Node {
        let perm = Attribute {
            name: Some("perm".to_string()),
            ints: TO_PLANES.to_vec(),
            kind: Some(7),
            ..Attribute::default()
        };
        node(name, "Transpose", input).with(perm)
    }

    fn constants() -> Vec<Tensor> {
        vec![
            tensor("two", &[], &[2.0]),
            tensor("scale", &[1, 1, 1, 3], &[1.5, 2.0, 2.5]),
            tensor("mean", &[3, 1, 1], &[0.485, 0.456, 0.406]),
            tensor("rows", &[5, 1, 1], &[0.0; 5]),
        ]
    }

    fn shape(graph: &Graph) -> Vec<i64> {
        let kind = graph.input[0].r#type.clone().unwrap();
        let dims = kind.tensor_type.unwrap().shape.unwrap().dim;
        dims.iter().map(|dim| dim.dim_value()).collect()
    }

    #[test]
    fn preprocessing_becomes_a_table_and_the_input_becomes_planes() {
        let nodes = vec![
            node("a", "Mul", "scale x"),
            to_planes("b", "a"),
            node("c", "Sub", "b mean"),
            node("d", "Div", "two c"),
            node("y", "Relu", "d"),
        ];
        let (graph, rewritten) = rewritten(&model(&NHWC, nodes, constants())).unwrap();
        assert_eq!(operators(&graph), ["Relu"]);
        assert_eq!(graph.node[0].input, ["x"]);
        assert_eq!(shape(&graph), [2, 3, 5, 7]);
        assert!(graph.initializer.is_empty());
        assert!(rewritten.report.preprocessing);
        let Some(Feed::Floats(table)) = rewritten.feed else {
            panic!("no table");
        };
        for (channel, (scale, mean)) in [(1.5, 0.485), (2.0, 0.456), (2.5, 0.406)]
            .into_iter()
            .enumerate()
        {
            for byte in [0_u8, 1, 128, 255] {
                let wanted: f32 = 2.0 / (f32::from(byte) / 255.0 * scale - mean);
                assert_eq!(
                    table[channel][usize::from(byte)],
                    wanted,
                    "{channel} {byte}"
                );
            }
        }
    }

    #[test]
    fn scale_without_a_transposition_keeps_the_layout() {
        for shape_in in [NHWC, [2, 3, 5, 7]] {
            let nodes = vec![node("a", "Mul", "x two"), node("y", "Relu", "a")];
            let (graph, rewritten) = rewritten(&model(&shape_in, nodes, constants())).unwrap();
            assert_eq!(shape(&graph), shape_in);
            assert!(matches!(rewritten.feed, Some(Feed::Floats(table)) if table[0][255] == 2.0));
        }
    }

    #[test]
    fn every_reader_of_the_last_value_reads_the_input_instead() {
        let nodes = vec![
            node("a", "Mul", "x two"),
            node("b", "Relu", "a"),
            node("y", "Add", "a b"),
        ];
        let (graph, _) = rewritten(&model(&NHWC, nodes, constants())).unwrap();
        assert_eq!(graph.node[0].input, ["x"]);
        assert_eq!(graph.node[1].input, ["x", "b"]);
    }

    fn left_alone(what: &str, model: &ModelProto) {
        assert!(rewritten(model).is_none(), "{what}");
    }

    #[test]
    fn what_a_table_cannot_say_stays_in_the_graph() {
        let relu = |input: &str| node("y", "Relu", input);
        let mul = |inputs: &str| vec![node("a", "Mul", inputs), relu("a")];
        let with = |shape: &[i64], nodes| model(shape, nodes, constants());
        left_alone("nothing to do", &with(&NHWC, vec![relu("x")]));
        left_alone("a constant along the rows", &with(&NHWC, mul("x rows")));
        left_alone(
            "a channel constant for the other layout",
            &with(&NHWC, mul("x mean")),
        );
        left_alone("no colour", &with(&[2, 5, 7, 1], mul("x two")));
        left_alone("which axis is colour?", &with(&[2, 3, 7, 3], mul("x two")));
        left_alone("no picture", &with(&[2, 3], mul("x two")));
        left_alone("x is read twice", &with(&NHWC, mul("x x")));
        left_alone(
            "nothing but preprocessing",
            &with(&NHWC, vec![node("y", "Mul", "x two")]),
        );
        let mut bytes = with(&NHWC, mul("x two"));
        let input = &mut bytes.graph.as_mut().unwrap().input[0];
        input
            .r#type
            .as_mut()
            .unwrap()
            .tensor_type
            .as_mut()
            .unwrap()
            .elem_type = Some(2);
        left_alone("an input of bytes", &bytes);
        let mut overridable = with(&NHWC, mul("x two"));
        let graph = overridable.graph.as_mut().unwrap();
        graph.input.push(super::super::proto::ValueInfo {
            name: Some("two".to_string()),
            ..Default::default()
        });
        left_alone("a constant that a caller may set", &overridable);
    }
}
