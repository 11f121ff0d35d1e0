//! Pictures as bytes at the door: they become floats behind it.

use prost::Message;

use super::Layout;
use super::input::{TO_PLANES, picture_layout};
use super::proto::{Attribute, FLOAT, Graph, Node, Tensor, UINT8};
use super::values::Values;
use super::{Feed, unused};

/// Lets the graph take `[n, height, width, 3]` bytes in the place of its f32 pictures: makes them floats, divides by
/// 255 and, where it wants planes, transposes. `None`, and the graph as it was, when its input is no batch of colour
/// pictures.
pub fn take_bytes(graph: &mut Graph) -> Option<Feed> {
    let layout = picture_layout(graph)?;
    let name = graph.input[0].name().to_owned();
    let values = Values::new(graph);
    let [floats, pixels, most] =
        ["floats", "pixels", "most"].map(|kind| unused(&values, &format!("{name}/{kind}")));

    let mut head = vec![
        Node::new("Cast", &[&name], &floats).with(Attribute::int("to", i64::from(FLOAT))),
        Node::new("Div", &[&floats, &most], &pixels),
    ];
    let mut last = pixels;
    if layout == Layout::Nchw {
        let planes = unused(&values, &format!("{name}/planes"));
        head.push(
            Node::new("Transpose", &[&last], &planes).with(Attribute::ints("perm", &TO_PLANES)),
        );
        last = planes;
    }
    graph.read_instead(&name, &last);
    graph.node.splice(0..0, head);
    let most = Tensor {
        data_type: Some(FLOAT),
        name: Some(most),
        raw_data: Some(255_f32.to_le_bytes().to_vec()),
        ..Tensor::default()
    };
    graph.initializer.push(most.encode_to_vec().into());
    let input = graph.input[0].tensor_mut()?;
    input.elem_type = Some(UINT8);
    if layout == Layout::Nchw {
        // `[n, c, h, w]` becomes `[n, h, w, c]`.
        input.shape.as_mut()?.dim[1..].rotate_left(1);
    }
    Some(Feed::Bytes)
}

#[cfg(test)]
mod tests {
    use super::super::test_graphs::{model, node, operators};
    use super::*;

    #[test]
    fn bytes_become_floats_behind_the_input_in_the_order_that_the_graph_wants() {
        for (shape, wanted) in [
            ([2, 5, 7, 3], &["Cast", "Div", "Relu", "Mul"][..]),
            ([2, 3, 5, 7], &["Cast", "Div", "Transpose", "Relu", "Mul"]),
        ] {
            let nodes = vec![node("a", "Relu", "x"), node("y", "Mul", "a x")];
            let mut graph = model(&shape, nodes, Vec::new()).graph.unwrap();
            assert_eq!(take_bytes(&mut graph), Some(Feed::Bytes));
            assert_eq!(operators(&graph), wanted);
            let dims = graph.input[0].dims_mut().unwrap();
            let dims: Vec<_> = dims.iter().map(|dim| dim.dim_value()).collect();
            assert_eq!(dims, [2, 5, 7, 3]);
            let readers = graph.node.iter().filter(|node| node.input[0] == "x");
            assert_eq!(readers.count(), 1, "only the cast reads the bytes");
        }
        let mut gray = model(&[2, 5, 7, 1], vec![node("y", "Relu", "x")], Vec::new())
            .graph
            .unwrap();
        assert_eq!(take_bytes(&mut gray), None);
    }
}
