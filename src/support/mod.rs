//! What every room may need and no room owns.

pub mod fault;
pub mod hints;
pub mod interrupt;
pub mod mutex;
pub mod progress;
