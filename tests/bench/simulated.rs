//! Ten thousand LocalNodes with pods and databases simulated: what the operator itself needs for them.
//!
//! Roles, catalogue, marks and grants are PostgreSQL's own. Simulated is only what takes room on the disk: `CREATE
//! DATABASE` becomes the row of a database that has no files, and sessions in it are led to one that has.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fateh_crds::DatabaseServer;
use fateh_tests::{
    Postgres, TESTER,
    figures::Figures,
    program::Program,
    ready_node,
    sql_proxy::{self, Rewrite},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};

use crate::fleet;

/// The region that lies on the simulated server.
const REGION: &str = "simulated";
/// The one node whose database has files; the sessions of all others are led there.
const REAL: &str = "node_bench_first";

/// How many nodes.
fn nodes() -> usize {
    std::env::var("FATEH_BENCH_SIMULATED").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000)
}

/// Leads the operator to databases that have no files.
struct Simulation {
    /// Superuser, in the one real database.
    real: PgPool,
}

impl Simulation {
    async fn prepare() -> Self {
        let maintenance = superuser("postgres").await;
        // The row of a database like the newest template, closed, of the one who calls.
        for statement in [
            "CREATE SCHEMA simulated",
            "CREATE SEQUENCE simulated.oids START 1000000",
            "CREATE FUNCTION simulated.create_database(name text) RETURNS void LANGUAGE sql SECURITY DEFINER
             SET allow_system_table_mods = on SET search_path = pg_catalog AS $$
                 INSERT INTO pg_database
                 SELECT (jsonb_populate_record(d, jsonb_build_object('oid', nextval('simulated.oids'), 'datname', name,
                     'datdba', (SELECT oid FROM pg_roles WHERE rolname = session_user), 'datistemplate', false,
                     'datallowconn', false, 'datconnlimit', -1, 'datacl', null))).*
                 FROM pg_database d WHERE d.datistemplate AND d.datname LIKE 'fateh%' LIMIT 1 $$",
            "GRANT USAGE ON SCHEMA simulated TO fateh_operator",
        ] {
            sqlx::query(statement).execute(&maintenance).await.unwrap();
        }
        Self { real: superuser(REAL).await }
    }
}

async fn superuser(database: &str) -> PgPool {
    let pool = PgPoolOptions::new().max_connections(4).connect_lazy_with(Postgres::V18.superuser(database));
    if database == REAL {
        sqlx::query("CREATE SCHEMA simulated AUTHORIZATION fateh_operator").execute(&pool).await.unwrap();
    }
    pool
}

fn is_simulated(database: &str) -> bool {
    database.starts_with("node_") && database != REAL
}

impl Rewrite for Simulation {
    async fn database(&self, asked: &str) -> String {
        if !is_simulated(asked) {
            return asked.to_owned();
        }
        // Each node has an invitation of its own; the rest of its schema is the same for all.
        let table = format!(
            "CREATE TABLE IF NOT EXISTS simulated.\"{asked}\" (LIKE local_node.first_admin_invitation INCLUDING ALL)"
        );
        sqlx::query(AssertSqlSafe(table)).execute(&self.real).await.unwrap();
        let owner = format!("ALTER TABLE simulated.\"{asked}\" OWNER TO fateh_operator");
        sqlx::query(AssertSqlSafe(owner)).execute(&self.real).await.unwrap();
        REAL.to_owned()
    }

    fn statement(&self, asked: &str, statement: &str) -> Option<String> {
        if let Some(rest) = statement.strip_prefix("CREATE DATABASE \"node_") {
            let name = format!("node_{}", rest.split('"').next().unwrap_or_default());
            return is_simulated(&name).then(|| format!("SELECT simulated.create_database('{name}')"));
        }
        if !is_simulated(asked) {
            return None;
        }
        // Ten thousand grants on one schema would be one row that all wait for.
        if statement.starts_with("GRANT USAGE ON SCHEMA local_node") {
            return Some("SELECT".into());
        }
        let own = statement.replace("local_node.first_admin_invitation", &format!("simulated.\"{asked}\""));
        (own != statement).then_some(own)
    }
}

/// A server for many nodes, in [`REGION`].
pub async fn server(client: &Client) {
    fleet::room(client).await;
    let program = Program::start_directly("operator-simulated-first", &[]).await;
    ready_node(client, "bench-first", json!({})).await;
    program.stop().await;

    let port = sql_proxy::start_rewriting(Postgres::V18, Arc::new(Simulation::prepare().await)).await;
    let server = json!({
        "apiVersion": "fateh-platform.com/v1alpha1", "kind": "DatabaseServer", "metadata": {"name": REGION},
        "spec": {"host": "127.0.0.1", "port": port, "adminSecretRef": {"name": "postgres-admin"}, "tls": {"mode": "Disable"},
            "regions": [REGION], "capacity": {"maxDatabases": 100_000, "connectionOvercommit": 1000}},
    });
    let servers = Api::<DatabaseServer>::all(client.clone());
    servers.patch(REGION, &PatchParams::apply(TESTER).force(), &Patch::Apply(&server)).await.unwrap();
}

/// What a node on that server is applied with.
pub fn spec() -> Value {
    json!({"region": REGION, "database": {"connectionLimit": 10}})
}

/// Makes them all, and measures the operator.
pub async fn measure(client: &Client, figures: &mut Figures) {
    server(client).await;
    let program = Program::start_directly("operator-simulated", &fleet::PROBE).await;
    let count = nodes();
    let pods = fleet::simulate_pods(client);
    let names: Vec<_> = (0..count).map(|index| format!("bench-sim-{index}")).collect();
    let started = Instant::now();
    fleet::make_ready(client, &names, &spec()).await;
    figures.add(
        &format!("{count} LocalNodes until all Ready, pods and databases simulated"),
        started.elapsed().as_secs_f64(),
        "s",
        "",
    );
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    for (what, value, goal) in [
        ("operator: most resident memory meanwhile", program.peak_memory().await as f64 / 1000.0, "60"),
        ("operator: resident memory afterwards", program.memory().await as f64 / 1000.0, ""),
    ] {
        figures.add(what, value, "MB", goal);
    }
    program.stop().await;
    // One that starts where all is done: what a new leader needs.
    let program = Program::start_directly("operator-simulated-again", &fleet::PROBE).await;
    until_settled(&program).await;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    figures.add(
        "operator: most resident memory of one that starts there",
        program.peak_memory().await as f64 / 1000.0,
        "MB",
        "60",
    );
    program.stop().await;
    pods.abort();
}

/// Waits until the operator has looked at all there is, and has nothing left to do.
pub async fn until_settled(program: &Program) {
    let deadline = Instant::now() + Duration::from_secs(900);
    loop {
        let before = program.processor_time().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        if program.processor_time().await - before < 100 {
            return;
        }
        assert!(Instant::now() < deadline, "the operator does not come to rest");
    }
}
