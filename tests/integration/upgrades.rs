//! A new release's schema reaches nodes that exist already: what it adds before their pods are replaced, what it takes
//! away after the last pod of before has gone; stopped half-way, it goes on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use fateh_crds::{DatabaseServerSpec, Slug};
use fateh_operator::{
    database::{AdminCredentials, Family, Mark, NodeDatabase, Schema, Server, Servers},
    leadership::Fence,
};
use fateh_tests::{Postgres, TESTER, kubernetes, variable};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{
    AssertSqlSafe, PgConnection, SqlSafeStr,
    migrate::{Migration, MigrationType},
};
use tokio::process::Command;

/// The schema of now, and what a release to come adds to it and takes away.
fn release(later: &[(i64, &'static str, &'static str)]) -> Schema {
    static NOW: sqlx::migrate::Migrator = sqlx::migrate!("../node-runtime/migrations");
    let later = later.iter().map(|(version, description, sql)| {
        Migration::new(*version, (*description).into(), MigrationType::Simple, (*sql).into_sql_str(), false)
    });
    Schema::new(Schema::of_nodes().family, NOW.iter().cloned().chain(later).collect())
}

const EXPAND: (i64, &str, &str) =
    (9001, "expand nicknames", "ALTER TABLE local_node.local_users ADD COLUMN nickname text");
const CONTRACT: (i64, &str, &str) =
    (9002, "contract profiles", "ALTER TABLE local_node.local_users DROP COLUMN profile");
const EXPAND_MORE: (i64, &str, &str) = (
    9003,
    "expand notes",
    "CREATE TABLE local_node.notes (id uuid PRIMARY KEY); GRANT SELECT ON local_node.notes TO fateh_runtime",
);

fn server(on: Postgres, schema: Schema) -> Arc<Server> {
    let spec: DatabaseServerSpec = serde_json::from_value(json!({
        "host": "127.0.0.1", "port": on.port(), "adminSecretRef": {"name": "postgres-admin"}, "tls": {"mode": "Disable"},
    }))
    .unwrap();
    let password = variable("FATEH_OPERATOR_PASSWORD");
    let credentials = AdminCredentials { username: "fateh_operator".to_owned(), password, ca: None };
    Servers::new(schema, Fence::open()).get(on.name(), &spec, &credentials)
}

async fn make(server: &Server, slug: &Slug, mark: &Mark) {
    make_with(server, server.schema(), &slug.database(), mark).await;
}

async fn make_with(server: &Server, schema: &Schema, name: &str, mark: &Mark) {
    let node = NodeDatabase {
        name,
        schema,
        mark,
        password: "a password of this test",
        next_password: None,
        connection_limit: 20,
        may_sign_in: true,
        may_be_missing: true,
    };
    server.ensure_database(&node).await.unwrap();
}

/// Tables of the nodes' schema with all that belongs to them, and who may do what with them.
async fn shape(connection: &mut PgConnection) -> Vec<String> {
    shape_of(connection, Schema::of_nodes().family).await
}

async fn shape_of(connection: &mut PgConnection, family: &Family) -> Vec<String> {
    let shape = "
        SELECT concat_ws(' ', 'column', table_name, column_name, data_type, is_nullable, column_default, (
            SELECT string_agg(privilege_type, ',' ORDER BY privilege_type) FROM information_schema.column_privileges p
            WHERE p.grantee = $2 AND p.table_schema = $1 AND p.table_name = c.table_name AND p.column_name = c.column_name))
            FROM information_schema.columns c WHERE table_schema = $1
        UNION ALL
        SELECT concat_ws(' ', 'right', table_name, privilege_type) FROM information_schema.table_privileges
            WHERE table_schema = $1 AND grantee = $2
        UNION ALL
        SELECT concat_ws(' ', 'index', indexdef) FROM pg_indexes WHERE schemaname = $1
        UNION ALL
        SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
            WHERE connamespace = $1::regnamespace AND contype <> 'n'
        UNION ALL
        SELECT concat_ws(' ', 'trigger', pg_get_triggerdef(t.oid)) FROM pg_trigger t JOIN pg_class r ON r.oid = t.tgrelid
            WHERE r.relnamespace = $1::regnamespace AND NOT t.tgisinternal
        UNION ALL
        SELECT concat_ws(' ', 'function', pg_get_functiondef(oid)) FROM pg_proc WHERE pronamespace = $1::regnamespace
        ORDER BY 1";
    sqlx::query_scalar(shape).bind(family.schema).bind(family.runtime_role).fetch_all(connection).await.unwrap()
}

