//! `make bench`: what the operator adds to the bare cost of the same writes, in one run on the same parts, with pods
//! simulated. `tests/run.sh bench` starts the parts, anew for each of the tests, so that neither finds what the
//! other has left.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark fails by panicking")]

mod bare;
mod bare_sql;
mod fleet;
#[path = "../hub/hub.rs"]
#[expect(dead_code, reason = "shared with the tests of the hub")]
mod hub;
mod hub_load;
mod load;
mod node_load;
#[path = "../node/peer.rs"]
#[expect(dead_code, reason = "shared with the tests of the centre")]
mod peer;
mod provisioning;
mod rollouts;
#[path = "../node/running.rs"]
#[expect(dead_code, reason = "shared with the tests of single requests")]
mod running;
mod runtime;
mod simulated;
mod statistics;

use fateh_tests::figures::{Figures, keep, kept};
use serde_json::json;

/// The writes alone, sent with the operator's rights. Leaves its figures for the other test.
#[tokio::test(flavor = "multi_thread")]
async fn bare() {
    let client = fateh_tests::kubernetes().await;
    let life = bare::record(&client).await;
    println!("{} writes for each node", life.writes());
    let sender = bare::Sender::new(&client).await;
    let one = provisioning::bare(&client, &sender, &life).await;
    let fleet = fleet::bare(&client, &sender, &life).await;
    keep("bare", &json!({"one": one, "fleet": fleet}));
}

/// One after another, in one test: each figure wants the machine for itself.
#[tokio::test(flavor = "multi_thread")]
async fn operated() {
    let client = fateh_tests::kubernetes().await;
    let bare = kept("bare");
    let one: Vec<_> = bare["one"].as_array().unwrap().iter().map(|took| took.as_f64().unwrap()).collect();
    fleet::room(&client).await;
    let mut figures = Figures::default();
    provisioning::operated(&client, &one, &mut figures).await;
    fleet::operated(&client, bare["fleet"].as_f64().unwrap(), &mut figures).await;
    figures.finish("control-plane");
}

/// The program in a node's pods, while nobody asks it for anything.
#[tokio::test(flavor = "multi_thread")]
async fn runtime() {
    let client = fateh_tests::kubernetes().await;
    let mut figures = Figures::default();
    runtime::measure(&client, &mut figures).await;
    figures.finish("runtime");
}

/// A node by itself.
#[tokio::test(flavor = "multi_thread")]
async fn loaded() {
    let mut figures = Figures::default();
    node_load::measure(&mut figures).await;
    figures.finish("node");
}

/// Far more nodes than a server of this size has room for.
#[tokio::test(flavor = "multi_thread")]
async fn simulated() {
    let client = fateh_tests::kubernetes().await;
    let mut figures = Figures::default();
    simulated::measure(&client, &mut figures).await;
    figures.finish("simulated");
}

/// Content over a thousand nodes.
#[tokio::test(flavor = "multi_thread")]
async fn rollouts() {
    let client = fateh_tests::kubernetes().await;
    let mut figures = Figures::default();
    rollouts::measure(&client, &mut figures).await;
    figures.finish("rollouts");
}

/// The hub with a thousand nodes.
#[tokio::test(flavor = "multi_thread")]
async fn hub_loaded() {
    let client = fateh_tests::kubernetes().await;
    let mut figures = Figures::default();
    hub_load::measure(&client, &mut figures).await;
    figures.finish("hub");
}
