//! h-sigmoid and h-swish, spelt out by an exporter, as the single operators `HardSigmoid` and `HardSwish`.
//!
//! Exporters write `clip(x + 3, 0, 6) / 6` in many ways. All of them are a straight line that is cut off at both
//! ends, and so is every step of them; a chain of steps is therefore read as one such [`Ramp`], whatever its spelling.

use std::collections::HashSet;

use super::proto::{Attribute, Graph, Node};
use super::remove;
use super::values::Values;

/// The slope of h-sigmoid (Howard et al., Searching for MobileNetV3, 2019, section 5.2).
const ALPHA: f64 = 1.0 / 6.0;

/// How far a constant may be from the paper's: a few steps of f32, as in 0.16666667 for a sixth.
const TOLERANCE: f64 = 1e-6;

/// `clamp(slope * x + offset, low, high)`, with a slope above zero.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ramp {
    slope: f64,
    offset: f64,
    low: f64,
    high: f64,
}

impl Ramp {
    const IDENTITY: Ramp = Ramp::line(1.0, 0.0);

    const fn line(slope: f64, offset: f64) -> Self {
        Ramp {
            slope,
            offset,
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
        }
    }

    const fn clip(low: f64, high: f64) -> Self {
        Ramp {
            slope: 1.0,
            offset: 0.0,
            low,
            high,
        }
    }

    fn at(&self, x: f64) -> f64 {
        (self.slope * x + self.offset).max(self.low).min(self.high)
    }

    /// `x -> self(inner(x))`; the slopes are above zero, so the ends of `inner` stay ends.
    fn after(&self, inner: Ramp) -> Self {
        Ramp {
            slope: self.slope * inner.slope,
            offset: self.slope * inner.offset + self.offset,
            low: self.at(inner.low),
            high: self.at(inner.high),
        }
    }

    fn is_hard_sigmoid(&self) -> bool {
        [
            (self.slope, ALPHA),
            (self.offset, 0.5),
            (self.low, 0.0),
            (self.high, 1.0),
        ]
        .iter()
        .all(|(found, wanted)| (found - wanted).abs() <= TOLERANCE)
    }
}

/// What one node, or a chain of them, computes: a ramp of another value.
struct Step<'a> {
    ramp: Ramp,
    of: &'a str,
}

/// One node as a ramp of its only non-constant input.
fn step<'a>(values: &Values, node: &'a Node) -> Option<Step<'a>> {
    let input = |number: usize| node.input.get(number).map(String::as_str);
    let scalar = |number: usize| input(number).and_then(|value| values.scalar(value));
    // A bound that is left out is no bound; one that is not a constant is no match.
    let bound = |number: usize, none: f64| match input(number) {
        None | Some("") => Some(none),
        Some(value) => values.scalar(value),
    };
    let commutative = |ramp: fn(f64) -> Ramp| match (scalar(0), scalar(1)) {
        (None, Some(value)) => Some((ramp(value), 0)),
        (Some(value), None) => Some((ramp(value), 1)),
        _ => None,
    };
    let two_inputs = node.input.len() == 2;
    let (ramp, number) = match node.op()? {
        "Identity" => (Ramp::IDENTITY, 0),
        "Relu" => (Ramp::clip(0.0, f64::INFINITY), 0),
        "Clip" => {
            let (low, high) = (bound(1, f64::NEG_INFINITY)?, bound(2, f64::INFINITY)?);
            (Ramp::clip(low, high), 0)
        }
        "HardSigmoid" => {
            let number = |name: &str, default: f32| {
                let given = node.attribute(name).and_then(|attribute| attribute.f);
                f64::from(given.unwrap_or(default))
            };
            let line = Ramp::line(number("alpha", 0.2), number("beta", 0.5));
            (Ramp::clip(0.0, 1.0).after(line), 0)
        }
        "Max" if two_inputs => commutative(|low| Ramp::clip(low, f64::INFINITY))?,
        "Min" if two_inputs => commutative(|high| Ramp::clip(f64::NEG_INFINITY, high))?,
        "Add" => commutative(|offset| Ramp::line(1.0, offset))?,
        "Mul" => commutative(|slope| Ramp::line(slope, 0.0))?,
        "Sub" => (Ramp::line(1.0, -scalar(1)?), 0),
        "Div" => (Ramp::line(1.0 / scalar(1)?, 0.0), 0),
        _ => return None,
    };
    let sound = ramp.slope > 0.0 && ramp.slope.is_finite() && ramp.low <= ramp.high;
    sound.then_some(Step {
        ramp,
        of: input(number)?,
    })
}

