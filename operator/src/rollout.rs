//! Content rollouts: revisions, the planner, and what carries its plans out.

pub mod plan;
pub mod view;
