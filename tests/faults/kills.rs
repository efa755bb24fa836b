//! Killed before and after every write of a node's making, change and deletion, in Kubernetes and in SQL, the operator
//! goes on at its next start: no orphan, no second password, and the same end as an undisturbed run.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fateh_crds::{DatabaseServer, LocalNode};
use fateh_tests::{
    Postgres, TESTER,
    api_proxy::{self, Asked},
    apply_node, becomes_ready, differences, gone, kubernetes,
    program::Program,
    secret, snapshot,
    sql_proxy::{self, Verdict},
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

/// Before a write is sent, or after it was carried out and before its answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

/// A kill that waits for its write.
#[derive(Clone, Debug)]
struct Fault {
    node: String,
    write: String,
    moment: Moment,
}

/// What the proxies know: kills that wait, and the writes seen.
#[derive(Default)]
struct Plan {
    faults: Mutex<Vec<Fault>>,
    /// Kinds of writes, by node, in the order in which they were first seen.
    seen: Mutex<HashMap<String, Vec<String>>>,
    /// Passwords that lay in a node's Secret when the operator was killed.
    passwords: Mutex<HashMap<String, String>>,
    program: Mutex<Option<Arc<Program>>>,
    /// One kill at a time: each is followed by one start.
    striking: tokio::sync::Mutex<()>,
}

impl Plan {
    /// Notes a write that concerns one of the nodes; the fault that it meets, if any.
    fn meets(&self, place: &str, text: &str) -> Option<Fault> {
        let node = node_of(text)?;
        let write = format!("{place} {}", blinded(text, &node));
        let mut seen = self.seen.lock().unwrap();
        let writes = seen.entry(node.clone()).or_default();
        if !writes.contains(&write) {
            writes.push(write.clone());
        }
        drop(seen);
        let mut faults = self.faults.lock().unwrap();
        let index = faults.iter().position(|fault| fault.node == node && fault.write == write)?;
        Some(faults.remove(index))
    }

    /// Kills the operator, notes the password that it leaves, and starts another.
    async fn strike(self: Arc<Self>, client: Client, fault: Fault) {
        let _turn = self.striking.lock().await;
        let program = self.program.lock().unwrap().clone().unwrap();
        program.kill().await;
        let secrets = Api::<Secret>::namespaced(client, &format!("fateh-node-{}", fault.node));
        if let Ok(Some(secret)) = secrets.get_opt("node-database").await {
            let password = secret.data.and_then(|mut data| data.remove("password")).unwrap();
            self.passwords.lock().unwrap().insert(fault.node, String::from_utf8(password.0).unwrap());
        }
        program.start_again().await;
    }
}

/// A strike of its own: the connection that it ends must not take it along.
fn strike(plan: &Arc<Plan>, client: &Client, fault: Fault) -> impl Future<Output = ()> + use<> {
    let striking = tokio::spawn(Arc::clone(plan).strike(client.clone(), fault));
    async move { striking.await.unwrap() }
}

/// The node that a request or statement is about: our test nodes are called `kill-…`.
fn node_of(text: &str) -> Option<String> {
    let start = text.find("kill-").or_else(|| text.find("kill_"))?;
    let name: String = text[start..].chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    let name = name.replace('_', "-");
    // A retired database has a time behind the name.
    Some(name.split('-').take(2).collect::<Vec<_>>().join("-"))
}

/// The kind of a write: names, numbers and secrets taken out.
fn blinded(text: &str, node: &str) -> String {
    let text = text.replace(node, "NODE").replace(&node.replace('-', "_"), "NODE");
    let mut quoted = text.split('\'').enumerate().map(|(index, part)| if index % 2 == 0 { part } else { "…" });
    let kept: String = quoted.by_ref().collect::<Vec<_>>().join("'");
    kept.chars().filter(|c| !c.is_ascii_digit()).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A request in a line: of an event its reason, of a status its phase, of what is created its name.
fn told(asked: &Asked) -> String {
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let word = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let more = if asked.path.contains("/events") {
        format!("{} {}", word("/reason"), word("/regarding/name"))
    } else if asked.path.ends_with("/status") {
        let conditions = body["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let reason = |kind: &str| {
            let found = conditions.iter().find(|condition| condition["type"] == kind);
            found.and_then(|condition| condition["reason"].as_str()).unwrap_or_default().to_owned()
        };
        format!("{} {} {}", word("/status/phase"), reason("Ready"), reason("DatabaseReady"))
    } else {
        word("/metadata/name")
    };
    format!("{} {} {more}", asked.method, asked.path)
}

/// Both proxies, and the operator behind them.
async fn environment(plan: &Arc<Plan>) -> (Client, Arc<Program>) {
    let client = kubernetes().await;
    let (judging, admin) = (Arc::clone(plan), client.clone());
    let port = sql_proxy::start(
        Postgres::V18,
        Arc::new(move |statement: &str| {
            // A transaction that was only begun has changed nothing.
            if statement.starts_with("BEGIN ") {
                return Verdict::Pass;
            }
            let Some(fault) = judging.meets("SQL", statement) else { return Verdict::Pass };
            let (plan, admin, moment) = (Arc::clone(&judging), admin.clone(), fault.moment);
            let end = Box::pin(async move { strike(&plan, &admin, fault).await });
            if moment == Moment::Before { Verdict::EndBefore(end) } else { Verdict::EndAfter(end) }
        }),
    )
    .await;
    let (judging, admin) = (Arc::clone(plan), client.clone());
    let api = api_proxy::start(
        &client,
        Arc::new(move |asked: Asked, upstream: Client| {
            let (plan, admin) = (Arc::clone(&judging), admin.clone());
            Box::pin(async move {
                let fault = if asked.is_write() { plan.meets("API", &told(&asked)) } else { None };
                let Some(fault) = fault else { return api_proxy::forward(asked, upstream).await };
                if fault.moment == Moment::After {
                    api_proxy::forward(asked, upstream).await;
                }
                strike(&plan, &admin, fault).await;
                std::future::pending().await
            })
        }),
    )
    .await;
    let server = json!({
        "apiVersion": "fateh-platform.com/v1alpha1", "kind": "DatabaseServer", "metadata": {"name": "kills"},
        "spec": {"host": "127.0.0.1", "port": port, "adminSecretRef": {"name": "postgres-admin"}, "tls": {"mode": "Disable"}, "regions": ["kills"]},
    });
    let servers = Api::<DatabaseServer>::all(client.clone());
    servers.patch("kills", &PatchParams::apply(TESTER).force(), &Patch::Apply(&server)).await.unwrap();
    let program = Program::start("operator-kills", &api, &["--resync-interval=600"]).await;
    *plan.program.lock().unwrap() = Some(Arc::clone(&program));
    (client, program)
}

fn spec(changed: bool, policy: &str) -> Value {
    if changed {
        json!({"region": "kills", "displayName": "changed", "fees": {"platformBasisPoints": 1500}, "runtime": {"replicas": 2},
            "routing": {"extraHosts": []}, "database": {"connectionLimit": 30, "reclaimPolicy": policy}})
    } else {
        json!({"region": "kills", "database": {"reclaimPolicy": policy}})
    }
}

/// A step of a node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Making,
    Change,
    Deletion,
}

/// Leads one node through its life, with at most one kill in each step. Returns what there was of it after making and change.
async fn live(
    client: &Client,
    plan: &Plan,
    node: &str,
    policy: &str,
    faults: &BTreeMap<Step, (String, Moment)>,
) -> [Value; 2] {
    let nodes = Api::<LocalNode>::all(client.clone());
    let arm = |step: Step| {
        if let Some((write, moment)) = faults.get(&step) {
            plan.faults.lock().unwrap().push(Fault { node: node.to_owned(), write: write.clone(), moment: *moment });
        }
    };
    let met = |step: Step| {
        let waiting = plan.faults.lock().unwrap().iter().any(|fault| fault.node == node);
        assert!(!waiting, "{node}: the write of {step:?} did not happen: {:?}", faults.get(&step));
    };
    let mut states = Vec::new();
    for (step, changed) in [(Step::Making, false), (Step::Change, true)] {
        arm(step);
        apply_node(client, node, spec(changed, policy)).await.unwrap();
        if faults.get(&step).is_some_and(|(write, _)| write.contains("/status") && write.contains("Deploying")) {
            // Pods that serve at once would leave nothing to say of them on the way.
            met_within(plan, node, 30).await;
        }
        becomes_ready(client, node).await;
        met_within(plan, node, 10).await;
        becomes_ready(client, node).await;
        met(step);
        let found = nodes.get(node).await.unwrap();
        states.push(snapshot(client, &found, Postgres::V18).await);
    }
    let password = secret(client, node, "node-database", "password").await;
    let name = format!("node_{}", node.replace('-', "_"));
    Postgres::V18.connect(&name, &password, &name).await.unwrap();
    if let Some(left) = plan.passwords.lock().unwrap().get(node) {
        assert_eq!(*left, password, "{node}: the password that a killed operator had made is kept");
    }
    arm(Step::Deletion);
    nodes.delete(node, &DeleteParams::default()).await.unwrap();
    gone(client, node).await;
    met(Step::Deletion);
    let namespace = Api::<Namespace>::all(client.clone()).get_opt(&format!("fateh-node-{node}")).await.unwrap();
    assert!(namespace.is_none(), "{node}: its namespace is left");
    assert_eq!(Postgres::V18.databases(&name).await, Vec::<String>::new(), "{node}: its database is left");
    let retired = Postgres::V18.databases(&format!("deleted_{}_", node.replace('-', "_"))).await;
    assert_eq!(retired.len(), usize::from(policy == "Retain"), "{node}: {retired:?}");
    let mut admin = Postgres::V18.operator("postgres").await;
    let roles: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_roles WHERE rolname = $1")
        .bind(&name)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(roles, 0, "{node}: its role is left");
    states.try_into().unwrap()
}

/// Waits until no kill waits for the node any more, or the time is over.
async fn met_within(plan: &Plan, node: &str, seconds: u64) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while plan.faults.lock().unwrap().iter().any(|fault| fault.node == node) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The writes of each step, as an undisturbed life shows them.
async fn writes(client: &Client, plan: &Plan, node: &str, policy: &str) -> (BTreeMap<Step, Vec<String>>, [Value; 2]) {
    let seen = || std::mem::take(plan.seen.lock().unwrap().entry(node.to_owned()).or_default());
    let nodes = Api::<LocalNode>::all(client.clone());
    let mut writes = BTreeMap::new();
    let mut states = Vec::new();
    for (step, changed) in [(Step::Making, false), (Step::Change, true)] {
        apply_node(client, node, spec(changed, policy)).await.unwrap();
        becomes_ready(client, node).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        writes.insert(step, seen());
        states.push(snapshot(client, &nodes.get(node).await.unwrap(), Postgres::V18).await);
    }
    nodes.delete(node, &DeleteParams::default()).await.unwrap();
    gone(client, node).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    writes.insert(Step::Deletion, seen());
    (writes, states.try_into().unwrap())
}

/// Events are told once; one that a kill swallowed is not told again, and need not be.
fn is_event(write: &str) -> bool {
    write.contains("/events")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_before_or_after_any_write_changes_nothing_in_the_end() {
    const LANES: usize = 8;
    let started = Instant::now();
    let plan = Arc::new(Plan::default());
    let (client, program) = environment(&plan).await;
    // The first node has the template made, which later ones find.
    writes(&client, &plan, "kill-first", "Delete").await;
    let (retained, expected) = writes(&client, &plan, "kill-retained", "Retain").await;
    let (dropped, _) = writes(&client, &plan, "kill-dropped", "Delete").await;

    let cases = |step: Step, writes: &BTreeMap<Step, Vec<String>>| -> Vec<(String, Moment)> {
        let writes = writes[&step].iter().filter(|write| !is_event(write));
        writes.flat_map(|write| [Moment::Before, Moment::After].map(|moment| (write.clone(), moment))).collect()
    };
    let (making, change) = (cases(Step::Making, &retained), cases(Step::Change, &retained));
    let (retiring, dropping) = (cases(Step::Deletion, &retained), cases(Step::Deletion, &dropped));
    for (what, cases) in [("making", &making), ("change", &change), ("retiring", &retiring), ("dropping", &dropping)] {
        println!("{what}: {} writes, killed before and after each", cases.len() / 2);
        for (write, _) in cases.iter().step_by(2) {
            println!("  {write}");
        }
    }
    assert!(making.len() >= 2 * 25 && change.len() >= 2 * 6 && retiring.len() >= 2 * 6, "the writes are seen");

    let lives = making.len().max(change.len()).max(2 * retiring.len()).max(2 * dropping.len());
    let lives: Vec<_> = (0..lives)
        .map(|index| {
            let (policy, deletion) = if index % 2 == 0 { ("Retain", &retiring) } else { ("Delete", &dropping) };
            let faults = [
                (Step::Making, making.get(index)),
                (Step::Change, change.get(index)),
                (Step::Deletion, deletion.get(index / 2)),
            ];
            let faults = faults.into_iter().filter_map(|(step, fault)| fault.map(|fault| (step, fault.clone())));
            (format!("kill-{}", word(index)), policy, faults.collect::<BTreeMap<_, _>>())
        })
        .collect();
    let lives = Mutex::new(lives.into_iter());
    let lane = async || {
        loop {
            let Some((node, policy, faults)) = lives.lock().unwrap().next() else { return };
            let [made, changed] = live(&client, &plan, &node, policy, &faults).await;
            for (what, state, expected) in [("made", made, &expected[0]), ("changed", changed, &expected[1])] {
                let different = differences(&state, expected);
                assert!(different.is_empty(), "{node} {what} after {faults:?}: {different:#?}");
            }
        }
    };
    futures::future::join_all((0..LANES).map(|_| lane())).await;
    println!("{} kills in {} s", program.starts() - 1, started.elapsed().as_secs());
    program.stop().await;
    let servers = Api::<DatabaseServer>::all(client.clone());
    let let_go = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    servers.patch("kills", &PatchParams::default(), &let_go).await.unwrap();
    servers.delete("kills", &DeleteParams::default()).await.unwrap();
}

/// A name of letters only, because digits are taken out of what is compared.
fn word(mut number: usize) -> String {
    let mut word = String::from("x");
    loop {
        word.push(char::from(b'a' + u8::try_from(number % 26).unwrap()));
        number /= 26;
        if number == 0 {
            return word;
        }
    }
}
