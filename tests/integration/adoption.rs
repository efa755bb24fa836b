//! A database is taken over, or given up, only when a person says so in so many words.

use std::{path::Path, process::Command};

use fateh_crds::{ABANDON_ANNOTATION, ADOPT_ANNOTATION, DatabaseServer, LocalNode};
use fateh_tests::{
    Postgres, TESTER, apply_node, becomes_ready, condition, delete_node, gone, kubernetes, ready_node, secret, variable,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

async fn create(client: &Client, name: &str, annotations: Value, region: &str) {
    let node = serde_json::from_value(json!({
        "apiVersion": "fateh-platform.com/v1alpha1", "kind": "LocalNode", "metadata": {"name": name, "annotations": annotations},
        "spec": {"displayName": "مدرسة", "region": region, "adminEmail": "admin@example.com"},
    }));
    Api::<LocalNode>::all(client.clone()).create(&PostParams::default(), &node.unwrap()).await.unwrap();
}

async fn a_retired_database_is_taken_over_with_its_data(server: Postgres) {
    let client = kubernetes().await;
    let name = format!("returning-{}", server.name());
    let database = format!("node_{}", name.replace('-', "_"));
    ready_node(&client, &name, json!({"region": server.name()})).await;
    let password = secret(&client, &name, "node-database", "password").await;
    let mut session = server.connect(&database, &password, &database).await.unwrap();
    let insert = "INSERT INTO local_content VALUES (gen_random_uuid(), NULL, 'kept', '{}', false, NULL, 'ar', 'draft', now(), now())";
    sqlx::query(insert).execute(&mut session).await.unwrap();
    delete_node(&client, &name).await;
    let retired = server.databases(&format!("deleted_{}_", name.replace('-', "_"))).await.remove(0);

    create(&client, &name, json!({ADOPT_ANNOTATION: retired}), server.name()).await;
    becomes_ready(&client, &name).await;
    assert_eq!(server.databases("deleted_returning").await.iter().filter(|found| **found == retired).count(), 0);
    let password = secret(&client, &name, "node-database", "password").await;
    let mut session = server.connect(&database, &password, &database).await.unwrap();
    let kept: String = sqlx::query_scalar("SELECT title FROM local_content").fetch_one(&mut session).await.unwrap();
    assert_eq!(kept, "kept");
}

#[tokio::test]
async fn a_retired_database_is_taken_over_with_its_data_on_postgresql_15() {
    a_retired_database_is_taken_over_with_its_data(Postgres::V15).await;
}

#[tokio::test]
async fn a_retired_database_is_taken_over_with_its_data_on_postgresql_18() {
    a_retired_database_is_taken_over_with_its_data(Postgres::V18).await;
}

/// Runs a program of PostgreSQL as the operator's role on a server.
fn as_operator(program: &str, server: Postgres, arguments: &[&str]) {
    let program = Path::new(&variable("FATEH_PGBENCH")).with_file_name(program);
    let done = Command::new(&program)
        .args(["--host=127.0.0.1", "--username=fateh_operator", &format!("--port={}", server.port())])
        .args(arguments)
        .env("PGPASSWORD", variable("FATEH_OPERATOR_PASSWORD"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&done.stderr));
}

/// As docs/operations.md says it: the way to another server, and to a newer PostgreSQL.
#[tokio::test]
async fn a_node_moves_to_another_server_by_dump_and_restore() {
    let client = kubernetes().await;
    ready_node(&client, "moving", json!({"region": "pg15"})).await;
    let password = secret(&client, "moving", "node-database", "password").await;
    let mut session = Postgres::V15.connect("node_moving", &password, "node_moving").await.unwrap();
    let insert = "INSERT INTO local_content VALUES (gen_random_uuid(), NULL, 'moved', '{}', false, NULL, 'ar', 'draft', now(), now())";
    sqlx::query(insert).execute(&mut session).await.unwrap();
    drop(session);
    delete_node(&client, "moving").await;
    let retired = Postgres::V15.databases("deleted_moving_").await.remove(0);

    // It is closed to everyone, its owner too.
    let open = format!("ALTER DATABASE {retired} CONNECTION LIMIT 2");
    let mut old = Postgres::V15.operator("postgres").await;
    sqlx::query(sqlx::AssertSqlSafe(open)).execute(&mut old).await.unwrap();
    let file = std::env::temp_dir().join(format!("{retired}.dump"));
    let to = format!("--file={}", file.display());
    as_operator("pg_dump", Postgres::V15, &["--format=custom", &to, &retired]);
    // With its name, its comment (the platform's mark) and its rights.
    as_operator(
        "pg_restore",
        Postgres::V18,
        &["--create", "--exit-on-error", "--dbname=postgres", file.to_str().unwrap()],
    );
    std::fs::remove_file(file).unwrap();

    create(&client, "moving", json!({ADOPT_ANNOTATION: retired}), "pg18").await;
    becomes_ready(&client, "moving").await;
    let password = secret(&client, "moving", "node-database", "password").await;
    let mut session = Postgres::V18.connect("node_moving", &password, "node_moving").await.unwrap();
    let kept: String = sqlx::query_scalar("SELECT title FROM local_content").fetch_one(&mut session).await.unwrap();
    assert_eq!(kept, "moved");
    let create_table = sqlx::query("CREATE TABLE mine (id int)").execute(&mut session).await;
    assert!(create_table.is_err(), "its rights are those of any node");
    delete_node(&client, "moving").await;
}

#[tokio::test]
async fn the_database_of_a_rebuilt_cluster_is_taken_over_by_its_own_name() {
    let client = kubernetes().await;
    let foreign = "fateh-platform.com/uid=old-node fateh-platform.com/cluster=old-cluster";
    ready_node(&client, "rebuilt", json!({})).await;
    let mut admin = Postgres::V18.operator("postgres").await;
    // As if the cluster had been lost: the node is forgotten, its database and role stay, with the marks of before.
    let uid = Api::<LocalNode>::all(client.clone()).get("rebuilt").await.unwrap().uid().unwrap();
    annotate(&client, "rebuilt", json!({ABANDON_ANNOTATION: uid})).await;
    delete_node(&client, "rebuilt").await;
    for object in ["DATABASE", "ROLE"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("COMMENT ON {object} node_rebuilt IS '{foreign}'")))
            .execute(&mut admin)
            .await
            .unwrap();
    }

    apply_node(&client, "rebuilt", json!({})).await.unwrap();
    assert_eq!(condition(&client, "rebuilt", "Stalled", "True").await, "DatabaseTaken", "never without being told to");
    annotate(&client, "rebuilt", json!({ADOPT_ANNOTATION: "node_rebuilt"})).await;
    becomes_ready(&client, "rebuilt").await;
    let password = secret(&client, "rebuilt", "node-database", "password").await;
    Postgres::V18.connect("node_rebuilt", &password, "node_rebuilt").await.unwrap();
}

