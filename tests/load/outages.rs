//! PostgreSQL is restarted, and a replica is asked to go, while people work.

use std::{
    process::Command,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fateh_tests::{Http, Postgres, kubernetes, ready_node, service_account_token, variable};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::json;
use tokio::process::Child;

use crate::{
    hub::{self, HUB, Hub},
    running::{Running, become_admin, run},
};

const WORKERS: u64 = 8;

/// What is asked of a replica, by number.
type Script = Box<dyn Fn(&Client, &str, u64) -> RequestBuilder + Send + Sync>;

/// People at work: reads and writes, each at one of the replicas.
struct Work {
    client: Client,
    script: Script,
    bases: RwLock<Vec<String>>,
    over: AtomicBool,
    count: AtomicU64,
}

/// What was answered, and when.
type Answer = (Instant, Result<Response, reqwest::Error>);

impl Work {
    fn begin(bases: &[&Http], script: Script) -> Arc<Self> {
        Arc::new(Self {
            client: Client::builder().no_proxy().timeout(Duration::from_secs(15)).build().unwrap(),
            script,
            bases: RwLock::new(bases.iter().map(|http| http.base.clone()).collect()),
            over: AtomicBool::new(false),
            count: AtomicU64::new(0),
        })
    }

    /// Of a node: one in five takes money, the others list users.
    async fn at_node(replicas: &[&Running]) -> Arc<Self> {
        let (token, name) = (become_admin(replicas[0]).await, replicas[0].name.clone());
        let script: Script = Box::new(move |client, base, number| {
            if !number.is_multiple_of(5) {
                return client.get(format!("{base}/api/local/users?limit=5")).bearer_auth(&token);
            }
            let request = client.post(format!("{base}/api/local/revenue")).header("x-node-id", &name);
            let body = json!({"type": "course", "amount": "10", "currency": "SAR"});
            request.header("idempotency-key", number.to_string()).bearer_auth(&token).json(&body)
        });
        let bases: Vec<_> = replicas.iter().map(|replica| &replica.users).collect();
        Self::begin(&bases, script)
    }

    /// Of the hub: one in five is a node that tells what it took, the others list nodes.
    async fn at_hub(replicas: &[&Hub], node: &str) -> Arc<Self> {
        let client = kubernetes().await;
        ready_node(&client, node, json!({"currency": "SAR"})).await;
        let admin = replicas[0].admin().await;
        let (token, node) =
            (service_account_token(&client, &format!("fateh-node-{node}"), "node", Some(HUB)).await, node.to_owned());
        let script: Script = Box::new(move |client, base, number| {
            if !number.is_multiple_of(5) {
                return client.get(format!("{base}/api/global/nodes?limit=5")).bearer_auth(&admin);
            }
            let id = uuid::Uuid::from_u64_pair(7, number);
            let item = json!({"id": id, "at": "2026-11-01T00:00:00Z", "kind": "revenue",
                "payload": {"id": id, "type": "course", "currency": "SAR", "amountMinor": 1000, "feeMinor": 100,
                    "netMinor": 900, "transactionDate": "2026-11-01T00:00:00Z"}});
            let body = json!({"node": node, "items": [item]});
            client.post(format!("{base}/api/global/v1/sync")).bearer_auth(&token).json(&body)
        });
        let bases: Vec<_> = replicas.iter().map(|replica| &replica.http).collect();
        Self::begin(&bases, script)
    }

    async fn one(&self) -> Answer {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let base = {
            let bases = self.bases.read().unwrap();
            bases[usize::try_from(number).unwrap() % bases.len()].clone()
        };
        let sent = (self.script)(&self.client, &base, number).send().await;
        (Instant::now(), sent)
    }

    fn start(self: &Arc<Self>) -> tokio::task::JoinSet<Vec<Answer>> {
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..WORKERS {
            let work = Arc::clone(self);
            workers.spawn(async move {
                let mut answers = Vec::new();
                while !work.over.load(Ordering::Relaxed) {
                    answers.push(work.one().await);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                answers
            });
        }
        workers
    }

    async fn end(&self, workers: tokio::task::JoinSet<Vec<Answer>>) -> Vec<Answer> {
        self.over.store(true, Ordering::Relaxed);
        workers.join_all().await.into_iter().flatten().collect()
    }
}

/// PostgreSQL goes and returns while `child`, which is asked, stays.
async fn outage(work: &Arc<Work>, child: &mut Child) {
    let workers = work.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let crashed = Instant::now();
    let script = format!("{}/restart-postgres.sh", variable("FATEH_TESTS"));
    let port = Postgres::V18.port().to_string();
    let restart = tokio::task::spawn_blocking(move || {
        Command::new(script).args([&variable("FATEH_STATE"), "postgres-18", &port, "6"]).status().unwrap()
    });
    assert!(restart.await.unwrap().success());
    let back = Instant::now();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let answers = work.end(workers).await;
    let (mut refused, mut last) = (0, crashed);
    for (at, answer) in answers {
        let answer = answer.unwrap();
        match answer.status().as_u16() {
            200 | 201 => {}
            503 => {
                assert!(answer.headers().contains_key("retry-after"));
                assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["error"], "unavailable");
                refused += 1;
                last = last.max(at);
            }
            other => panic!("{other} while PostgreSQL was away: {:?}", answer.text().await),
        }
    }
    let late = last.saturating_duration_since(back);
    println!(
        "PostgreSQL was away for {:?}: {refused} of {} requests were refused, the last one {late:?} after its return",
        back.duration_since(crashed),
        work.count.load(Ordering::Relaxed)
    );
    assert!(refused > 0, "the outage was not felt");
    assert!(late < Duration::from_secs(5), "{late:?}");
    assert!(child.try_wait().unwrap().is_none(), "the program goes on");
}

/// One of two replicas is asked to go.
async fn departure(work: &Arc<Work>, child: &mut Child, staying: &Http) {
    let workers = work.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    // Routers hear of it after a while, and send no more.
    tokio::time::sleep(Duration::from_secs(5)).await;
    *work.bases.write().unwrap() = vec![staying.base.clone()];
    let ended = tokio::time::timeout(Duration::from_secs(25), child.wait()).await;
    assert!(ended.unwrap().unwrap().success(), "it ends by itself, and well");
    let answers = work.end(workers).await;
    println!("{} requests while a replica went", answers.len());
    assert!(answers.len() > 500, "{}", answers.len());
    for (_, answer) in answers {
        assert!(answer.unwrap().status().is_success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresql_is_away_requests_are_refused_in_the_right_words_and_it_is_over_soon_after() {
    let mut node = run("bereft", Postgres::V18).await;
    let work = Work::at_node(&[&node]).await;
    outage(&work, &mut node.child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_refuses_as_nodes_do_while_postgresql_is_away() {
    let mut hub = hub::start("bereft").await;
    let work = Work::at_hub(&[&hub], "telling").await;
    outage(&work, &mut hub.child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_asked_to_go_fails_no_request() {
    let mut leaving = run("leaving", Postgres::V18).await;
    let staying = leaving.replica().await;
    let work = Work::at_node(&[&leaving, &staying]).await;
    departure(&work, &mut leaving.child, &staying.users).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_the_hub_that_is_asked_to_go_fails_no_request() {
    let mut leaving = hub::start("leaving").await;
    let staying = leaving.replica().await;
    let work = Work::at_hub(&[&leaving, &staying], "telling-two").await;
    departure(&work, &mut leaving.child, &staying.http).await;
}
