//! A graph made to fit what this program gives and takes: one f32 input for pictures, one f32 output.
//!
//! What people export often has more: a second input that only another output needs (the words of CLIP), and weights, inputs
//! and outputs in half precision.

use std::collections::HashSet;

use prost::Message;

use super::cast::{cast_input, cast_output};
use super::proto::{BFLOAT16, DOUBLE, FLOAT, FLOAT16, Graph, ModelProto, TensorHeader, ValueInfo};
use super::values::Values;
use super::{GraphError, remove, remove_unused};

/// The model with no more inputs than the output needs that is to be used, and with f32 in the place of f16, bf16 and f64
/// at both ends; `None` where it is so already, or is out of the ordinary. `output` and `pooled` are those of
/// [`feature_output`].
///
/// # Errors
/// When the bytes are not an ONNX model.
pub fn meet(
    model: &[u8],
    output: Option<&str>,
    pooled: bool,
) -> Result<Option<Vec<u8>>, GraphError> {
    let length = model.len();
    let mut model = ModelProto::decode(model)?;
    let known = model.encoded_len() == length && super::is_plain(&model);
    let graph = model.graph.as_mut().ok_or(GraphError::NoGraph)?;
    if !known || super::has_subgraph_or_external_data(graph) {
        return Ok(None);
    }
    let names: Vec<&str> = graph.output.iter().map(ValueInfo::name).collect();
    let Some(chosen) = feature_output(&names, output, pooled) else {
        return Ok(None);
    };
    let name = names[chosen].to_owned();
    let is_cut = cut_to(graph, &name);
    let is_cast = widen_input(graph) | widen_output(graph, &name);
    Ok((is_cut || is_cast).then(|| model.encode_to_vec()))
}

/// The names of outputs that are a feature for each picture, the first of them first: what TensorFlow Hub's models are
/// converted to, CLIP's picture beside words, and what a transformer sums up its tokens to.
const FEATURES: [&str; 3] = ["feature_vector", "image_embeds", "pooler_output"];
/// The name of the output that has a feature for each token, in exports of `transformers`.
const TOKENS: &str = "last_hidden_state";

/// The same for words. Their feature is compared with those of pictures.
pub const TEXT_FEATURES: [&str; 2] = ["text_embeds", "pooler_output"];

/// Which of the outputs is the one to use: the one of the name that is wanted, or the only one, or one whose name tells.
/// Where tokens are to be pooled, that is the one which has them.
pub fn feature_output(names: &[&str], wanted: Option<&str>, pooled: bool) -> Option<usize> {
    let named = |name: &str| names.iter().position(|other| *other == name);
    match (wanted, names) {
        (Some(name), _) => named(name),
        (None, [_]) => Some(0),
        (None, _) => (pooled.then(|| named(TOKENS)).flatten())
            .or_else(|| FEATURES.iter().find_map(|name| named(name))),
    }
}

/// Takes out what the output does not need, where that includes an input.
fn cut_to(graph: &mut Graph, output: &str) -> bool {
    let values = Values::new(graph);
    let mut needed = HashSet::from([output.to_owned()]);
    let mut nodes = HashSet::new();
    let mut ahead = vec![output.to_owned()];
    while let Some(value) = ahead.pop() {
        let Some((number, node)) = values.producer(&value) else {
            continue;
        };
        if nodes.insert(number) {
            for input in &node.input {
                if needed.insert(input.clone()) {
                    ahead.push(input.clone());
                }
            }
        }
    }
    let is_weight = weights(graph);
    let is_needed = |name: &str| needed.contains(name) || is_weight.contains(name);
    if graph.input.iter().all(|input| is_needed(input.name())) {
        return false;
    }
    let gone = (0..graph.node.len()).filter(|number| !nodes.contains(number));
    remove(graph, &gone.collect());
    graph.input.retain(|input| needed.contains(input.name()));
    graph.output.retain(|one| one.name() == output);
    remove_unused(graph);
    true
}

/// The names of the weights, which older graphs also name as inputs.
fn weights(graph: &Graph) -> HashSet<String> {
    let headers = graph.initializer.iter();
    let headers = headers.filter_map(|bytes| TensorHeader::decode(bytes.as_slice()).ok());
    headers.map(|header| header.name().to_owned()).collect()
}

/// What is made f32 at the ends: f64 counts too.
const NARROW: [i32; 3] = [FLOAT16, BFLOAT16, DOUBLE];

/// Makes the pictures f32, where they are the only input and narrow.
fn widen_input(graph: &mut Graph) -> bool {
    let weights = weights(graph);
    let inputs = graph.input.iter_mut();
    let mut pictures = inputs.filter(|input| !weights.contains(input.name()));
    let (Some(input), None) = (pictures.next(), pictures.next()) else {
        return false;
    };
    let name = input.name().to_owned();
    let Some(kind) = widen(input) else {
        return false;
    };
    cast_input(graph, &name, kind);
    true
}

