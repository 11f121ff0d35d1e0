//! Rewrites an ONNX model so that it runs faster on what is to run it: bytes to bytes, no files, no runtime.
//!
//! A rewrite keeps the mathematics. For ONNX Runtime's CPU provider ([`Target::Cpu`]) and a GPU ([`Target::Gpu`]) it is
//! local, and applied wherever its pattern occurs:
//!
//! - h-swish and h-sigmoid, which exporters spell out as four and three operators, become single operators. On the CPU
//!   ONNX Runtime computes them inside the convolution before them (both in 1.32, only h-sigmoid in 1.24), on a GPU
//!   each goes through the memory once;
//! - the large 1x1 convolution after the global pooling becomes a matrix product.
//!
//! On the CPU, preprocessing at the start of the graph goes to the host, see [`Feed`]. Other providers get a fixed size
//! of batch; on a GPU the input also becomes bytes, and the whole may become f16.
//!
//! A model that is out of the ordinary (external data, control flow, functions, fields this module does not know) is
//! left alone.

mod activation;
mod batch;
mod bytes;
mod cast;
mod external;
mod half;
mod input;
mod meet;
mod pooled_convolution;
mod proto;
#[cfg(test)]
mod test_graphs;
mod values;

use std::collections::HashSet;

use prost::Message;
use prost::bytes::Bytes;
use serde::Serialize;

pub use external::{external_files, with_external_data};
pub use meet::{Met, Output, TEXT_FEATURES, feature_output, meet, words_output};
use proto::{EXTERNAL, Graph, ModelProto, TensorHeader, is_default_domain};
use values::Values;

/// What a model is rewritten for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// ONNX Runtime's own CPU provider.
    Cpu {
        /// Whether features are to stay what they are to the last bit. Then only the preprocessing moves.
        exact: bool,
    },
    /// OpenVINO, which runs faster when it knows the batch beforehand: of MobileNetV3-Large in bf16, 2.45 ms a picture
    /// against 3.12 ms.
    OpenVino {
        /// Pictures in every call.
        batch: usize,
    },
    /// An NVIDIA GPU. Pictures go there as bytes, a quarter of the copying, in batches of one size, so that nothing is
    /// planned anew for another.
    Gpu {
        /// Pictures in every call.
        batch: usize,
        /// Whether the graph computes in f16. Its input and output stay what they are.
        half: bool,
    },
}

/// A model that computes what another computes, only faster.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewritten {
    /// The new model, as the bytes of an `.onnx` file.
    pub model: Bytes,
    /// How the new model wants its pictures. `None` when it wants them as the old one did.
    pub feed: Option<Feed>,
    /// What was done.
    pub report: Rewrites,
}

/// How many times each rewrite was applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Rewrites {
    /// h-swish, `x * clip(x + 3, 0, 6) / 6`, as one operator.
    pub hard_swish: usize,
    /// h-sigmoid, `clip(x + 3, 0, 6) / 6`, as one operator.
    pub hard_sigmoid: usize,
    /// Convolutions of a pooled picture as a matrix product.
    pub gemm: usize,
    /// Whether preprocessing was moved to the host.
    pub preprocessing: bool,
    /// Pictures in every call, where that was fixed.
    pub batch: Option<usize>,
    /// Whether the input was made bytes.
    pub bytes: bool,
}

/// The order of a batch of pictures in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Layout {
    /// `[n, height, width, channel]`: pixel after pixel.
    #[serde(rename = "NHWC")]
    Nhwc,
    /// `[n, channel, height, width]`: plane after plane.
    #[serde(rename = "NCHW")]
    Nchw,
}

/// For each channel (red, green, blue), the f32 that stands for each of the 256 bytes.
pub type Table = Box<[[f32; 256]; 3]>;

/// How the host is to fill the input of a model. The order of the pixels is that of the input's shape.
///
/// On the CPU, the alternative to a table was to keep the input as it is and only move the preprocessing behind the
/// transposition, where ONNX Runtime has long rows to work on. Of 8.3 ms a picture (MobileNetV3-Large, batch 8, one
/// thread) that saves 1.1 ms, and the table 1.4 ms, because the host looks bytes up in a table anyway.
#[derive(Debug, Clone, PartialEq)]
pub enum Feed {
    /// With `table[channel][byte]`: `byte / 255`, and then what the old graph did with it, step by step in f32, hence
    /// bit for bit what it computed.
    Floats(Table),
    /// With the bytes themselves, `[n, height, width, 3]`.
    Bytes,
}

impl Default for Feed {
    /// What a model gets that has its preprocessing inside.
    fn default() -> Self {
        Feed::Floats(plain_table())
    }
}

