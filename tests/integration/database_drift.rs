//! What is changed by hand on a database server is found by the survey of all its nodes, and put right.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use fateh_crds::{DatabaseServer, LocalNode, RECREATE_ANNOTATION};
use fateh_tests::{
    Postgres, TESTER, becomes_ready, condition, delete_node, eventually, kubernetes, ready_node, secret,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

/// Runs a statement with the operator's own rights: what a slip of an administrator could do.
async fn by_hand(server: Postgres, statement: &str) {
    let mut admin = server.operator("postgres").await;
    let done = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut admin).await;
    assert!(done.is_ok(), "{statement}: {done:?}");
}

/// Whether a query, which must give one boolean, says true.
async fn holds(server: Postgres, query: &str) -> bool {
    let mut admin = server.operator("postgres").await;
    sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned())).fetch_one(&mut admin).await.unwrap()
}

async fn is_put_right_after(server: Postgres) {
    let client = kubernetes().await;
    let (name, stranger) = (format!("drifting-{}", server.name()), format!("node_stranger_{}", server.name()));
    let database = format!("node_{}", name.replace('-', "_"));
    ready_node(&client, &name, json!({"region": server.name()})).await;
    by_hand(server, &format!("CREATE ROLE {stranger} LOGIN")).await;
    for (slip, wrong) in [
        (
            format!("GRANT CONNECT ON DATABASE {database} TO PUBLIC"),
            format!("has_database_privilege('{stranger}', '{database}', 'CONNECT')"),
        ),
        (
            format!("GRANT CREATE ON DATABASE {database} TO {stranger}"),
            format!("has_database_privilege('{stranger}', '{database}', 'CREATE')"),
        ),
        (
            format!("GRANT CREATE ON DATABASE {database} TO {database}"),
            format!("has_database_privilege('{database}', '{database}', 'CREATE')"),
        ),
        (
            format!("REVOKE CONNECT ON DATABASE {database} FROM {database}"),
            format!("NOT has_database_privilege('{database}', '{database}', 'CONNECT')"),
        ),
        (
            format!("ALTER DATABASE {database} CONNECTION LIMIT 3"),
            format!("(SELECT datconnlimit = 3 FROM pg_database WHERE datname = '{database}')"),
        ),
        (
            format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false"),
            format!("(SELECT NOT datallowconn FROM pg_database WHERE datname = '{database}')"),
        ),
        (
            format!("ALTER ROLE {database} CONNECTION LIMIT 400"),
            format!("(SELECT rolconnlimit = 400 FROM pg_roles WHERE rolname = '{database}')"),
        ),
        (
            format!("ALTER ROLE {database} NOLOGIN"),
            format!("(SELECT NOT rolcanlogin FROM pg_roles WHERE rolname = '{database}')"),
        ),
        (
            format!("ALTER ROLE {database} CREATEDB"),
            format!("(SELECT rolcreatedb FROM pg_roles WHERE rolname = '{database}')"),
        ),
        (
            format!("ALTER ROLE {database} SET statement_timeout = 0"),
            format!("(SELECT 'statement_timeout=0' = ANY (rolconfig) FROM pg_roles WHERE rolname = '{database}')"),
        ),
        (format!("GRANT {database} TO {stranger}"), format!("pg_has_role('{stranger}', '{database}', 'MEMBER')")),
        (
            format!("REVOKE fateh_runtime FROM {database}"),
            format!("NOT pg_has_role('{database}', 'fateh_runtime', 'MEMBER')"),
        ),
        (
            format!("ALTER ROLE {database} IN DATABASE {database} RESET search_path"),
            format!(
                "NOT EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole AND s.setdatabase <> 0 WHERE r.rolname = '{database}')"
            ),
        ),
    ] {
        let wrong = format!("SELECT {wrong}");
        by_hand(server, &slip).await;
        eventually(
            &format!("the end of: {slip}"),
            60,
            async || if holds(server, &wrong).await { Err(()) } else { Ok(()) },
        )
        .await;
    }
    by_hand(server, &format!("DROP ROLE {stranger}")).await;
    // A role that is gone comes back with the password of the Secret.
    let password = secret(&client, &name, "node-database", "password").await;
    for statement in [
        format!("REVOKE ALL ON DATABASE {database} FROM {database}"),
        format!("ALTER ROLE {database} RENAME TO {database}_gone"),
    ] {
        by_hand(server, &statement).await;
    }
    eventually("the role", 60, async || server.connect(&database, &password, &database).await.map(drop)).await;
    becomes_ready(&client, &name).await;
}

