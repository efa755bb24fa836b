//! Deleting a node ends, with its database retained or dropped as asked; a new node of the name starts empty.

use std::time::{Duration, Instant};

use fateh_crds::LocalNode;
use fateh_tests::{Postgres, condition, delete_node, eventually, gone, kubernetes, ready_node, secret};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use sqlx::{ConnectOptions, Connection};

async fn is_deleted_as_asked(server: Postgres, policy: &str) {
    let client = kubernetes().await;
    let name = format!("ending-{}-{}", policy.to_lowercase(), server.name());
    let database = format!("node_{}", name.replace('-', "_"));
    let spec = json!({"region": server.name(), "database": {"reclaimPolicy": policy}});
    ready_node(&client, &name, spec.clone()).await;

    // An open session, and objects that would keep the role from being dropped.
    let password = secret(&client, &name, "node-database", "password").await;
    let mut session = server.connect(&database, &password, &database).await.unwrap();
    for leaving in ["SELECT lo_create(0)", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO fateh_runtime"] {
        sqlx::query(leaving).execute(&mut session).await.unwrap();
    }
    let insert = "INSERT INTO local_content VALUES (gen_random_uuid(), NULL, 'kept', '{}', false, NULL, 'ar', 'draft', now(), now())";
    sqlx::query(insert).execute(&mut session).await.unwrap();
    delete_node(&client, &name).await;

    assert!(Api::<Namespace>::all(client.clone()).get_opt(&format!("fateh-node-{name}")).await.unwrap().is_none());
    assert!(sqlx::query("SELECT 1").execute(&mut session).await.is_err(), "the session was ended");
    assert!(server.connect(&database, &password, &database).await.is_err(), "the role is gone");
    assert_eq!(server.databases(&database).await, Vec::<String>::new());
    let retired = server.databases(&format!("deleted_{}_", name.replace('-', "_"))).await;
    if policy == "Retain" {
        assert_eq!(retired.len(), 1, "{retired:?}");
        // Connections to it are closed to all but a superuser; opened, its data is there.
        let mut admin = server.operator("postgres").await;
        let comment: String =
            sqlx::query_scalar("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1")
                .bind(&retired[0])
                .fetch_one(&mut admin)
                .await
                .unwrap();
        assert!(comment.contains("fateh-platform.com/uid="), "{comment}");
        sqlx::query(sqlx::AssertSqlSafe(format!("ALTER DATABASE {} CONNECTION LIMIT 1", retired[0])))
            .execute(&mut admin)
            .await
            .unwrap();
        let mut inside = server.operator(&retired[0]).await;
        assert_eq!(
            sqlx::query_scalar::<_, String>("SELECT title FROM local_node.local_content")
                .fetch_one(&mut inside)
                .await
                .unwrap(),
            "kept"
        );
    } else {
        assert_eq!(retired, Vec::<String>::new());
    }

    ready_node(&client, &name, spec).await;
    let password = secret(&client, &name, "node-database", "password").await;
    let mut session = server.connect(&database, &password, &database).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM local_content").fetch_one(&mut session).await.unwrap();
    assert_eq!(left, 0, "a new node of the same name starts empty");
}

