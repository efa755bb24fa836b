//! The controller of DatabaseServers: asks each server about itself at intervals, and writes what changed.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use fateh_crds::{DatabaseServer, DatabaseServerStatus, DatabaseSpec, NodeState, SERVER_FINALIZER};
use futures::Stream;
use jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt,
    api::ListParams,
    runtime::{events::EventType, watcher},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    cache::Keyed,
    conditions::{Fact, find, merge},
    context::Context,
    database::{Catalog, Drift, Mark, Schema, ServerFacts, Wanted},
    failure::{Disposition, Failure, kubernetes},
    hub,
    kubernetes::{apply_status, has_finalizer, put_finalizer, remove_finalizer},
    local_node::{Load, connect, connections_allowed, full, loads},
    news::hash,
    node_summary::{NodeSummary, WatchedNode},
    settings::HubSettings,
    watch,
    work_queue::{Again, Terms, work},
};

const KIND: &str = "DatabaseServer";
/// How soon a server that does not answer, or is being deleted, is looked at again.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);
/// Servers that are looked at at once: of those that do not answer, each takes its time.
const AT_ONCE: usize = 32;

/// Runs the controller until `stop`. `servers` is the watch that fills the cache, and cancels `filled` after its first
/// listing.
pub async fn run(
    context: Arc<Context>,
    servers: impl Stream<Item = Result<DatabaseServer, watcher::Error>> + Send + 'static,
    filled: CancellationToken,
    stop: CancellationToken,
) {
    let asked = watch::changes(KIND, servers, |server| Some(server.key()), asked);
    let terms = Terms { concurrency: AT_ONCE, begin: filled, end: stop };
    work(asked, terms, |name| {
        let context = Arc::clone(&context);
        let span = tracing::info_span!("reconcile", server = &*name);
        async move { reconcile(&context, &name).await }.instrument(span)
    })
    .await;
}

/// What makes a server worth a pass before its time: what is asked for, and that its finalizer is gone.
fn asked(server: &DatabaseServer) -> u64 {
    let metadata = &server.metadata;
    hash(&(&metadata.uid, metadata.generation, &metadata.finalizers))
}

async fn reconcile(context: &Context, name: &str) -> Again {
    let server = context.database_servers.get(name)?;
    let key = format!("{KIND}/{name}");
    match pass(context, &server).await {
        Ok(again) => {
            context.backoff.succeeded(&key);
            again
        }
        Err(failure) => {
            tracing::warn!(server = name, reason = failure.reason(), error = %failure, "a reconcile did not reach its goal");
            Some(context.backoff.failed(&key))
        }
    }
}

async fn pass(context: &Context, server: &Arc<DatabaseServer>) -> Result<Again, Failure> {
    let started = Instant::now();
    if server.metadata.deletion_timestamp.is_some() && release(context, server).await? {
        return Ok(None);
    }
    let asked = ask(context, server).await;
    let here = hub::settings_for(context, server);
    let hub = match here.filter(|_| asked.is_ok() && server.metadata.deletion_timestamp.is_none()) {
        Some(hub) => Some(ensure_hub(context, hub, server).await),
        None => None,
    };
    let hub_failed = hub.as_ref().is_some_and(Result::is_err);
    let failure = asked.as_ref().err().map(Failure::reason);
    context.metrics.reconciled(KIND, started.elapsed().as_secs_f64(), failure);
    let previous = server.status.clone().unwrap_or_default();
    let status = status(&previous, server, load(context, server), &asked, hub.as_ref(), context.clock.now());
    if status != previous {
        let part = json!({
            "apiVersion": DatabaseServer::api_version(&()), "kind": KIND,
            "metadata": {"uid": server.uid()}, "status": status,
        });
        let api = Api::<DatabaseServer>::all(context.client.clone());
        apply_status(&api, "write the DatabaseServer's status", &server.name_any(), &part).await?;
        tell(context, server, &previous, &status).await;
    }
    let soon = asked.is_err() || hub_failed || server.metadata.deletion_timestamp.is_some();
    let interval = context.settings.probe_interval;
    Ok(Some(if soon { interval.min(RETRY_INTERVAL) } else { interval }))
}

