//! Killed before and after every write by which the template of nodes' databases is made, the operator begins anew at
//! its next start, and no half of a template is left or used.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Instant,
};

use fateh_crds::DatabaseServer;
use fateh_tests::{
    Postgres, TESTER, api_proxy, delete_node, eventually, kubernetes,
    program::Program,
    ready_node,
    sql_proxy::{self, Verdict},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use sqlx::AssertSqlSafe;

/// A kill at one write of the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fault {
    /// Which write, counted from the operator's start.
    write: usize,
    /// After it was carried out, and before its answer comes; or before it is sent.
    after: bool,
}

/// What the proxy knows.
#[derive(Default)]
struct Plan {
    /// Writes since the operator's start.
    seen: Mutex<Vec<String>>,
    faults: Mutex<VecDeque<Fault>>,
    program: Mutex<Option<Arc<Program>>>,
}

impl Plan {
    fn judge(self: &Arc<Self>, statement: &str) -> Verdict {
        // All that happens in the template, or to it; not what is copied from it.
        let concerns = statement.contains("fateh_t") && !statement.contains("\"node_") && !statement.contains("BEGIN");
        if !concerns {
            return Verdict::Pass;
        }
        let write = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(statement.to_owned());
            seen.len() - 1
        };
        let mut faults = self.faults.lock().unwrap();
        let Some(fault) = faults.pop_front_if(|fault| fault.write == write) else { return Verdict::Pass };
        let plan = Arc::clone(self);
        let end = Box::pin(async move {
            // A task of its own: the connection that it ends must not take it along.
            tokio::spawn(async move { plan.strike().await }).await.unwrap();
        });
        if fault.after { Verdict::EndAfter(end) } else { Verdict::EndBefore(end) }
    }

    async fn strike(&self) {
        let program = self.program.lock().unwrap().clone().unwrap();
        program.kill().await;
        self.seen.lock().unwrap().clear();
        program.start_again().await;
    }
}

/// Takes the template away, as if this were the first start of a release.
async fn forget_template() {
    let mut admin = Postgres::V18.operator("postgres").await;
    for name in Postgres::V18.databases("fateh_t").await {
        for text in [format!("ALTER DATABASE \"{name}\" IS_TEMPLATE false"), format!("DROP DATABASE \"{name}\"")] {
            sqlx::query(AssertSqlSafe(text)).execute(&mut admin).await.unwrap();
        }
    }
}

/// Every column, right and migration of a node's schema, in a line.
async fn schema(database: &str) -> String {
    sqlx::query_scalar(
        "SELECT concat(
            (SELECT string_agg(concat_ws(' ', relname, relacl, attname, atttypid::regtype, attnotnull, attacl), ', '
                               ORDER BY relname, attnum)
             FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
             WHERE relnamespace = 'local_node'::regnamespace AND attnum > 0),
            (SELECT string_agg(concat_ws(' ', version, success, encode(checksum, 'hex')), ', ' ORDER BY version)
             FROM local_node._sqlx_migrations))",
    )
    .fetch_one(&mut Postgres::V18.operator(database).await)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_before_or_after_any_write_of_the_template_leaves_no_half_of_one() {
    let started = Instant::now();
    let plan = Arc::new(Plan::default());
    let client = kubernetes().await;
    let judging = Arc::clone(&plan);
    let port = sql_proxy::start(Postgres::V18, Arc::new(move |statement: &str| judging.judge(statement))).await;
    let api =
        api_proxy::start(&client, Arc::new(|asked, upstream| Box::pin(api_proxy::forward(asked, upstream)))).await;
    let server = json!({
        "apiVersion": "fateh-platform.com/v1alpha1", "kind": "DatabaseServer", "metadata": {"name": "template"},
        "spec": {"host": "127.0.0.1", "port": port, "adminSecretRef": {"name": "postgres-admin"}, "tls": {"mode": "Disable"}, "regions": ["template"]},
    });
    let servers = Api::<DatabaseServer>::all(client.clone());
    servers.patch("template", &PatchParams::apply(TESTER).force(), &Patch::Apply(&server)).await.unwrap();
    forget_template().await;
    let program = Program::start("operator-template", &api, &["--resync-interval=600"]).await;
    *plan.program.lock().unwrap() = Some(Arc::clone(&program));

    ready_node(&client, "template-first", json!({"region": "template"})).await;
    let writes = plan.seen.lock().unwrap().clone();
    assert!(writes.len() > 20, "the writes are seen: {writes:#?}");
    let expected = schema("node_template_first").await;
    let templates = Postgres::V18.databases("fateh_t").await;
    assert_eq!(templates.len(), 1, "{templates:?}");
    delete_node(&client, "template-first").await;

    forget_template().await;
    plan.seen.lock().unwrap().clear();
    let faults = (0..writes.len()).flat_map(|write| [false, true].map(|after| Fault { write, after }));
    plan.faults.lock().unwrap().extend(faults);
    let kills = plan.faults.lock().unwrap().len();
    fateh_tests::apply_node(&client, "template-second", json!({"region": "template"})).await.unwrap();
    eventually("every kill", 200, async || {
        let left = plan.faults.lock().unwrap().clone();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    ready_node(&client, "template-second", json!({"region": "template"})).await;
    println!("{kills} kills at {} writes in {} s", writes.len(), started.elapsed().as_secs());
    assert_eq!(Postgres::V18.databases("fateh_t").await, templates, "one template, and no half of one");
    assert_eq!(schema("node_template_second").await, expected);
    delete_node(&client, "template-second").await;
    program.stop().await;
    let let_go = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    servers.patch("template", &PatchParams::default(), &let_go).await.unwrap();
    servers.delete("template", &DeleteParams::default()).await.unwrap();
}
