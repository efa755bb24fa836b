//! What a node makes of content: the three-way merge of its own edits with what comes from upstream.

pub mod edit;
pub mod merge;
mod path;
pub mod receive;

pub use path::{Path, PathError, get, put};
