//! Killed before and after every write of a node's making, change and deletion, in Kubernetes and in SQL, the operator
//! goes on at its next start: no orphan, no second password, and the same end as an undisturbed run. `make soak` goes
//! through all of them, `make test` through a third.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fateh_crds::{DatabaseServer, LocalNode};
use fateh_tests::{
    Postgres, TESTER, api_proxy, apply_node, becomes_ready, differences, gone, kubernetes, program::Program, secret,
    seed, snapshot, some_of, sql_proxy,
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::strikes::{Fault, Moment, Strikes, Witness};

/// Passwords that lay in a node's Secret when the operator was killed.
type Passwords = Arc<Mutex<HashMap<String, String>>>;

/// Notes the password that a killed operator leaves.
fn noting(client: &Client, passwords: &Passwords) -> Witness {
    let (client, passwords) = (client.clone(), Arc::clone(passwords));
    Box::new(move |node| {
        let secrets = Api::<Secret>::namespaced(client.clone(), &format!("fateh-node-{node}"));
        let passwords = Arc::clone(&passwords);
        Box::pin(async move {
            if let Ok(Some(secret)) = secrets.get_opt("node-database").await {
                let password = secret.data.and_then(|mut data| data.remove("password")).unwrap();
                passwords.lock().unwrap().insert(node, String::from_utf8(password.0).unwrap());
            }
        })
    })
}

/// Both proxies, and the operator behind them.
async fn environment(client: &Client, strikes: &Arc<Strikes>) -> Arc<Program> {
    let judging = Arc::clone(strikes);
    let port = sql_proxy::start(Postgres::V18, Arc::new(move |statement: &str| judging.at_statement(statement))).await;
    let api = api_proxy::start(client, strikes.at_requests()).await;
    let server = json!({
        "apiVersion": "fateh-platform.com/v1alpha1", "kind": "DatabaseServer", "metadata": {"name": "kills"},
        "spec": {"host": "127.0.0.1", "port": port, "adminSecretRef": {"name": "postgres-admin"}, "tls": {"mode": "Disable"}, "regions": ["kills"]},
    });
    let servers = Api::<DatabaseServer>::all(client.clone());
    servers.patch("kills", &PatchParams::apply(TESTER).force(), &Patch::Apply(&server)).await.unwrap();
    let program = Program::start("operator-kills", &api, &["--resync-interval=600"]).await;
    strikes.aim_at(&program);
    program
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
    strikes: &Strikes,
    passwords: &Passwords,
    node: &str,
    policy: &str,
    faults: &BTreeMap<Step, (String, Moment)>,
) -> [Value; 2] {
    let nodes = Api::<LocalNode>::all(client.clone());
    let arm = |step: Step| {
        if let Some((write, moment)) = faults.get(&step) {
            strikes.arm(Fault { subject: node.to_owned(), write: write.clone(), moment: *moment });
        }
    };
    let met = |step: Step| {
        assert!(!strikes.waits(node), "{node}: the write of {step:?} did not happen: {:?}", faults.get(&step));
    };
    let mut states = Vec::new();
    for (step, changed) in [(Step::Making, false), (Step::Change, true)] {
        arm(step);
        apply_node(client, node, spec(changed, policy)).await.unwrap();
        if faults.get(&step).is_some_and(|(write, _)| write.contains("/status") && write.contains("Deploying")) {
            // Pods that serve at once would leave nothing to say of them on the way.
            strikes.met_within(node, 30).await;
        }
        becomes_ready(client, node).await;
        strikes.met_within(node, 10).await;
        becomes_ready(client, node).await;
        met(step);
        let found = nodes.get(node).await.unwrap();
        states.push(snapshot(client, &found, Postgres::V18).await);
    }
    let password = secret(client, node, "node-database", "password").await;
    let name = format!("node_{}", node.replace('-', "_"));
    Postgres::V18.connect(&name, &password, &name).await.unwrap();
    if let Some(left) = passwords.lock().unwrap().get(node) {
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

/// The writes of each step, as an undisturbed life shows them.
async fn writes(
    client: &Client,
    strikes: &Strikes,
    node: &str,
    policy: &str,
) -> (BTreeMap<Step, Vec<String>>, [Value; 2]) {
    let seen = || strikes.seen(node);
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
    let client = kubernetes().await;
    let passwords = Passwords::default();
    let strikes = Strikes::new("kill-", noting(&client, &passwords));
    let program = environment(&client, &strikes).await;
    // The first node has the template made, which later ones find.
    writes(&client, &strikes, "kill-first", "Delete").await;
    let (retained, expected) = writes(&client, &strikes, "kill-retained", "Retain").await;
    let (dropped, _) = writes(&client, &strikes, "kill-dropped", "Delete").await;

    let cases = |step: Step, writes: &BTreeMap<Step, Vec<String>>| -> Vec<(String, Moment)> {
        let writes = writes[&step].iter().filter(|write| !is_event(write));
        writes.flat_map(|write| [Moment::Before, Moment::After].map(|moment| (write.clone(), moment))).collect()
    };
    let (making, change) = (cases(Step::Making, &retained), cases(Step::Change, &retained));
    let (retiring, dropping) = (cases(Step::Deletion, &retained), cases(Step::Deletion, &dropped));
    for (what, cases) in [("making", &making), ("change", &change), ("retiring", &retiring), ("dropping", &dropping)] {
        println!("{what}: {} writes, killed before and after each in `make soak`, else at a third", cases.len() / 2);
        for (write, _) in cases.iter().step_by(2) {
            println!("  {write}");
        }
    }
    assert!(making.len() >= 2 * 25 && change.len() >= 2 * 6 && retiring.len() >= 2 * 6, "the writes are seen");
    let seed = seed();
    println!("seed {seed} (FATEH_SEED)");
    let [making, change, retiring, dropping] =
        [making, change, retiring, dropping].map(|cases| some_of(cases, 3, seed));

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
            let [made, changed] = live(&client, &strikes, &passwords, &node, policy, &faults).await;
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
