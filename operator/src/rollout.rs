//! Content rollouts: what makes a revision, the planner, and what carries its plans out.

mod catalogue;
mod content;
mod controller;
mod fleet;
mod plan;
mod publications;
mod report;
mod revision;
mod signals;
mod status;
mod view;
mod watches;

pub use content::Content;
pub use watches::Rollouts;