async fn a_node_is_upgraded(on: Postgres) {
    let slug = Slug::parse(&format!("upgraded-{}", on.name())).unwrap();
    let (name, mark) = (slug.database(), Mark { node: "upgrades".to_owned(), cluster: "tests".to_owned() });
    let now = server(on, release(&[]));
    make(&now, &slug, &mark).await;
    let mut inside = on.operator(&name).await;
    let insert = "INSERT INTO local_node.local_users VALUES (gen_random_uuid(), NULL, 'a', 'a', 'a@b.cd', 'a@b.cd', 'x', 'student', 'active', '{}', NULL, now(), now())";
    sqlx::query(insert).execute(&mut inside).await.unwrap();
    let at_now = now.schema().version();

    // The next release adds at once, and takes nothing from pods that still run.
    let next = server(on, release(&[EXPAND, CONTRACT, EXPAND_MORE]));
    let session = next.node_session(&name, next.schema()).await.unwrap();
    assert_eq!(session.schema_version(), 9001, "complete up to what waits for the pods");
    session.close().await;
    let expanded = shape(&mut inside).await;
    for column in ["local_users nickname", "local_users profile", "notes id"] {
        assert!(expanded.iter().any(|line| line.starts_with(&format!("column {column} "))), "{column}: {expanded:?}");
    }
    // Pods of before still read and write, and an operator of before changes nothing.
    let mut pod = on.connect(&name, "a password of this test", &name).await.unwrap();
    sqlx::query("UPDATE local_users SET profile = '{\"a\": 1}'").execute(&mut pod).await.unwrap();
    let before = now.node_session(&name, now.schema()).await.unwrap();
    assert_eq!(before.schema_version(), at_now);
    before.close().await;
    assert_eq!(shape(&mut inside).await, expanded);

    // When they are gone the rest follows, once.
    for _ in 0..2 {
        let mut session = next.node_session(&name, next.schema()).await.unwrap();
        session.contract().await.unwrap();
        assert_eq!(session.schema_version(), 9003);
        session.close().await;
    }
    let users: i64 =
        sqlx::query_scalar("SELECT count(*) FROM local_node.local_users").fetch_one(&mut inside).await.unwrap();
    assert_eq!(users, 1, "no row is lost");

    // A node made by the new release has the same shape; the template of before is no longer kept.
    let fresh = Slug::parse(&format!("fresh-{}", on.name())).unwrap();
    make(&next, &fresh, &mark).await;
    let mut other = on.operator(&fresh.database()).await;
    let mut upgraded = shape(&mut inside).await;
    let mut made = shape(&mut other).await;
    upgraded.sort();
    made.sort();
    assert_eq!(upgraded, made);
    for slug in [&slug, &fresh] {
        next.drop_database(slug, &mark).await.unwrap();
    }
}

#[tokio::test]
async fn a_schema_is_expanded_then_contracted_on_postgresql_15() {
    a_node_is_upgraded(Postgres::V15).await;
}

#[tokio::test]
async fn a_schema_is_expanded_then_contracted_on_postgresql_18() {
    a_node_is_upgraded(Postgres::V18).await;
}

/// A migration that fails on one node leaves it as it was, and the others upgraded.
#[tokio::test]
async fn an_upgrade_that_fails_half_way_goes_on_when_it_can() {
    let on = Postgres::V18;
    let mark = Mark { node: "halfway".to_owned(), cluster: "tests".to_owned() };
    let slugs = ["halfway-one", "halfway-two", "halfway-three"].map(|slug| Slug::parse(slug).unwrap());
    let now = server(on, release(&[]));
    for slug in &slugs {
        make(&now, slug, &mark).await;
    }
    let mut odd = on.operator("node_halfway_two").await;
    sqlx::query("CREATE TABLE local_node.notes (in_the_way int)").execute(&mut odd).await.unwrap();
    let next = server(on, release(&[EXPAND, EXPAND_MORE]));
    let sessions = slugs.iter().map(|slug| async {
        match next.node_session(&slug.database(), next.schema()).await {
            Ok(session) => {
                let version = session.schema_version();
                session.close().await;
                Ok(version)
            }
            Err(failure) => Err(failure.reason()),
        }
    });
    let reached = futures::future::join_all(sessions).await;
    assert_eq!(reached, [Ok(9003), Err("MigrationFailed"), Ok(9003)]);
    sqlx::query("DROP TABLE local_node.notes").execute(&mut odd).await.unwrap();
    let session = next.node_session("node_halfway_two", next.schema()).await.unwrap();
    assert_eq!(session.schema_version(), 9003, "it goes on from where it stopped");
    session.close().await;
    for slug in &slugs {
        next.drop_database(slug, &mark).await.unwrap();
    }
}

