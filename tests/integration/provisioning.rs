//! A three-line LocalNode becomes a node: database, role, namespace and every child.

use fateh_crds::{LocalNode, NodeContent, NodeReport};
use fateh_tests::{Postgres, apply_node, condition, events, eventually, kubernetes, ready_node, secret};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
    rbac::v1::RoleBinding,
};
use kube::{Api, Client, Resource, ResourceExt, api::PostParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use serde_json::json;
use sqlx::PgConnection;

async fn child<K>(client: &Client, node: &LocalNode) -> K
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api = Api::<K>::namespaced(client.clone(), &format!("fateh-node-{}", node.name_any()));
    let child = api.get("node").await.unwrap();
    assert_eq!(child.owner_references()[0].uid, node.uid().unwrap(), "{} is owned by the LocalNode", K::kind(&()));
    child
}

#[tokio::test]
async fn three_lines_become_a_node_with_every_child() {
    let client = kubernetes().await;
    let node = ready_node(&client, "three-lines", json!({})).await;
    let node = Api::<LocalNode>::all(client.clone()).get(&node.name_any()).await.unwrap();
    let status = node.status.clone().unwrap();
    assert_eq!(status.url.as_deref(), Some("https://three-lines.fateh-platform.com"));
    assert_eq!(status.namespace.as_deref(), Some("fateh-node-three-lines"));
    let database = status.database.unwrap();
    assert_eq!((database.server.as_str(), database.name.as_str()), ("pg18", "node_three_lines"));
    assert!(node.labels()["fateh-platform.com/region"] == "pg18");

    let namespace = Api::<Namespace>::all(client.clone()).get("fateh-node-three-lines").await.unwrap();
    assert_eq!(namespace.labels()["pod-security.kubernetes.io/enforce"], "restricted");
    child::<ConfigMap>(&client, &node).await;
    child::<ServiceAccount>(&client, &node).await;
    child::<RoleBinding>(&client, &node).await;
    child::<NodeReport>(&client, &node).await;
    child::<NodeContent>(&client, &node).await;
    child::<NetworkPolicy>(&client, &node).await;
    child::<Deployment>(&client, &node).await;
    child::<Service>(&client, &node).await;
    child::<Ingress>(&client, &node).await;
    let budgets = Api::<PodDisruptionBudget>::namespaced(client.clone(), "fateh-node-three-lines");
    assert!(budgets.get_opt("node").await.unwrap().is_none(), "one pod has no budget");

    // An event is written after the status that it tells of.
    eventually("the events that tell the story", 10, async || {
        let told: Vec<_> = events(&client, &node).await.into_iter().map(|(reason, _)| reason).collect();
        let story = ["Provisioned", "Deploying", "Applied", "Invited", "Serving"];
        if story.iter().all(|reason| told.iter().any(|told| told == reason)) { Ok(()) } else { Err(told) }
    })
    .await;
}

/// The borders of a node's database, on the oldest and the newest PostgreSQL.
async fn a_role_enters_its_own_database_only(server: Postgres) {
    let client = kubernetes().await;
    let (one, two) = (format!("border-one-{}", server.name()), format!("border-two-{}", server.name()));
    ready_node(&client, &one, json!({"region": server.name()})).await;
    ready_node(&client, &two, json!({"region": server.name()})).await;
    let own = format!("node_{}", one.replace('-', "_"));
    let password = secret(&client, &one, "node-database", "password").await;

    let mut inside = server.connect(&own, &password, &own).await.unwrap();
    let path: String = sqlx::query_scalar("SHOW search_path").fetch_one(&mut inside).await.unwrap();
    assert_eq!(path, "local_node, pg_catalog");
    for refused in [
        "CREATE TABLE t (a int)",
        "CREATE SCHEMA s",
        "CREATE TEMP TABLE t (a int)",
        "INSERT INTO fee_rates VALUES (now(), 0)",
        "DELETE FROM local_revenues",
        "UPDATE local_revenues SET amount_minor = 1",
        "INSERT INTO first_admin_invitation VALUES (true, 'a@b.c', '\\x00', now())",
    ] {
        assert_refused(&mut inside, refused, "42501").await;
    }
    assert_eq!(
        sqlx::query_scalar::<_, i32>("SELECT platform_basis_points FROM fee_rates")
            .fetch_one(&mut inside)
            .await
            .unwrap(),
        1000
    );

    for database in [format!("node_{}", two.replace('-', "_")), "postgres".to_owned(), "template1".to_owned()] {
        let error = server.connect(&own, &password, &database).await.unwrap_err();
        assert!(error.to_string().contains("permission denied for database"), "{database}: {error}");
    }
}

async fn assert_refused(connection: &mut PgConnection, statement: &'static str, code: &str) {
    let error = sqlx::query(statement).execute(connection).await.unwrap_err();
    let found = error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(std::borrow::Cow::into_owned);
    assert_eq!(found.as_deref(), Some(code), "{statement}: {error}");
}

#[tokio::test]
async fn a_role_enters_its_own_database_only_on_postgresql_15() {
    a_role_enters_its_own_database_only(Postgres::V15).await;
}

#[tokio::test]
async fn a_role_enters_its_own_database_only_on_postgresql_18() {
    a_role_enters_its_own_database_only(Postgres::V18).await;
}

#[tokio::test]
async fn a_namespace_that_is_not_ours_is_left_alone() {
    let client = kubernetes().await;
    let api = Api::<Namespace>::all(client.clone());
    let stranger =
        serde_json::from_value(json!({"metadata": {"name": "fateh-node-taken", "labels": {"whose": "someone-else"}}}))
            .unwrap();
    let before = api.create(&PostParams::default(), &stranger).await.unwrap();
    apply_node(&client, "taken", json!({})).await.unwrap();
    assert_eq!(condition(&client, "taken", "Stalled", "True").await, "NamespaceTaken");
    assert_eq!(condition(&client, "taken", "Ready", "False").await, "NamespaceTaken");
    let after = api.get("fateh-node-taken").await.unwrap();
    assert_eq!(
        (before.labels(), before.annotations(), before.uid()),
        (after.labels(), after.annotations(), after.uid())
    );
    fateh_tests::delete_node(&client, "taken").await;
    assert!(api.get("fateh-node-taken").await.unwrap().metadata.deletion_timestamp.is_none());
}

#[tokio::test]
async fn a_database_that_is_not_ours_is_left_alone() {
    let client = kubernetes().await;
    let mut admin = Postgres::V18.operator("postgres").await;
    sqlx::query("CREATE DATABASE node_foreign").execute(&mut admin).await.unwrap();
    apply_node(&client, "foreign", json!({})).await.unwrap();
    assert_eq!(condition(&client, "foreign", "Stalled", "True").await, "DatabaseTaken");
    fateh_tests::delete_node(&client, "foreign").await;
    assert_eq!(Postgres::V18.databases("node_foreign").await, ["node_foreign"]);
}

#[tokio::test]
async fn an_unknown_server_stalls_until_it_is_corrected() {
    let client = kubernetes().await;
    apply_node(&client, "lost-server", json!({"region": "nowhere"})).await.unwrap();
    assert_eq!(condition(&client, "lost-server", "Stalled", "True").await, "NoDatabaseServer");
    apply_node(&client, "lost-server", json!({"region": "pg18"})).await.unwrap();
    condition(&client, "lost-server", "DatabaseReady", "True").await;
}