/// The nodes that one operator replaces.
struct Match {
    root: usize,
    inner: Vec<usize>,
    of: String,
}

/// Follows `value` upwards through nodes whose outputs nobody else reads, applying `ramp` after them, until the whole
/// is the h-sigmoid of some value (of `of`, if given). Returns that value, and the nodes on the way.
fn hard_sigmoid_of<'a>(
    values: &Values<'a>,
    mut value: &'a str,
    mut ramp: Ramp,
    of: Option<&str>,
) -> Option<(&'a str, Vec<usize>)> {
    let mut passed = Vec::new();
    // Each turn goes to an earlier node; the limit only guards against a graph with a cycle in it.
    for _ in 0..16 {
        if ramp.is_hard_sigmoid() && of.is_none_or(|of| of == value) {
            return Some((value, passed));
        }
        let (number, node) = values.sole_producer(value)?;
        let step = step(values, node)?;
        passed.push(number);
        ramp = ramp.after(step.ramp);
        value = step.of;
    }
    None
}

/// The h-sigmoid that ends in this node, unless the node is one already.
fn match_hard_sigmoid(values: &Values, root: usize, node: &Node) -> Option<Match> {
    if node.op() == Some("HardSigmoid") {
        return None;
    }
    let last = step(values, node)?;
    let (of, inner) = hard_sigmoid_of(values, last.of, last.ramp, None)?;
    Some(Match {
        root,
        inner,
        of: of.to_string(),
    })
}

/// The value that `value` is a multiple of, by how much, and the node that multiplies.
fn scaled<'a>(values: &Values<'a>, value: &'a str) -> Option<(&'a str, f64, usize)> {
    let (number, node) = values.sole_producer(value)?;
    let step = step(values, node)?;
    let scale = step.ramp.slope;
    (step.ramp == Ramp::line(scale, 0.0)).then_some((step.of, scale, number))
}

/// The h-swish `x * h-sigmoid(x)` that ends in this node. The sixth may be taken of either factor, or of the product.
fn match_hard_swish(values: &Values, root: usize, node: &Node) -> Option<Match> {
    let product = |node: &Node| node.op() == Some("Mul") && node.input.len() == 2;
    let (factors, scale, outer) = match step(values, node) {
        None if product(node) => (node, 1.0, None),
        Some(last) if last.ramp == Ramp::line(last.ramp.slope, 0.0) => {
            let (number, inner) = values.sole_producer(last.of)?;
            (inner, last.ramp.slope, Some(number))
        }
        _ => return None,
    };
    if !product(factors) {
        return None;
    }
    let [a, b] = [factors.input[0].as_str(), factors.input[1].as_str()];
    [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
        let plain = (x, 1.0, None);
        let multiple = scaled(values, x).map(|(x, scale, number)| (x, scale, Some(number)));
        [Some(plain), multiple]
            .into_iter()
            .flatten()
            .find_map(|(x, factor, number)| {
                let line = Ramp::line(scale * factor, 0.0);
                let (_, passed) = hard_sigmoid_of(values, gate, line, Some(x))?;
                Some(Match {
                    root,
                    inner: passed.into_iter().chain(outer).chain(number).collect(),
                    of: x.to_string(),
                })
            })
    })
}

/// Replaces every match by one node; returns how many there were.
fn replace(
    graph: &mut Graph,
    find: fn(&Values, usize, &Node) -> Option<Match>,
    make: fn(&str, &str) -> Node,
) -> usize {
    let values = Values::new(graph);
    let matches: Vec<Match> = graph
        .node
        .iter()
        .enumerate()
        .filter(|(_, node)| node.output.len() == 1)
        .filter_map(|(number, node)| find(&values, number, node))
        .collect();
    for found in &matches {
        let root = &mut graph.node[found.root];
        *root = Node {
            name: root.name.take(),
            ..make(&found.of, &root.output[0])
        };
    }
    let gone: HashSet<usize> = matches
        .iter()
        .flat_map(|found| found.inner.iter().copied())
        .collect();
    remove(graph, &gone);
    matches.len()
}

