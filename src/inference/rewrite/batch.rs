//! The batch axis, given a size.

use super::proto::{Dimension, Graph};

/// Fixes the batch axis of the one input, and every axis that goes by the same name, to `batch`; returns what it did.
/// `None`, and the graph as it was, when that axis has a size.
pub fn fix(graph: &mut Graph, batch: usize) -> Option<usize> {
    let [input] = graph.input.as_mut_slice() else {
        return None;
    };
    let axis = input.dims_mut()?.first_mut()?;
    if axis.dim_value.is_some_and(|size| size > 0) {
        return None;
    }
    let size = i64::try_from(batch).ok()?;
    let name = axis.dim_param.take();
    axis.dim_value = Some(size);
    let others = graph.output.iter_mut().chain(&mut graph.value_info);
    for dim in others.filter_map(|value| value.dims_mut()).flatten() {
        if dim.dim_param.is_some() && dim.dim_param == name {
            *dim = Dimension {
                dim_value: Some(size),
                ..Dimension::default()
            };
        }
    }
    Some(batch)
}

#[cfg(test)]
mod tests {
    use super::super::test_graphs::{model, node};
    use super::*;

    #[test]
    fn every_axis_of_that_name_gets_the_size_and_no_other() {
        let mut graph = model(&[0, 8, 2, 2], vec![node("y", "Relu", "x")], Vec::new())
            .graph
            .unwrap();
        let named = |name: &str| Dimension {
            dim_param: Some(name.to_string()),
            ..Dimension::default()
        };
        graph.input[0].dims_mut().unwrap()[0] = named("n");
        let output = graph.output[0].dims_mut().unwrap();
        (output[0], output[2]) = (named("n"), named("rows"));
        assert_eq!(fix(&mut graph, 5), Some(5));
        assert_eq!(graph.input[0].dims_mut().unwrap()[0].dim_value, Some(5));
        let output = graph.output[0].dims_mut().unwrap();
        assert_eq!(output[0].dim_value, Some(5));
        assert_eq!(output[2], named("rows"));
        assert_eq!(fix(&mut graph, 6), None, "an axis that has a size keeps it");
    }
}
