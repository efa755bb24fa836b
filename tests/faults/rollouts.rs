//! A rollout whose operator is killed: before and after each of its writes, and in mid-soak. It goes on from where it
//! was: no stage is repeated or skipped, no node is told twice, and a soak lasts as long as it was to last. `make soak`
//! goes through all of the writes, `make test` through a third.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fateh_crds::{ContentDistribution, ContentDistributionStatus, NodeContent, StagePhase};
use fateh_tests::{
    TESTER, agents::Agents, api_proxy, catalogue, delete_node, eventually, kubernetes, program::Program, ready_node,
    seed, some_of,
};
use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

use crate::strikes::{Fault, Moment, Strikes};

/// Rollouts that go on side by side, each over nodes of its own.
const LANES: [&str; 4] = ["roll-east", "roll-west", "roll-north", "roll-south"];
/// The nodes of a lane.
const NODES: [&str; 4] = ["a", "b", "c", "d"];
/// How long the first stage of each rollout must hold.
const SOAK: i64 = 2;

struct Lane {
    client: Client,
    name: &'static str,
    nodes: Vec<String>,
    _agents: Agents,
}

impl Lane {
    async fn start(client: &Client, name: &'static str) -> Self {
        let nodes: Vec<_> = NODES.iter().map(|node| format!("{name}-{node}")).collect();
        futures::future::join_all(nodes.iter().map(|node| ready_node(client, node, json!({})))).await;
        let agents = Agents::start(client, &nodes, Duration::from_secs(20));
        for node in &nodes {
            fateh_tests::condition(client, node, "Reporting", "True").await;
        }
        Self { client: client.clone(), name, nodes, _agents: agents }
    }

    fn distributions(&self) -> Api<ContentDistribution> {
        Api::all(self.client.clone())
    }

    async fn distribute(&self, version: usize) {
        let body = json!({
            "apiVersion": "fateh-platform.com/v1alpha1", "kind": "ContentDistribution", "metadata": {"name": self.name},
            "spec": {
                "content": {"id": self.name, "type": "Course", "version": version.to_string(),
                    "source": {"inline": {"ar": {"text": format!("{} {version}", self.name)}}}},
                "targets": {"nodes": self.nodes},
                "rollout": {"stages": [{"name": "canary", "count": 1, "minSuccessTime": format!("{SOAK}s")}, {"name": "some", "count": 1}, {"name": "rest"}]},
            },
        });
        let parameters = PatchParams::apply(TESTER).force();
        self.distributions().patch(self.name, &parameters, &Patch::Apply(&body)).await.unwrap();
    }

    async fn status(&self) -> ContentDistributionStatus {
        self.distributions().get(self.name).await.unwrap().status.unwrap_or_default()
    }

    /// Waits until a version is where it is to be.
    async fn complete(&self, version: usize) -> ContentDistributionStatus {
        eventually(&format!("the end of {} {version}", self.name), 60, async || {
            let status = self.status().await;
            let of_it = status.current.as_ref().is_some_and(|current| current.version == version.to_string());
            if of_it && status.phase.as_deref() == Some("Complete") { Ok(status) } else { Err(status) }
        })
        .await
    }

    /// How often each node was told something since it was made, and when what it is told now was released.
    async fn told(&self) -> BTreeMap<String, (i64, String)> {
        let mut told = BTreeMap::new();
        for node in &self.nodes {
            let api = Api::<NodeContent>::namespaced(self.client.clone(), &format!("fateh-node-{node}"));
            let content = api.get("node").await.unwrap();
            let item =
                content.spec.items.first().map(|item| (item.attempt, item.released_at.clone(), item.stage.clone()));
            told.insert(node.clone(), (content.metadata.generation.unwrap(), format!("{item:?}")));
        }
        told
    }

