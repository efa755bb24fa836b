//! What the operator writes for one node, recorded on the way, and sent again for other nodes without it.

use std::sync::{Arc, Mutex};

use fateh_crds::DatabaseServer;
use fateh_tests::{
    Postgres, TESTER, api_proxy, apply_node, delete_node,
    program::Program,
    ready_node,
    sql_proxy::{self, Verdict},
    variable,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, postgres::PgPoolOptions};

const MODEL: &str = "bench-model";
/// The path of events: the operator does not wait for what they tell to be written by others, and neither is it counted.
const EVENTS: &str = "/events";

/// One write.
#[derive(Clone, Debug, PartialEq)]
enum Write {
    Api { method: String, uri: String, kind: String, body: String },
    Sql { database: String, text: String },
}

/// All that is written for one node, in its order, each once.
pub struct Life {
    writes: Vec<Write>,
    uid: String,
}

impl Life {
    /// How many writes it takes.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn writes(&self) -> f64 {
        self.writes.len() as f64
    }
}

/// Leads one node through its making behind proxies, and notes every write.
pub async fn record(client: &Client) -> Life {
    let writes = Arc::new(Mutex::new(Vec::<Write>::new()));
    let noting = Arc::clone(&writes);
    let port = sql_proxy::start(
        Postgres::V18,
        Arc::new(move |told: &str| {
            let (text, database) = told.rsplit_once(" in ").unwrap_or((told, "postgres"));
            let (text, database) = if told.starts_with("COMMIT") { ("COMMIT", database) } else { (text, database) };
            noting.lock().unwrap().push(Write::Sql { database: database.to_owned(), text: text.to_owned() });
            Verdict::Pass
        }),
    )
    .await;
    let noting = Arc::clone(&writes);
    let api = api_proxy::start(
        client,
        Arc::new(move |asked, upstream| {
            if asked.is_write() && !asked.path.contains(EVENTS) && !asked.path.contains("databaseservers") {
                let kind =
                    asked.parts.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
                let write = Write::Api {
                    method: asked.method.to_string(),
                    uri: asked.parts.uri.to_string(),
                    kind: kind.to_owned(),
                    body: String::from_utf8_lossy(&asked.body).into_owned(),
                };
                let mut noted = noting.lock().unwrap();
                // Once each: that a later pass applies the same again is the operator's affair.
                if !noted.contains(&write) {
                    noted.push(write);
                }
            }
            Box::pin(api_proxy::forward(asked, upstream))
        }),
    )
    .await;
    let server = json!({
        "apiVersion": "fateh-platform.com/v1alpha1", "kind": "DatabaseServer", "metadata": {"name": "bench-record"},
        "spec": {"host": "127.0.0.1", "port": port, "adminSecretRef": {"name": "postgres-admin"}, "tls": {"mode": "Disable"}, "regions": ["bench-record"]},
    });
    let servers = Api::<DatabaseServer>::all(client.clone());
    servers.patch("bench-record", &PatchParams::apply(TESTER).force(), &Patch::Apply(&server)).await.unwrap();
    let program = Program::start("operator-record", &api, &[]).await;
    // A first node has the template made.
    ready_node(client, "bench-first", json!({"region": "bench-record"})).await;
    delete_node(client, "bench-first").await;
    writes.lock().unwrap().clear();
    let node = ready_node(client, MODEL, json!({"region": "bench-record"})).await;
    // The operator writes to both side by side. Sent one after the other, transactions stay whole.
    let mut noted = writes.lock().unwrap().clone();
    let is_sql = |write: &Write| matches!(write, Write::Sql { .. });
    let first = noted.iter().position(is_sql).unwrap();
    noted[first..].sort_by_key(|write| !is_sql(write));
    delete_node(client, MODEL).await;
    program.stop().await;
    Life { writes: noted, uid: node.uid().unwrap() }
}

/// What bare writes are sent with: the operator's own rights, and as many connections as it has.
pub struct Sender {
    admin: Client,
    api: Client,
    pool: PgPool,
}

impl Sender {
    pub async fn new(client: &Client) -> Self {
        let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(Postgres::V18.port())
            .username("fateh_operator")
            .password(&variable("FATEH_OPERATOR_PASSWORD"))
            .database("postgres")
            .ssl_mode(sqlx::postgres::PgSslMode::Disable);
        let pool = PgPoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
        Self { admin: client.clone(), api: api_proxy::operator(client).await, pool }
    }

    /// Makes another node's LocalNode, and sends all writes of a life for it.
    pub async fn make(&self, life: &Life, name: &str) {
        let node = apply_node(&self.admin, name, json!({})).await.unwrap();
        let (name, uid) = (node.name_any(), node.uid().unwrap());
        let own = |text: &str| {
            text.replace(&life.uid, &uid)
                .replace(MODEL, &name)
                .replace(&MODEL.replace('-', "_"), &name.replace('-', "_"))
        };
        let (mut inside, mut pooled): (Option<PgConnection>, Option<sqlx::pool::PoolConnection<sqlx::Postgres>>) =
            (None, None);
        for write in &life.writes {
            match write {
                Write::Api { method, uri, kind, body } => {
                    (inside, pooled) = (None, None);
                    let body = own(body);
                    let request =
                        http::Request::builder().method(method.as_str()).uri(own(uri)).header("content-type", kind);
                    let sent = self.api.request_text(request.body(body.into_bytes()).unwrap()).await;
                    assert!(sent.is_ok(), "{method} {uri}: {sent:?}");
                }
                Write::Sql { database, text } => {
                    let database = own(database);
                    let connection: &mut PgConnection = if database == "postgres" {
                        inside = None;
                        if pooled.is_none() {
                            pooled = Some(self.pool.acquire().await.unwrap());
                        }
                        pooled.as_deref_mut().unwrap()
                    } else {
                        if inside.is_none() {
                            inside = Some(Postgres::V18.operator(&database).await);
                        }
                        inside.as_mut().unwrap()
                    };
                    carry_out(connection, &own(text)).await;
                }
            }
        }
    }
}

async fn carry_out(connection: &mut PgConnection, text: &str) {
    let query = sqlx::query(AssertSqlSafe(text.to_owned())).persistent(false);
    let done = if text.contains("INTO local_node.fee_rates") {
        query.bind("2026-01-01T00:00:00Z").bind(1000).execute(connection).await
    } else if text.contains("INTO local_node.first_admin_invitation") {
        query.bind("admin@example.com").bind(vec![7_u8; 32]).bind("2030-01-01T00:00:00Z").execute(connection).await
    } else {
        query.execute(connection).await
    };
    assert!(done.is_ok(), "{text}: {done:?}");
}
