//! Why objects failed: one record for each, in a report that all processes of a directory share.

mod failure;
mod report;

pub use failure::{Class, Failure, Stage, id_of_bad_line};
pub use report::FailureReport;
