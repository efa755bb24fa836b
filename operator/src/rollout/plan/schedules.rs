//! Seeded schedules of everything that can happen to a rollout: failures, nodes that come, go, fall silent and return,
//! changed specs, approvals, pauses, retries, operators that die between two writes, and clocks that jump. After each
//! pass the rules of a rollout hold; when the failures end, so does the rollout, and then nothing is written any more.

use std::collections::{BTreeMap, HashMap};

use fateh_crds::{
    ContentAcknowledgement, ContentDistributionSpec, ContentDistributionStatus, ContentState, StagePhase,
};
use jiff::{SignedDuration, Timestamp};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::json;

use super::{Change, Plan, Verdict, plan};
use crate::rollout::view::{BACK, Controls, Node, Rollout, Targets, concurrency, failures};

const SCHEDULES: u64 = 100_000;

struct World {
    random: StdRng,
    now: Timestamp,
    spec: ContentDistributionSpec,
    status: ContentDistributionStatus,
    controls: Controls,
    digest: String,
    nodes: Vec<Node>,
    made: u32,
    /// Nothing goes wrong any more.
    calm: bool,
}

fn digest(number: u32) -> String {
    format!("{number:012x}{}", "0".repeat(52))
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let spec = spec(&mut random);
        let mut world = Self {
            random,
            now,
            spec,
            status: ContentDistributionStatus::default(),
            controls: Controls::default(),
            digest: digest(1),
            nodes: Vec::new(),
            made: 0,
            calm: false,
        };
        for _ in 0..world.random.random_range(0..14) {
            world.join();
        }
        world
    }

    fn join(&mut self) {
        self.made += 1;
        let regions = ["mena", "europe", "asia"];
        let labels = [("region".to_owned(), regions.choose(&mut self.random).unwrap().to_string())];
        self.nodes.push(Node {
            name: format!("node-{}", self.made),
            uid: format!("uid-{}-{}", self.made, self.random.random::<u32>()),
            created_at: self.now,
            labels: BTreeMap::from(labels),
            active: true,
            reporting_since: self.random.random_bool(0.9).then_some(self.now),
            item: None,
            acknowledgement: None,
            question: None,
            answer: None,
            told: false,
        });
    }

    fn happens(&mut self) {
        let one = (!self.nodes.is_empty()).then(|| self.random.random_range(0..self.nodes.len()));
        match (self.random.random_range(0..if self.calm { 12 } else { 26 }), one) {
            (0..=6, _) => self.acknowledge(),
            (7..=9, _) => self.now += SignedDuration::from_secs(self.random.random_range(1..400)),
            (10, _) => self.approve(),
            (12, Some(one)) => self.nodes[one].reporting_since = None,
            (13, Some(one)) => drop(self.nodes[one].reporting_since.get_or_insert(self.now)),
            (14, _) => self.join(),
            (15, Some(one)) => drop(self.nodes.remove(one)),
            (16, Some(one)) => self.nodes[one].active = !self.nodes[one].active,
            (17, Some(one)) => {
                let region = ["mena", "europe"].choose(&mut self.random).unwrap().to_string();
                self.nodes[one].labels.insert("region".to_owned(), region);
            }
            (18, _) => self.controls.pause = !self.controls.pause,
            (19, _) => self.controls.retry = Some(self.random.random::<u32>().to_string()),
            (20, _) => self.digest = digest(self.random.random_range(1..4)),
            (21, _) => {
                let before = self.spec.content.clone();
                self.spec = spec(&mut self.random);
                self.spec.content = before;
            }
            // Backwards, too: an operator on another machine.
            (22, _) => self.now -= SignedDuration::from_secs(self.random.random_range(1..30)),
            (23, Some(one)) => self.nodes[one].told = !self.nodes[one].told,
            _ => {}
        }
    }

    fn approve(&mut self) {
        let revision = self.status.current.as_ref().map(|current| current.revision.clone()).unwrap_or_default();
        if let Some(stage) = self.spec.rollout.stages.choose(&mut self.random) {
            self.controls.approve = Some((revision, stage.name.clone()));
        }
    }

    /// Some node says something about what it was told.
    fn acknowledge(&mut self) {
        let calm = self.calm;
        for node in &mut self.nodes {
            let Some(item) = &node.item else { continue };
            if node.reporting_since.is_none() || !(calm || self.random.random_bool(0.4)) {
                continue;
            }
            let states = [ContentState::Applied, ContentState::Merged, ContentState::Conflicted, ContentState::Failed];
            let state = match item.removal {
                Some(_) => ContentState::Removed,
                None if calm => ContentState::Applied,
                None => *states.choose(&mut self.random).unwrap(),
            };
            let said = node.acknowledged();
            if said.is_some_and(|said| said.state != ContentState::Failed || calm) {
                continue;
            }
            node.acknowledgement = Some(ContentAcknowledgement {
                distribution: item.distribution.clone(),
                revision: item.revision.clone(),
                attempt: item.attempt,
                state,
                active_digest: (state != ContentState::Failed && state != ContentState::Removed)
                    .then(|| item.digest.clone()),
                message: None,
                dry_run: false,
                plan: None,
            });
        }
    }

    fn plan(&self) -> Plan {
        let rollout = Rollout {
            name: "sums",
            spec: &self.spec,
            status: &self.status,
            digest: &self.digest,
            source: &self.digest,
            controls: &self.controls,
            deleting: false,
        };
        plan(&rollout, &self.nodes, self.now)
    }

    /// Carries a plan out, or as far as the operator lives.
    fn carry_out(&mut self, plan: Plan, all: bool) {
        self.status = plan.status;
        for (index, change) in plan.changes {
            if !all && self.random.random_bool(0.3) {
                return;
            }
            let node = &mut self.nodes[index];
            match change {
                Change::Put(item) => {
                    assert!(node.reporting_since.is_some(), "nothing is written to an unreachable node");
                    assert_ne!(node.item.as_ref(), Some(&item), "no node is told twice");
                    if let Some(before) = &node.item {
                        assert!(
                            (&before.revision, before.attempt) != (&item.revision, item.attempt),
                            "an answer to one is none to the other: {before:?} {item:?}"
                        );
                    }
                    node.item = Some(item);
                }
                Change::Forget => node.item = None,
                Change::Ask(_) | Change::Unask => unreachable!("nothing is asked here"),
            }
        }
    }
}

