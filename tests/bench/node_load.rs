//! One node under load, beside what PostgreSQL does of the same SQL without it.

use std::{sync::Arc, time::Instant};

use fateh_tests::{
    Postgres,
    figures::{Figures, percentile},
    program, seed_people,
};

use crate::{
    bare_sql,
    load::{Target, flood, goodput, send, times},
    running::{Running, become_admin, run},
    statistics,
};

const USERS: u32 = 100_000;
/// Requests a second, and how many in all.
const RATE: f64 = 500.0;
const REQUESTS: u64 = 100_000;

/// Someone who is signed in at the node.
#[derive(Clone)]
pub struct Visitor {
    pub address: String,
    pub name: String,
    pub token: String,
    /// Part of every idempotency key: a key of a run before must not come again.
    pub run: u32,
}

impl Visitor {
    pub fn target(&self) -> Arc<Target> {
        let visitor = self.clone();
        Arc::new(Target { address: self.address.clone(), script: Box::new(move |number| visitor.request(number)) })
    }

    /// Of five requests the first writes: a payment; the others read: oneself, or a page of users.
    fn request(&self, number: u64) -> (bool, String) {
        let Self { name, token, run, .. } = self;
        let head = format!("host: node\r\nauthorization: Bearer {token}\r\n");
        match number % 5 {
            0 => {
                let body = r#"{"type":"course","amount":"10","currency":"SAR"}"#;
                let head = format!(
                    "POST /api/local/revenue HTTP/1.1\r\n{head}x-node-id: {name}\r\nidempotency-key: {run}-{number}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                (true, head)
            }
            1 => (false, format!("GET /api/local/users?limit=20 HTTP/1.1\r\n{head}\r\n")),
            _ => (false, format!("GET /api/local/users/me HTTP/1.1\r\n{head}\r\n")),
        }
    }
}

async fn seed(node: &Running) {
    let mut database = node.database(Postgres::V18).await;
    seed_people(&mut database, USERS).await;
    sqlx::query("ANALYZE local_node.local_users").execute(&mut database).await.unwrap();
}

/// Measures a node whose operator is running.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]
pub async fn measure(figures: &mut Figures) {
    let operator = program::Program::start_directly("operator-load", &[]).await;
    let node = run("bench-load", Postgres::V18).await;
    let token = become_admin(&node).await;
    operator.stop().await;
    seed(&node).await;
    statistics::measure(&node, &token, figures).await;
    let address = node.users.base.trim_start_matches("http://").to_owned();
    let visitor = Visitor { address, name: node.name.clone(), token, run: std::process::id() };
    let target = visitor.target();
    let pid = node.child.id().unwrap();
    // Plans, connections and caches.
    send(&target, 8, Some(RATE), 1000, 0);

    let done = send(&target, 32, Some(RATE), REQUESTS, 1000);
    let failed = done.iter().filter(|one| !one.is_good()).count();
    let (reads, writes) = (times(&done, |one| !one.write), times(&done, |one| one.write));
    figures.add("500 requests/s: reads, p50", percentile(&reads, 50), "ms", "1");
    figures.add("500 requests/s: reads, p99", percentile(&reads, 99), "ms", "5");
    figures.add("500 requests/s: writes, p99", percentile(&writes, 99), "ms", "9");
    figures.add("500 requests/s: errors in 100,000 requests", failed as f64, "", "0");
    figures.add(
        "node-runtime: resident memory, under load",
        program::memory(pid, "VmRSS:") as f64 / 1000.0,
        "MB",
        "16",
    );

    let mut first = 1000 + REQUESTS;
    let started = Instant::now();
    let saturated = goodput(&send(&target, 16, None, 40_000, first), started.elapsed());
    first += 40_000;
    figures.add("saturation: 16 clients, one request after the other", saturated, "/s", "");
    let bare = bare_sql::saturate(&node, &visitor).await;
    figures.add("pgbench with the same SQL, 16 clients", bare, "/s", "");
    figures.add("saturation, of pgbench", saturated / bare * 100.0, "%", "");
    for (times_over, goal) in [(2.0, "90"), (4.0, "70")] {
        let rate = saturated * times_over;
        let requests = (rate * 10.0) as u64;
        let flooded = Arc::clone(&target);
        let flooding = tokio::task::spawn_blocking(move || flood(flooded, 1000, rate, requests, first));
        let (done, took) = flooding.await.unwrap();
        first += requests;
        let offered = requests as f64 / took.as_secs_f64() / saturated;
        figures.add(&format!("{times_over} times that is to be offered: offered"), offered, "times", "");
        let share = goodput(&done, took) / saturated * 100.0;
        figures.add(&format!("{times_over} times that: goodput, of saturation"), share, "%", goal);
        let refused = times(&done, |one| one.status == 503);
        if !refused.is_empty() {
            figures.add(&format!("{times_over} times that: 503s, p99"), percentile(&refused, 99), "ms", "20");
        }
    }
}