/// `byte / 255`, as NumPy divides float32.
pub fn plain_table() -> Table {
    let bytes = std::array::from_fn(|byte| byte as f32 / 255.0);
    Box::new([bytes; 3])
}

/// Why the bytes are no ONNX model.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// They are cut off, or no protobuf message at all, or one of another kind.
    #[error("not an ONNX model")]
    Malformed(#[from] prost::DecodeError),
    /// They are a message without the graph that makes it a model.
    #[error("the ONNX model has no graph")]
    NoGraph,
    /// Weights that are in another file are not all there.
    #[error(
        "the weight `{tensor}` is not in {file}, or not all of it; the file belongs to another model, or is cut off"
    )]
    ExternalData {
        /// The name of the weight.
        tensor: String,
        /// The file, as the model names it.
        file: String,
    },
    /// With all its weights it is too large for a protobuf message.
    #[error(
        "it has {bytes} bytes with its weights, and ONNX Runtime loads 2,147,483,647 at most in one piece"
    )]
    TooLarge {
        /// Its length.
        bytes: u64,
    },
    /// They hold an operator of which it is not known that it works in f16.
    #[error("the operator `{0}` is not known to work in fp16")]
    NotInHalf(String),
}

/// Rewrites a model that gets its pictures by `table`; `None` when there is nothing to do, or when it is better left
/// alone.
///
/// Names, types and shapes of inputs and outputs stay, but for the batch axis where it is fixed, and for the input when
/// [`Rewritten::feed`] says so. Features differ from the old model's by rounding only. The weights are copied once, out
/// of the message.
///
/// # Errors
///
/// When the bytes are not an ONNX model, or cannot be made to compute in f16 and shall.
pub fn rewrite(
    model: &Bytes,
    target: Target,
    table: &Table,
) -> Result<Option<Rewritten>, GraphError> {
    let length = model.len();
    let mut model = ModelProto::decode(model.clone())?;
    // A message that does not keep its length has fields that would get lost.
    let known = model.encoded_len() == length && is_plain(&model);
    let opset = opset(&model).filter(|opset| *opset >= OLDEST_OPSET);
    let graph = model.graph.as_mut().ok_or(GraphError::NoGraph)?;
    let Some(opset) = opset else {
        return Ok(None);
    };
    if !known || has_subgraph_or_external_data(graph) {
        return Ok(None);
    }

    let mut report = Rewrites::default();
    let mut feed = None;
    // OpenVINO does this by itself.
    let fuses = matches!(target, Target::Cpu { exact: false } | Target::Gpu { .. });
    if fuses {
        if opset >= HARD_SWISH_OPSET || (opset == 13 && means_the_same_in_opset_14(graph)) {
            report.hard_swish = activation::fuse_hard_swish(graph);
        }
        report.hard_sigmoid = activation::fuse_hard_sigmoid(graph);
        report.gemm = pooled_convolution::to_matrix_product(graph);
    }
    match target {
        Target::Cpu { .. } => {
            feed = input::hoist_preprocessing(graph, table).map(Feed::Floats);
            report.preprocessing = feed.is_some();
            remove_unused(graph);
        }
        Target::OpenVino { batch } => report.batch = batch::fix(graph, batch),
        Target::Gpu { batch, half } => {
            remove_unused(graph);
            if half {
                half::compute_in_half(graph)?;
            }
            report.batch = batch::fix(graph, batch);
            // Behind the bytes the graph divides by 255, and does nothing else that a table may do.
            if *table == plain_table() {
                feed = bytes::take_bytes(graph);
            }
            report.bytes = feed.is_some();
        }
    }
    if report == Rewrites::default() {
        return Ok(None);
    }
    if report.hard_swish > 0 {
        for set in &mut model.opset_import {
            if is_default_domain(set.domain.as_deref()) {
                set.version = Some(opset.max(HARD_SWISH_OPSET));
            }
        }
    }
    Ok(Some(Rewritten {
        model: model.encode_to_vec().into(),
        feed,
        report,
    }))
}

/// The oldest opset whose operators the rewrites know; what tf2onnx and PyTorch have written since 2021.
const OLDEST_OPSET: i64 = 13;

/// The opset that brought `HardSwish`.
const HARD_SWISH_OPSET: i64 = 14;

/// The version of the standard operators, unless the model names it not at all or twice.
fn opset(model: &ModelProto) -> Option<i64> {
    let mut versions = (model.opset_import.iter())
        .filter(|set| is_default_domain(set.domain.as_deref()))
        .map(|set| set.version());
    versions.next().filter(|_| versions.next().is_none())
}

/// Whether the model is its graph and nothing more: a function has an opset of its own, and training reads the graph.
fn is_plain(model: &ModelProto) -> bool {
    model.functions.is_empty() && model.training_info.is_empty()
}

