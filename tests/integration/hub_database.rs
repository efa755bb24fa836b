//! The hub's database and Secrets: made and kept right by the operator, on the server that its settings name.

use fateh_crds::DatabaseServer;
use fateh_tests::{Postgres, eventually, kubernetes};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::DeleteParams};

const NAME: &str = "global_platform";

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), "fateh-system")
}

async fn secret(client: &Client, name: &str, key: &str) -> Option<String> {
    let found = secrets(client).get_opt(name).await.unwrap()?;
    found.data?.remove(key).map(|value| String::from_utf8(value.0).unwrap())
}

/// Waits until the server says of the hub's database that it is ready, for this reason.
async fn becomes(client: &Client, reason: &str) {
    let servers = Api::<DatabaseServer>::all(client.clone());
    eventually(&format!("HubDatabaseReady {reason}"), 60, async || {
        let status = servers.get("pg18").await.unwrap().status.unwrap_or_default();
        let found = status.conditions.into_iter().find(|condition| condition.type_ == "HubDatabaseReady");
        match found {
            Some(found) if found.status == "True" && found.reason == reason => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// Waits until a key of a Secret is there and other than `before`.
async fn another(client: &Client, name: &str, key: &str, before: Option<&str>) -> String {
    eventually(&format!("{key} of {name}"), 90, async || match secret(client, name, key).await {
        Some(value) if Some(&*value) != before => Ok(value),
        other => Err(format!("{:?}", other.map(|_| "the one before"))),
    })
    .await
}

#[tokio::test]
async fn it_is_made_by_itself_and_comes_back() {
    let client = kubernetes().await;
    becomes(&client, "Invited").await;
    let password = another(&client, "hub-database", "password", None).await;
    assert_eq!(secret(&client, "hub-database", "username").await.as_deref(), Some(NAME));
    let mut inside = Postgres::V18.connect(NAME, &password, NAME).await.unwrap();
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM global_users").fetch_one(&mut inside).await.unwrap();
    assert_eq!(users, 0);
    let created = sqlx::query("CREATE TABLE mine (id int)").execute(&mut inside).await;
    assert!(created.is_err(), "the hub makes no tables");
    for elsewhere in ["postgres", "template1"] {
        assert!(Postgres::V18.connect(NAME, &password, elsewhere).await.is_err(), "{elsewhere} is closed to the hub");
    }

    // A lost password is made anew, and given to the role.
    secrets(&client).delete("hub-database", &DeleteParams::default()).await.unwrap();
    let renewed = another(&client, "hub-database", "password", Some(&password)).await;
    eventually("the role has the new password", 30, async || Postgres::V18.connect(NAME, &renewed, NAME).await).await;
    assert!(Postgres::V18.connect(NAME, &password, NAME).await.is_err());

    // Rights that another gave are taken back at the next look.
    let mut admin = Postgres::V18.operator("postgres").await;
    sqlx::query("GRANT CONNECT ON DATABASE global_platform TO PUBLIC").execute(&mut admin).await.unwrap();
    eventually("it is closed again", 30, async || {
        let open: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_database, aclexplode(datacl) a WHERE datname = $1 AND a.grantee = 0)",
        )
        .bind(NAME)
        .fetch_one(&mut admin)
        .await
        .unwrap();
        if open { Err("open to all") } else { Ok(()) }
    })
    .await;

    // A lost invitation is made anew; a used one is taken away, and none is made again.
    let first = another(&client, "hub-invitation", "token", None).await;
    assert_eq!(
        secret(&client, "hub-invitation", "url").await.as_deref(),
        Some("https://hub.fateh-platform.com/api/global/auth/invitation")
    );
    secrets(&client).delete("hub-invitation", &DeleteParams::default()).await.unwrap();
    let second = another(&client, "hub-invitation", "token", Some(&first)).await;
    let mut inside = Postgres::V18.connect(NAME, &renewed, NAME).await.unwrap();
    eventually("its hash is stored", 30, async || {
        let matches: bool = sqlx::query_scalar("SELECT bool_and(token_hash = sha256($1)) FROM first_admin_invitation")
            .bind(second.as_bytes())
            .fetch_one(&mut inside)
            .await
            .unwrap();
        if matches { Ok(()) } else { Err("another hash") }
    })
    .await;
    sqlx::query("UPDATE first_admin_invitation SET accepted_at = now()").execute(&mut inside).await.unwrap();
    becomes(&client, "Active").await;
    assert_eq!(secret(&client, "hub-invitation", "token").await, None);

    // The server that it lies on is not let go.
    let servers = Api::<DatabaseServer>::all(client.clone());
    let held = servers.get("pg18").await.unwrap().metadata.finalizers.unwrap_or_default();
    assert!(!held.is_empty(), "pg18 is held for the hub");
}

#[tokio::test]
async fn its_signing_key_is_published_before_it_signs_and_kept_after() {
    let client = kubernetes().await;
    // A lost key is made anew; the operator of these tests replaces one after 45 s.
    let lost = another(&client, "hub-signing-key", "key.pem", None).await;
    secrets(&client).delete("hub-signing-key", &DeleteParams::default()).await.unwrap();
    let first = another(&client, "hub-signing-key", "key.pem", Some(&lost)).await;
    let next = another(&client, "hub-signing-key", "next.pem", None).await;
    assert_eq!(
        secret(&client, "hub-signing-key", "key.pem").await.as_deref(),
        Some(&*first),
        "published, not yet used"
    );
    assert_eq!(another(&client, "hub-signing-key", "key.pem", Some(&first)).await, next);
    let until = another(&client, "hub-signing-key", "previousUntil", None).await;
    let mut database = Postgres::V18.operator("postgres").await;
    let left = "SELECT extract(epoch FROM $1::text::timestamptz - now())::bigint";
    let left: i64 = sqlx::query_scalar(left).bind(until).fetch_one(&mut database).await.unwrap();
    assert!(left > 600, "tokens of the key before hold for {left} s");
    assert!(secret(&client, "hub-signing-key", "previous.pub.pem").await.unwrap().contains("PUBLIC KEY"));
}
