//! PostgreSQL is restarted, and a replica is asked to go, while people work.

use std::{
    process::Command,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fateh_tests::{Postgres, variable};
use reqwest::{Client, Response};
use serde_json::json;

use crate::running::{Running, become_admin, run};

const WORKERS: u64 = 8;

/// People at work: reads and writes, each at one of the replicas.
struct Work {
    client: Client,
    token: String,
    name: String,
    bases: RwLock<Vec<String>>,
    over: AtomicBool,
    count: AtomicU64,
}

/// What was answered, and when.
type Answer = (Instant, Result<Response, reqwest::Error>);

impl Work {
    async fn begin(nodes: &[&Running]) -> Arc<Self> {
        let token = become_admin(nodes[0]).await;
        Arc::new(Self {
            client: Client::builder().no_proxy().timeout(Duration::from_secs(15)).build().unwrap(),
            token,
            name: nodes[0].name.clone(),
            bases: RwLock::new(nodes.iter().map(|node| node.users.base.clone()).collect()),
            over: AtomicBool::new(false),
            count: AtomicU64::new(0),
        })
    }

    async fn one(&self) -> Answer {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let base = {
            let bases = self.bases.read().unwrap();
            bases[usize::try_from(number).unwrap() % bases.len()].clone()
        };
        let sent = if number.is_multiple_of(5) {
            let request = self.client.post(format!("{base}/api/local/revenue")).header("x-node-id", &self.name);
            let body = json!({"type": "course", "amount": "10", "currency": "SAR"});
            request.header("idempotency-key", number.to_string()).bearer_auth(&self.token).json(&body).send().await
        } else {
            self.client.get(format!("{base}/api/local/users?limit=5")).bearer_auth(&self.token).send().await
        };
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

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresql_is_away_requests_are_refused_in_the_right_words_and_it_is_over_soon_after() {
    let mut node = run("bereft", Postgres::V18).await;
    let work = Work::begin(&[&node]).await;
    let workers = work.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let crashed = Instant::now();
    let script = format!("{}/restart-postgres.sh", variable("FATEH_TESTS"));
    let port = Postgres::V18.port().to_string();
    let restart = tokio::task::spawn_blocking(move || {
        Command::new(script).args([&variable("FATEH_STATE"), "postgres-18", &port, "3"]).status().unwrap()
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
    assert!(node.child.try_wait().unwrap().is_none(), "the program goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_asked_to_go_fails_no_request() {
    let mut leaving = run("leaving", Postgres::V18).await;
    let staying = leaving.replica().await;
    let work = Work::begin(&[&leaving, &staying]).await;
    let workers = work.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pid = leaving.child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    // Routers hear of it after a while, and send no more.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stayed = vec![staying.users.base.clone()];
    *work.bases.write().unwrap() = stayed;
    let ended = tokio::time::timeout(Duration::from_secs(25), leaving.child.wait()).await;
    assert!(ended.unwrap().unwrap().success(), "it ends by itself, and well");
    let answers = work.end(workers).await;
    println!("{} requests while a replica went", answers.len());
    assert!(answers.len() > 500, "{}", answers.len());
    for (_, answer) in answers {
        assert!(answer.unwrap().status().is_success());
    }
}