/// Rewrites every h-swish as `HardSwish` (since opset 14); returns how many there were.
pub fn fuse_hard_swish(graph: &mut Graph) -> usize {
    replace(graph, match_hard_swish, |of, output| {
        Node::new("HardSwish", &[of], output)
    })
}

/// Rewrites every h-sigmoid as `HardSigmoid` (since opset 6); returns how many there were. To be called after
/// [`fuse_hard_swish`], which looks for the h-sigmoid inside each h-swish.
pub fn fuse_hard_sigmoid(graph: &mut Graph) -> usize {
    replace(graph, match_hard_sigmoid, |of, output| {
        Node::new("HardSigmoid", &[of], output)
            .with(Attribute::float("alpha", ALPHA as f32))
            .with(Attribute::float("beta", 0.5))
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_graphs::{constants, model, node, operators, rewritten};
    use super::*;
    use crate::inference::rewrite::Rewrites;

    /// A graph of `name = Op inputs` lines.
    fn graph(lines: &[&str]) -> super::super::proto::ModelProto {
        let nodes = lines
            .iter()
            .map(|line| {
                let (name, call) = line.split_once(" = ").unwrap();
                let (op, inputs) = call.split_once(' ').unwrap();
                node(name, op, inputs)
            })
            .collect();
        model(&[1, 8, 2, 2], nodes, constants())
    }

    const HARD_SIGMOIDS: [&[&str]; 8] = [
        // tf2onnx
        &["a = Add x three", "b = Clip a zero six", "c = Mul b sixth"],
        &["a = Add three x", "b = Clip a zero six", "c = Div b six"],
        // PyTorch, ReLU6 written out in several ways
        &[
            "a = Add x three",
            "b = Relu a",
            "d = Min b six",
            "e = Identity d",
            "c = Mul sixth e",
        ],
        &[
            "a = Add x three",
            "b = Max zero a",
            "d = Min six b",
            "c = Div d six",
        ],
        &[
            "a = Add x three",
            "b = Min a six",
            "d = Relu b",
            "c = Mul d sixth",
        ],
        &[
            "a = Add x three",
            "b = Clip a zero ",
            "d = Clip b  six",
            "c = Mul d sixth",
        ],
        &["a = Div x six", "b = Add a half", "c = Clip b zero one"],
        &[
            "a = Mul x sixth",
            "b = Add half a",
            "d = Relu b",
            "c = Min d one",
        ],
    ];

    #[test]
    fn every_spelling_of_h_sigmoid_becomes_one_operator() {
        for spelling in HARD_SIGMOIDS {
            let lines = [spelling, &["z = Relu x", "y = Mul z c"]].concat();
            let (graph, rewritten) = rewritten(&graph(&lines)).unwrap();
            assert_eq!(rewritten.report.hard_sigmoid, 1, "{spelling:?}");
            let mut found = operators(&graph);
            found.sort_unstable();
            assert_eq!(found, ["HardSigmoid", "Mul", "Relu"], "{spelling:?}");
            let gate = (graph.node.iter())
                .find(|node| node.op() == Some("HardSigmoid"))
                .unwrap();
            assert_eq!(
                (&gate.input[..], &gate.output[..]),
                (&["x".to_string()][..], &["c".to_string()][..])
            );
            assert_eq!(gate.attribute("alpha").unwrap().f, Some(1.0 / 6.0));
            assert_eq!(gate.attribute("beta").unwrap().f, Some(0.5));
        }
    }

    #[test]
    fn every_spelling_of_h_swish_becomes_one_operator() {
        let mut spellings: Vec<Vec<&str>> = Vec::new();
        for gate in HARD_SIGMOIDS {
            spellings.push([gate, &["y = Mul x c"]].concat());
            spellings.push([gate, &["y = Mul c x"]].concat());
        }
        let relu6: [&str; 2] = ["a = Add x three", "b = Clip a zero six"];
        for end in [
            ["c = Mul x b", "y = Mul c sixth"],
            ["c = Mul b x", "y = Div c six"],
            ["c = Div x six", "y = Mul c b"],
        ] {
            spellings.push([relu6, end].concat());
        }
        for spelling in spellings {
            let (graph, rewritten) = rewritten(&graph(&spelling)).unwrap();
            let wanted = Rewrites {
                hard_swish: 1,
                ..Rewrites::default()
            };
            assert_eq!(rewritten.report, wanted, "{spelling:?}");
            assert_eq!(operators(&graph), ["HardSwish"], "{spelling:?}");
            assert_eq!(graph.node[0].input, ["x"]);
            assert_eq!(graph.node[0].output, ["y"]);
        }
    }

    #[test]
    fn value_that_is_read_elsewhere_is_kept() {
        for extra in ["z = Relu a", "z = Relu b", "z = Mul a a"] {
            let lines = [
                "a = Add x three",
                "b = Clip a zero six",
                "y = Div b six",
                extra,
            ];
            assert!(rewritten(&graph(&lines)).is_none(), "{extra}");
        }
        // The h-sigmoid is an output of its own, so it stays and the product with it.
        let lines = [
            "a = Add x three",
            "b = Clip a zero six",
            "y = Div b six",
            "z = Mul x y",
        ];
        let (graph, _) = rewritten(&graph(&lines)).unwrap();
        assert_eq!(operators(&graph), ["HardSigmoid", "Mul"]);
    }

    #[test]
    fn other_functions_are_left_alone() {
        let others: [&[&str]; 8] = [
            // Another constant, or the right ones in the wrong places.
            &["a = Add x one", "b = Clip a zero six", "y = Div b six"],
            &["a = Add x three", "b = Clip a one six", "y = Div b six"],
            &["a = Add x three", "b = Clip a zero three", "y = Div b six"],
            &["a = Add x three", "b = Clip a zero six", "y = Div b three"],
            &["a = Sub three x", "b = Clip a zero six", "y = Div b six"],
            &["a = Add x three", "b = Clip a zero six", "y = Div six b"],
            // Bounds that are not constants.
            &[
                "w = Identity x",
                "a = Add x three",
                "b = Clip a zero w",
                "y = Div b six",
            ],
            // ReLU6 alone.
            &["y = Clip x zero six"],
        ];
        for other in others {
            assert!(rewritten(&graph(other)).is_none(), "{other:?}");
        }
        // The gate of another value is an h-sigmoid, but no h-swish.
        let lines = [HARD_SIGMOIDS[0], &["z = Relu x", "y = Mul z c"]].concat();
        assert_eq!(rewritten(&graph(&lines)).unwrap().1.report.hard_swish, 0);
    }

    #[test]
    fn scalar_that_would_change_the_shape_is_no_match() {
        let mut model = graph(&["a = Add x wide", "b = Clip a zero six", "y = Div b six"]);
        let wide = super::super::test_graphs::tensor("wide", &[1, 1, 1, 1, 1], &[3.0]);
        let graph = model.graph.as_mut().unwrap();
        graph
            .initializer
            .push(prost::Message::encode_to_vec(&wide).into());
        assert!(rewritten(&model).is_none());
    }

    #[test]
    fn cycle_and_unreadable_numbers_end_the_search() {
        assert!(rewritten(&graph(&["y = Identity z", "z = Identity y"])).is_none());
        assert!(
            rewritten(&graph(&[
                "a = Add x inf",
                "b = Clip a zero six",
                "y = Div b zero"
            ]))
            .is_none()
        );
    }

    #[test]
    fn ramps_compose_like_functions() {
        let inner = Ramp::clip(-1.0, 4.0).after(Ramp::line(0.5, 3.0));
        let outer = Ramp::clip(0.0, 6.0).after(Ramp::line(2.0, -3.0));
        let both = outer.after(inner);
        for x in [-20.0, -9.0, -4.0, -1.0, 0.0, 2.5, 3.0, 50.0] {
            assert_eq!(both.at(x), outer.at(inner.at(x)), "at {x}");
        }
    }
}