/// Asks the server about itself, and in one query about all its nodes' databases.
#[tracing::instrument(level = "debug", skip_all)]
async fn ask(context: &Context, server: &Arc<DatabaseServer>) -> Result<ServerFacts, Failure> {
    let connection = connect(context, Arc::clone(server)).await?.server;
    let facts = connection.facts().await?;
    let name = server.name_any();
    let nodes = context.nodes.all();
    let mut comparison = Comparison::of(&nodes, &name, &context.cluster);
    connection.survey(|row| comparison.take(row)).await?;
    for (node, drift) in comparison.finish() {
        for kind in &drift {
            context.metrics.drifted(kind.reason());
        }
        tracing::warn!(server = name, node, ?drift, "a node's role or database is not as it should be");
        let _ = context.wake.send(node);
    }
    Ok(facts)
}

/// Finds the nodes whose role or database is not as an earlier pass left it, and how. Those on their way are not looked at.
struct Comparison<'a> {
    cluster: &'a str,
    /// Those that no row was seen of yet, by their database.
    unseen: HashMap<&'a str, &'a NodeSummary>,
    drifted: Vec<(String, Vec<Drift>)>,
}

impl<'a> Comparison<'a> {
    fn of(nodes: &'a [Arc<NodeSummary>], server: &str, cluster: &'a str) -> Self {
        let settled = nodes.iter().filter_map(|node| {
            let placed = node.placed.as_ref().filter(|placed| &*placed.server == server)?;
            (placed.settled && !node.is_leaving).then_some((&*placed.database, node.as_ref()))
        });
        Self { cluster, unseen: settled.collect(), drifted: Vec::new() }
    }

    fn take(&mut self, row: &Catalog) {
        if let Some(node) = self.unseen.remove(&*row.name) {
            self.compare(node, row);
        }
    }

    /// Names of nodes. What no row was seen of is not there.
    fn finish(mut self) -> Vec<(String, Vec<Drift>)> {
        for node in std::mem::take(&mut self.unseen).into_values() {
            self.compare(node, &Catalog::default());
        }
        self.drifted
    }

    fn compare(&mut self, node: &NodeSummary, row: &Catalog) {
        let mark = Mark { node: node.uid.to_string(), cluster: self.cluster.to_owned() };
        let drift = row.drift(&Wanted {
            family: Schema::of_nodes().family,
            mark: &mark,
            connection_limit: node.connection_limit,
            may_sign_in: node.state != NodeState::Inactive,
        });
        if !drift.is_empty() {
            self.drifted.push((node.name.to_string(), drift));
        }
    }
}

/// Puts our finalizer on the server before anything is made on it, so that it is not let go under its nodes.
///
/// # Errors
/// When the API server refuses.
pub async fn hold_server(context: &Context, server: &DatabaseServer) -> Result<(), Failure> {
    if server.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let api = Api::<DatabaseServer>::all(context.client.clone());
    put_finalizer(&api, "hold the DatabaseServer", server, SERVER_FINALIZER).await
}

/// Makes the hub's database and Secrets, as long as the server is to stay.
async fn ensure_hub(context: &Context, hub: &HubSettings, server: &Arc<DatabaseServer>) -> Result<hub::Admin, Failure> {
    hold_server(context, server).await?;
    let ensured = hub::ensure(context, hub, server).await;
    if let Err(failure) = &ensured {
        context.metrics.failed(KIND, failure.reason());
        tracing::warn!(server = server.name_any(), reason = failure.reason(), error = %failure, "the hub's database is not as it should be");
    }
    ensured
}

