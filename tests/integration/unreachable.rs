//! A database server out of reach: nothing is destroyed, status says so, and it recovers by itself.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fateh_crds::{DatabaseServer, LocalNode};
use fateh_tests::{Postgres, TESTER, apply_node, becomes_ready, condition, kubernetes};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

/// A way to the server that can be cut: open connections end, new ones are closed at once.
async fn cuttable(open: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut inward, _)) = listener.accept().await {
            let open = Arc::clone(&open);
            tokio::spawn(async move {
                let cut = async {
                    while open.load(Ordering::Relaxed) {
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                };
                let carry = async {
                    let mut outward = TcpStream::connect(("127.0.0.1", Postgres::V18.port())).await?;
                    tokio::io::copy_bidirectional(&mut inward, &mut outward).await
                };
                tokio::select! { () = cut => {}, _ = carry => {} }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_server_out_of_reach_delays_and_destroys_nothing() {
    let client = kubernetes().await;
    let open = Arc::new(AtomicBool::new(false));
    let port = cuttable(Arc::clone(&open)).await;
    let server = json!({
        "apiVersion": "fateh-platform.com/v1alpha1", "kind": "DatabaseServer", "metadata": {"name": "cuttable"},
        "spec": {"host": "127.0.0.1", "port": port, "adminSecretRef": {"name": "postgres-admin"}, "tls": {"mode": "Disable"}, "regions": ["cuttable"]},
    });
    let servers = Api::<DatabaseServer>::all(client.clone());
    servers.patch("cuttable", &PatchParams::apply(TESTER), &Patch::Apply(&server)).await.unwrap();

    apply_node(&client, "cut-off", json!({"region": "cuttable"})).await.unwrap();
    assert_eq!(condition(&client, "cut-off", "DatabaseReady", "False").await, "DatabaseUnreachable");
    assert_eq!(condition(&client, "cut-off", "Reconciling", "True").await, "DatabaseUnreachable");
    open.store(true, Ordering::Relaxed);
    becomes_ready(&client, "cut-off").await;

    // Cut again while the node is deleted: it waits, says so, and ends when the way is open.
    open.store(false, Ordering::Relaxed);
    Api::<LocalNode>::all(client.clone()).delete("cut-off", &DeleteParams::default()).await.unwrap();
    assert_eq!(
        fateh_tests::eventually("the server is awaited", 60, async || {
            match condition(&client, "cut-off", "DeletionBlocked", "True").await {
                reason if reason == "DatabaseUnreachable" => Ok(reason),
                other => Err(other),
            }
        })
        .await,
        "DatabaseUnreachable"
    );
    assert_eq!(Postgres::V18.databases("node_cut_off").await, ["node_cut_off"]);
    open.store(true, Ordering::Relaxed);
    fateh_tests::gone(&client, "cut-off").await;
    assert_eq!(Postgres::V18.databases("deleted_cut_off_").await.len(), 1);
}
