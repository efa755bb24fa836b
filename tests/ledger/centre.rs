//! Several nodes and a hub that runs, all of which are killed, as PostgreSQL is: the hub's ledger has what the nodes took.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use fateh_tests::{eventually, seed, soak};
use serde_json::{Value, json};

use crate::{
    hub::{self, Hub, node_of},
    running::{Running, become_admin},
    till::{Believed, Books, Till, crash_postgres, due, told, work},
};

const NODES: [&str; 3] = ["earning-a", "earning-b", "earning-c"];

/// A node on two replicas, and its till.
struct Branch {
    till: Arc<Till>,
    replicas: [Running; 2],
}

/// How often each of them is killed.
struct Strikes {
    nodes: usize,
    hub: usize,
    postgres: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nodes_earn_is_in_the_hub_s_ledger_whoever_is_killed_meanwhile() {
    let (operations, strikes): (u64, _) = if soak() {
        (100_000, Strikes { nodes: 60, hub: 40, postgres: 5 })
    } else {
        (15_000, Strikes { nodes: 9, hub: 6, postgres: 2 })
    };
    let seed = seed();
    println!("seed {seed} (FATEH_SEED), {operations} operations at {} nodes", NODES.len());
    let mut hub = hub::start("earnings").await;
    let admin = hub.admin().await;
    let mut branches = Vec::new();
    for name in NODES {
        let first = node_of(&hub, name).await;
        let token = become_admin(&first).await;
        let second = first.replica().await;
        branches.push(Branch { till: Till::new([&first, &second], token), replicas: [first, second] });
    }
    let tills: Vec<_> = branches.iter().map(|branch| Arc::clone(&branch.till)).collect();
    let started = Instant::now();
    let all_work = async {
        let each = operations / NODES.len() as u64;
        futures::future::join_all(tills.iter().map(|till| work(till, seed, each))).await
    };
    let (believed, struck) = tokio::join!(all_work, strike(&mut branches, &mut hub, &strikes, operations));
    println!(
        "{:.0} s, killed: {} replicas of nodes, the hub {} times, PostgreSQL {} times",
        started.elapsed().as_secs_f64(),
        struck.nodes,
        struck.hub,
        struck.postgres
    );
    assert!(struck.nodes >= strikes.nodes && struck.hub >= strikes.hub && struck.postgres >= strikes.postgres);
    for (branch, believed) in branches.iter().zip(believed) {
        agrees(branch, believed, &hub, &admin).await;
    }
    let compared = hub.http.get("/api/global/revenue/reconciliation", Some(&admin)).await.data(200);
    let ours =
        compared["nodes"].as_array().unwrap().iter().filter(|node| NODES.iter().any(|name| node["node"] == *name));
    assert_eq!(ours.clone().count(), NODES.len());
    for node in ours {
        assert_eq!(
            (&node["revenue"]["difference"], &node["refunds"]["difference"]),
            (&json!("0.00"), &json!("0.00")),
            "{node}"
        );
    }
}

/// The clients, the node's rows, its ledger and the hub's, to the last minor unit.
async fn agrees(branch: &Branch, believed: Believed, hub: &Hub, admin: &str) {
    let node = &branch.replicas[0];
    told(&branch.till, node).await;
    let Books { rows, ledger } = Books::of(node).await;
    assert_eq!((rows.0, rows.1), (believed.amount, believed.fee), "the clients and the rows of {}", node.name);
    assert_eq!(rows, ledger, "the rows and the ledger of {}", node.name);
    let report = hub.http.get("/api/global/revenue?by=node", Some(admin)).await.data(200);
    let sum = report["sums"].as_array().unwrap().iter().find(|sum| sum["key"] == *node.name).unwrap();
    let minor = |field: &str| sum[field].as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
    assert_eq!(minor("gross") - minor("refunded"), rows.0, "the node and the hub: {sum}");
    // What the node reports reaches the hub by way of the cluster, a while later.
    let net = |row: &Value, field: &str| {
        let of = |part: &str| row[part][field].as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
        of("revenue") - of("refunds")
    };
    eventually(&format!("the report of {}", node.name), 60, async || {
        let compared = hub.http.get("/api/global/revenue/reconciliation", Some(admin)).await.data(200);
        let own = compared["nodes"].as_array().unwrap().iter().find(|row| row["node"] == *node.name).cloned();
        match own {
            Some(own) if net(&own, "recorded") == rows.0 && net(&own, "pending") == 0 => Ok(()),
            _ => Err(compared),
        }
    })
    .await;
}

/// Kills nodes, the hub and PostgreSQL in turn, spread over the run.
async fn strike(branches: &mut [Branch], hub: &mut Hub, wanted: &Strikes, operations: u64) -> Strikes {
    let mut struck = Strikes { nodes: 0, hub: 0, postgres: 0 };
    while branches.iter().any(|branch| !branch.till.over.load(Ordering::Relaxed)) {
        let done = branches.iter().map(|branch| branch.till.done.load(Ordering::Relaxed)).sum();
        if struck.nodes < due(wanted.nodes + 1, done, operations) {
            let (count, index) = (branches.len(), struck.nodes / branches.len() % 2);
            let branch = &mut branches[struck.nodes % count];
            branch.till.kill(index, &mut branch.replicas[index]).await;
            struck.nodes += 1;
        } else if struck.hub < due(wanted.hub + 1, done, operations) {
            hub.kill_and_start_again().await;
            struck.hub += 1;
        } else if struck.postgres < due(wanted.postgres + 1, done, operations) {
            crash_postgres();
            struck.postgres += 1;
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    struck
}