/// What is placed on the server; none before the LocalNodes are known.
fn load(context: &Context, server: &DatabaseServer) -> Option<Load> {
    let loads = context.nodes_filled.is_cancelled().then(|| loads(&context.nodes.all()))?;
    let mut load = loads.get(&server.name_any()).copied().unwrap_or_default();
    load.connections += hub::settings_for(context, server).map_or(0, |hub| i64::from(hub.connection_limit));
    Some(load)
}

/// Lets a server go that is being deleted and holds no node. True: it is let go.
async fn release(context: &Context, server: &DatabaseServer) -> Result<bool, Failure> {
    let act = "let the DatabaseServer go";
    if !has_finalizer(server, SERVER_FINALIZER) {
        return Ok(true);
    }
    // Asked anew: the cache may not show a node that was placed a moment ago.
    let nodes = Api::<WatchedNode>::all(context.client.clone()).list(&ListParams::default()).await;
    let nodes: Vec<_> = nodes.map_err(kubernetes(act))?.items.into_iter().map(|node| Arc::new(node.into())).collect();
    if hub::settings_for(context, server).is_some() || loads(&nodes).contains_key(&server.name_any()) {
        return Ok(false);
    }
    let api = Api::<DatabaseServer>::all(context.client.clone());
    remove_finalizer(&api, act, server, SERVER_FINALIZER).await?;
    Ok(true)
}

/// The status that an answer makes of the `previous` one.
fn status(
    previous: &DatabaseServerStatus,
    server: &DatabaseServer,
    load: Option<Load>,
    asked: &Result<ServerFacts, Failure>,
    hub: Option<&Result<hub::Admin, Failure>>,
    now: Timestamp,
) -> DatabaseServerStatus {
    let answered = asked.as_ref().ok();
    let nodes = load.map(|load| load.nodes).or(previous.nodes);
    let connection_limits = load.map(|load| load.connections).or(previous.connection_limits);
    let connections = answered.map(|facts| facts.connections).or(previous.connections);
    let mut facts = match asked {
        Ok(facts) => vec![
            Fact::holds("Ready", "Reachable", "nodes can be made on this server"),
            Fact::fails("Reconciling", "Done", "the server was asked"),
            Fact::fails("Stalled", "Progressing", "no person needs to act"),
            Fact::holds("Reachable", "Reachable", format!("PostgreSQL {} answers", facts.version)),
            hardened(facts),
            isolated(facts),
        ],
        Err(failure) => {
            let person = failure.disposition() == Disposition::NeedsAPerson;
            let (reason, message) = (failure.reason(), failure.to_string());
            let fact = |kind, holds| Fact { kind, holds: Some(holds), reason, message: message.clone() };
            vec![
                fact("Ready", false),
                fact("Reconciling", !person),
                fact("Stalled", person),
                fact("Reachable", false),
                Fact::unknown("Hardened", reason, "the server was not reached"),
                Fact::unknown("Isolated", reason, "the server was not reached"),
            ]
        }
    };
    let load = Load { nodes: nodes.unwrap_or(0), connections: connection_limits.unwrap_or(0) };
    facts.push(capacity(server, connections, load));
    let hub_before = find(&previous.conditions, hub::CONDITION);
    if server.metadata.deletion_timestamp.is_some() {
        let message = format!(
            "being deleted, and kept for {}the {} LocalNodes that are placed on it; delete them first (status.database.server names it)",
            if hub_before.is_some() {
                "the hub's database (the operator's setting hub-database-server) and "
            } else {
                ""
            },
            load.nodes
        );
        facts[0] = Fact::fails("Ready", "InUse", message);
    }
    facts.extend(hub.map(|outcome| hub::fact(outcome, hub::was_made(hub_before))));
    let mut conditions = merge(&previous.conditions, facts, server.metadata.generation, now);
    // What is known of the hub's database stays known while the server is silent.
    conditions.extend(hub_before.filter(|_| hub.is_none()).cloned());
    DatabaseServerStatus {
        observed_generation: server.metadata.generation,
        conditions,
        version: answered.map(|facts| facts.version.clone()).or_else(|| previous.version.clone()),
        databases: answered.map(|facts| facts.databases).or(previous.databases),
        connections,
        nodes,
        connection_limits,
    }
}

