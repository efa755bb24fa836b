//! Content over a thousand nodes whose databases and pods are simulated. Each node has an agent of its own, which
//! watches what it is told and acknowledges it as the real one does; API server and etcd are real.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fateh_crds::{ContentDistribution, ContentDistributionStatus, LocalNode, NodeContent};
use fateh_tests::{
    TESTER,
    agents::Agents,
    catalogue, eventually,
    figures::{Figures, percentile},
    program::Program,
};
use futures::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{fleet, requests::Requests, simulated};

/// How often the four stages are gone through.
const RUNS: usize = 10;
/// Distributions at once.
const AT_ONCE: usize = 20;
/// As many as the operator sends at once.
const WRITES: usize = 16;

fn nodes() -> usize {
    std::env::var("FATEH_BENCH_NODES").ok().and_then(|count| count.parse().ok()).unwrap_or(1000)
}

/// Measures the operator with content for all of them.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub async fn measure(client: &Client, figures: &mut Figures) {
    simulated::server(client).await;
    let [url, token] = catalogue::start(Arc::new(|_, _| Box::pin(async {}))).await;
    let arguments = [fleet::PROBE[0], &*url, &*token];
    let count = nodes();
    let names: Vec<_> = (0..count).map(|index| format!("bench-roll-{index}")).collect();
    let program = Program::start_directly("operator-rollouts-first", &arguments).await;
    let pods = fleet::simulate_pods(client);
    fleet::make_ready(client, &names, &simulated::spec()).await;
    program.stop().await;
    let bare_of_all = bare(client, &names, AT_ONCE).await;
    let bare = bare(client, &names, 1).await;

    let program = Program::start_directly("operator-rollouts", &arguments).await;
    let agents = Agents::start(client, &names, Duration::from_secs(120));
    all_report(client, count).await;
    simulated::until_settled(&program).await;

    let before = Writes::now(client).await;
    let mut took = Vec::new();
    let mut size = 0;
    for version in 1..=RUNS {
        let started = Instant::now();
        distribute(client, "bench", version).await;
        let status = complete(client, "bench", version).await;
        took.push(started.elapsed().as_secs_f64());
        assert_eq!(usize::try_from(status.summary.applied), Ok(count), "{:?}", status.summary);
        size = size.max(serde_json::to_vec(&status).unwrap().len());
    }
    simulated::until_settled(&program).await;
    let writes = Writes::now(client).await.since(&before);
    let each = |writes: u64| writes as f64 / (count * RUNS) as f64;
    let stages = percentile(&took, 90);
    figures.add(&format!("content to {count} nodes in four stages, p90 of {RUNS} runs"), stages, "s", "30");
    figures.add("the same writes sent bare, 16 at once", bare, "s", "");
    figures.add("ratio", stages / bare, "", "");
    figures.add("writes for each node: what it is told", each(writes.told), "", "1");
    figures.add("writes for each node: what it answers", each(writes.answered), "", "1");
    figures.add("writes for each node: its LocalNode's status", each(writes.status), "", "1");
    figures.add("writes for each node: all else, but heartbeats and events", each(writes.others), "", "0");
    figures.add("a distribution's status, at most", size as f64 / 1000.0, "kB", "16");

    figures.add(
        "until an operator that is started in the middle tells the next node",
        restart(client, &program).await,
        "s",
        "5",
    );

    let before = Writes::now(client).await;
    let processor_before = program.processor_time().await;
    let started = Instant::now();
    let together: Vec<_> = (0..AT_ONCE).map(|index| format!("bench-{index}")).collect();
    futures::future::join_all(together.iter().map(|name| distribute(client, name, 1))).await;
    futures::future::join_all(together.iter().map(|name| complete(client, name, 1))).await;
    let took = started.elapsed().as_secs_f64();
    let writes = Writes::now(client).await.since(&before);
    figures.add(&format!("{AT_ONCE} distributions at once to {count} nodes each"), took, "s", "60");
    figures.add("all of it told, answered and counted once per node, sent bare", bare_of_all, "s", "");
    figures.add("ratio", took / bare_of_all, "", "");
    let each = |writes: u64| writes as f64 / count as f64;
    figures.add("writes for each node: what it is told of all of them", each(writes.told), "", "");
    figures.add("writes for each node: what it answers to all of them", each(writes.answered), "", "");
    figures.add("writes for each node: its LocalNode's status of all of them", each(writes.status), "", "");
    let processor = (program.processor_time().await - processor_before) as f64 / 1000.0;
    figures.add("operator: processor time meanwhile", processor, "s", "");
    figures.add("operator: most resident memory", program.peak_memory().await as f64 / 1000.0, "MB", "60");
    program.stop().await;
    drop(agents);
    pods.abort();
}

/// What is written of one node in rollouts of so many distributions, for all of them and without an operator; in s.
async fn bare(client: &Client, names: &[String], distributions: usize) -> f64 {
    let write = |items: Value| async move {
        let writes = names.iter().map(|name| {
            let (client, items) = (client.clone(), items.clone());
            async move { write_bare(&client, name, &items).await }
        });
        stream::iter(writes).buffer_unordered(WRITES).collect::<Vec<()>>().await;
    };
    let digest = "0".repeat(64);
    let item = |index| json!({"distribution": format!("bare-{index}"), "revision": digest[..12], "digest": digest, "stage": "all", "attempt": 1, "releasedAt": "2026-01-01T00:00:00.000000Z"});
    let items = (0..distributions).map(item).collect();
    let started = Instant::now();
    write(items).await;
    let took = started.elapsed().as_secs_f64();
    write(json!([])).await;
    took
}

