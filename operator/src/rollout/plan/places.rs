//! Which stage takes which node: the first that matches; count and percent take the next in order.

use fateh_crds::{ContentDistributionStatus, NewNodesPolicy, Stage, StagePhase};

use kube::core::{Selector, SelectorExt};

use super::is_current;
use crate::rollout::view::{Node, Rollout, percent_of, selector};

/// Where a member is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the stage of this number.
    Stage(usize),
    /// After the last stage.
    CatchUp,
    /// In none.
    Nowhere,
}

/// The places of the members, who are in the order of their hashes.
pub fn places(rollout: &Rollout<'_>, status: &ContentDistributionStatus, members: &[&Node]) -> Vec<Place> {
    let stages = &rollout.spec.rollout.stages;
    let began = status.current.as_ref().map(|current| current.started_at.0);
    let is_newcomer = |node: &Node| began.is_some_and(|began| node.created_at > began);
    let of_the_beginning = members.iter().filter(|node| !is_newcomer(node)).count();
    let mut places: Vec<Option<Place>> = members
        .iter()
        .map(|node| match node.item.as_ref().filter(|item| is_current(item, rollout.digest)) {
            // One that was released stays where it was.
            Some(item) => {
                Some(stages.iter().position(|stage| stage.name == item.stage).map_or(Place::CatchUp, Place::Stage))
            }
            None if is_newcomer(node) => Some(match rollout.spec.rollout.new_nodes {
                NewNodesPolicy::CatchUp => Place::CatchUp,
                NewNodesPolicy::NextRevision => Place::Nowhere,
            }),
            None => None,
        })
        .collect();
    // What stages that take the next in order could not fill.
    let mut unfilled = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let selector = stage.selector.as_ref().map(selector);
        let closed = matches!(status.stages[index].phase, StagePhase::Soaking | StagePhase::Done);
        // What a closed stage would have taken comes late.
        let place = if closed { Place::CatchUp } else { Place::Stage(index) };
        let mut quota = quota(stage, of_the_beginning).map(|quota| {
            let taken =
                places.iter().zip(members).filter(|(it, node)| **it == Some(Place::Stage(index)) && node.active);
            quota.saturating_sub(taken.count())
        });
        for (node, at) in members.iter().zip(&mut places).filter(|(_, at)| at.is_none()) {
            let takes = match &mut quota {
                Some(left) => {
                    let next = !closed && *left > 0 && node.active && node.reporting_since.is_some();
                    *left -= usize::from(next);
                    next
                }
                None => names(stage, selector.as_ref(), node),
            };
            if takes {
                *at = Some(place);
            }
        }
        unfilled.extend(quota.map(|left| (place, left)));
    }
    // They would have taken those whom nobody else takes, if they could be reached; these catch up when they return.
    for (place, mut left) in unfilled {
        for (_, at) in members.iter().zip(&mut places).filter(|(node, at)| at.is_none() && node.active) {
            if left > 0 {
                left -= 1;
                *at = Some(place);
            }
        }
    }
    places.into_iter().map(|place| place.unwrap_or(Place::Nowhere)).collect()
}

/// How many a stage takes that takes the next in order.
fn quota(stage: &Stage, of: usize) -> Option<usize> {
    let percent = stage.percent.map(|percent| percent_of(usize::try_from(percent).unwrap_or(0), of, true));
    percent.or(stage.count.map(|count| usize::try_from(count).unwrap_or(0)))
}

/// Whether a stage takes the next in order, as many as it may.
pub const fn would_take(stage: &Stage) -> bool {
    stage.percent.is_some() || stage.count.is_some()
}

/// Whether a stage says which nodes it is about.
pub const fn names_its_nodes(stage: &Stage) -> bool {
    stage.selector.is_some() || stage.nodes.is_some()
}

fn names(stage: &Stage, selector: Option<&Option<Selector>>, node: &Node) -> bool {
    match (selector, &stage.nodes) {
        (Some(selector), _) => selector.as_ref().is_some_and(|selector| selector.matches(&node.labels)),
        (None, Some(nodes)) => nodes.contains(&node.name),
        (None, None) => true,
    }
}