/// Whether the server takes one more node with the default connection limit.
fn capacity(server: &DatabaseServer, connections: Option<i64>, load: Load) -> Fact {
    const KIND: &str = "CapacityAvailable";
    let mut asked = server.clone();
    asked.status = Some(DatabaseServerStatus { connections, ..DatabaseServerStatus::default() });
    if let Some(why) = full(&asked, load, DatabaseSpec::default().connection_limit) {
        return Fact::fails(KIND, "Full", why);
    }
    let room = i64::from(server.spec.capacity.max_databases) - load.nodes;
    let allowed = connections_allowed(&asked).map_or_else(|| "unknown".to_owned(), |allowed| allowed.to_string());
    let limits = format!("connection limits add up to {} of at most {allowed}", load.connections);
    Fact::holds(KIND, "Room", format!("room for {room} more nodes; {limits}"))
}

fn hardened(facts: &ServerFacts) -> Fact {
    if facts.hardened {
        Fact::holds("Hardened", "RolesConfined", "the operator's role cannot raise itself")
    } else {
        Fact::fails(
            "Hardened",
            "CreateRoleIsSuperuser",
            "before PostgreSQL 16 CREATEROLE amounts to superuser; upgrade the server",
        )
    }
}

fn isolated(facts: &ServerFacts) -> Fact {
    if facts.open_databases.is_empty() {
        return Fact::holds("Isolated", "ClosedToPublic", "PUBLIC may connect to no database");
    }
    let open = facts.open_databases.join(", ");
    Fact::fails(
        "Isolated",
        "OpenToPublic",
        format!("PUBLIC may connect to {open}; repair it with: REVOKE ALL ON DATABASE {open} FROM PUBLIC"),
    )
}

async fn tell(context: &Context, server: &DatabaseServer, previous: &DatabaseServerStatus, now: &DatabaseServerStatus) {
    let (before, after) = (find(&previous.conditions, "Reachable"), find(&now.conditions, "Reachable"));
    let Some(after) = after.filter(|after| before.is_none_or(|before| before.status != after.status)) else { return };
    let kind = if after.status == "True" { EventType::Normal } else { EventType::Warning };
    context.publish(server, kind, &after.reason, "Probe", &after.message).await;
}

#[cfg(test)]
mod tests {
    use fateh_crds::LocalNode;
    use serde_json::json;

    use super::*;
    use crate::conditions::is_true;

    fn facts(hardened: bool, open: &[&str]) -> ServerFacts {
        let open_databases = open.iter().map(|&name| name.to_owned()).collect();
        ServerFacts { version: "18.1".into(), databases: 3, connections: 500, hardened, open_databases }
    }
    fn now() -> Timestamp {
        Timestamp::from_second(1).unwrap()
    }
    fn server() -> DatabaseServer {
        let spec = json!({"host": "db.test", "adminSecretRef": {"name": "s"}, "capacity": {"maxDatabases": 3}});
        DatabaseServer::new("default", serde_json::from_value(spec).unwrap())
    }
    fn first(load: Option<Load>, asked: &Result<ServerFacts, Failure>) -> DatabaseServerStatus {
        status(&DatabaseServerStatus::default(), &server(), load, asked, None, now())
    }

    #[test]
    fn an_answer_is_told_with_its_weaknesses() {
        let made = first(None, &Ok(facts(false, &["postgres", "template1"])));
        assert!(is_true(&made.conditions, "Reachable") && !is_true(&made.conditions, "Hardened"));
        let isolated = find(&made.conditions, "Isolated").unwrap();
        assert!(
            isolated.message.contains("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC"),
            "{}",
            isolated.message
        );
    }

