//! Who makes a value, who uses it, and which values are constants.

use std::collections::{HashMap, HashSet};

use prost::Message;

use super::proto::{EXTERNAL, FLOAT, Graph, Node, Tensor, TensorHeader};

/// A small f32 constant: an initializer that no caller can override, or the value of a `Constant` node.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// Its shape; empty for a scalar.
    pub dims: Vec<i64>,
    /// Its values, as many as the shape says.
    pub values: Vec<f32>,
}

/// The largest constant that is read: scalars and per-channel vectors are small, and weights need not be copied.
const SMALL: i64 = 64;

/// A graph with its edges; valid until the graph is changed.
pub struct Values<'a> {
    nodes: &'a [Node],
    producers: HashMap<&'a str, usize>,
    uses: HashMap<&'a str, usize>,
    constants: HashMap<String, Constant>,
}

impl<'a> Values<'a> {
    /// Looks at every node once; of the initializers only the small ones are read.
    pub fn new(graph: &'a Graph) -> Self {
        let mut values = Values {
            nodes: &graph.node,
            producers: HashMap::new(),
            uses: HashMap::new(),
            constants: HashMap::new(),
        };
        for (number, node) in graph.node.iter().enumerate() {
            for value in &node.output {
                values.producers.insert(value, number);
            }
            for value in &node.input {
                *values.uses.entry(value).or_default() += 1;
            }
            if node.op() == Some("Constant")
                && let [output] = node.output.as_slice()
                && let Some(tensor) = node.attribute("value").and_then(|value| value.t)
                && let Some((_, constant)) = small_constant(&tensor)
            {
                values.constants.insert(output.clone(), constant);
            }
        }
        for output in &graph.output {
            *values.uses.entry(output.name()).or_default() += 1;
        }
        let inputs: HashSet<&str> = graph.input.iter().map(|input| input.name()).collect();
        for tensor in &graph.initializer {
            if let Some((name, constant)) = small_constant(tensor)
                && !inputs.contains(name.as_str())
            {
                values.constants.insert(name, constant);
            }
        }
        values
    }

    /// How many node inputs and graph outputs read a value.
    pub fn uses(&self, value: &str) -> usize {
        self.uses.get(value).copied().unwrap_or(0)
    }

    /// The node that makes a value, with its number.
    pub fn producer(&self, value: &str) -> Option<(usize, &'a Node)> {
        let number = *self.producers.get(value)?;
        Some((number, &self.nodes[number]))
    }

    /// The node that makes a value which is read once only, so that the node can go when its reader goes.
    pub fn sole_producer(&self, value: &str) -> Option<(usize, &'a Node)> {
        self.producer(value)
            .filter(|(_, node)| self.uses(value) == 1 && node.output.len() == 1)
    }

    /// The one node that reads a value, if nothing else does and it reads it once.
    pub fn only_consumer(&self, value: &str) -> Option<(usize, &'a Node)> {
        if self.uses(value) != 1 {
            return None;
        }
        self.nodes
            .iter()
            .enumerate()
            .find(|(_, node)| node.input.iter().any(|input| input == value))
    }

    /// A small f32 constant.
    pub fn constant(&self, value: &str) -> Option<&Constant> {
        self.constants.get(value)
    }

    /// A constant of one element whose shape (`[]` or `[1]`) leaves the shape of what it meets as it is.
    pub fn scalar(&self, value: &str) -> Option<f64> {
        match self.constant(value)? {
            Constant { dims, values } if dims.len() <= 1 && values.len() == 1 => {
                Some(f64::from(values[0]))
            }
            _ => None,
        }
    }
}

/// The name and values of a tensor when it is of f32, in this file, of at most [`SMALL`] elements and well-formed.
fn small_constant(bytes: &[u8]) -> Option<(String, Constant)> {
    let header = TensorHeader::decode(bytes).ok()?;
    let count = header
        .dims
        .iter()
        .try_fold(1_i64, |count, dim| count.checked_mul(*dim))
        .filter(|count| (1..=SMALL).contains(count))?;
    if header.data_type() != FLOAT || header.data_location() == EXTERNAL {
        return None;
    }
    let tensor = Tensor::decode(bytes).ok()?;
    let values = tensor.floats();
    if values.len() != usize::try_from(count).ok()? {
        return None;
    }
    let dims = tensor.dims;
    Some((tensor.name.unwrap_or_default(), Constant { dims, values }))
}
