//! Weights that are in files of their own, brought into the model.

use std::collections::BTreeMap;

use prost::Message;
use prost::bytes::Bytes;

use super::GraphError;
use super::proto::{EXTERNAL, Graph, ModelProto, Tensor, TensorHeader};

/// The most bytes of a model in one piece: protobuf counts in 31 bits.
const MOST_BYTES: u64 = i32::MAX as u64;

/// The files that hold weights of the model, sorted, as the model names them; most models have none.
///
/// # Errors
/// When the bytes are not an ONNX model.
pub fn external_files(model: &Bytes) -> Result<Vec<String>, GraphError> {
    let model = ModelProto::decode(model.clone())?;
    let graph = model.graph.as_ref().ok_or(GraphError::NoGraph)?;
    let mut names: Vec<String> = external(graph)
        .map(|(_, header)| header.entry("location").unwrap_or_default().to_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The model with the weights of `files` in it, which are by their names.
///
/// # Errors
/// When a file is shorter than the model says, or the whole would be too large.
pub fn with_external_data(
    model: &Bytes,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Bytes, GraphError> {
    let mut model = ModelProto::decode(model.clone())?;
    let graph = model.graph.as_mut().ok_or(GraphError::NoGraph)?;
    let found: Vec<(usize, TensorHeader)> = external(graph).collect();
    for (number, header) in found {
        let name = header.entry("location").unwrap_or_default();
        let data = data(&header, files.get(name));
        let data = data.ok_or_else(|| GraphError::ExternalData {
            tensor: header.name().to_owned(),
            file: name.to_owned(),
        })?;
        let tensor = Tensor {
            dims: header.dims.clone(),
            data_type: header.data_type,
            name: header.name.clone(),
            raw_data: Some(data.to_vec()),
            ..Tensor::default()
        };
        graph.initializer[number] = tensor.encode_to_vec().into();
    }
    match model.encoded_len() as u64 {
        ..=MOST_BYTES => Ok(model.encode_to_vec().into()),
        bytes => Err(GraphError::TooLarge { bytes }),
    }
}

/// The weights that are in files of their own, with their numbers.
fn external(graph: &Graph) -> impl Iterator<Item = (usize, TensorHeader)> {
    let headers = graph.initializer.iter().enumerate();
    headers.filter_map(|(number, bytes)| {
        let header = TensorHeader::decode(&bytes[..]).ok()?;
        (header.data_location() == EXTERNAL).then_some((number, header))
    })
}

/// A weight's own part of the file.
fn data<'a>(header: &TensorHeader, file: Option<&'a Vec<u8>>) -> Option<&'a [u8]> {
    let number = |key: &str| header.entry(key).map(str::parse::<usize>).transpose();
    let start = number("offset").ok()?.unwrap_or(0);
    let rest = file?.get(start..)?;
    match number("length").ok()? {
        Some(length) => rest.get(..length),
        None => Some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::Entry;
    use super::super::test_graphs::{model, node, tensor};
    use super::*;

    /// A model whose weight `w` is in `weights.bin`, from byte 4 on.
    fn split() -> (ModelProto, ModelProto) {
        let whole = model(
            &[1, 3, 2, 2],
            vec![node("y", "Mul", "x w")],
            vec![tensor("w", &[2], &[1.5, -2.0])],
        );
        let mut split = whole.clone();
        let entry = |key: &str, value: &str| Entry {
            key: Some(key.into()),
            value: Some(value.into()),
        };
        let header = TensorHeader {
            dims: vec![2],
            data_type: Some(1),
            name: Some("w".into()),
            data_location: Some(EXTERNAL),
            external_data: vec![
                entry("location", "weights.bin"),
                entry("offset", "4"),
                entry("length", "8"),
            ],
        };
        split.graph.as_mut().unwrap().initializer = vec![header.encode_to_vec().into()];
        (whole, split)
    }

    #[test]
    fn weights_of_another_file_come_into_the_model() {
        let (whole, split) = split();
        let split = split.encode_to_vec().into();
        assert_eq!(external_files(&split).unwrap(), ["weights.bin"]);
        assert!(
            external_files(&whole.encode_to_vec().into())
                .unwrap()
                .is_empty()
        );

        let mut data = vec![9; 4];
        data.extend([1.5_f32, -2.0].iter().flat_map(|value| value.to_le_bytes()));
        data.push(9);
        let files = BTreeMap::from([("weights.bin".to_owned(), data)]);
        let found = with_external_data(&split, &files).unwrap();
        let found = ModelProto::decode(&found[..]).unwrap();
        let weight = &found.graph.as_ref().unwrap().initializer[0];
        let weight = Tensor::decode(&weight[..]).unwrap();
        assert_eq!((weight.floats(), weight.dims), (vec![1.5, -2.0], vec![2]));
        assert!(
            external_files(&found.encode_to_vec().into())
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error_that_names_it() {
        let files = BTreeMap::from([("weights.bin".to_owned(), vec![0; 11])]);
        let error = with_external_data(&split().1.encode_to_vec().into(), &files).unwrap_err();
        assert!(error.to_string().contains("weights.bin"), "{error}");
    }
}
