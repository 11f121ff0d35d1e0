//! The commands. None of them uses another one.

pub mod concat;
pub mod doctor;
pub mod duplicates;
pub mod export;
pub mod extract;
pub mod index;
pub mod list;
pub mod prune;
pub mod search;
pub mod status;
pub mod verify;
pub mod watch;