async fn write_bare(client: &Client, name: &str, items: &Value) {
    let api = Api::<NodeContent>::namespaced(client.clone(), &format!("fateh-node-{name}"));
    let parameters = PatchParams::apply("fateh-bench").force();
    let head = |part: &str, value: Value| json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": "NodeContent", part: value});
    api.patch("node", &parameters, &Patch::Apply(head("spec", json!({"items": items})))).await.unwrap();
    let said: Vec<_> = items.as_array().unwrap().iter().map(|item| json!({"distribution": item["distribution"], "revision": item["revision"], "attempt": 1, "state": "Applied", "activeDigest": item["digest"]})).collect();
    let count = said.len();
    api.patch_status("node", &parameters, &Patch::Apply(head("status", json!({"items": said})))).await.unwrap();
    let counted = json!({"status": {"content": {"applied": count}}});
    let nodes = Api::<LocalNode>::all(client.clone());
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(&counted)).await.unwrap();
}

async fn all_report(client: &Client, count: usize) {
    let nodes = Api::<LocalNode>::all(client.clone());
    eventually("reports of all nodes", 300, async || {
        let all = nodes.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let reports = |node: &LocalNode| {
            let mut conditions = node.status.iter().flat_map(|status| &status.conditions);
            conditions.any(|condition| condition.type_ == "Reporting" && condition.status == "True")
        };
        let reporting = all.items.iter().filter(|node| reports(node)).count();
        if reporting >= count { Ok(()) } else { Err(format!("{reporting} report")) }
    })
    .await;
}

async fn distribute(client: &Client, name: &str, version: usize) {
    let body = json!({
        "apiVersion": "fateh-platform.com/v1alpha1", "kind": "ContentDistribution", "metadata": {"name": name},
        "spec": {
            "content": {"id": name, "type": "Course", "version": version.to_string(), "title": {"ar": "الجمع"},
                "source": {"inline": {"ar": {"text": format!("version {version}")}}}},
            "targets": {"exclude": ["bench-first"]},
            "rollout": {"stages": [
                {"name": "canary", "count": 1}, {"name": "few", "percent": 5},
                {"name": "quarter", "percent": 25}, {"name": "rest"},
            ]},
        },
    });
    let api = Api::<ContentDistribution>::all(client.clone());
    api.patch(name, &PatchParams::apply(TESTER).force(), &Patch::Apply(&body)).await.unwrap();
}

/// The status of a version, once it is as it is asked for.
async fn status(
    client: &Client,
    name: &str,
    version: usize,
    is: impl Fn(&ContentDistributionStatus) -> bool,
) -> ContentDistributionStatus {
    let api = Api::<ContentDistribution>::all(client.clone());
    eventually(&format!("{name} {version}"), 600, async || {
        let status = api.get(name).await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        let of_it = status.current.as_ref().is_some_and(|current| current.version == version.to_string());
        if of_it && is(&status) { Ok(status) } else { Err(format!("{:?} {:?}", status.phase, status.summary)) }
    })
    .await
}

async fn complete(client: &Client, name: &str, version: usize) -> ContentDistributionStatus {
    status(client, name, version, |status| status.phase.as_deref() == Some("Complete")).await
}

/// Kills the operator in the third stage, and starts it again.
async fn restart(client: &Client, program: &Program) -> f64 {
    let version = RUNS + 1;
    distribute(client, "bench", version).await;
    status(client, "bench", version, |status| status.stage.as_deref() == Some("quarter")).await;
    program.kill().await;
    // Nobody tells anyone anything any more.
    let killed = Writes::now(client).await.told;
    program.start_again().await;
    let started = Instant::now();
    eventually("a node that is told", 60, async || {
        let told = Writes::now(client).await.told;
        if told > killed { Ok(()) } else { Err(told) }
    })
    .await;
    let took = started.elapsed().as_secs_f64();
    complete(client, "bench", version).await;
    took
}

/// Writes that the API server has carried out since its start.
struct Writes {
    told: u64,
    answered: u64,
    status: u64,
    others: u64,
}

impl Writes {
    async fn now(client: &Client) -> Self {
        let requests = Requests::now(client).await;
        let (told, answered, status) = (
            requests.writes_of("nodecontents", ""),
            requests.writes_of("nodecontents", "status"),
            requests.writes_of("localnodes", "status"),
        );
        let expected = told + answered + status;
        let beside: u64 = [
            requests.writes_of("nodereports", "status"),
            requests.writes_of("events", ""),
            requests.writes_of("contentdistributions", ""),
            requests.writes_of("contentdistributions", "status"),
            requests.writes_of("leases", ""),
        ]
        .iter()
        .sum();
        Self { told, answered, status, others: requests.writes() - expected - beside }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            told: self.told - before.told,
            answered: self.answered - before.answered,
            status: self.status - before.status,
            others: self.others - before.others,
        }
    }
}
