//! Which features are near to which.
//!
//! | module | what |
//! |---|---|
//! | [`neighbours`] | the way in: queries and a metric, or an index, to their neighbours |
//! | [`collection`] | the features of a directory in memory |
//! | [`scan`] | the exact search, and the metrics |
//! | [`hnsw`] | the approximate index |
//! | `kernels` | the arithmetic, for several kinds of processors |

pub mod collection;
pub mod hnsw;
pub(crate) mod kernels;
pub mod neighbours;
pub mod scan;

pub use kernels::simd;
