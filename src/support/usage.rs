//! What is wrong with the options, where only several of them together are.

use thiserror::Error;

/// The options do not fit together: whatever the files are, the command cannot do this.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct WrongUsage(pub String);
