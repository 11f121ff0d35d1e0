//! Casts at the ends of a graph, whose inputs and outputs are f32 while it computes in another type.

use super::proto::{Attribute, FLOAT, Graph, Node};
use super::unused;
use super::values::Values;

/// Makes all that reads an input read it as `kind`, a `TensorProto.DataType`.
pub fn cast_input(graph: &mut Graph, name: &str, kind: i32) {
    let inside = inside(graph, name);
    graph.read_instead(name, &inside);
    graph.node.insert(0, cast(name, &inside, kind));
}

/// Makes an output, which is of another type, f32.
pub fn cast_output(graph: &mut Graph, name: &str) {
    let inside = inside(graph, name);
    graph.read_instead(name, &inside);
    for made in graph.node.iter_mut().flat_map(|node| &mut node.output) {
        if made == name {
            made.clone_from(&inside);
        }
    }
    graph.node.push(cast(&inside, name, FLOAT));
}

/// A name for what is inside of a cast.
fn inside(graph: &Graph, name: &str) -> String {
    unused(&Values::new(graph), &format!("{name}/inside"))
}

fn cast(from: &str, to: &str, kind: i32) -> Node {
    Node::new("Cast", &[from], to).with(Attribute::int("to", i64::from(kind)))
}
