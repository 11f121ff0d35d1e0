//! A graph made to fit what this program gives and takes: one f32 input for pictures, one f32 output.
//!
//! What people export often has more: a second input that only another output needs (the words of CLIP), weights,
//! inputs and outputs in half precision, and inputs that are bytes.

use std::collections::HashSet;

use prost::Message;
use prost::bytes::Bytes;

use super::cast::{cast_input, cast_output};
use super::proto::{
    BFLOAT16, DOUBLE, FLOAT, FLOAT16, Graph, ModelProto, TensorHeader, UINT8, ValueInfo,
};
use super::values::Values;
use super::{GraphError, remove, remove_unused};

/// A graph that was made to fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Met {
    /// The new model, as the bytes of an `.onnx` file.
    pub model: Bytes,
    /// Whether its input was uint8: the f32 that it takes now are to be bytes, 0 to 255.
    pub takes_bytes: bool,
}

/// An output: its name, and how many axes it has where that is known.
pub type Output<'a> = (&'a str, Option<usize>);

/// The model with no more inputs than the output needs that is to be used, and with f32 in the place of f16, bf16 and
/// f64 at both ends and of uint8 at the input; `None` where it is so already, or is out of the ordinary. `choose` is
/// [`feature_output`] or [`words_output`].
///
/// # Errors
/// When the bytes are not an ONNX model.
pub fn meet(
    model: &Bytes,
    choose: &dyn Fn(&[Output<'_>]) -> Option<usize>,
) -> Result<Option<Met>, GraphError> {
    let length = model.len();
    let mut model = ModelProto::decode(model.clone())?;
    // Functions see their inputs alone, so that what is around them may change.
    let known = model.encoded_len() == length && model.training_info.is_empty();
    let graph = model.graph.as_mut().ok_or(GraphError::NoGraph)?;
    if !known || super::has_subgraph_or_external_data(graph) {
        return Ok(None);
    }
    let outputs = graph.output.iter();
    let outputs: Vec<Output<'_>> = outputs.map(|one| (one.name(), one.axes())).collect();
    let Some(chosen) = choose(&outputs) else {
        return Ok(None);
    };
    let name = outputs[chosen].0.to_owned();
    let is_cut = cut_to(graph, &name);
    let input = widen_input(graph);
    let is_cast = input.is_some() | widen_output(graph, &name);
    Ok((is_cut || is_cast).then(|| Met {
        model: model.encode_to_vec().into(),
        takes_bytes: input == Some(UINT8),
    }))
}

/// The names of outputs that are a feature for each picture, the first of them first: what TensorFlow Hub's models are
/// converted to, CLIP's picture beside words, and what a transformer sums up its tokens to.
const FEATURES: [&str; 3] = ["feature_vector", "image_embeds", "pooler_output"];
/// The name of the output that has a feature for each token, in exports of `transformers`.
const TOKENS: &str = "last_hidden_state";

/// The same for words. Their feature is compared with those of pictures.
pub const TEXT_FEATURES: [&str; 2] = ["text_embeds", "pooler_output"];

/// Which of the outputs is the one to use: the one of the name that is wanted, or the only one, or one whose name
/// tells, or the only one whose shape is that of features, `[n, d]`. (PyTorch's exporter names outputs after the
/// operators that make them, such as `linear_12`.) Where tokens are to be pooled, that is the one which has them,
/// `[n, tokens, d]`.
pub fn feature_output(outputs: &[Output<'_>], wanted: Option<&str>, pooled: bool) -> Option<usize> {
    match (wanted, outputs) {
        (Some(name), _) => named(outputs, name),
        (None, [_]) => Some(0),
        (None, _) => (pooled.then(|| named(outputs, TOKENS)).flatten())
            .or_else(|| FEATURES.iter().find_map(|name| named(outputs, name)))
            .or_else(|| only_with(outputs, if pooled { 3 } else { 2 })),
    }
}

/// The same for a graph of words: one whose name tells, or the only one, or the only one of shape `[n, d]`.
pub fn words_output(outputs: &[Output<'_>]) -> Option<usize> {
    let known = TEXT_FEATURES.iter().find_map(|name| named(outputs, name));
    known.or(match outputs {
        [_] => Some(0),
        _ => only_with(outputs, 2),
    })
}

fn named(outputs: &[Output<'_>], name: &str) -> Option<usize> {
    outputs.iter().position(|(other, _)| *other == name)
}

/// The only output that has, or may have, so many axes.
fn only_with(outputs: &[Output<'_>], axes: usize) -> Option<usize> {
    let mut fitting = (outputs.iter().enumerate())
        .filter(|(_, (_, found))| found.is_none_or(|found| found == axes))
        .map(|(number, _)| number);
    fitting.next().filter(|_| fitting.next().is_none())
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
    let headers = headers.filter_map(|bytes| TensorHeader::decode(&bytes[..]).ok());
    headers.map(|header| header.name().to_owned()).collect()
}

/// What is made f32 at the end.
const OUTPUTS: [i32; 3] = [FLOAT16, BFLOAT16, DOUBLE];
/// What is made f32 at the beginning.
const INPUTS: [i32; 4] = [FLOAT16, BFLOAT16, DOUBLE, UINT8];

/// Makes the pictures f32, where they are the only input; gives what they were.
fn widen_input(graph: &mut Graph) -> Option<i32> {
    let weights = weights(graph);
    let inputs = graph.input.iter_mut();
    let mut pictures = inputs.filter(|input| !weights.contains(input.name()));
    let (Some(input), None) = (pictures.next(), pictures.next()) else {
        return None;
    };
    let name = input.name().to_owned();
    let kind = widen(input, &INPUTS)?;
    cast_input(graph, &name, kind);
    Some(kind)
}

fn widen_output(graph: &mut Graph, name: &str) -> bool {
    let mut outputs = graph.output.iter_mut();
    let output = outputs.find(|output| output.name() == name);
    let is_narrow = output.and_then(|output| widen(output, &OUTPUTS)).is_some();
    if is_narrow {
        cast_output(graph, name);
    }
    is_narrow
}

/// Says f32 of a value of one of these types; gives what it was.
fn widen(value: &mut ValueInfo, types: &[i32]) -> Option<i32> {
    let tensor = value.tensor_mut()?;
    let kind = tensor.elem_type();
    types.contains(&kind).then(|| {
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
        let choose = |outputs: &[Output<'_>]| feature_output(outputs, output, false);
        let met = meet(&model.encode_to_vec().into(), &choose).unwrap()?;
        ModelProto::decode(&met.model[..]).unwrap().graph
    }

    #[test]
    fn the_output_is_the_one_whose_name_tells() {
        fn unknown<'a>(names: &[&'a str]) -> Vec<Output<'a>> {
            names.iter().map(|name| (*name, None)).collect()
        }
        let chosen = |names: &[&str], pooled| {
            feature_output(&unknown(names), None, pooled).map(|at| names[at].to_owned())
        };
        let clip = ["logits", "text_embeds", "image_embeds"];
        assert_eq!(chosen(&clip, false).unwrap(), "image_embeds");
        let vit = ["last_hidden_state", "pooler_output"];
        assert_eq!(chosen(&vit, false).unwrap(), "pooler_output");
        assert_eq!(chosen(&vit, true).unwrap(), "last_hidden_state");
        assert_eq!(chosen(&["any"], false).unwrap(), "any");
        assert_eq!(chosen(&["any", "other"], true), None);
        assert_eq!(feature_output(&unknown(&vit), Some("other"), true), None);
        assert_eq!(
            feature_output(&unknown(&clip), Some("logits"), false),
            Some(0)
        );
        assert_eq!(words_output(&unknown(&clip)), Some(1));
        assert_eq!(words_output(&unknown(&["any", "other"])), None);
    }

    #[test]
    fn without_a_name_that_tells_the_output_is_the_only_one_of_the_shape() {
        let vit = [("layer_norm_4", Some(3)), ("tanh", Some(2))];
        assert_eq!(feature_output(&vit, None, false), Some(1));
        assert_eq!(feature_output(&vit, None, true), Some(0));
        assert_eq!(words_output(&vit), Some(1));
        let two = [("a", Some(2)), ("b", Some(2)), ("c", Some(3))];
        assert_eq!(feature_output(&two, None, false), None);
        let open = [("a", Some(2)), ("b", None)];
        assert_eq!(
            feature_output(&open, None, false),
            None,
            "which it is, nobody can tell"
        );
    }

    #[test]
    fn bytes_at_the_input_become_f32_and_are_told_apart() {
        let mut model = model(&[1, 2, 2, 3], vec![node("y", "Relu", "x")], Vec::new());
        let graph = model.graph.as_mut().unwrap();
        graph.input[0].tensor_mut().unwrap().elem_type = Some(UINT8);
        let met = meet(&model.encode_to_vec().into(), &words_output)
            .unwrap()
            .unwrap();
        assert!(met.takes_bytes);
        let graph = ModelProto::decode(&met.model[..]).unwrap().graph.unwrap();
        assert_eq!(operators(&graph), ["Cast", "Relu"]);
        let to = graph.node[0].attribute("to").unwrap().i;
        assert_eq!(to, Some(i64::from(UINT8)));
    }

    #[test]
    fn functions_are_no_reason_to_leave_a_graph_as_it_is() {
        let mut model = two_towers();
        model.functions.push(Vec::new());
        assert_eq!(met(&model, Some("y")).unwrap().input.len(), 1);
        model.training_info.push(Vec::new());
        assert_eq!(met(&model, Some("y")), None);
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
