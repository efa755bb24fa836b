//! What rollouts of other systems are known to get wrong, one by one.

use fateh_crds::{
    ContentAcknowledgement, ContentDistributionSpec, ContentDistributionStatus, ContentState, StagePhase,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Change, Plan, Verdict, plan};
use crate::rollout::view::{BACK, Controls, Node, Rollout};

struct World {
    spec: ContentDistributionSpec,
    status: ContentDistributionStatus,
    controls: Controls,
    digest: String,
    nodes: Vec<Node>,
    now: Timestamp,
}

fn node(number: usize) -> Node {
    Node {
        name: format!("node-{number}"),
        uid: format!("uid-{number}"),
        created_at: Timestamp::from_second(0).unwrap(),
        labels: [("ring".to_owned(), if number.is_multiple_of(2) { "even" } else { "odd" }.to_owned())].into(),
        active: true,
        reporting_since: Some(Timestamp::from_second(1).unwrap()),
        item: None,
        acknowledgement: None,
        question: None,
        answer: None,
        told: false,
    }
}

fn world(nodes: usize, rollout: &Value) -> World {
    let content = json!({"id": "sums", "type": "Course", "version": "1", "source": {"catalog": {}}});
    World {
        spec: serde_json::from_value(json!({"content": content, "rollout": rollout})).unwrap(),
        status: ContentDistributionStatus::default(),
        controls: Controls::default(),
        digest: "a".repeat(64),
        nodes: (0..nodes).map(node).collect(),
        now: Timestamp::from_second(1000).unwrap(),
    }
}

impl World {
    fn look(&self) -> Plan {
        let (spec, status, digest, controls) = (&self.spec, &self.status, &self.digest, &self.controls);
        plan(
            &Rollout { name: "sums", spec, status, digest, source: "s", controls, deleting: false },
            &self.nodes,
            self.now,
        )
    }

    /// One pass, carried out; how many nodes were told something.
    fn pass(&mut self) -> usize {
        let Plan { changes, status, .. } = self.look();
        self.status = status;
        let told = changes.len();
        for (index, change) in changes {
            match change {
                Change::Put(item) => self.nodes[index].item = Some(item),
                Change::Forget => self.nodes[index].item = None,
                Change::Ask(item) => self.nodes[index].question = Some(item),
                Change::Unask => self.nodes[index].question = None,
            }
        }
        told
    }

    fn answer(&mut self, state: ContentState) {
        for node in &mut self.nodes {
            let Some(item) = node.item.as_ref().filter(|_| node.reporting_since.is_some()) else { continue };
            if node.acknowledged().is_some() {
                continue;
            }
            let state = if item.removal.is_some() { ContentState::Removed } else { state };
            node.acknowledgement = Some(ContentAcknowledgement {
                distribution: "sums".into(),
                revision: item.revision.clone(),
                attempt: item.attempt,
                state,
                active_digest: (state == ContentState::Applied).then(|| item.digest.clone()),
                message: None,
                dry_run: false,
                plan: None,
            });
        }
    }

    /// Passes and answers until the rollout rests.
    fn finish(&mut self) -> Verdict {
        for _ in 0..200 {
            let told = self.pass();
            self.answer(ContentState::Applied);
            let next = self.look();
            if told == 0 && next.changes.is_empty() && next.status == self.status {
                return next.verdict;
            }
        }
        panic!("it does not rest: {:?}", self.status)
    }

