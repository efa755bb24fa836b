//! The controller of LocalNodes: observe → validate → build → apply → report.

mod apply;
mod bootstrap;
pub mod build;
mod content;
mod controller;
mod credentials;
mod delete;
mod hosts;
mod observe;
mod place;
mod report;
mod reporting;
mod requests;
mod rotation;
mod route;
mod validate;

pub use content::count;
pub use controller::{Watches, run};
pub use observe::{Placement, connect};
pub use place::{Load, Placements, connections_allowed, full, loads};
pub use reporting::Report;
pub use validate::{ValidNode, validate};
