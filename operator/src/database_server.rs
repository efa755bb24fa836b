//! The controller of DatabaseServers: asks each server about itself at intervals, and writes what changed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fateh_crds::{DatabaseServer, DatabaseServerStatus};
use futures::{Stream, StreamExt, future};
use jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        Controller, WatchStreamExt,
        controller::Action,
        events::{Event, EventType},
        predicates,
        reflector::Store,
        watcher,
    },
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    conditions::{Fact, find, merge},
    context::Context,
    database::ServerFacts,
    failure::{Disposition, Failure},
    kubernetes::apply_status,
    local_node::connect,
};

const KIND: &str = "DatabaseServer";
/// How often a server that answers is asked, and one that does not.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);
const RETRY_INTERVAL: Duration = Duration::from_secs(3);

/// Runs the controller until `stop`. `servers` is the watch behind `store`.
pub async fn run(
    context: Arc<Context>,
    servers: impl Stream<Item = Result<DatabaseServer, watcher::Error>> + Send + 'static,
    store: Store<DatabaseServer>,
    stop: CancellationToken,
) {
    let changed = servers.predicate_filter(predicates::generation, kube::runtime::PredicateConfig::default());
    Controller::for_stream(changed, store)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, error_policy, context)
        .for_each(|_| future::ready(()))
        .await;
}

async fn reconcile(server: Arc<DatabaseServer>, context: Arc<Context>) -> Result<Action, Failure> {
    let started = Instant::now();
    let asked = match connect(&context, Arc::clone(&server)).await {
        Ok(placement) => placement.server.facts().await,
        Err(failure) => Err(failure),
    };
    let failure = asked.as_ref().err().map(Failure::reason);
    context.metrics.reconciled(KIND, started.elapsed().as_secs_f64(), failure);
    let previous = server.status.clone().unwrap_or_default();
    let status = status(&previous, server.metadata.generation, &asked, context.clock.now());
    if status != previous {
        let part = json!({
            "apiVersion": DatabaseServer::api_version(&()), "kind": KIND,
            "metadata": {"uid": server.uid()}, "status": status,
        });
        let api = Api::<DatabaseServer>::all(context.client.clone());
        apply_status(&api, "write the DatabaseServer's status", &server.name_any(), &part).await?;
        tell(&context, &server, &previous, &status).await;
    }
    Ok(Action::requeue(if asked.is_ok() { PROBE_INTERVAL } else { RETRY_INTERVAL }))
}

fn error_policy(server: Arc<DatabaseServer>, failure: &Failure, context: Arc<Context>) -> Action {
    tracing::warn!(server = server.name_any(), reason = failure.reason(), error = %failure, "a reconcile did not reach its goal");
    Action::requeue(context.backoff.failed(&format!("{KIND}/{}", server.name_any())))
}

/// The status that an answer makes of the `previous` one.
fn status(
    previous: &DatabaseServerStatus,
    generation: Option<i64>,
    asked: &Result<ServerFacts, Failure>,
    now: Timestamp,
) -> DatabaseServerStatus {
    let facts = match asked {
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
    let answered = asked.as_ref().ok();
    DatabaseServerStatus {
        observed_generation: generation,
        conditions: merge(&previous.conditions, facts, generation, now),
        version: answered.map(|facts| facts.version.clone()).or_else(|| previous.version.clone()),
        databases: answered.map(|facts| facts.databases).or(previous.databases),
        connections: answered.map(|facts| facts.connections).or(previous.connections),
    }
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
    let event = Event {
        type_: if after.status == "True" { EventType::Normal } else { EventType::Warning },
        reason: after.reason.clone(),
        note: Some(after.message.clone()),
        action: "Probe".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &server.object_ref(&())).await {
        tracing::warn!(server = server.name_any(), %error, "an event could not be published");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::is_true;

    fn facts(hardened: bool, open: &[&str]) -> ServerFacts {
        let open_databases = open.iter().map(|&name| name.to_owned()).collect();
        ServerFacts { version: "18.1".into(), databases: 3, connections: 500, hardened, open_databases }
    }
    fn now() -> Timestamp {
        Timestamp::from_second(1).unwrap()
    }

    #[test]
    fn an_answer_is_told_with_its_weaknesses() {
        let made =
            status(&DatabaseServerStatus::default(), Some(1), &Ok(facts(false, &["postgres", "template1"])), now());
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
        let before = status(&DatabaseServerStatus::default(), Some(1), &Ok(facts(true, &[])), now());
        let silent = Failure::DatabaseUnreachable { server: "default".into(), source: sqlx::Error::PoolTimedOut };
        let made = status(&before, Some(1), &Err(silent), now());
        assert_eq!((made.version.as_deref(), made.databases), (Some("18.1"), Some(3)));
        assert!(!is_true(&made.conditions, "Reachable") && is_true(&made.conditions, "Reconciling"));
    }
}