#[tokio::test]
async fn what_is_not_ours_is_not_taken_over() {
    let client = kubernetes().await;
    ready_node(&client, "alive", json!({})).await;
    let mut admin = Postgres::V18.operator("postgres").await;
    sqlx::query("CREATE DATABASE deleted_by_someone").execute(&mut admin).await.unwrap();
    for (node, database) in [
        ("greedy-one", "node_alive"),
        ("greedy-two", "deleted_by_someone"),
        ("greedy-three", "deleted_nothing"),
        ("greedy-four", "postgres"),
    ] {
        create(&client, node, json!({ADOPT_ANNOTATION: database}), "pg18").await;
        assert_eq!(condition(&client, node, "Stalled", "True").await, "AdoptionRefused", "{database}");
        let left = Postgres::V18.databases(database).await;
        assert_eq!(left.contains(&database.to_owned()), database != "deleted_nothing", "{left:?}");
    }
    condition(&client, "alive", "Ready", "True").await;
}

async fn annotate(client: &Client, node: &str, annotations: Value) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    Api::<LocalNode>::all(client.clone()).patch(node, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn a_database_whose_server_will_never_return_is_given_up_by_uid_only() {
    let client = kubernetes().await;
    let server = json!({
        "apiVersion": "fateh-platform.com/v1alpha1", "kind": "DatabaseServer", "metadata": {"name": "doomed"},
        "spec": {"host": "127.0.0.1", "port": Postgres::V18.port(), "adminSecretRef": {"name": "postgres-admin"}, "tls": {"mode": "Disable"}, "regions": ["doomed"]},
    });
    let servers = Api::<DatabaseServer>::all(client.clone());
    servers.patch("doomed", &PatchParams::apply(TESTER), &Patch::Apply(&server)).await.unwrap();
    let node = ready_node(&client, "given-up", json!({"region": "doomed"})).await;
    // Deleting it waits for its nodes; taking the finalizer off by hand is a person's decision.
    servers.delete("doomed", &DeleteParams::default()).await.unwrap();
    fateh_tests::eventually("the server says by whom it is kept", 30, async || {
        let status = servers.get("doomed").await.unwrap().status.unwrap();
        let ready = status.conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap();
        if ready.reason == "InUse" && ready.message.contains("1 LocalNode") { Ok(()) } else { Err(ready) }
    })
    .await;
    let let_go = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    servers.patch("doomed", &PatchParams::default(), &let_go).await.unwrap();
    Api::<LocalNode>::all(client.clone()).delete("given-up", &DeleteParams::default()).await.unwrap();
    let blocked = async || {
        fateh_tests::eventually("the server is awaited", 60, async || {
            match condition(&client, "given-up", "DeletionBlocked", "True").await {
                reason if reason == "DatabaseServerUnknown" => Ok(()),
                other => Err(other),
            }
        })
        .await;
    };
    blocked().await;
    annotate(&client, "given-up", json!({ABANDON_ANNOTATION: "yes"})).await;
    blocked().await;
    annotate(&client, "given-up", json!({ABANDON_ANNOTATION: node.uid()})).await;
    gone(&client, "given-up").await;
    assert_eq!(Postgres::V18.databases("node_given_up").await, ["node_given_up"], "nothing was done to it");
}
