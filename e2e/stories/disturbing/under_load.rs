//! Everything is replaced, and then restarted, one after another, while people work on three nodes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fateh_tests::{eventually, variable};
use futures::future;
use reqwest::{Certificate, Client, Response};
use serde_json::json;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use super::outages::part;
use crate::{
    backbone::{answers, apply, become_admin, host, invitation, kubectl, run, wait_ready},
    platform::{ctr, helm, rolled_out, upgrade},
};

const NODES: [&str; 3] = ["first-school", "second-school", "third-school"];
/// Requests in a second, to all nodes together.
const RATE: u64 = 200;

/// What became of one request.
struct Outcome {
    node: usize,
    /// Whether it was a payment.
    paid: bool,
    sent: Instant,
    ended: Instant,
    /// How it failed; none if it was done.
    failure: Option<String>,
    /// Whether the answer was the one that a node gives while its database is away.
    said_later: bool,
}

/// People at work: one request in five takes money, the others list users, each with a token that is checked.
struct Work {
    /// What each node had recorded before: an earlier story may have left it with payments.
    before: [usize; NODES.len()],
    over: Arc<AtomicBool>,
    all: tokio::task::JoinHandle<Vec<Outcome>>,
}

impl Work {
    async fn begin(key: &'static str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = Certificate::from_pem(&std::fs::read(variable("FATEH_CA")).unwrap()).unwrap();
        let mut client = Client::builder().no_proxy().timeout(Duration::from_secs(20)).tls_certs_only([authority]);
        let mut tokens = Vec::new();
        for node in NODES {
            apply(node, "").await;
            client = client.resolve(&format!("{node}.fateh-platform.com"), SocketAddr::from(([127, 0, 0, 1], 8443)));
        }
        for node in NODES {
            wait_ready(node).await;
            let http = host(node);
            answers(&http).await;
            tokens.push(admin(node).await);
        }
        let client = client.build().unwrap();
        let mut before = [0; NODES.len()];
        for (node, count) in before.iter_mut().enumerate() {
            *count = payments(NODES[node], &tokens[node]).await;
        }
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let all = tokio::spawn(async move {
            let mut requests = JoinSet::new();
            let mut pace = tokio::time::interval(Duration::from_millis(1000 / RATE));
            // People do not make up for what this program was too slow to send.
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut number = 0;
            while !until.load(Ordering::Relaxed) {
                pace.tick().await;
                let node = number % NODES.len();
                requests.spawn(one(client.clone(), node, tokens[node].clone(), format!("{key}-{number}")));
                number += 1;
            }
            requests.join_all().await
        });
        Self { before, over, all }
    }

    /// What became of all of it, and what was recorded before.
    async fn end(self) -> (Vec<Outcome>, [usize; NODES.len()]) {
        self.over.store(true, Ordering::Relaxed);
        (self.all.await.unwrap(), self.before)
    }
}

/// The node's first admin, signed up now or in an earlier story.
async fn admin(node: &str) -> String {
    let http = host(node);
    if run("kubectl", &["get", "secret", "node-invitation", "-n", &format!("fateh-node-{node}")]).await.is_ok() {
        return become_admin(&http, &invitation(node).await).await;
    }
    let login = json!({"login": "admin@example.com", "password": crate::backbone::PASSWORD});
    http.post("/api/local/auth/login", None, &login).await.data(200)["accessToken"].as_str().unwrap().to_owned()
}

async fn one(client: Client, node: usize, token: String, key: String) -> Outcome {
    let sent = Instant::now();
    let base = format!("https://{}.fateh-platform.com:8443/api/local", NODES[node]);
    let paid = key.ends_with(['0', '5']);
    let request = if paid {
        let payment = json!({"type": "course", "amount": "10", "currency": "USD"});
        let request = client.post(format!("{base}/revenue")).header("x-node-id", NODES[node]);
        request.header("idempotency-key", key).json(&payment)
    } else {
        client.get(format!("{base}/users?limit=5"))
    };
    let answer = request.bearer_auth(token).send().await;
    let said_later =
        answer.as_ref().is_ok_and(|answer| answer.status() == 503 && answer.headers().contains_key("retry-after"));
    let failure = failure(answer).await.map(|said| format!("{}, after {:?}: {said}", NODES[node], sent.elapsed()));
    Outcome { node, paid, sent, ended: Instant::now(), failure, said_later }
}

/// What went wrong, in the words of whoever answered; none if all of a good answer came.
async fn failure(answer: reqwest::Result<Response>) -> Option<String> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Some(format!("{error:?}")),
    };
    let status = answer.status();
    match answer.text().await {
        Ok(_) if status.is_success() => None,
        Ok(body) => Some(format!("{status}: {body}")),
        Err(error) => Some(format!("{status}: {error:?}")),
    }
}

/// How many payments the node has recorded.
async fn payments(node: &str, token: &str) -> usize {
    let summary = host(node).get("/api/local/revenue/summary", Some(token)).await.data(200);
    summary["periods"][0]["count"].as_u64().map_or(0, |count| usize::try_from(count).unwrap())
}

/// No payment that was answered is missing, and none was taken twice.
async fn money_is_all_there(outcomes: &[Outcome], before: [usize; NODES.len()]) {
    for (node, name) in NODES.iter().enumerate() {
        let of_node = || outcomes.iter().filter(|outcome| outcome.paid && outcome.node == node);
        let done = of_node().filter(|outcome| outcome.failure.is_none()).count();
        let recorded = payments(name, &admin(name).await).await - before[node];
        let asked = of_node().count();
        assert!((done..=asked).contains(&recorded), "{name}: {done} of {asked} were answered, {recorded} are recorded");
    }
}

