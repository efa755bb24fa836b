//! The planner: what is next in a rollout, from what is observed. Pure: no client, and no clock of its own.
//!
//! It is computed anew at each pass. All that it remembers stands in the distribution's status (which stages are
//! done, until when one soaks, what was approved) and in the items on the nodes (what each was told, and in which
//! stage), so an operator that is killed anywhere goes on where it was.

mod begin;
mod places;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;

use fateh_crds::{
    ContentDistributionStatus, ContentItem, ContentState, DistributionMode, FailedNode, FailurePolicy, PlanStatus,
    Removal, RolloutSummary, Stage, StagePhase, StageStatus, UnreachablePolicy,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use places::Place;

use super::view::{ASKED, BACK, CATCH_UP, Node, Rollout, Targets, concurrency, duration, failures, removal, revision};

/// Outcome of a revision that was stopped, whose other nodes got back what they had.
pub const ABORTED: &str = "Aborted";
/// Outcome of a revision that every node is led back from.
pub const ROLLING_BACK: &str = "RollingBack";
/// Outcome of a revision that every node was led back from.
pub const ROLLED_BACK: &str = "RolledBack";
/// Outcome of a revision that reached every node it could.
pub const COMPLETE: &str = "Complete";
/// Outcome of a revision that another took the place of.
pub const SUPERSEDED: &str = "Superseded";

/// Nodes that are only asked, at once.
const ASKED_AT_ONCE: usize = 100;
/// Failed nodes that status names.
const NAMED: usize = 20;
/// Characters of a failure's message in status.
const MESSAGE: usize = 160;

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What nodes are to be told, by their place in the list that was looked at. Nothing else changes.
    pub changes: Vec<(usize, Change)>,
    /// What is known, once that is done; without conditions.
    pub status: ContentDistributionStatus,
    /// Where the rollout stands.
    pub verdict: Verdict,
    /// When it is to be looked at again though nothing happens.
    pub wake_at: Option<Timestamp>,
    /// Of a distribution that is being deleted: whether every node carries the removal.
    pub released: bool,
}

/// What a node is to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// To hold this.
    Put(ContentItem),
    /// To say what would happen.
    Ask(ContentItem),
    /// Nothing more: it has removed what it was told to remove.
    Forget,
    /// Nothing is asked any more.
    Unask,
}

/// Where a rollout stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Content is on its way.
    #[default]
    Progressing,
    /// All of a stage hold the content, and must for a while.
    Soaking,
    /// A person must approve the stage.
    AwaitingApproval(String),
    /// Paused by hand.
    Paused,
    /// No node of the stage can be reached.
    StageUnreachable(String),
    /// The stage waits for nodes that do not report.
    Blocked(String),
    /// More of the stage failed than may.
    OverBudget(String),
    /// The revision was stopped.
    Aborted,
    /// Nodes are being led back.
    RollingBack,
    /// Nodes were led back.
    RolledBack,
    /// Nodes are being asked.
    Planning,
    /// All nodes that can be asked have answered.
    Planned,
    /// Done, but for so many nodes that do not report.
    Complete(usize),
    /// Being deleted.
    Removing,
}

/// Where one node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Out of use, or for no stage.
    Skipped,
    /// To be released to.
    Pending,
    /// Released to; it has until then.
    Updating(Timestamp),
    /// It holds the content.
    Holds(ContentState),
    /// It did not take it.
    Failed(String),
    /// It does not report.
    Unreachable,
}

/// A member of the rollout.
struct Member<'a> {
    index: usize,
    node: &'a Node,
    place: Place,
    standing: Standing,
}