    /// Rolls one version out, with a kill at one of its writes, and looks at how it went.
    async fn roll_out(&self, strikes: &Strikes, version: usize, fault: Option<(String, Moment)>) {
        let what = format!("{} {version}, killed at {fault:?}", self.name);
        let before = self.told().await;
        if let Some((write, moment)) = fault {
            strikes.arm(Fault { subject: self.name.to_owned(), write, moment });
        }
        self.distribute(version).await;
        strikes.met_within(self.name, 30).await;
        assert!(!strikes.waits(self.name), "{what}: the write did not happen");
        let status = self.complete(version).await;
        let summary = &status.summary;
        assert_eq!((summary.desired, summary.applied), (4, 4), "{what}");

        let stages = &status.stages;
        let taken: Vec<_> = stages.iter().map(|stage| (&*stage.name, stage.phase, stage.total)).collect();
        let done = StagePhase::Done;
        assert_eq!(taken, [("canary", done, 1), ("some", done, 1), ("rest", done, 2)], "{what}");
        let began = |stage: usize| stages[stage].started_at.clone().unwrap().0;
        let soaked = stages[0].soak_until.clone().unwrap().0;
        assert!(soaked.duration_since(began(0)).as_secs() >= SOAK - 1, "{what}: the soak is not skipped: {stages:?}");
        assert!(began(1) >= soaked && began(2) >= began(1), "{what}: one stage after the other: {stages:?}");

        for (node, (times, item)) in self.told().await {
            assert_eq!(times, before[&node].0 + 1, "{what}: {node} is told once: {item}, before {}", before[&node].1);
        }
    }

    /// Takes the distribution away, and waits until no node has anything of it.
    async fn forget(&self) {
        self.distributions().delete(self.name, &DeleteParams::default()).await.unwrap();
        eventually(&format!("that nothing of {} is left", self.name), 60, async || {
            let found = self.distributions().get_opt(self.name).await.unwrap();
            let told = self.told().await;
            if found.is_none() && told.values().all(|(_, item)| item == "None") { Ok(()) } else { Err((found, told)) }
        })
        .await;
    }

    async fn end(&self) {
        self.distributions().delete(self.name, &DeleteParams::default()).await.unwrap();
        for node in &self.nodes {
            delete_node(&self.client, node).await;
        }
    }

    /// The kinds of the operator's writes since this was last asked. Events are told once, and one that a kill swallowed is
    /// not told again; of nodes' own statuses the kills of nodes tell.
    fn writes(&self, strikes: &Strikes) -> Vec<String> {
        let seen = strikes.seen(self.name).into_iter();
        seen.filter(|write| !write.contains("/events") && !write.contains("/localnodes/")).collect()
    }
}

/// When each stage of each revision was begun, in all that the operator ever said of it.
type Beginnings = Arc<Mutex<BTreeMap<[String; 3], BTreeSet<String>>>>;

/// Listens to every status until the end of the test.
fn listen(client: &Client) -> Beginnings {
    let beginnings = Beginnings::default();
    let (api, noting) = (Api::<ContentDistribution>::all(client.clone()), Arc::clone(&beginnings));
    tokio::spawn(async move {
        let mut changes = watcher(api, watcher::Config::default()).applied_objects().boxed();
        while let Some(change) = changes.next().await {
            let Ok(distribution) = change else { continue };
            let (name, created) = (distribution.name_any(), distribution.uid().unwrap_or_default());
            let status = distribution.status.unwrap_or_default();
            let Some(current) = status.current else { continue };
            for stage in status.stages {
                let Some(began) = stage.started_at else { continue };
                let key = [format!("{name} {created}"), current.revision.clone(), stage.name];
                noting.lock().unwrap().entry(key).or_default().insert(began.0.to_string());
            }
        }
    });
    beginnings
}

