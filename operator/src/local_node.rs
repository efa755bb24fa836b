//! The controller of LocalNodes: observe → validate → build → apply → report.

mod apply;
pub mod build;
mod controller;
mod delete;
mod invitation;
mod observe;
mod place;
mod report;
mod reporting;
mod validate;

pub use controller::run;
pub use observe::connect;
pub use validate::{ValidNode, validate};