/// Whether values are read where [`Values`] does not look (the body of an `If` or a `Loop`), or weights are in another
/// file, whose place is lost once the model is bytes.
fn has_subgraph_or_external_data(graph: &Graph) -> bool {
    let subgraph = graph
        .node
        .iter()
        .flat_map(|node| node.attributes())
        .any(|attribute| attribute.g.is_some() || !attribute.graphs.is_empty());
    let external = graph.initializer.iter().any(|tensor| {
        TensorHeader::decode(&tensor[..]).is_ok_and(|header| header.data_location() == EXTERNAL)
    });
    subgraph || external || !graph.sparse_initializer.is_empty()
}

/// Opset 14 changed `Add`, `Sub`, `Mul`, `Div`, `CumSum`, `Identity`, `Relu` (more types), `Reshape`, `GRU`, `LSTM`,
/// `RNN` (an attribute whose default is the old meaning) and `BatchNormalization` (how training is asked for, which
/// before was by the number of outputs): so says `onnx.defs.get_all_schemas_with_history()`.
fn means_the_same_in_opset_14(graph: &Graph) -> bool {
    !graph
        .node
        .iter()
        .any(|node| node.op() == Some("BatchNormalization") && node.output.len() > 1)
}

/// Takes nodes out of the graph by their numbers.
fn remove(graph: &mut Graph, gone: &HashSet<usize>) {
    let mut number = 0;
    graph.node.retain(|_| {
        number += 1;
        !gone.contains(&(number - 1))
    });
}

/// A name that no value of the graph has.
fn unused(values: &Values, name: &str) -> String {
    let mut name = name.to_string();
    while values.producer(&name).is_some() || values.uses(&name) > 0 {
        name.push('_');
    }
    name
}

/// Takes out the constants that only removed nodes read, and the types of values that are no more; ONNX Runtime would
/// warn of the former.
fn remove_unused(graph: &mut Graph) {
    let values = Values::new(graph);
    let unused: HashSet<usize> = (graph.node.iter().enumerate())
        .filter(|(_, node)| node.op() == Some("Constant"))
        .filter(|(_, node)| node.output.iter().all(|output| values.uses(output) == 0))
        .map(|(number, _)| number)
        .collect();
    let is_input = |name: &str| graph.input.iter().any(|input| input.name() == name);
    let keep_tensor: Vec<bool> = (graph.initializer.iter())
        .map(|tensor| {
            TensorHeader::decode(&tensor[..]).map_or(true, |header| {
                values.uses(header.name()) > 0 || is_input(header.name())
            })
        })
        .collect();
    let keep_type: Vec<bool> = (graph.value_info.iter())
        .map(|value| values.producer(value.name()).is_some())
        .collect();

    let mut keep = keep_tensor.into_iter();
    graph.initializer.retain(|_| keep.next().unwrap_or(true));
    let mut keep = keep_type.into_iter();
    graph.value_info.retain(|_| keep.next().unwrap_or(true));
    remove(graph, &unused);
}

#[cfg(test)]
mod tests {
    use super::proto::{Attribute, OperatorSet};
    use super::test_graphs::{CPU, constants, model, node, operators, rewritten};
    use super::*;

    /// h-swish as tf2onnx writes it.
    fn hard_swish() -> ModelProto {
        let nodes = vec![
            node("a", "Add", "x three"),
            node("b", "Clip", "a zero six"),
            node("c", "Mul", "b sixth"),
            node("y", "Mul", "x c"),
        ];
        model(&[1, 8, 2, 2], nodes, constants())
    }

    #[test]
    fn rewritten_model_is_in_opset_14_and_without_unused_constants() {
        let (graph, rewritten) = rewritten(&hard_swish()).unwrap();
        let model = ModelProto::decode(&rewritten.model[..]).unwrap();
        assert_eq!(opset(&model), Some(14));
        assert_eq!(operators(&graph), ["HardSwish"]);
        assert!(graph.initializer.is_empty());
        assert_eq!(graph.input, hard_swish().graph.unwrap().input);
        assert_eq!(rewritten.feed, None);
        assert_eq!(
            serde_json::to_value(rewritten.report).unwrap(),
            serde_json::json!({"hard_swish": 1, "hard_sigmoid": 0, "gemm": 0, "preprocessing": false, "batch": null, "bytes": false})
        );
    }