fn spec(random: &mut StdRng) -> ContentDistributionSpec {
    let mut stages = Vec::new();
    for number in 0..random.random_range(1..5) {
        let mut stage = json!({
            "name": format!("stage-{number}"),
            "maxConcurrency": random.random_range(1..5),
            "maxFailures": random.random_range(0..3),
            "progressDeadline": "5m",
            "approval": random.random_bool(0.2),
            "minSuccessTime": (["0s", "1m", "10m"].choose(random).unwrap()),
        });
        match random.random_range(0..6) {
            0 => stage["selector"] = json!({"matchLabels": {"region": "mena"}}),
            1 => stage["nodes"] = json!(["node-1", "node-3"]),
            2 => stage["percent"] = json!(random.random_range(1..100)),
            3 => stage["count"] = json!(random.random_range(1..4)),
            _ => {}
        }
        stages.push(stage);
    }
    let mut spec = json!({
        "content": {"id": "sums", "type": "Course", "version": "1", "source": {"catalog": {}}},
        "rollout": {
            "stages": stages,
            "onFailure": (["Pause", "Abort", "Rollback", "Continue"].choose(random).unwrap()),
            "unreachable": (["Skip", "Skip", "CountAsFailed", "Block"].choose(random).unwrap()),
            "newNodes": (["CatchUp", "NextRevision"].choose(random).unwrap()),
        },
    });
    if random.random_bool(0.2) {
        spec["targets"] =
            json!({"selector": {"matchExpressions": [{"key": "region", "operator": "NotIn", "values": ["asia"]}]}});
    }
    serde_json::from_value::<ContentDistributionSpec>(spec).unwrap()
}

