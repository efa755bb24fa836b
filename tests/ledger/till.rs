//! Workers who take money at a node and give some of it back, and never leave a request unanswered.

use std::{
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fateh_tests::{Postgres, eventually, variable};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::running::{PASSWORD, Running};

const WORKERS: u64 = 16;

/// What the workers share.
pub struct Till {
    client: Client,
    node: String,
    bases: Mutex<[String; 2]>,
    token: tokio::sync::RwLock<String>,
    /// Operations so far.
    pub done: AtomicU64,
    /// Requests that had to be sent again.
    pub retries: AtomicU64,
    /// Whether the work is done.
    pub over: AtomicBool,
}

impl Till {
    /// The till of a node on two replicas.
    pub fn new(replicas: [&Running; 2], token: String) -> Arc<Self> {
        Arc::new(Self {
            client: Client::builder().timeout(Duration::from_secs(15)).build().unwrap(),
            node: replicas[0].name.clone(),
            bases: Mutex::new(replicas.map(|replica| replica.users.base.clone())),
            token: tokio::sync::RwLock::new(token),
            done: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            over: AtomicBool::new(false),
        })
    }

    /// Kills one of the replicas, and starts it again.
    pub async fn kill(&self, index: usize, replica: &mut Running) {
        replica.child.kill().await.unwrap();
        let next = replica.replica().await;
        self.bases.lock().unwrap_or_else(PoisonError::into_inner)[index].clone_from(&next.users.base);
        *replica = next;
    }

    fn base(&self, index: usize) -> String {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner)[index % 2].clone()
    }

    /// Sends a request until it has an answer that stays: a status and its data.
    pub async fn send(&self, path: &str, key: &str, body: &Value) -> (StatusCode, Value) {
        for attempt in 0.. {
            let token = self.token.read().await.clone();
            let url = format!("{}{path}", self.base(attempt));
            let request = self.client.post(url).bearer_auth(&token).json(body);
            let sent = request.header("x-node-id", &self.node).header("idempotency-key", key).send().await;
            if let Ok(answer) = sent {
                let status = answer.status();
                let running = status == StatusCode::CONFLICT && answer.headers().contains_key("retry-after");
                if status == StatusCode::UNAUTHORIZED {
                    self.sign_in(&token).await;
                } else if status.is_success() || (status.is_client_error() && !running) {
                    let Ok(json) = answer.json::<Value>().await else { continue };
                    return (status, json["data"].clone());
                }
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("a request is sent until it is answered");
    }

    /// Signs in again, unless another worker has meanwhile.
    async fn sign_in(&self, old: &str) {
        let mut token = self.token.write().await;
        if *token != old {
            return;
        }
        let body = json!({"login": "admin@example.com", "password": PASSWORD});
        for attempt in 0..200 {
            let sent =
                self.client.post(format!("{}/api/local/auth/login", self.base(attempt))).json(&body).send().await;
            if let Ok(answer) = sent
                && let Ok(json) = answer.json::<Value>().await
                && let Some(new) = json["data"]["accessToken"].as_str()
            {
                new.clone_into(&mut token);
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("nobody can sign in");
    }
}

/// What one worker believes to be true: received and fee, less what was given back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Believed {
    pub amount: i64,
    pub fee: i64,
}

fn minor(text: &Value) -> i64 {
    text.as_str().unwrap().replace('.', "").parse().unwrap()
}

/// Carries operations out by sixteen workers, and returns what they believe together.
pub async fn work(till: &Arc<Till>, seed: u64, operations: u64) -> Believed {
    let mut working = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        working.spawn(work_one(Arc::clone(till), seed, worker, operations));
    }
    let mut believed = Believed::default();
    while let Some(part) = working.join_next().await {
        let part = part.unwrap();
        believed.amount += part.amount;
        believed.fee += part.fee;
    }
    till.over.store(true, Ordering::Relaxed);
    believed
}

async fn work_one(till: Arc<Till>, seed: u64, worker: u64, operations: u64) -> Believed {
    let mut random = StdRng::seed_from_u64(seed ^ (worker << 32));
    let mut believed = Believed::default();
    let mut last: Option<(String, i64)> = None;
    for index in 0..operations / WORKERS {
        let key = format!("{worker}-{index}");
        if let Some((id, left)) = last.take().filter(|_| random.random_range(0..4) == 0) {
            let part = random.random_range(1..=left);
            let body = json!({"amount": format!("{}.{:02}", part / 100, part % 100)});
            let (status, refund) = till.send(&format!("/api/local/revenue/{id}/refunds"), &key, &body).await;
            assert_eq!(status, StatusCode::CREATED, "{refund}");
            believed.amount -= minor(&refund["amount"]);
            believed.fee -= minor(&refund["platformFee"]);
            last = Some((id, left - part)).filter(|(_, left)| *left > 0);
        } else {
            let amount: i64 = random.random_range(1..1_000_000);
            let text = format!("{}.{:02}", amount / 100, amount % 100);
            let body = json!({"type": "course", "currency": "SAR", "amount": text});
            let (status, revenue) = till.send("/api/local/revenue", &key, &body).await;
            assert_eq!(status, StatusCode::CREATED, "{revenue}");
            // One in a hundred is asked for once more, as if its answer had been lost.
            if index % 100 == 0 {
                let (again, mut repeated) = till.send("/api/local/revenue", &key, &body).await;
                // The centre may have heard of it in between.
                repeated["syncedToGlobal"] = revenue["syncedToGlobal"].clone();
                assert_eq!((again, &repeated), (status, &revenue));
            }
            believed.amount += minor(&revenue["amount"]);
            believed.fee += minor(&revenue["platformFee"]);
            last = Some((revenue["id"].as_str().unwrap().to_owned(), amount));
        }
        till.done.fetch_add(1, Ordering::Relaxed);
    }
    believed
}

/// What a node's own books say, in minor units: received, fee and net, less what was given back.
#[derive(Debug, PartialEq, Eq)]
pub struct Books {
    pub rows: (i64, i64, i64),
    pub ledger: (i64, i64, i64),
}

impl Books {
    pub async fn of(node: &Running) -> Self {
        let mut database = node.database(Postgres::V18).await;
        let rows = sqlx::query_as(
            "SELECT (SELECT sum(amount_minor) FROM local_node.local_revenues)::bigint - (SELECT coalesce(sum(amount_minor), 0) FROM local_node.local_refunds)::bigint,
                    (SELECT sum(fee_minor) FROM local_node.local_revenues)::bigint - (SELECT coalesce(sum(fee_minor), 0) FROM local_node.local_refunds)::bigint,
                    (SELECT sum(net_minor) FROM local_node.local_revenues)::bigint - (SELECT coalesce(sum(net_minor), 0) FROM local_node.local_refunds)::bigint",
        )
        .fetch_one(&mut database)
        .await
        .unwrap();
        let ledger = sqlx::query_as(
            "SELECT sum(CASE WHEN debit = 'received' THEN amount_minor ELSE -amount_minor END)::bigint,
                    sum(CASE 'fee' WHEN credit THEN amount_minor WHEN debit THEN -amount_minor END)::bigint,
                    sum(CASE 'net' WHEN credit THEN amount_minor WHEN debit THEN -amount_minor END)::bigint
             FROM local_node.ledger_transfers",
        )
        .fetch_one(&mut database)
        .await
        .unwrap();
        Self { rows, ledger }
    }
}

/// Waits until the centre was told everything.
pub async fn told(till: &Till, node: &Running) {
    let mut database = node.database(Postgres::V18).await;
    eventually(&format!("the centre knows everything of {}", node.name), 600, async || {
        till.send("/api/local/sync", "sync", &json!({})).await;
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM local_node.outbox").fetch_one(&mut database).await.unwrap();
        if waiting == 0 { Ok(()) } else { Err(waiting) }
    })
    .await;
}

/// Stops PostgreSQL as a crash would, and starts it again.
pub fn crash_postgres() {
    let script = format!("{}/restart-postgres.sh", variable("FATEH_TESTS"));
    let port = Postgres::V18.port().to_string();
    let done = Command::new(script).args([&variable("FATEH_STATE"), "postgres-18", &port]).status();
    assert!(done.unwrap().success(), "PostgreSQL was not started again");
}

/// How many strikes of one kind are due after so much of the work: somewhat more than asked for, so that the last one
/// falls into the run.
pub fn due(strikes: usize, done: u64, operations: u64) -> usize {
    usize::try_from(done * (strikes as u64) / operations).unwrap_or(usize::MAX)
}