/// A file of the release before.
fn before(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/before").join(name)
}

/// A database of the release before is brought to what this one makes, and nothing is missing in it.
async fn a_dump_of_before_is_upgraded(on: Postgres, family: &str) {
    let mark = Mark { node: "dumps".to_owned(), cluster: "tests".to_owned() };
    let server = server(on, Schema::of_nodes());
    let schema = if family == "hub" { server.hub_schema() } else { server.schema() };
    let [fresh, dumped] = ["fresh", "dumped"].map(|what| format!("{what}_{family}_{}", on.name()));
    make_with(&server, schema, &fresh, &mark).await;
    let mut admin = on.operator("postgres").await;
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {dumped}"))).execute(&mut admin).await.unwrap();
    let restored = Command::new(Path::new(&variable("FATEH_PGBENCH")).with_file_name("psql"))
        .args(["-h", "127.0.0.1", "-p", &on.port().to_string(), "-U", "fateh_operator", "-d", &dumped])
        .args(["-q", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(before(&format!("{family}.sql")))
        .env("PGPASSWORD", variable("FATEH_OPERATOR_PASSWORD"))
        .output()
        .await
        .unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let mut session = server.node_session(&dumped, schema).await.unwrap();
    session.contract().await.unwrap();
    assert_eq!(session.schema_version(), schema.version());
    session.close().await;
    let upgraded = shape_of(&mut on.operator(&dumped).await, schema.family).await;
    let made = shape_of(&mut on.operator(&fresh).await, schema.family).await;
    assert!(!made.is_empty());
    assert_eq!(upgraded, made);
    for name in [&dumped, &fresh] {
        on.drop_database(name).await;
    }
    sqlx::query(AssertSqlSafe(format!("DROP ROLE {fresh}"))).execute(&mut admin).await.unwrap();
}

#[tokio::test]
async fn databases_of_the_release_before_are_upgraded() {
    for on in [Postgres::V15, Postgres::V18] {
        for family in ["node", "hub"] {
            a_dump_of_before_is_upgraded(on, family).await;
        }
    }
}

/// No field of before is refused or dropped.
#[tokio::test]
async fn resources_of_the_release_before_are_taken_as_they_are() {
    let client = kubernetes().await;
    let text = std::fs::read_to_string(before("resources.yaml")).unwrap();
    let mut kinds = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let wanted = DynamicObject::deserialize(document).unwrap();
        let (name, kind) = (wanted.name_any(), wanted.types.as_ref().unwrap().kind.clone());
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("fateh-platform.com", "v1alpha1", &kind));
        let api = match &wanted.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::<DynamicObject>::all_with(client.clone(), &resource),
        };
        let parameters = PatchParams::apply(TESTER).dry_run().validation_strict();
        let taken = api.patch(&name, &parameters, &Patch::Apply(&wanted)).await;
        let taken = taken.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
        assert_eq!(taken.data["spec"], with_defaults(&wanted.data["spec"], &taken.data["spec"]), "{kind} {name}");
        kinds.push(kind);
    }
    kinds.dedup();
    assert_eq!(kinds, ["DatabaseServer", "LocalNode", "NodeReport", "NodeContent", "ContentDistribution"]);
}

/// What was wanted, and what `taken` has beside it.
fn with_defaults(wanted: &Value, taken: &Value) -> Value {
    match (wanted, taken) {
        (Value::Object(wanted), Value::Object(taken)) => {
            let mut both = taken.clone();
            for (field, value) in wanted {
                both.insert(field.clone(), with_defaults(value, &taken[field]));
            }
            Value::Object(both)
        }
        (Value::Array(wanted), Value::Array(taken)) if wanted.len() == taken.len() => {
            wanted.iter().zip(taken).map(|(wanted, taken)| with_defaults(wanted, taken)).collect()
        }
        _ => wanted.clone(),
    }
}