/// What comes next.
#[must_use]
pub fn plan(rollout: &Rollout<'_>, nodes: &[Node], now: Timestamp) -> Plan {
    let mut planner = Planner { rollout, targets: Targets::of(rollout.spec), now, plan: Plan::default() };
    if rollout.deleting {
        planner.plan.status = rollout.status.clone();
        planner.remove_everywhere(nodes);
        return planner.plan;
    }
    let told = nodes.iter().flat_map(|node| node.item.iter().chain(&node.question)).map(|item| item.attempt);
    let said = nodes.iter().flat_map(|node| &node.acknowledgement).map(|said| said.attempt);
    let highest = told.chain(said).max().unwrap_or(0);
    planner.plan.status = begin::status(rollout, highest, now);
    planner.release_those_that_left(nodes);
    let mut members = planner.members(nodes);
    match outcome(&planner.plan.status) {
        _ if rollout.spec.mode == DistributionMode::Plan => planner.ask(&members),
        Some(ABORTED) => planner.lead_back(&mut members, ABORTED),
        Some(ROLLING_BACK | ROLLED_BACK) => planner.lead_back(&mut members, ROLLING_BACK),
        _ => planner.roll_out(&mut members),
    }
    planner.count(&members);
    planner.plan
}

/// Whether a revision is one that nodes were led back from.
fn is_given_up(outcome: Option<&str>) -> bool {
    matches!(outcome, Some(ABORTED | ROLLING_BACK | ROLLED_BACK))
}

fn outcome(status: &ContentDistributionStatus) -> Option<&str> {
    status.current.as_ref()?.outcome.as_deref()
}

struct Planner<'a> {
    rollout: &'a Rollout<'a>,
    targets: Targets<'a>,
    now: Timestamp,
    plan: Plan,
}

