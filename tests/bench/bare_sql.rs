//! What PostgreSQL does of the same SQL without the node before it: the statements of each kind of request are noted
//! on their way, and `pgbench` carries them out.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use fateh_tests::{
    Postgres,
    sql_proxy::{self, Rewrite},
    variable,
};
use tokio::process::Command;

use crate::{load::send_one, node_load::Visitor, running::Running};

/// The kinds of requests by their numbers: a payment, a page of users, oneself; how many of five they are; and what
/// tells their one statement from those that the node carries out beside.
const KINDS: [(u64, u32, &str); 3] = [
    (0, 1, "INSERT INTO local_node.local_revenues"),
    (1, 1, "ORDER BY id LIMIT $5"),
    (2, 3, "FROM local_node.local_users WHERE id = $1"),
];

/// Notes every statement.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Rewrite for Recorder {
    async fn database(&self, asked: &str) -> String {
        asked.to_owned()
    }

    fn statement(&self, _: &str, statement: &str) -> Option<String> {
        self.0.lock().unwrap().push(statement.to_owned());
        None
    }
}

/// Requests a second whose statements `pgbench` carries out, as many clients and kinds at once as the node had.
pub async fn saturate(node: &Running, visitor: &Visitor) -> f64 {
    let recorder = Arc::new(Recorder::default());
    let port = sql_proxy::start_rewriting(Postgres::V18, Arc::clone(&recorder)).await;
    // Only a replica that starts now is led through the proxy.
    fs::write(node.file("database/port"), port.to_string()).unwrap();
    let mut replica = node.replica().await;
    let address = replica.users.base.trim_start_matches("http://").to_owned();
    let target = Visitor { address, ..visitor.clone() }.target();
    let me = user_id(node, visitor).await;
    let mut pgbench = Command::new(variable("FATEH_PGBENCH"));
    let state = PathBuf::from(variable("FATEH_STATE"));
    for (kind, weight, needle) in KINDS {
        let asking = Arc::clone(&target);
        // Far behind the numbers that were used.
        let number = 4_000_000_000_000_000_000 + kind;
        tokio::task::spawn_blocking(move || send_one(&asking, number)).await.unwrap();
        let noted = recorder.0.lock().unwrap().iter().find(|text| text.contains(needle)).cloned();
        let statement = noted.unwrap_or_else(|| panic!("{needle}: no such statement was seen"));
        let file = state.join(format!("pgbench-{kind}.sql"));
        fs::write(&file, format!("{};\n", filled(&statement, &me))).unwrap();
        pgbench.arg("-f").arg(format!("{}@{weight}", file.display()));
    }
    replica.child.kill().await.unwrap();
    fs::write(node.file("database/port"), Postgres::V18.port().to_string()).unwrap();
    let database = format!("node_{}", node.name.replace('-', "_"));
    pgbench
        .args(["--no-vacuum", "--protocol=prepared", "--client=16", "--jobs=2", "--time=20", "--host=127.0.0.1"])
        .args([format!("--port={}", Postgres::V18.port()), "--username=fateh_operator".into(), database])
        .env("PGPASSWORD", variable("FATEH_OPERATOR_PASSWORD"));
    let output = pgbench.output().await.unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.filter(|_| output.status.success()).unwrap_or_else(|| panic!("pgbench: {text}{errors}"))
}

/// The user that asks.
async fn user_id(node: &Running, visitor: &Visitor) -> String {
    let me = node.users.get("/api/local/users/me", Some(&visitor.token)).await.data(200);
    me["id"].as_str().unwrap().to_owned()
}

/// The statement with values in place of its parameters.
fn filled(statement: &str, me: &str) -> String {
    let id = "gen_random_uuid()";
    let me = format!("'{me}'::uuid");
    let values: &[&str] = if statement.contains("INSERT INTO local_node.local_revenues") {
        &[
            id,
            "'course'",
            "'SAR'",
            "1000::bigint",
            "NULL::uuid",
            "now()",
            "'{}'::jsonb",
            "now()",
            "'pgbench'",
            "gen_random_uuid()::text",
            "sha256('')",
            id,
            id,
            "'revenue'",
        ]
    } else if statement.contains("LIMIT $5") {
        &["NULL", "NULL", "NULL", "NULL", "21"]
    } else {
        &[&me]
    };
    let mut text = statement.to_owned();
    for (index, value) in values.iter().enumerate().rev() {
        text = text.replace(&format!("${}", index + 1), value);
    }
    assert!(!text.contains('$'), "a parameter without a value: {text}");
    text
}