    #[test]
    fn what_must_stay_exact_keeps_its_operators() {
        let mut model = hard_swish();
        let exact = Target::Cpu { exact: true };
        assert_eq!(
            rewrite(&model.encode_to_vec().into(), exact, &plain_table()).unwrap(),
            None
        );
        let graph = model.graph.as_mut().unwrap();
        graph.input[0].dims_mut().unwrap()[1].dim_value = Some(3);
        graph.node.insert(0, node("double", "Mul", "x six"));
        graph.read_instead("x", "double");
        graph.node[0].input[0] = "x".to_string();
        let rewritten = rewrite(&model.encode_to_vec().into(), exact, &plain_table())
            .unwrap()
            .unwrap();
        let again = ModelProto::decode(&rewritten.model[..]).unwrap();
        assert_eq!(
            operators(&again.graph.unwrap()),
            ["Add", "Clip", "Mul", "Mul"]
        );
        assert!(matches!(rewritten.feed, Some(Feed::Floats(table)) if table[0][255] == 6.0));
    }

    #[test]
    fn newer_opset_stays() {
        let mut model = hard_swish();
        model.opset_import[0].version = Some(17);
        let (_, rewritten) = rewritten(&model).unwrap();
        let model = ModelProto::decode(&rewritten.model[..]).unwrap();
        assert_eq!(opset(&model), Some(17));
    }

    #[test]
    fn graph_that_would_change_its_meaning_in_opset_14_keeps_its_opset() {
        let mut model = hard_swish();
        let mut training = node("mean", "BatchNormalization", "x one one one one");
        training.output.push("variance".to_string());
        model.graph.as_mut().unwrap().node.push(training);
        let (graph, rewritten) = rewritten(&model).unwrap();
        assert_eq!(
            operators(&graph),
            ["HardSigmoid", "Mul", "BatchNormalization"]
        );
        let model = ModelProto::decode(&rewritten.model[..]).unwrap();
        assert_eq!(opset(&model), Some(13));
    }

    /// What makes a model unusual.
    type Change = fn(&mut ModelProto);

    #[test]
    fn unusual_models_are_left_alone() {
        let unusual: [(&str, Change); 9] = [
            ("old opset", |model| {
                model.opset_import[0].version = Some(12);
            }),
            ("no opset", |model| model.opset_import.clear()),
            ("two opsets", |model| {
                model.opset_import.push(OperatorSet {
                    domain: Some("ai.onnx".to_string()),
                    version: Some(14),
                });
            }),
            ("functions", |model| model.functions.push(Vec::new())),
            ("training", |model| model.training_info.push(Vec::new())),
            ("sparse weights", |model| {
                let graph = model.graph.as_mut().unwrap();
                graph.sparse_initializer.push(Vec::new());
            }),
            ("a subgraph", |model| {
                let body = Attribute {
                    g: Some(Vec::new()),
                    ..Attribute::default()
                };
                let graph = model.graph.as_mut().unwrap();
                graph.node.push(node("z", "If", "x").with(body));
            }),
            ("external data", |model| {
                let external = TensorHeader {
                    name: Some("weights".to_string()),
                    data_location: Some(EXTERNAL),
                    ..TensorHeader::default()
                };
                let graph = model.graph.as_mut().unwrap();
                graph.initializer.push(external.encode_to_vec().into());
            }),
            ("operators of another domain", |model| {
                for node in &mut model.graph.as_mut().unwrap().node {
                    node.domain = Some("com.example".to_string());
                }
            }),
        ];
        for (what, change) in unusual {
            let mut model = hard_swish();
            change(&mut model);
            assert_eq!(
                rewrite(&model.encode_to_vec().into(), CPU, &plain_table()).unwrap(),
                None,
                "{what}"
            );
        }
    }

    #[test]
    fn field_that_would_get_lost_leaves_the_model_alone() {
        let mut bytes = hard_swish().encode_to_vec();
        // Field 99 of ModelProto, one byte long.
        bytes.extend([0x9a, 0x06, 0x01, 0x00]);
        assert_eq!(rewrite(&bytes.into(), CPU, &plain_table()).unwrap(), None);
    }

    #[test]
    fn bytes_that_are_no_model_are_an_error_and_never_a_panic() {
        let model = Bytes::from(hard_swish().encode_to_vec());
        let picture = Bytes::from_static(b"\xff\xd8\xff\xe0 a picture");
        assert!(matches!(
            rewrite(&Bytes::new(), CPU, &plain_table()),
            Err(GraphError::NoGraph)
        ));
        assert!(matches!(
            rewrite(&picture, CPU, &plain_table()),
            Err(GraphError::Malformed(_))
        ));
        for end in 1..model.len() {
            let cut = rewrite(&model.slice(..end), CPU, &plain_table());
            assert!(!matches!(cut, Ok(Some(_))), "cut off after {end} bytes");
        }
        for at in 0..model.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = model.to_vec();
                damaged[at] ^= flip;
                let _ = rewrite(&damaged.into(), CPU, &plain_table());
            }
        }
    }
}