impl Planner<'_> {
    fn stages(&self) -> &[Stage] {
        &self.rollout.spec.rollout.stages
    }

    fn attempt(&self) -> i32 {
        self.plan.status.current.as_ref().map_or(1, |current| current.attempt)
    }

    fn paused(&self) -> bool {
        self.rollout.spec.suspend || self.rollout.controls.pause
    }

    fn wake(&mut self, at: Timestamp) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |before| before.min(at)));
    }

    /// Every node that holds something of a distribution that goes is told to remove it.
    fn remove_everywhere(&mut self, nodes: &[Node]) {
        for (index, node) in nodes.iter().enumerate() {
            if let Some(item) = &node.item {
                self.remove(index, node, item);
            }
            if node.question.is_some() {
                self.plan.changes.push((index, Change::Unask));
            }
        }
        self.plan.verdict = Verdict::Removing;
        self.plan.released = self.plan.changes.iter().all(|(_, change)| matches!(change, Change::Forget));
    }

    /// Nodes that the distribution is no longer for. A node's state never removes content.
    fn release_those_that_left(&mut self, nodes: &[Node]) {
        for (index, node) in nodes.iter().enumerate() {
            if self.targets.take(node) || node.reporting_since.is_none() {
                continue;
            }
            // Where it is only asked what would happen, or all is to stay as it is, nothing goes.
            let stays = self.paused() || self.rollout.spec.mode == DistributionMode::Plan;
            if let Some(item) = node.item.as_ref().filter(|_| !stays) {
                self.remove(index, node, item);
            }
            if node.question.is_some() {
                self.plan.changes.push((index, Change::Unask));
            }
        }
    }

    fn remove(&mut self, index: usize, node: &Node, item: &ContentItem) {
        if item.removal.is_none() {
            let removal = Some(removal(self.rollout.spec.removal));
            // Another attempt: what was said before is said to something else.
            let item = ContentItem {
                removal,
                attempt: item.attempt.saturating_add(1),
                released_at: MicroTime(self.now),
                ..item.clone()
            };
            self.plan.changes.push((index, Change::Put(item)));
        } else if node.acknowledged().is_some_and(|said| said.state == ContentState::Removed) {
            self.plan.changes.push((index, Change::Forget));
        }
    }

    /// The nodes that the distribution is for, in the order of their hashes, each with its place and standing.
    fn members<'n>(&self, nodes: &'n [Node]) -> Vec<Member<'n>> {
        let mut targets: Vec<_> = nodes.iter().enumerate().filter(|(_, node)| self.targets.take(node)).collect();
        targets.sort_by_cached_key(|(_, node)| node.order());
        let nodes: Vec<_> = targets.iter().map(|(_, node)| *node).collect();
        let places = places::places(self.rollout, &self.plan.status, &nodes);
        let placed = targets.into_iter().zip(places);
        placed
            .map(|((index, node), place)| {
                let standing = self.standing(node, place);
                Member { index, node, place, standing }
            })
            .collect()
    }

    fn standing(&self, node: &Node, place: Place) -> Standing {
        if !node.active || place == Place::Nowhere {
            return Standing::Skipped;
        }
        let unreleased = || if node.reporting_since.is_some() { Standing::Pending } else { Standing::Unreachable };
        let Some(item) = node.item.as_ref().filter(|item| is_current(item, self.rollout.digest)) else {
            return unreleased();
        };
        let again = item.attempt < self.attempt();
        match node.acknowledged() {
            Some(said) if said.holds(&item.digest) => return Standing::Holds(said.state),
            Some(said) if said.state == ContentState::Failed => {
                let why = said.message.clone().unwrap_or_else(|| "the node does not say why".to_owned());
                return if again { unreleased() } else { Standing::Failed(why) };
            }
            _ => {}
        }
        // One that comes back has all its time again.
        let since = node.reporting_since.map_or(item.released_at.0, |since| since.max(item.released_at.0));
        let deadline = self.deadline(place, since);
        if self.now < deadline {
            return Standing::Updating(deadline);
        }
        match node.reporting_since {
            None => Standing::Unreachable,
            Some(_) if again => Standing::Pending,
            Some(_) => Standing::Failed(format!("no acknowledgement within {}", self.allowed(place))),
        }
    }

    /// The stage whose rules hold for a place: for catch-ups those of the last.
    fn stage_of(&self, place: Place) -> Option<&Stage> {
        match place {
            Place::Stage(index) => self.stages().get(index),
            Place::CatchUp | Place::Nowhere => self.stages().last(),
        }
    }

    /// How long a node of a place may take to acknowledge.
    fn allowed(&self, place: Place) -> &str {
        self.stage_of(place).map_or("10m", |stage| stage.progress_deadline.as_str())
    }

    /// Until when what was released in a place then is to be acknowledged.
    fn deadline(&self, place: Place, since: Timestamp) -> Timestamp {
        since.saturating_add(duration(self.allowed(place))).unwrap_or(Timestamp::MAX)
    }

    /// The stages one after the other, and then those that come late.
    fn roll_out(&mut self, members: &mut [Member<'_>]) {
        self.unask(members);
        let shown = members.iter().any(|member| matches!(member.standing, Standing::Holds(_)));
        let mut stopped = None;
        for index in 0..self.stages().len() {
            if stopped.is_none() {
                stopped = self.stage(index, members, shown);
            }
            self.tally(index, members);
        }
        self.plan.verdict = match stopped {
            Some(Verdict::Aborted) => return self.lead_back(members, ABORTED),
            Some(Verdict::RollingBack) => return self.lead_back(members, ROLLING_BACK),
            Some(verdict) => verdict,
            None => self.catch_up(members),
        };
    }

    /// One stage. None when it is done and the next may begin; else where it stands.
    fn stage(&mut self, index: usize, members: &mut [Member<'_>], shown: bool) -> Option<Verdict> {
        let stage = self.stages()[index].clone();
        let (on_failure, on_unreachable) =
            (self.rollout.spec.rollout.on_failure, self.rollout.spec.rollout.unreachable);
        let tally = Tally::of(members, index, on_unreachable);
        let phase = self.plan.status.stages[index].phase;
        let not_begun = matches!(phase, StagePhase::Waiting | StagePhase::AwaitingApproval);
        if phase == StagePhase::Done {
            return None;
        }
        if tally.total == 0 && (not_begun || phase == StagePhase::Running) {
            // Where nothing has been shown yet, a stage that would take nodes if they could be reached waits for one.
            if !shown && places::would_take(&stage) && members.iter().any(|member| could_be_taken(member, index)) {
                return Some(Verdict::StageUnreachable(stage.name));
            }
            self.plan.status.stages[index].phase = StagePhase::Done;
            return None;
        }
        let (paused, now) = (self.paused(), self.now);
        let state = &mut self.plan.status.stages[index];
        if not_begun {
            if stage.approval && state.approved_at.is_none() {
                state.phase = StagePhase::AwaitingApproval;
                return Some(if paused { Verdict::Paused } else { Verdict::AwaitingApproval(stage.name) });
            }
            if paused {
                return Some(Verdict::Paused);
            }
            state.phase = StagePhase::Running;
            state.started_at = Some(whole_second(now));
        }
        let may_fail = failures(&stage, tally.total);
        let bound = on_failure != FailurePolicy::Continue;
        if state.phase == StagePhase::OverBudget || (bound && tally.failed > may_fail) {
            return Some(self.over_budget(index, &stage));
        }
        let mut verdict = Verdict::Progressing;
        if state.phase == StagePhase::Running && tally.updating + tally.pending == 0 {
            // All that are left cannot be reached: the first nodes must show something, and so must those that are named.
            let wanted = places::names_its_nodes(&stage) || !shown;
            if tally.unreachable > 0 && on_unreachable == UnreachablePolicy::Block {
                verdict = Verdict::Blocked(stage.name.clone());
            } else if tally.unreachable > 0 && on_unreachable == UnreachablePolicy::Skip && tally.holds == 0 && wanted {
                verdict = Verdict::StageUnreachable(stage.name.clone());
            } else {
                let until = now.saturating_add(duration(&stage.min_success_time)).unwrap_or(Timestamp::MAX);
                state.phase = StagePhase::Soaking;
                // Written once: what is tried again after it does not move it.
                state.soak_until.get_or_insert(Time(round_up(until)));
            }
        }
        if state.phase == StagePhase::Soaking {
            let until = state.soak_until.as_ref().map_or(now, |until| until.0);
            if duration(&stage.min_success_time).is_zero() || now >= until {
                state.phase = StagePhase::Done;
                return None;
            }
            self.wake(until);
            verdict = Verdict::Soaking;
        }
        if paused {
            return Some(Verdict::Paused);
        }
        let mut room = concurrency(&stage, tally.total);
        if bound {
            room = room.min((may_fail + 1).saturating_sub(tally.failed));
        }
        self.release(members, Place::Stage(index), &stage.name, room.saturating_sub(tally.updating));
        Some(verdict)
    }

    /// More of a stage failed than may. What follows is decided when it happens, and stands.
    fn over_budget(&mut self, index: usize, stage: &Stage) -> Verdict {
        if self.plan.status.stages[index].phase != StagePhase::OverBudget {
            self.plan.status.stages[index].phase = StagePhase::OverBudget;
            match self.rollout.spec.rollout.on_failure {
                FailurePolicy::Abort => self.end(ABORTED),
                FailurePolicy::Rollback => self.end(ROLLING_BACK),
                FailurePolicy::Pause | FailurePolicy::Continue => {}
            }
        }
        match outcome(&self.plan.status) {
            Some(ABORTED) => Verdict::Aborted,
            Some(ROLLING_BACK) => Verdict::RollingBack,
            _ => Verdict::OverBudget(stage.name.clone()),
        }
    }

    /// Ends the revision's rollout before it is complete.
    fn end(&mut self, how: &str) {
        if let Some(current) = &mut self.plan.status.current {
            current.outcome = Some(how.to_owned());
        }
    }

    /// Releases to so many members of a place that wait for it.
    fn release(&mut self, members: &mut [Member<'_>], place: Place, stage: &str, room: usize) {
        let waiting = members.iter_mut().filter(|member| member.place == place && member.standing == Standing::Pending);
        // Those that are written anyway come first.
        let (told, others): (Vec<_>, Vec<_>) = waiting.partition(|member| member.node.told);
        let deadline = self.deadline(place, self.now);
        for member in told.into_iter().chain(others).take(room) {
            let item = self.item(member.node, stage);
            self.plan.changes.push((member.index, Change::Put(item)));
            member.standing = Standing::Updating(deadline);
        }
    }

    /// What a node is told when the revision is released to it.
    fn item(&self, node: &Node, stage: &str) -> ContentItem {
        let digest = self.rollout.digest;
        let again = node.item.as_ref().filter(|item| is_current(item, digest));
        let previous = match (again, &node.item) {
            (Some(again), _) => again.previous_digest.clone(),
            (None, Some(item)) if item.removal.is_none() => {
                let good = node.holds().filter(|digest| !self.was_given_up(digest)).map(str::to_owned);
                // What it was given back it held before, whether it has said so yet or not.
                let given_back = || (item.stage == BACK).then(|| item.digest.clone());
                let before = good.or_else(given_back).or_else(|| item.previous_digest.clone());
                before.filter(|previous| previous != digest)
            }
            _ => None,
        };
        // A node stays in the stage that it was released in.
        let stage = again.map_or_else(|| stage.to_owned(), |again| again.stage.clone());
        // An answer to what it was told before under this name is none to this.
        let told = node.item.iter().filter(|item| item.revision == revision(digest)).map(|item| item.attempt);
        let said =
            node.acknowledgement.iter().filter(|said| said.revision == revision(digest)).map(|said| said.attempt);
        let unused = told.chain(said).max().map_or(1, |used| used.saturating_add(1));
        ContentItem {
            distribution: self.rollout.name.to_owned(),
            revision: revision(digest).to_owned(),
            digest: digest.to_owned(),
            previous_digest: previous,
            stage,
            attempt: unused.max(self.attempt()),
            released_at: MicroTime(self.now),
            dry_run: false,
            removal: None,
        }
    }

    /// Whether a revision is one that nodes were led back from.
    fn was_given_up(&self, digest: &str) -> bool {
        // As it ended the last time: one that was given up once may have been rolled out since.
        let mut all = self.plan.status.current.iter().chain(&self.plan.status.history);
        is_given_up(all.find(|revision| revision.digest == digest).and_then(|revision| revision.outcome.as_deref()))
    }

    /// Those that come late, once the last stage is done.
    fn catch_up(&mut self, members: &mut [Member<'_>]) -> Verdict {
        let Some(last) = self.stages().last().cloned() else { return Verdict::Complete(0) };
        let on_unreachable = self.rollout.spec.rollout.unreachable;
        let in_last = Tally::of(members, self.stages().len() - 1, on_unreachable);
        let late: Vec<_> = members.iter().filter(|member| member.place == Place::CatchUp).collect();
        let failed = late.iter().filter(|member| matches!(member.standing, Standing::Failed(_))).count();
        let on_the_way = |members: &[Member<'_>]| {
            members.iter().filter(|member| matches!(member.standing, Standing::Updating(_))).count()
        };
        let mut room = concurrency(&last, in_last.total);
        let budget = failures(&last, in_last.total) + 1;
        let bound = self.rollout.spec.rollout.on_failure != FailurePolicy::Continue;
        if bound {
            room = room.min(budget.saturating_sub(in_last.failed.min(budget - 1) + failed));
        }
        let waiting = members.iter().any(|member| member.standing == Standing::Pending);
        if self.paused() {
            if waiting {
                return Verdict::Paused;
            }
        } else {
            for index in 0..self.stages().len() {
                let name = self.stages()[index].name.clone();
                let left = room.saturating_sub(on_the_way(members));
                self.release(members, Place::Stage(index), &name, left);
            }
            let left = room.saturating_sub(on_the_way(members));
            self.release(members, Place::CatchUp, CATCH_UP, left);
        }
        let count = |wanted: fn(&Standing) -> bool| members.iter().filter(|member| wanted(&member.standing)).count();
        if bound && room == 0 && count(|standing| *standing == Standing::Pending) > 0 {
            return Verdict::OverBudget(last.name);
        }
        if count(|standing| matches!(standing, Standing::Pending | Standing::Updating(_))) > 0 {
            return Verdict::Progressing;
        }
        self.end(COMPLETE);
        Verdict::Complete(count(|standing| *standing == Standing::Unreachable))
    }

    /// Gives nodes back what they had: after an abort those that have not acknowledged, after a rollback all.
    fn lead_back(&mut self, members: &mut [Member<'_>], how: &str) {
        self.tally_all(members);
        let aborted = how == ABORTED;
        // On their way back, and not late with it.
        let on_the_way: Vec<_> = members
            .iter()
            .filter_map(|member| {
                let item = member.node.item.as_ref().filter(|item| item.stage == BACK)?;
                let until = self.deadline(Place::CatchUp, item.released_at.0);
                (member.node.acknowledged().is_none() && self.now < until).then_some(until)
            })
            .collect();
        let mut room = if aborted {
            usize::MAX
        } else {
            let last = self.stages().last();
            last.map_or(1, |stage| concurrency(stage, members.len())).saturating_sub(on_the_way.len())
        };
        let (mut told, mut left) = (0_usize, 0_usize);
        for member in members.iter_mut() {
            let Some(item) = member.node.item.as_ref().filter(|item| is_current(item, self.rollout.digest)) else {
                continue;
            };
            let kept = aborted && member.node.holds().is_some();
            if kept || !member.node.active || member.node.reporting_since.is_none() {
                continue;
            }
            if self.paused() || room == 0 {
                left += 1;
                continue;
            }
            room = room.saturating_sub(1);
            told += 1;
            let back = back(item, self.now);
            self.plan.changes.push((member.index, Change::Put(back)));
            member.standing = Standing::Pending;
        }
        if let Some(first) = on_the_way.iter().min() {
            self.wake(*first);
        }
        if told > 0 {
            self.wake(self.deadline(Place::CatchUp, self.now));
        }
        self.plan.verdict = if aborted {
            Verdict::Aborted
        } else if left + told + on_the_way.len() > 0 {
            self.end(ROLLING_BACK);
            Verdict::RollingBack
        } else {
            self.end(ROLLED_BACK);
            Verdict::RolledBack
        };
    }

    /// Asks nodes what would happen, and changes nothing.
    fn ask(&mut self, members: &[Member<'_>]) {
        self.tally_all(members);
        let mut plan = PlanStatus::default();
        let (mut waiting, mut asked) = (Vec::new(), 0_usize);
        for member in members.iter().filter(|member| member.node.active && member.node.reporting_since.is_some()) {
            let question = member.node.question.as_ref();
            let question = question.filter(|item| item.digest == self.rollout.digest && item.attempt >= self.attempt());
            match (question, member.node.answered()) {
                (Some(_), Some(said)) => {
                    plan.answered += 1;
                    let answer = said.plan.clone().unwrap_or_default();
                    plan.changes += i32::from(answer.changes);
                    plan.conflicts += i32::from(answer.conflicts > 0);
                    plan.locked_edits += i32::from(answer.locked_edits > 0);
                    let named = answer.paths.iter().map(|path| format!("{}: {path}", member.node.name));
                    plan.examples.extend(named.take(8 - plan.examples.len().min(8)));
                }
                (Some(_), None) => asked += 1,
                (None, _) => waiting.push(member),
            }
        }
        let paused = self.paused();
        if !paused {
            for member in waiting.iter().take(ASKED_AT_ONCE.saturating_sub(asked)) {
                let question = ContentItem {
                    dry_run: true,
                    stage: ASKED.to_owned(),
                    previous_digest: None,
                    attempt: self.attempt(),
                    ..self.item(member.node, ASKED)
                };
                self.plan.changes.push((member.index, Change::Ask(question)));
            }
        }
        self.plan.status.plan = Some(plan);
        self.plan.verdict = match (waiting.len() + asked, paused) {
            (0, _) => Verdict::Planned,
            (_, true) => Verdict::Paused,
            _ => Verdict::Planning,
        };
    }

    /// Takes questions back that nobody waits for any more.
    fn unask(&mut self, members: &[Member<'_>]) {
        self.plan.status.plan = None;
        let asked =
            members.iter().filter(|member| member.node.question.is_some() && member.node.reporting_since.is_some());
        self.plan.changes.extend(asked.map(|member| (member.index, Change::Unask)));
    }

    fn tally_all(&mut self, members: &[Member<'_>]) {
        for index in 0..self.stages().len() {
            self.tally(index, members);
        }
    }

    fn tally(&mut self, index: usize, members: &[Member<'_>]) {
        let tally = Tally::of(members, index, self.rollout.spec.rollout.unreachable);
        let state: &mut StageStatus = &mut self.plan.status.stages[index];
        state.total = number(tally.total);
        state.applied = number(tally.holds);
        state.failed = number(tally.failed);
    }

    /// Each member counts once.
    fn count(&mut self, members: &[Member<'_>]) {
        let mut summary = RolloutSummary { desired: number(members.len()), ..RolloutSummary::default() };
        let mut failed = Vec::new();
        for member in members {
            let counter = match &member.standing {
                Standing::Skipped => &mut summary.skipped,
                Standing::Pending => &mut summary.pending,
                Standing::Updating(deadline) => {
                    self.wake(*deadline);
                    &mut summary.updating
                }
                Standing::Holds(ContentState::Merged) => &mut summary.merged,
                Standing::Holds(ContentState::Conflicted) => &mut summary.conflicted,
                Standing::Holds(_) => &mut summary.applied,
                Standing::Failed(message) => {
                    let message = message.chars().take(MESSAGE).collect();
                    failed.push(FailedNode { name: member.node.name.clone(), message });
                    &mut summary.failed
                }
                Standing::Unreachable => &mut summary.unreachable,
            };
            *counter += 1;
        }
        failed.sort_by(|one, other| one.name.cmp(&other.name));
        failed.truncate(NAMED);
        let status = &mut self.plan.status;
        let held = summary.applied + summary.merged + summary.conflicted;
        status.done = Some(format!("{held}/{}", summary.desired));
        status.summary = summary;
        status.failed_nodes = failed;
        let first = status.stages.iter().find(|stage| stage.phase != StagePhase::Done);
        status.stage = first.or(status.stages.last()).map(|stage| stage.name.clone());
        status.phase = Some(self.plan.verdict.phase().to_owned());
    }
}

/// What is given back: what the node held before, or, where that was nothing, what it got hidden again.
fn back(item: &ContentItem, now: Timestamp) -> ContentItem {
    let attempt = item.attempt.saturating_add(1);
    let common = ContentItem { stage: BACK.to_owned(), attempt, released_at: MicroTime(now), ..item.clone() };
    match &item.previous_digest {
        Some(previous) => ContentItem {
            revision: revision(previous).to_owned(),
            digest: previous.clone(),
            previous_digest: None,
            ..common
        },
        None => ContentItem { removal: Some(Removal::Archive), ..common },
    }
}

fn is_current(item: &ContentItem, digest: &str) -> bool {
    item.removal.is_none() && item.digest == digest
}

/// Whether a stage that takes the next in order would take this one, if it could be reached.
fn could_be_taken(member: &Member<'_>, index: usize) -> bool {
    let later = matches!(member.place, Place::Stage(at) if at > index);
    later && member.standing == Standing::Unreachable
}

/// How the members of one stage stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    total: usize,
    pending: usize,
    updating: usize,
    holds: usize,
    failed: usize,
    unreachable: usize,
}

impl Tally {
    fn of(members: &[Member<'_>], stage: usize, unreachable: UnreachablePolicy) -> Self {
        let mut tally = Self::default();
        for member in members.iter().filter(|member| member.place == Place::Stage(stage)) {
            let counter = match member.standing {
                Standing::Skipped => continue,
                Standing::Pending => &mut tally.pending,
                Standing::Updating(_) => &mut tally.updating,
                Standing::Holds(_) => &mut tally.holds,
                Standing::Failed(_) => &mut tally.failed,
                Standing::Unreachable if unreachable == UnreachablePolicy::CountAsFailed => &mut tally.failed,
                Standing::Unreachable => &mut tally.unreachable,
            };
            *counter += 1;
            tally.total += 1;
        }
        tally
    }
}

impl Verdict {
    /// In one word, for status.
    #[must_use]
    pub const fn phase(&self) -> &'static str {
        match self {
            Self::Progressing | Self::StageUnreachable(_) | Self::Blocked(_) => "Progressing",
            Self::Soaking => "Soaking",
            Self::AwaitingApproval(_) => "AwaitingApproval",
            Self::Paused => "Paused",
            Self::OverBudget(_) => "OverBudget",
            Self::Aborted => "Aborted",
            Self::RollingBack => "RollingBack",
            Self::RolledBack => "RolledBack",
            Self::Planning => "Planning",
            Self::Planned => "Planned",
            Self::Complete(_) => "Complete",
            Self::Removing => "Removing",
        }
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Kubernetes keeps these times to the second.
fn whole_second(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn round_up(time: Timestamp) -> Timestamp {
    let second = time.as_second() + i64::from(time.subsec_nanosecond() > 0);
    Timestamp::from_second(second).unwrap_or(time)
}