#[tokio::test]
async fn what_was_changed_by_hand_is_put_right_on_postgresql_15() {
    is_put_right_after(Postgres::V15).await;
}

#[tokio::test]
async fn what_was_changed_by_hand_is_put_right_on_postgresql_18() {
    is_put_right_after(Postgres::V18).await;
}

#[tokio::test]
async fn a_lost_database_is_never_replaced_by_an_empty_one_unasked() {
    let client = kubernetes().await;
    ready_node(&client, "lost-data", json!({})).await;
    by_hand(Postgres::V18, "ALTER DATABASE node_lost_data RENAME TO lost_data_elsewhere").await;
    let nodes = Api::<LocalNode>::all(client.clone());
    assert_eq!(condition(&client, "lost-data", "Stalled", "True").await, "DatabaseMissing");
    let status = nodes.get("lost-data").await.unwrap().status.unwrap();
    let stalled = status.conditions.into_iter().find(|condition| condition.type_ == "Stalled").unwrap();
    assert!(stalled.message.contains(RECREATE_ANNOTATION), "{}", stalled.message);

    // Brought back, it is the node's again.
    by_hand(Postgres::V18, "ALTER DATABASE lost_data_elsewhere RENAME TO node_lost_data").await;
    becomes_ready(&client, "lost-data").await;

    // Gone for good: an empty one when a person says so, once.
    Postgres::V18.drop_database("node_lost_data").await;
    condition(&client, "lost-data", "Stalled", "True").await;
    let annotate = Patch::Merge(json!({"metadata": {"annotations": {RECREATE_ANNOTATION: "yes-1"}}}));
    nodes.patch("lost-data", &PatchParams::default(), &annotate).await.unwrap();
    becomes_ready(&client, "lost-data").await;
    secret(&client, "lost-data", "node-invitation", "token").await;
    Postgres::V18.drop_database("node_lost_data").await;
    assert_eq!(condition(&client, "lost-data", "Stalled", "True").await, "DatabaseMissing", "the same value asks once");
    // Its deletion finds nothing to retain, and ends.
    delete_node(&client, "lost-data").await;
    assert!(Postgres::V18.databases("deleted_lost_data").await.is_empty());
}

async fn small_server(client: &Client, name: &str, capacity: serde_json::Value) {
    let server = json!({
        "apiVersion": "fateh-platform.com/v1alpha1", "kind": "DatabaseServer", "metadata": {"name": name},
        "spec": {"host": "127.0.0.1", "port": Postgres::V18.port(), "adminSecretRef": {"name": "postgres-admin"},
            "tls": {"mode": "Disable"}, "regions": [name], "capacity": capacity},
    });
    let servers = Api::<DatabaseServer>::all(client.clone());
    servers.patch(name, &PatchParams::apply(TESTER).force(), &Patch::Apply(&server)).await.unwrap();
}

#[tokio::test]
async fn a_server_takes_no_more_than_it_may_hold_and_is_kept_while_it_is_used() {
    let client = kubernetes().await;
    small_server(&client, "tiny", json!({"maxDatabases": 1})).await;
    ready_node(&client, "tenant-one", json!({"region": "tiny"})).await;
    fateh_tests::apply_node(&client, "tenant-two", json!({"region": "tiny"})).await.unwrap();
    assert_eq!(condition(&client, "tenant-two", "Stalled", "True").await, "NoCapacity");
    let servers = Api::<DatabaseServer>::all(client.clone());
    eventually("the server says that it is full", 60, async || {
        let status = servers.get("tiny").await.unwrap().status.unwrap();
        let capacity = status.conditions.iter().find(|condition| condition.type_ == "CapacityAvailable").cloned();
        match capacity {
            Some(capacity) if capacity.status == "False" && status.nodes == Some(1) => Ok(()),
            other => Err((other, status.nodes)),
        }
    })
    .await;

    small_server(&client, "tiny", json!({"maxDatabases": 2})).await;
    becomes_ready(&client, "tenant-two").await;
    // (200 - 195) × 10 connections in all, forty of them given away already.
    small_server(&client, "tiny", json!({"maxDatabases": 9, "reservedConnections": 195, "connectionOvercommit": 10}))
        .await;
    fateh_tests::apply_node(&client, "tenant-two", json!({"region": "tiny", "database": {"connectionLimit": 31}}))
        .await
        .unwrap();
    assert_eq!(condition(&client, "tenant-two", "Stalled", "True").await, "NoCapacity");
    fateh_tests::apply_node(&client, "tenant-two", json!({"region": "tiny", "database": {"connectionLimit": 30}}))
        .await
        .unwrap();
    becomes_ready(&client, "tenant-two").await;

    servers.delete("tiny", &DeleteParams::default()).await.unwrap();
    delete_node(&client, "tenant-one").await;
    assert!(servers.get("tiny").await.unwrap().metadata.deletion_timestamp.is_some(), "one node is left");
    delete_node(&client, "tenant-two").await;
    eventually("the server goes with its last node", 60, async || {
        servers.get_opt("tiny").await.unwrap().map_or(Ok(()), |server| Err(server.name_any()))
    })
    .await;
}

