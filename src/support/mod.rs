//! What every folder may need, and none of them owns.

pub mod child;
pub mod fault;
pub mod hints;
pub mod interrupt;
pub mod mutex;
pub mod page;
pub mod progress;
pub mod usage;

/// How many processors this process may use, by its affinity and the limits of its control group.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
