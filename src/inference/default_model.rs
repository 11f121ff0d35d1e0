//! The small model that ships inside the program; `models/README.md` says what it is made of.

/// The name of its directory of features.
pub const STEM: &str = "descriptor_v1";

/// The ONNX graph, made by `models/make_descriptor.py`.
pub const BYTES: &[u8] = include_bytes!("../../models/descriptor_v1.onnx");