/// What only a superuser can grant, only a superuser can take back; the node says so.
#[tokio::test]
async fn the_operators_role_cannot_raise_itself_on_postgresql_18() {
    let mut admin = Postgres::V18.operator("postgres").await;
    for raising in [
        "ALTER ROLE fateh_operator SUPERUSER",
        "ALTER ROLE fateh_operator REPLICATION",
        "ALTER ROLE fateh_operator BYPASSRLS",
        "GRANT postgres TO fateh_operator",
        "GRANT pg_execute_server_program TO fateh_operator",
        "GRANT pg_read_server_files TO fateh_operator",
        "GRANT pg_write_server_files TO fateh_operator",
        "CREATE ROLE raised SUPERUSER",
        "SET ROLE postgres",
        "ALTER SYSTEM SET log_statement = 'none'",
    ] {
        let refused = sqlx::query(raising).execute(&mut admin).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
        assert_eq!(code.as_deref(), Some("42501"), "{raising}: {refused}");
    }
    let client = kubernetes().await;
    let hardened = async |name: &str| {
        let status = Api::<DatabaseServer>::all(client.clone()).get(name).await.unwrap().status.unwrap();
        status.conditions.into_iter().find(|condition| condition.type_ == "Hardened").unwrap().status
    };
    assert_eq!(hardened("pg18").await, "True");
    assert_eq!(hardened("pg15").await, "False");
}

/// Between its creation and its opening a database is closed to everyone, also to one who tries without pause.
async fn another_role_never_enters(server: Postgres) {
    let client = kubernetes().await;
    let (early, late) = (format!("early-{}", server.name()), format!("late-{}", server.name()));
    ready_node(&client, &early, json!({"region": server.name()})).await;
    let role = format!("node_{}", early.replace('-', "_"));
    let target = format!("node_{}", late.replace('-', "_"));
    let password = secret(&client, &early, "node-database", "password").await;
    let stop = Arc::new(AtomicBool::new(false));
    // Refusals because there is no such database yet, and because it is closed to this role.
    let (absent, closed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let trying: Vec<_> = (0..3)
        .map(|_| {
            let (role, password, target, stop) = (role.clone(), password.clone(), target.clone(), Arc::clone(&stop));
            let (absent, closed) = (Arc::clone(&absent), Arc::clone(&closed));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let Err(error) = server.connect(&role, &password, &target).await else {
                        panic!("{role} entered {target}")
                    };
                    match error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() {
                        Some("3D000") => absent.fetch_add(1, Ordering::Relaxed),
                        // Not accepting connections, or no right to connect.
                        Some("55000" | "42501") => closed.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{role} was refused in another way: {other:?}: {error}"),
                    };
                }
            })
        })
        .collect();
    let seen = async |what: &str, counter: &AtomicU64| {
        eventually(what, 30, async || match counter.load(Ordering::Relaxed) {
            0..5 => Err(()),
            _ => Ok(()),
        })
        .await;
    };
    seen("tries before there is a database", &absent).await;
    ready_node(&client, &late, json!({"region": server.name()})).await;
    seen("tries after it was made", &closed).await;
    stop.store(true, Ordering::Relaxed);
    for trying in trying {
        trying.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_closed_to_others_while_it_is_made_on_postgresql_15() {
    another_role_never_enters(Postgres::V15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_closed_to_others_while_it_is_made_on_postgresql_18() {
    another_role_never_enters(Postgres::V18).await;
}