fn widen_output(graph: &mut Graph, name: &str) -> bool {
    let mut outputs = graph.output.iter_mut();
    let output = outputs.find(|output| output.name() == name);
    let is_narrow = output.and_then(widen).is_some();
    if is_narrow {
        cast_output(graph, name);
    }
    is_narrow
}

/// Says f32 of a narrow value; gives what it was.
fn widen(value: &mut ValueInfo) -> Option<i32> {
    let tensor = value.tensor_mut()?;
    let kind = tensor.elem_type();
    NARROW.contains(&kind).then(|| {
        tensor.elem_type = Some(FLOAT);
        kind
    })
}

#[cfg(test)]
mod tests {
    use super::super::proto::{TensorType, Type, ValueInfo};
    use super::super::test_graphs::{model, node, operators, tensor};
    use super::*;

    fn value(name: &str, kind: i32) -> ValueInfo {
        ValueInfo {
            name: Some(name.into()),
            r#type: Some(Type {
                tensor_type: Some(TensorType {
                    elem_type: Some(kind),
                    shape: None,
                }),
                ..Type::default()
            }),
            ..ValueInfo::default()
        }
    }

    /// `y` of the pictures `x`, and `similar` of those and of words.
    fn two_towers() -> ModelProto {
        let nodes = vec![
            node("a", "Mul", "x w"),
            node("y", "Relu", "a"),
            node("b", "Mul", "words v"),
            node("similar", "Mul", "y b"),
        ];
        let weights = vec![tensor("w", &[], &[2.0]), tensor("v", &[], &[3.0])];
        let mut model = model(&[1, 3, 2, 2], nodes, weights);
        let graph = model.graph.as_mut().unwrap();
        graph.input.push(value("words", FLOAT));
        graph.output.push(value("similar", FLOAT));
        model
    }

    fn met(model: &ModelProto, output: Option<&str>) -> Option<Graph> {
        let met = meet(&model.encode_to_vec(), output, false).unwrap()?;
        ModelProto::decode(met.as_slice()).unwrap().graph
    }

    #[test]
    fn the_output_is_the_one_whose_name_tells() {
        let chosen = |names: &[&str], pooled| {
            feature_output(names, None, pooled).map(|at| names[at].to_owned())
        };
        let clip = ["logits", "text_embeds", "image_embeds"];
        assert_eq!(chosen(&clip, false).unwrap(), "image_embeds");
        let vit = ["last_hidden_state", "pooler_output"];
        assert_eq!(chosen(&vit, false).unwrap(), "pooler_output");
        assert_eq!(chosen(&vit, true).unwrap(), "last_hidden_state");
        assert_eq!(chosen(&["any"], false).unwrap(), "any");
        assert_eq!(chosen(&["any", "other"], true), None);
        assert_eq!(feature_output(&vit, Some("other"), true), None);
        assert_eq!(feature_output(&clip, Some("logits"), false), Some(0));
    }

    #[test]
    fn inputs_that_the_output_does_not_need_are_cut_off() {
        let graph = met(&two_towers(), Some("y")).unwrap();
        assert_eq!(operators(&graph), ["Mul", "Relu"]);
        assert_eq!(graph.input.len(), 1);
        assert_eq!(graph.output.len(), 1);
        assert_eq!(weights(&graph), HashSet::from(["w".to_owned()]));
        // The other output needs both; and without a name nobody can tell.
        assert_eq!(met(&two_towers(), Some("similar")), None);
        assert_eq!(met(&two_towers(), None), None);
    }

    #[test]
    fn half_precision_stays_inside() {
        let mut model = model(&[1, 3, 2, 2], vec![node("y", "Relu", "x")], Vec::new());
        assert_eq!(met(&model, None), None);
        let graph = model.graph.as_mut().unwrap();
        graph.input[0].tensor_mut().unwrap().elem_type = Some(FLOAT16);
        graph.output[0] = value("y", BFLOAT16);
        let graph = met(&model, None).unwrap();
        assert_eq!(operators(&graph), ["Cast", "Relu", "Cast"]);
        let to = |number: usize| graph.node[number].attribute("to").unwrap().i;
        assert_eq!(
            [to(0), to(2)],
            [Some(i64::from(FLOAT16)), Some(i64::from(FLOAT))]
        );
        assert_eq!(graph.node[2].output, ["y"]);
        for mut end in [graph.input[0].clone(), graph.output[0].clone()] {
            assert_eq!(end.tensor_mut().unwrap().elem_type, Some(FLOAT));
        }
    }
}