fn failures(outcomes: &[Outcome], expected: impl Fn(&Outcome) -> bool) -> Vec<&str> {
    let unexpected = outcomes.iter().filter(|outcome| !expected(outcome));
    unexpected.filter_map(|outcome| outcome.failure.as_deref()).collect()
}

async fn settled() {
    rolled_out().await;
    future::join_all(NODES.map(async |node| {
        let namespace = format!("fateh-node-{node}");
        kubectl(&["rollout", "status", "deployment/node", "-n", &namespace, "--timeout=120s"]).await;
        wait_ready(node).await;
    }))
    .await;
}

/// The same programs under another tag, which to Kubernetes is another version.
async fn another_tag(image: &str) -> String {
    let another = format!("{image}-next");
    ctr(&["images", "tag", "--force", image, &another]).await;
    another
}

/// Upgrades the platform to another release: this tree, where the one before was installed, and else the same programs by
/// other names.
async fn next_release() {
    if another_release_is_installed() {
        // Installs this tree.
        run("env", &["-u", "FATEH_RELEASE", &format!("{}/deploy.sh", variable("FATEH_CLUSTER"))]).await.unwrap();
        return;
    }
    let mut next = Vec::new();
    for (part, image) in images().await {
        next.push(format!("{part}.image={}", another_tag(&image).await));
    }
    upgrade(&next).await;
}

/// Whether these stories began with the release before: `make upgrade-story`.
fn another_release_is_installed() -> bool {
    std::env::var_os("FATEH_RELEASE").is_some()
}

/// What the platform was told to run, by part.
async fn images() -> Vec<(&'static str, String)> {
    let values = helm(&["get", "values", "fateh", "-n", "fateh-system", "-o", "json"]).await;
    let values: serde_json::Value = serde_json::from_str(&values).unwrap();
    ["operator", "hub", "node"].map(|part| (part, values[part]["image"].as_str().unwrap().to_owned())).to_vec()
}

#[tokio::test]
async fn an_upgrade_of_operator_hub_and_nodes_fails_no_request() {
    let work = Work::begin("upgrade").await;
    let before = images().await;
    let old = before.iter().find(|(part, _)| *part == "node").unwrap().1.clone();
    next_release().await;
    let image = async |node: &str| {
        let path = "jsonpath={.spec.template.spec.containers[0].image}";
        kubectl(&["get", "deployment", "node", "-n", &format!("fateh-node-{node}"), "-o", path]).await
    };
    for node in NODES {
        eventually("the node is told of the new image", 60, async || {
            let told = image(node).await;
            if told == old { Err(told) } else { Ok(()) }
        })
        .await;
    }
    settled().await;
    // And what the old ones leave behind: they serve for six seconds more, and who still sends to them then is seen.
    tokio::time::sleep(Duration::from_secs(9)).await;
    let (outcomes, recorded) = work.end().await;
    let failed = failures(&outcomes, |_| false);
    println!("{} requests while operator, hub and three nodes were upgraded, {} failed", outcomes.len(), failed.len());
    assert!(
        outcomes.len() > 1000 && failed.is_empty(),
        "{} of {} failed: {:#?}",
        failed.len(),
        outcomes.len(),
        &failed[..failed.len().min(5)]
    );
    money_is_all_there(&outcomes, recorded).await;

    if !another_release_is_installed() {
        upgrade(&before.iter().map(|(part, image)| format!("{part}.image={image}")).collect::<Vec<_>>()).await;
        settled().await;
    }
    super::all_report().await;
    for node in NODES {
        kubectl(&["delete", "localnode", node, "--timeout=60s"]).await;
    }
}

#[tokio::test]
async fn restarts_of_everything_lose_no_request_but_those_of_the_database_server() {
    let work = Work::begin("restart").await;
    for deployment in ["fateh-operator", "fateh-hub"] {
        kubectl(&["rollout", "restart", &format!("deployment/{deployment}"), "-n", "fateh-system"]).await;
    }
    settled().await;
    for name in ["etcd", "kube-apiserver", "kubelet"] {
        part("stop", name).await;
        part("start", name).await;
        eventually("the API server is ready", 60, async || run("kubectl", &["get", "--raw", "/readyz"]).await).await;
        kubectl(&["wait", "--for=condition=Ready", "node/fateh", "--timeout=60s"]).await;
    }
    let stopped = Instant::now();
    part("stop", "postgres").await;
    part("start", "postgres").await;
    // People's patience: the next request after the server's return may still meet a connection of before.
    let recovered = Instant::now() + Duration::from_secs(5);
    tokio::time::sleep_until((recovered + Duration::from_secs(5)).into()).await;
    settled().await;
    let (outcomes, recorded) = work.end().await;
    let while_away = |outcome: &Outcome| outcome.ended >= stopped && outcome.sent <= recovered;
    let failed = failures(&outcomes, while_away);
    let away: Vec<_> = outcomes.iter().filter(|outcome| outcome.failure.is_some() && while_away(outcome)).collect();
    let typed = away.iter().filter(|outcome| outcome.said_later).count();
    println!(
        "{} requests while everything was restarted; {} failed while the database server was away, {typed} of them told to come later; {} beside",
        outcomes.len(),
        away.len(),
        failed.len()
    );
    assert!(failed.is_empty(), "{} of {} failed: {:#?}", failed.len(), outcomes.len(), &failed[..failed.len().min(5)]);
    assert_eq!(typed, away.len(), "what fails is told when to come again");
    money_is_all_there(&outcomes, recorded).await;
    super::all_report().await;
    for node in NODES {
        kubectl(&["delete", "localnode", node, "--timeout=60s"]).await;
    }
}
