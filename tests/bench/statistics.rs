//! The node's statistics at 100,000 users and a million revenues.

use std::time::Instant;

use fateh_tests::{
    Postgres, days_are_closed,
    figures::{Figures, percentile},
    seed_revenues,
};

use crate::running::Running;

const REVENUES: i32 = 1_000_000;

/// Seeds the revenues, lets a replica close their days, and asks.
pub async fn measure(node: &Running, token: &str, figures: &mut Figures) {
    let mut database = node.database(Postgres::V18).await;
    seed_revenues(&mut database, REVENUES).await;
    let mut replica = node.replica().await;
    days_are_closed(&mut database).await;
    replica.child.kill().await.unwrap();
    let client = reqwest::Client::new();
    let mut took = Vec::new();
    for _ in 0..1000 {
        let started = Instant::now();
        let asked = client.get(format!("{}/api/local/statistics", node.users.base)).bearer_auth(token).send().await;
        assert_eq!(asked.unwrap().status(), 200);
        took.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    figures.add("statistics at 100,000 users and 1,000,000 revenues, p50", percentile(&took, 50), "ms", "10");
    figures.add("statistics at 100,000 users and 1,000,000 revenues, p99", percentile(&took, 99), "ms", "10");
}