/// The operator behind a proxy, before a catalogue at which it may be killed as well.
async fn environment(client: &Client, strikes: &Arc<Strikes>) -> Arc<Program> {
    let api = api_proxy::start(client, strikes.at_requests()).await;
    let judging = Arc::clone(strikes);
    let hub = catalogue::start(Arc::new(move |method, body| {
        let strikes = Arc::clone(&judging);
        Box::pin(async move {
            // Bodies and manifests both name their lane.
            let told = format!("{method} {}", String::from_utf8_lossy(&body).split(',').next().unwrap_or_default());
            strikes.around("HUB", &told, std::future::ready(())).await;
        })
    }))
    .await;
    let [url, token] = &hub;
    let program = Program::start("operator-rollouts", &api, &["--resync-interval=600", url, token]).await;
    strikes.aim_at(&program);
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_goes_on_from_where_it_was_after_a_kill_at_any_of_its_writes() {
    let started = Instant::now();
    let client = kubernetes().await;
    let strikes = Strikes::new("roll-", Box::new(|_| Box::pin(async {})));
    let program = environment(&client, &strikes).await;
    let lanes = futures::future::join_all(LANES.map(|name| Lane::start(&client, name))).await;

    let beginnings = listen(&client);

    // Undisturbed: a first version, and one that follows another.
    let lane = &lanes[0];
    lane.writes(&strikes);
    lane.roll_out(&strikes, 1, None).await;
    let first = lane.writes(&strikes);
    lane.roll_out(&strikes, 2, None).await;
    let next = lane.writes(&strikes);
    lane.forget().await;
    let first: Vec<_> = first.into_iter().filter(|write| !next.contains(write)).collect();
    println!(
        "{} writes of a version, and {} more of a first one, killed before and after each in `make soak`, else at a third",
        next.len(),
        first.len()
    );
    for write in first.iter().chain(&next) {
        println!("  {write}");
    }
    let count = |part: &str| next.iter().filter(|write| write.contains(part)).count();
    assert!(count("HUB") >= 2, "what is published is seen");
    assert_eq!(count("/nodecontents/"), 4, "what nodes are told is seen");
    assert!(count("/status") >= 4, "where the rollout stands is seen");

    let seed = seed();
    println!("seed {seed} (FATEH_SEED)");
    let cases = |writes: Vec<String>| {
        let both =
            writes.into_iter().flat_map(|write| [Moment::Before, Moment::After].map(|moment| (write.clone(), moment)));
        Mutex::new(VecDeque::from(some_of(both.collect(), 3, seed)))
    };
    let (first, next) = (cases(first), cases(next));
    let another = |cases: &Mutex<VecDeque<(String, Moment)>>| cases.lock().unwrap().pop_front();
    let run = async |lane: &Lane| {
        while let Some(case) = another(&first) {
            lane.roll_out(&strikes, 1, Some(case)).await;
            lane.forget().await;
        }
        lane.roll_out(&strikes, 1, None).await;
        let mut version = 1;
        while let Some(case) = another(&next) {
            version += 1;
            lane.roll_out(&strikes, version, Some(case)).await;
        }
    };
    futures::future::join_all(lanes.iter().map(run)).await;
    println!("{} kills in {} s", program.starts() - 1, started.elapsed().as_secs());

    // In mid-soak, and away for longer than it lasts: it neither begins anew nor is left out.
    let version = 100;
    lane.distribute(version).await;
    let soaking = eventually("the soak", 30, async || {
        let status = lane.status().await;
        let of_it = status.current.as_ref().is_some_and(|current| current.version == version.to_string());
        if of_it && status.phase.as_deref() == Some("Soaking") { Ok(status) } else { Err(status) }
    })
    .await;
    let until = soaking.stages[0].soak_until.clone();
    for away in [Duration::from_millis(200), Duration::from_secs(SOAK.unsigned_abs() + 1)] {
        program.kill().await;
        tokio::time::sleep(away).await;
        program.start_again().await;
    }
    let done = lane.complete(version).await;
    assert_eq!(done.stages[0].soak_until, until);
    for (stage, began) in beginnings.lock().unwrap().iter() {
        assert_eq!(began.len(), 1, "a stage is begun once: {stage:?} at {began:?}");
    }
    for lane in &lanes {
        lane.end().await;
    }
    program.stop().await;
}
