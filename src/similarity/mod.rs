//! Which features are near to which.

pub mod collection;
pub mod hnsw;
mod kernels;
pub mod scan;

pub use kernels::simd;
