//! Files as this program reads and writes them: regular ones, complete or absent.

pub mod complete;
pub mod moving;
pub mod regular;
mod stamp;

pub use stamp::FileStamp;
