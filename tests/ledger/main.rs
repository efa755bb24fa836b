//! A long run of money through one node on two replicas, which are killed, as PostgreSQL is, while the centre answers
//! badly: in the end client, rows, ledger and centre agree to the last minor unit. `tests/run.sh` starts what it
//! needs; in full (`make soak`) it carries out a million operations.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../node/peer.rs"]
mod peer;
#[path = "../node/running.rs"]
#[expect(dead_code, reason = "shared with the tests of single requests")]
mod running;

use std::{
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fateh_tests::{Postgres, eventually, variable};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use running::{PASSWORD, become_admin, run_with_hub};

const WORKERS: u64 = 16;
const SERVER_CRASHES: usize = 5;
const KILLS: usize = 100;
const NODE: &str = "ledger";

/// What the workers share.
struct Till {
    client: Client,
    bases: Mutex<[String; 2]>,
    token: tokio::sync::RwLock<String>,
    done: AtomicU64,
    retries: AtomicU64,
    over: AtomicBool,
}

impl Till {
    fn base(&self, index: usize) -> String {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner)[index % 2].clone()
    }

    /// Sends a request until it has an answer that stays: a status and its data.
    async fn send(&self, path: &str, key: &str, body: &Value) -> (StatusCode, Value) {
        for attempt in 0.. {
            let token = self.token.read().await.clone();
            let url = format!("{}{path}", self.base(attempt));
            let request = self.client.post(url).bearer_auth(&token).json(body);
            let sent = request.header("x-node-id", NODE).header("idempotency-key", key).send().await;
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
#[derive(Default)]
struct Believed {
    amount: i64,
    fee: i64,
}

fn minor(text: &Value) -> i64 {
    text.as_str().unwrap().replace('.', "").parse().unwrap()
}

async fn work(till: Arc<Till>, seed: u64, worker: u64, operations: u64) -> Believed {
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
                assert_eq!(till.send("/api/local/revenue", &key, &body).await, (status, revenue.clone()));
            }
            believed.amount += minor(&revenue["amount"]);
            believed.fee += minor(&revenue["platformFee"]);
            last = Some((revenue["id"].as_str().unwrap().to_owned(), amount));
        }
        till.done.fetch_add(1, Ordering::Relaxed);
    }
    believed
}

#[tokio::test(flavor = "multi_thread")]
async fn not_a_minor_unit_is_lost() {
    let soak = std::env::var_os("FATEH_SOAK").is_some();
    let operations: u64 = if soak { 1_000_000 } else { 100_000 };
    let seed = std::env::var("FATEH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("seed {seed} (FATEH_SEED), {operations} operations");
    let (hub, url) = peer::start().await;
    hub.bad.store(true, Ordering::Relaxed);
    let first = run_with_hub(NODE, Postgres::V18, &url).await;
    let token = become_admin(&first).await;
    let second = first.replica().await;
    let till = Arc::new(Till {
        client: Client::builder().timeout(Duration::from_secs(15)).build().unwrap(),
        bases: Mutex::new([first.users.base.clone(), second.users.base.clone()]),
        token: tokio::sync::RwLock::new(token),
        done: AtomicU64::new(0),
        retries: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let started = Instant::now();
    let mut working = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        working.spawn(work(Arc::clone(&till), seed, worker, operations));
    }
    let all_work = async {
        let mut believed = Believed::default();
        while let Some(part) = working.join_next().await {
            let part = part.unwrap();
            believed.amount += part.amount;
            believed.fee += part.fee;
        }
        till.over.store(true, Ordering::Relaxed);
        (believed, started.elapsed().as_secs_f64())
    };
    let ((believed, took), (nodes, kills, crashes)) =
        tokio::join!(all_work, strike(Arc::clone(&till), [first, second], operations));
    println!(
        "{took:.0} s, {kills} kills of the process, {crashes} of PostgreSQL, {} requests sent again",
        till.retries.load(Ordering::Relaxed)
    );
    assert!(kills >= KILLS && crashes >= SERVER_CRASHES, "{kills} and {crashes}");

    let mut database = nodes[0].database(Postgres::V18).await;
    hub.bad.store(false, Ordering::Relaxed);
    eventually("the centre knows everything", 600, async || {
        till.send("/api/local/sync", "sync", &json!({})).await;
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM local_node.outbox").fetch_one(&mut database).await.unwrap();
        if waiting == 0 { Ok(()) } else { Err(waiting) }
    })
    .await;
    let (amount, fee, net): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT sum(amount_minor) FROM local_node.local_revenues)::bigint - (SELECT sum(amount_minor) FROM local_node.local_refunds)::bigint,
                (SELECT sum(fee_minor) FROM local_node.local_revenues)::bigint - (SELECT sum(fee_minor) FROM local_node.local_refunds)::bigint,
                (SELECT sum(net_minor) FROM local_node.local_revenues)::bigint - (SELECT sum(net_minor) FROM local_node.local_refunds)::bigint",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    let (received, ledger_net, ledger_fee): (i64, i64, i64) = sqlx::query_as(
        "SELECT sum(CASE WHEN debit = 'received' THEN amount_minor ELSE -amount_minor END)::bigint,
                sum(CASE 'net' WHEN credit THEN amount_minor WHEN debit THEN -amount_minor END)::bigint,
                sum(CASE 'fee' WHEN credit THEN amount_minor WHEN debit THEN -amount_minor END)::bigint
         FROM local_node.ledger_transfers",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    println!("received {amount}, fee {fee}, net {net} (minor units)");
    assert_eq!((amount, fee), (believed.amount, believed.fee), "the clients and the rows");
    assert_eq!((amount, net, fee), (received, ledger_net, ledger_fee), "the rows and the ledger");
    assert_eq!((amount, fee, net), hub.sums(), "the rows and the centre");
}

/// Kills one replica after the other, and PostgreSQL now and then, spread over the run.
async fn strike(
    till: Arc<Till>,
    mut nodes: [running::Running; 2],
    operations: u64,
) -> ([running::Running; 2], usize, usize) {
    let (mut kills, mut crashes) = (0, 0);
    let due = |done: u64, of: usize| usize::try_from(done * (of as u64) / operations).unwrap_or(usize::MAX);
    while !till.over.load(Ordering::Relaxed) {
        let done = till.done.load(Ordering::Relaxed);
        // Somewhat more than asked for, so that the last one falls into the run.
        if kills < due(done, KILLS + 3) {
            let index = kills % 2;
            nodes[index].child.kill().await.unwrap();
            let next = nodes[index].replica().await;
            till.bases.lock().unwrap_or_else(PoisonError::into_inner)[index].clone_from(&next.users.base);
            nodes[index] = next;
            kills += 1;
        } else if crashes < due(done, SERVER_CRASHES + 1) {
            crash_postgres();
            crashes += 1;
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    (nodes, kills, crashes)
}

fn crash_postgres() {
    let script = format!("{}/restart-postgres.sh", variable("FATEH_TESTS"));
    let port = Postgres::V18.port().to_string();
    let done = Command::new(script).args([&variable("FATEH_STATE"), "postgres-18", &port]).status();
    assert!(done.unwrap().success(), "PostgreSQL was not started again");
}