    #[test]
    fn a_server_that_fell_silent_keeps_what_was_known() {
        let load = Load { nodes: 2, connections: 40 };
        let before = first(Some(load), &Ok(facts(true, &[])));
        let silent = Failure::DatabaseUnreachable { server: "default".into(), source: sqlx::Error::PoolTimedOut };
        let made = status(&before, &server(), None, &Err(silent), None, now());
        assert_eq!((made.version.as_deref(), made.databases), (Some("18.1"), Some(3)));
        assert_eq!((made.nodes, made.connection_limits), (Some(2), Some(40)));
        assert!(!is_true(&made.conditions, "Reachable") && is_true(&made.conditions, "Reconciling"));
    }

    #[test]
    fn a_server_says_whether_it_has_room_and_by_whom_it_is_kept() {
        let room = first(Some(Load { nodes: 2, connections: 40 }), &Ok(facts(true, &[])));
        assert!(is_true(&room.conditions, "CapacityAvailable"));
        let full = first(Some(Load { nodes: 3, connections: 60 }), &Ok(facts(true, &[])));
        let capacity = find(&full.conditions, "CapacityAvailable").unwrap();
        assert_eq!((capacity.status.as_str(), capacity.reason.as_str()), ("False", "Full"));
        assert!(is_true(&full.conditions, "Ready"), "its nodes are served all the same");

        let mut leaving = server();
        leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
        let load = Some(Load { nodes: 3, connections: 60 });
        let kept = status(&full, &leaving, load, &Ok(facts(true, &[])), None, now());
        let ready = find(&kept.conditions, "Ready").unwrap();
        assert!(ready.reason == "InUse" && ready.message.contains("3 LocalNodes"), "{}", ready.message);
    }

    #[test]
    fn what_is_known_of_the_hub_s_database_stays_known_while_the_server_is_silent() {
        let before = DatabaseServerStatus::default();
        let good = Ok(facts(true, &[]));
        let made = status(&before, &server(), None, &good, Some(&Ok(hub::Admin::Active)), now());
        assert!(is_true(&made.conditions, hub::CONDITION) && hub::was_made(find(&made.conditions, hub::CONDITION)));
        let silent = Err(Failure::DatabaseUnreachable { server: "default".into(), source: sqlx::Error::PoolTimedOut });
        let after = status(&made, &server(), None, &silent, None, now());
        assert_eq!(find(&after.conditions, hub::CONDITION), find(&made.conditions, hub::CONDITION));
        let failed = Err(Failure::stalled("DatabaseTaken", "not ours".to_owned()));
        let never = status(&before, &server(), None, &good, Some(&failed), now());
        assert!(!hub::was_made(find(&never.conditions, hub::CONDITION)), "one that was never made is not lost");
        let drifted = status(&made, &server(), None, &good, Some(&failed), now());
        assert!(hub::was_made(find(&drifted.conditions, hub::CONDITION)));
    }

    #[test]
    fn only_settled_nodes_of_the_server_are_compared() {
        let node = |name: &str, server: &str, ready: &str| {
            let node = json!({
                "metadata": {"name": name, "uid": name, "generation": 1},
                "spec": {"displayName": "a", "region": "b", "adminEmail": "a@b.cd"},
                "status": {
                    "database": {"server": server, "name": format!("node_{name}"), "role": "", "secret": ""},
                    "conditions": [{"type": "DatabaseReady", "status": ready, "reason": "a", "message": "b",
                        "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                },
            });
            Arc::new(NodeSummary::from(serde_json::from_value::<LocalNode>(node).unwrap()))
        };
        let nodes = [
            node("settled", "default", "True"),
            node("on-its-way", "default", "Unknown"),
            node("far", "other", "True"),
        ];
        let mut comparison = Comparison::of(&nodes, "default", "c");
        let mut row = Catalog::default();
        "node_far".clone_into(&mut row.name);
        comparison.take(&row);
        assert_eq!(comparison.finish(), [("settled".to_owned(), vec![Drift::DatabaseMissing, Drift::RoleMissing])]);
    }
}
