//! Deleting a node ends, with its database retained or dropped as asked; a new node of the name starts empty.

use fateh_tests::{Postgres, delete_node, kubernetes, ready_node, secret};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use serde_json::json;

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
