//! Any bytes as a `.npy` file: what is read never goes beyond what is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use simsearch::storage::npy;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = npy::parse_header(bytes) {
        assert!(header.data_offset <= bytes.len());
    }
    if let Ok((rows, length, offset)) = npy::features_shape(bytes, bytes.len() as u64) {
        assert_eq!(offset + rows * length * 4, bytes.len());
    }
    if let Ok(data) = npy::feature_data(bytes) {
        let numbers: Vec<f32> = npy::floats(data).collect();
        // Written again, it is read as the same numbers.
        let mut again = Vec::new();
        npy::append_feature(&numbers, &mut again);
        assert_eq!(npy::feature_data(&again).unwrap(), data);
    }
    if let Ok(ids) = npy::object_ids(bytes) {
        assert!(ids.len() <= bytes.len());
    }
});
