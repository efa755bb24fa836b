//! One node on two replicas, which are killed, as PostgreSQL is, while the centre answers badly.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use fateh_tests::{Postgres, seed, soak};

use crate::{
    peer,
    running::{Running, become_admin, run_with_hub},
    till::{Books, Till, crash_postgres, due, told, work},
};

const SERVER_CRASHES: usize = 5;
const KILLS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn not_a_minor_unit_is_lost() {
    let operations: u64 = if soak() { 1_000_000 } else { 100_000 };
    let seed = seed();
    println!("seed {seed} (FATEH_SEED), {operations} operations");
    let (hub, url) = peer::start().await;
    hub.bad.store(true, Ordering::Relaxed);
    let first = run_with_hub("ledger", Postgres::V18, &url).await;
    let token = become_admin(&first).await;
    let second = first.replica().await;
    let till = Till::new([&first, &second], token);
    let started = Instant::now();
    let all_work = async { (work(&till, seed, operations).await, started.elapsed().as_secs_f64()) };
    let ((believed, took), (nodes, kills, crashes)) =
        tokio::join!(all_work, strike(Arc::clone(&till), [first, second], operations));
    println!(
        "{took:.0} s, {kills} kills of the process, {crashes} of PostgreSQL, {} requests sent again",
        till.retries.load(Ordering::Relaxed)
    );
    assert!(kills >= KILLS && crashes >= SERVER_CRASHES, "{kills} and {crashes}");

    hub.bad.store(false, Ordering::Relaxed);
    told(&till, &nodes[0]).await;
    let Books { rows, ledger } = Books::of(&nodes[0]).await;
    println!("received {}, fee {}, net {} (minor units)", rows.0, rows.1, rows.2);
    assert_eq!((rows.0, rows.1), (believed.amount, believed.fee), "the clients and the rows");
    assert_eq!(rows, ledger, "the rows and the ledger");
    assert_eq!(rows, hub.sums(), "the rows and the centre");
}

/// Kills one replica after the other, and PostgreSQL now and then, spread over the run.
async fn strike(till: Arc<Till>, mut nodes: [Running; 2], operations: u64) -> ([Running; 2], usize, usize) {
    let (mut kills, mut crashes) = (0, 0);
    while !till.over.load(Ordering::Relaxed) {
        let done = till.done.load(Ordering::Relaxed);
        if kills < due(KILLS + 3, done, operations) {
            let index = kills % 2;
            till.kill(index, &mut nodes[index]).await;
            kills += 1;
        } else if crashes < due(SERVER_CRASHES + 1, done, operations) {
            crash_postgres();
            crashes += 1;
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    (nodes, kills, crashes)
}