/// DROP … WITH (FORCE) is refused while the server's own autovacuum is in the database.
#[tokio::test]
async fn an_autovacuum_at_work_does_not_hold_up_a_deletion() {
    let client = kubernetes().await;
    let name = "vacuumed";
    ready_node(&client, name, json!({"region": "pg18", "database": {"reclaimPolicy": "Delete"}})).await;
    let mut admin = Postgres::V18.superuser("node_vacuumed").connect().await.unwrap();
    for text in [
        "CREATE TABLE local_node.slow (filling text) WITH (autovacuum_vacuum_threshold = 1,
         autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_cost_delay = 100)",
        "INSERT INTO local_node.slow SELECT repeat('x', 2000) FROM generate_series(1, 20000)",
        "DELETE FROM local_node.slow",
        "ALTER SYSTEM SET autovacuum_naptime = 1",
        "SELECT pg_reload_conf()",
    ] {
        sqlx::query(text).execute(&mut admin).await.unwrap();
    }
    admin.close().await.unwrap();
    let mut admin = Postgres::V18.superuser("postgres").connect().await.unwrap();
    let at_work = "SELECT EXISTS (SELECT FROM pg_stat_activity
                   WHERE datname = 'node_vacuumed' AND backend_type = 'autovacuum worker' AND query LIKE '%slow%')";
    let deadline = Instant::now() + Duration::from_secs(60);
    while !sqlx::query_scalar::<_, bool>(at_work).fetch_one(&mut admin).await.unwrap() {
        assert!(Instant::now() < deadline, "the server's autovacuum never came");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    sqlx::query("ALTER SYSTEM RESET autovacuum_naptime").execute(&mut admin).await.unwrap();
    sqlx::query("SELECT pg_reload_conf()").execute(&mut admin).await.unwrap();
    delete_node(&client, name).await;
    assert_eq!(Postgres::V18.databases("node_vacuumed").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_retained_database_keeps_its_data_on_postgresql_15() {
    is_deleted_as_asked(Postgres::V15, "Retain").await;
}

#[tokio::test]
async fn a_retained_database_keeps_its_data_on_postgresql_18() {
    is_deleted_as_asked(Postgres::V18, "Retain").await;
}

#[tokio::test]
async fn a_database_is_dropped_when_asked_on_postgresql_15() {
    is_deleted_as_asked(Postgres::V15, "Delete").await;
}

#[tokio::test]
async fn a_database_is_dropped_when_asked_on_postgresql_18() {
    is_deleted_as_asked(Postgres::V18, "Delete").await;
}

#[tokio::test]
async fn a_deletion_ends_whatever_was_taken_away_before_it() {
    let client = kubernetes().await;
    for (name, statement) in [
        ("bereft-secret", None),
        ("bereft-database", Some("DROP DATABASE node_bereft_database WITH (FORCE)")),
        ("bereft-role", Some("ALTER ROLE node_bereft_role RENAME TO node_bereft_role_gone")),
    ] {
        ready_node(&client, name, json!({"database": {"reclaimPolicy": "Delete"}})).await;
        let nodes = Api::<LocalNode>::all(client.clone());
        // Deleted first, so that nothing is put right again.
        let held = Patch::Merge(json!({"metadata": {"finalizers": ["fateh-platform.com/node", "tests.example/hold"]}}));
        nodes.patch(name, &PatchParams::default(), &held).await.unwrap();
        let secrets = Api::<Secret>::namespaced(client.clone(), &format!("fateh-node-{name}"));
        secrets.delete("node-database", &DeleteParams::default()).await.unwrap();
        nodes.delete(name, &DeleteParams::default()).await.unwrap();
        if let Some(statement) = statement {
            let mut admin = Postgres::V18.operator("postgres").await;
            // It may be done with already; what matters is that it ends.
            let _ = sqlx::query(statement).execute(&mut admin).await;
        }
        eventually("the end of our finalizer", 60, async || {
            let finalizers = nodes.get(name).await.unwrap().metadata.finalizers.unwrap_or_default();
            if finalizers == ["tests.example/hold"] { Ok(()) } else { Err(finalizers) }
        })
        .await;
        nodes
            .patch(name, &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}})))
            .await
            .unwrap();
        gone(&client, name).await;
        assert!(Postgres::V18.databases(&format!("node_{}", name.replace('-', "_"))).await.is_empty());
    }
}

#[tokio::test]
async fn a_namespace_that_a_stranger_holds_is_waited_for_by_name() {
    let client = kubernetes().await;
    ready_node(&client, "held", json!({"database": {"reclaimPolicy": "Delete"}})).await;
    let maps = Api::<ConfigMap>::namespaced(client.clone(), "fateh-node-held");
    let stranger = json!({"metadata": {"name": "stranger", "finalizers": ["strangers.example/hold"]}});
    maps.create(&PostParams::default(), &serde_json::from_value(stranger).unwrap()).await.unwrap();
    let nodes = Api::<LocalNode>::all(client.clone());
    nodes.delete("held", &DeleteParams::default()).await.unwrap();
    eventually("the words of Kubernetes on what holds it", 60, async || {
        condition(&client, "held", "DeletionBlocked", "True").await;
        let status = nodes.get("held").await.unwrap().status.unwrap();
        let blocked = status.conditions.into_iter().find(|condition| condition.type_ == "DeletionBlocked").unwrap();
        if blocked.message.contains("strangers.example/hold") { Ok(()) } else { Err(blocked.message) }
    })
    .await;
    assert_eq!(Postgres::V18.databases("node_held").await, ["node_held"], "the database waits for the namespace");
    maps.patch("stranger", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}})))
        .await
        .unwrap();
    gone(&client, "held").await;
    assert!(Postgres::V18.databases("node_held").await.is_empty());
}