/// What must hold of what a pass decides, whatever happened before.
fn check(world: &World, before: &ContentDistributionStatus, plan: &Plan) {
    let summary = &plan.status.summary;
    let sum = summary.pending + summary.updating + summary.applied + summary.merged + summary.conflicted;
    let sum = sum + summary.failed + summary.unreachable + summary.skipped;
    assert_eq!(sum, summary.desired, "the counts sum");
    let members = world.nodes.iter().filter(|node| Targets::of(&world.spec).take(node)).count();
    assert_eq!(usize::try_from(summary.desired).unwrap(), members);
    assert!(plan.status.history.len() <= 15 && plan.status.failed_nodes.len() <= 20);

    // One that was aborted, and is tried again, starts anew.
    let given_up = |status: &ContentDistributionStatus| super::is_given_up(super::outcome(status));
    let begun = |status: &ContentDistributionStatus| {
        status.current.as_ref().map(|current| (current.digest.clone(), current.started_at.clone()))
    };
    let attempt = |status: &ContentDistributionStatus| status.current.as_ref().map(|current| current.attempt);
    let anew = given_up(before) && attempt(before) != attempt(&plan.status);
    let same_revision = begun(before) == begun(&plan.status) && !anew;
    let phases: HashMap<_, _> = plan.status.stages.iter().map(|stage| (stage.name.as_str(), stage)).collect();
    if same_revision {
        for was in &before.stages {
            let Some(is) = phases.get(was.name.as_str()) else { continue };
            assert!(was.phase != StagePhase::Done || is.phase == StagePhase::Done, "a finished stage never reopens");
            assert!(was.soak_until.is_none() || was.soak_until == is.soak_until, "a soak is never moved");
            assert!(was.approved_at.is_none() || was.approved_at == is.approved_at, "an approval is remembered");
        }
    }
    let order: Vec<_> = world.spec.rollout.stages.iter().map(|stage| stage.name.as_str()).collect();
    let mut told: HashMap<&str, usize> = HashMap::new();
    for (_, change) in &plan.changes {
        let Change::Put(item) = change else { continue };
        if item.removal.is_none() && item.stage != BACK {
            assert_eq!(item.digest, world.digest, "only the current revision is released");
            assert!(!world.controls.pause && !world.spec.suspend, "nothing is released while paused");
            *told.entry(item.stage.as_str()).or_default() += 1;
            let until = order.iter().position(|name| *name == item.stage).unwrap_or(order.len());
            for earlier in &order[..until] {
                assert_eq!(
                    phases[earlier].phase,
                    StagePhase::Done,
                    "no node of a stage before those before it are done"
                );
            }
            let stage = phases.get(item.stage.as_str());
            let asked = world.spec.rollout.stages.iter().find(|stage| stage.name == item.stage);
            let approved =
                asked.is_none_or(|asked| !asked.approval) || stage.is_some_and(|stage| stage.approved_at.is_some());
            // One that had begun before the list was edited is not approved again.
            let began = same_revision
                && before.stages.iter().any(|was| {
                    was.name == item.stage && !matches!(was.phase, StagePhase::Waiting | StagePhase::AwaitingApproval)
                });
            let empty = stage.is_some_and(|stage| stage.phase == StagePhase::Done);
            assert!(approved || began || empty, "a gate is not passed unapproved");
        }
    }
    for (name, told) in told {
        let stages = &world.spec.rollout.stages;
        // What comes late goes by the last stage's rules.
        let open = stages.iter().find(|stage| stage.name == name && phases[name].phase != StagePhase::Done);
        let stage = open.unwrap_or(stages.last().unwrap());
        let total = phases.get(stage.name.as_str()).map_or(0, |it| usize::try_from(it.total).unwrap());
        assert!(told <= concurrency(stage, total), "{told} of {name} at once");
        let bound = world.spec.rollout.on_failure != fateh_crds::FailurePolicy::Continue;
        assert!(!bound || told <= failures(stage, total) + 1, "{told} of {name} could fail at once");
    }
}

/// When nothing goes wrong any more the rollout comes to an end, and then nothing is written.
fn ends(world: &mut World) {
    world.calm = true;
    world.controls.pause = false;
    world.spec.suspend = false;
    world.controls.retry = Some("at last".to_owned());
    for node in &mut world.nodes {
        node.active = true;
        node.reporting_since.get_or_insert(world.now);
    }
    let mut last = Verdict::Progressing;
    for _ in 0..600 {
        let plan = world.plan();
        check(world, &world.status.clone(), &plan);
        if let Verdict::AwaitingApproval(stage) = &plan.verdict {
            let revision = plan.status.current.as_ref().unwrap().revision.clone();
            world.controls.approve = Some((revision, stage.clone()));
        }
        let rests = plan.changes.is_empty() && plan.status == world.status;
        last = plan.verdict.clone();
        world.carry_out(plan, true);
        if rests && matches!(last, Verdict::Complete(_)) {
            world.now += SignedDuration::from_hours(48);
            let later = world.plan();
            assert!(later.changes.is_empty() && later.status == world.status, "then nothing is written any more");
            let summary = &later.status.summary;
            assert_eq!((summary.pending, summary.updating, summary.failed), (0, 0, 0));
            return;
        }
        world.acknowledge();
        world.now += SignedDuration::from_secs(30);
    }
    panic!("it did not end: {last:?} {:#?}", world.status);
}

#[test]
fn whatever_happens_the_rules_of_a_rollout_hold_and_it_ends_when_failures_end() {
    let seed = std::env::var("FATEH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("seed {seed} (FATEH_SEED), {SCHEDULES} schedules");
    let workers = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    std::thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || {
                for number in (worker..SCHEDULES).step_by(usize::try_from(workers).unwrap()) {
                    let seed = seed.wrapping_add(number);
                    let run = std::panic::catch_unwind(|| run(seed));
                    assert!(run.is_ok(), "FATEH_SEED={seed} fails");
                }
            });
        }
    });
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..world.random.random_range(0..60) {
        world.happens();
        let before = world.status.clone();
        let plan = world.plan();
        check(&world, &before, &plan);
        let lives = world.random.random_bool(0.9);
        // It can also die before it has written anything.
        if lives || world.random.random_bool(0.5) {
            world.carry_out(plan, lives);
        }
    }
    ends(&mut world);
}
