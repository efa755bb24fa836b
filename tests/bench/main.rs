//! `make bench`: what the operator adds to the bare cost of the same writes, in one run on the same parts, with pods
//! simulated. `tests/run.sh bench` starts the parts, anew for each of the tests, so that none finds what another
//! has left.
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
mod requests;
mod rollouts;
#[path = "../node/running.rs"]
#[expect(dead_code, reason = "shared with the tests of single requests")]
mod running;
mod runtime;
mod simulated;
mod statistics;

use fateh_tests::figures::Figures;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// What the operator makes of LocalNodes, and the same writes sent bare to an API server of their own: in turns, because
/// the machine is not as fast at one time as at another.
#[tokio::test(flavor = "multi_thread")]
async fn provisioning() {
    let bare = fateh_tests::kubernetes().await;
    let life = bare::record(&bare).await;
    let sender = bare::Sender::new(&bare).await;
    let operated = operated().await;
    fleet::room(&operated).await;
    let mut figures = Figures::default();
    figures.add("writes for each node, events not counted", life.writes(), "", "");
    provisioning::measure(&operated, &sender, &life, &mut figures).await;
    fleet::measure(&operated, &sender, &life, &mut figures).await;
    figures.finish("control-plane");
}

/// The API server of the operator, where there is another without one.
async fn operated() -> Client {
    let kubeconfig = Kubeconfig::read_from(fateh_tests::variable("FATEH_OPERATED_KUBECONFIG")).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
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