    fn later(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    fn phases(&self) -> Vec<StagePhase> {
        self.status.stages.iter().map(|stage| stage.phase).collect()
    }

    fn told_in(&self, stage: &str) -> usize {
        let items = self.nodes.iter().filter_map(|node| node.item.as_ref());
        items.filter(|item| item.stage == stage && item.digest == self.digest).count()
    }
}

fn two_stages() -> Value {
    json!({"stages": [{"name": "first", "count": 2}, {"name": "rest", "maxConcurrency": "100%"}]})
}

#[test]
fn what_nodes_say_of_the_old_revision_counts_for_nothing() {
    let mut world = world(10, &two_stages());
    assert_eq!(world.finish(), Verdict::Complete(0));
    world.digest = "b".repeat(64);
    world.pass();
    for _ in 0..5 {
        world.pass();
        assert_eq!((world.told_in("first"), world.told_in("rest")), (1, 0), "one at once, and none of the rest");
    }
    assert_eq!((world.status.summary.updating, world.status.summary.pending), (1, 9));
}

#[test]
fn nodes_that_are_told_something_anyway_come_first_within_their_stage_alone() {
    let mut world = world(10, &json!({"stages": [{"name": "first", "count": 5}, {"name": "rest"}]}));
    world.pass();
    let first = world.nodes.iter().position(|node| node.item.is_some()).unwrap();
    world.finish();
    let stage = |world: &World, index: usize| world.nodes[index].item.as_ref().unwrap().stage.clone();
    let [of_first, of_rest] = ["first", "rest"]
        .map(|name| (0..10).filter(|index| *index != first && stage(&world, *index) == name).collect::<Vec<_>>());
    let anyway = [*of_first.last().unwrap(), of_rest[0]];
    world.digest = "b".repeat(64);
    for index in anyway {
        world.nodes[index].told = true;
    }
    let told: Vec<_> = world.look().changes.iter().map(|(index, _)| *index).collect();
    assert_eq!(told, [anyway[0]], "one at once, and none of the rest");
}

#[test]
fn a_soak_neither_begins_anew_nor_is_skipped() {
    let stages = json!({"stages": [{"name": "first", "count": 1, "minSuccessTime": "10m"}, {"name": "rest"}]});
    let mut world = world(4, &stages);
    world.pass();
    world.answer(ContentState::Applied);
    world.pass();
    let until = world.status.stages[0].soak_until.clone();
    assert_eq!(until.as_ref().unwrap().0.as_second(), 1600);
    // Every pass is that of an operator that has just been started.
    for _ in 0..9 {
        world.later(60);
        world.pass();
        assert_eq!((world.phases()[0], &world.status.stages[0].soak_until), (StagePhase::Soaking, &until));
        assert_eq!(world.look().wake_at, Some(until.as_ref().unwrap().0), "it is looked at when the time is over");
    }
    world.later(61);
    assert!(world.pass() > 0, "then the next begins");
    assert_eq!(world.phases()[0], StagePhase::Done);
}

#[test]
fn a_failure_during_the_soak_counts() {
    let stages =
        json!({"stages": [{"name": "first", "count": 1, "minSuccessTime": "10m", "maxFailures": 0}, {"name": "rest"}]});
    let mut world = world(4, &stages);
    world.pass();
    world.answer(ContentState::Applied);
    world.pass();
    let told = world.nodes.iter().position(|node| node.item.is_some()).unwrap();
    world.nodes[told].acknowledgement.as_mut().unwrap().state = ContentState::Failed;
    world.pass();
    world.later(3600);
    assert_eq!((world.pass(), world.phases()[0]), (0, StagePhase::OverBudget));
}

#[test]
fn nodes_that_come_and_go_leave_the_counts_right() {
    let mut world = world(
        8,
        &json!({"stages": [{"name": "first", "count": 2}, {"name": "rest", "maxConcurrency": 2, "maxFailures": 5}]}),
    );
    for _ in 0..3 {
        world.pass();
        world.answer(ContentState::Applied);
    }
    let mut newcomer = node(100);
    newcomer.created_at = world.now + SignedDuration::from_secs(5);
    world.nodes.push(newcomer);
    world.nodes.remove(0);
    assert_eq!(world.finish(), Verdict::Complete(0));
    assert_eq!((world.status.summary.desired, world.status.summary.applied), (8, 8));
    assert_eq!(world.told_in("(catch-up)"), 1);
}

#[test]
fn empty_stages_pass_at_once_and_overlapping_ones_count_each_node_once() {
    let nobody = json!({"matchLabels": {"ring": "none"}});
    let stages = json!({"stages": [
        {"name": "nobody", "selector": nobody, "approval": true, "minSuccessTime": "1h"},
        {"name": "even", "selector": {"matchLabels": {"ring": "even"}}},
        {"name": "some", "nodes": ["node-0", "node-1"]},
        {"name": "half", "percent": 50},
    ]});
    let mut world = world(10, &stages);
    assert_eq!(world.finish(), Verdict::Complete(0));
    let totals: Vec<_> = world.status.stages.iter().map(|stage| stage.total).collect();
    assert_eq!(totals, [0, 5, 1, 4], "half of all ten, as far as there are any left");
    assert_eq!((world.status.summary.applied, world.status.summary.skipped), (10, 0));
}

#[test]
fn unreachable_nodes_do_not_hold_up_the_rest_and_catch_up() {
    let mut world = world(40, &json!({"stages": [{"name": "first", "percent": 10}, {"name": "rest"}]}));
    for silent in [3, 17] {
        world.nodes[silent].reporting_since = None;
    }
    assert_eq!(world.finish(), Verdict::Complete(2));
    assert_eq!((world.status.summary.applied, world.status.summary.unreachable), (38, 2));
    world.nodes[3].reporting_since = Some(world.now);
    assert_eq!(world.finish(), Verdict::Complete(1));
    assert_eq!(world.nodes[3].item.as_ref().unwrap().stage, "(catch-up)");
}

#[test]
fn no_more_nodes_are_touched_than_may_fail() {
    let mut world = world(100, &json!({"stages": [{"name": "all", "maxConcurrency": 50, "maxFailures": 2}]}));
    for _ in 0..20 {
        world.pass();
        world.answer(ContentState::Failed);
    }
    assert_eq!((world.told_in("all"), world.status.summary.failed), (3, 3));
    assert_eq!(world.look().verdict, Verdict::OverBudget("all".into()));
}

#[test]
fn a_rollback_goes_to_the_last_good_revision_of_each_node() {
    let mut world = world(6, &two_stages());
    world.finish();
    let good = world.digest.clone();
    // One node never took any.
    world.nodes[5].item = None;
    world.nodes[5].acknowledgement = None;
    world.digest = "b".repeat(64);
    world.spec.rollout.on_failure = fateh_crds::FailurePolicy::Rollback;
    for _ in 0..6 {
        world.pass();
        world.answer(ContentState::Failed);
    }
    world.finish();
    assert_eq!(world.look().verdict, Verdict::RolledBack);
    assert!(world.nodes[..5].iter().all(|node| node.item.as_ref().unwrap().digest == good));
    // What was given up is nobody's good revision.
    world.digest = "c".repeat(64);
    world.finish();
    let back = world.nodes[..5].iter().map(|node| node.item.as_ref().unwrap().previous_digest.as_ref());
    assert!(back.eq(std::iter::repeat_n(Some(&good), 5)));
}

#[test]
fn after_an_abort_those_who_have_it_keep_it_and_the_others_get_back_what_they_had() {
    let mut world = world(6, &json!({"stages": [{"name": "all", "maxConcurrency": 3, "maxFailures": 2}]}));
    world.finish();
    let (old, new) = (world.digest.clone(), "b".repeat(64));
    world.digest.clone_from(&new);
    world.spec.rollout.on_failure = fateh_crds::FailurePolicy::Abort;
    world.pass();
    world.answer(ContentState::Applied);
    for _ in 0..4 {
        world.pass();
        world.answer(ContentState::Failed);
    }
    world.pass();
    assert_eq!(world.look().verdict, Verdict::Aborted);
    let holding = |digest: &str| {
        world.nodes.iter().filter(|node| node.item.as_ref().is_some_and(|item| item.digest == digest)).count()
    };
    assert_eq!((holding(&old), holding(&new)), (3, 3));
    assert!(world.nodes.iter().any(|node| node.item.as_ref().unwrap().stage == BACK));
    // However many come after it and are forgotten, no rollback leads to what was aborted.
    world.spec.revision_history_limit = 1;
    world.controls.pause = true;
    for letter in ["c", "d", "e"] {
        world.digest = letter.repeat(64);
        world.pass();
    }
    world.controls.pause = false;
    world.finish();
    assert!(world.nodes.iter().all(|node| node.item.as_ref().unwrap().previous_digest.as_ref() == Some(&old)));
}

#[test]
fn an_approval_is_of_one_stage_of_one_revision_may_come_early_and_is_remembered() {
    let stages = json!({"stages": [{"name": "first", "count": 1}, {"name": "rest", "approval": true}]});
    let mut world = world(4, &stages);
    world.controls.approve = Some(("bbbbbbbbbbbb".into(), "rest".into()));
    assert_eq!(world.finish(), Verdict::AwaitingApproval("rest".into()));
    world.controls.approve = Some(("aaaaaaaaaaaa".into(), "rest".into()));
    world.pass();
    // A manifest that is applied again without it takes nothing back.
    world.controls.approve = None;
    assert_eq!(world.finish(), Verdict::Complete(0));
    world.digest = "b".repeat(64);
    world.controls.approve = Some(("bbbbbbbbbbbb".into(), "rest".into()));
    assert_eq!(world.finish(), Verdict::Complete(0), "given early");
}

#[test]
fn a_pause_stops_releases_and_a_retry_lets_the_failed_try_again() {
    let mut world = world(6, &json!({"stages": [{"name": "all", "maxConcurrency": 2, "maxFailures": 1}]}));
    world.pass();
    world.controls.pause = true;
    world.answer(ContentState::Failed);
    assert_eq!((world.pass(), world.phases()[0]), (0, StagePhase::OverBudget));
    world.controls.retry = Some("once".into());
    assert_eq!((world.pass(), world.look().verdict), (0, Verdict::Paused));
    world.controls.pause = false;
    assert_eq!(world.finish(), Verdict::Complete(0));
    let attempts: Vec<_> = world.nodes.iter().map(|node| node.item.as_ref().unwrap().attempt).collect();
    assert!(attempts.iter().all(|attempt| *attempt == 2), "{attempts:?}");
}

#[test]
fn content_of_a_suspended_node_stays_and_one_that_left_removes_it() {
    let mut world = world(4, &two_stages());
    world.finish();
    world.nodes[0].active = false;
    assert_eq!(world.pass(), 0);
    assert_eq!(world.status.summary.skipped, 1);
    world.spec.targets.exclude = vec!["node-1".into()];
    assert_eq!(world.pass(), 1);
    assert_eq!(world.nodes[1].item.as_ref().unwrap().removal, Some(fateh_crds::Removal::Keep));
    world.answer(ContentState::Applied);
    world.pass();
    assert_eq!((world.nodes[1].item.as_ref(), world.status.summary.desired), (None, 3));
}

#[test]
fn a_status_of_many_stages_and_failures_stays_small() {
    let stages: Vec<_> = (0..32).map(|number| json!({"name": format!("a-stage-with-a-rather-long-name-{number}"), "count": 1, "maxFailures": 100})).collect();
    let mut world = world(40, &json!({"stages": stages}));
    for _ in 0..80 {
        world.pass();
        world.answer(ContentState::Failed);
    }
    for node in &mut world.nodes {
        if let Some(said) = &mut node.acknowledgement {
            said.message = Some("ش".repeat(256));
        }
    }
    world.pass();
    assert_eq!(world.status.failed_nodes.len(), 20);
    let size = serde_json::to_string(&world.status).unwrap().len();
    assert!(size < 15 * 1024, "{size} bytes, without conditions");
}
