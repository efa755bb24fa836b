//! Computes a LocalNode's status from what one pass found and did. Pure: needs no client.

use std::time::Duration;

use fateh_common::money::format_minor_units;
use fateh_crds::{
    DatabaseStatus, HandledRequests, Items, LocalNodeStatus, NodeReportStatus, NodeState, Phase, RuntimeStatus,
    StatisticsStatus,
};
use jiff::Timestamp;

use super::{reporting::Reporting, route::Route};
use crate::{
    conditions::{Fact, find, is_true, merge},
    failure::{Disposition, Failure},
    gateway::Standing,
};

/// What one pass found and did; what is `None` was not reached.
#[derive(Debug)]
pub struct Pass {
    /// Generation that was carried out.
    pub generation: Option<i64>,
    /// What the node is to be.
    pub state: NodeState,
    /// Where the node answers.
    pub url: Option<String>,
    /// The node's namespace.
    pub namespace: Option<String>,
    /// Image that the pods are to run.
    pub image: Option<String>,
    /// Where the database is to be, once that is recorded.
    pub placed: Option<DatabaseStatus>,
    /// The node's database, once it is ready.
    pub database: Option<DatabaseStatus>,
    /// Whether its size in status may move again.
    pub size_may_move: bool,
    /// The first admin.
    pub admin: Admin,
    /// The pods.
    pub workload: Option<Workload>,
    /// How far the route came.
    pub route: Option<Route>,
    /// The node's report.
    pub report: Option<NodeReportStatus>,
    /// How many items the node is told to hold, holds, and did not take.
    pub items: Items,
    /// Whether it is recent.
    pub reporting: Reporting,
    /// What was asked for by annotation and was taken up now.
    pub handled: HandledRequests,
    /// Rotations that were finished now, in one word each.
    pub rotated: Vec<&'static str>,
    /// When to look again, if nothing happens before.
    pub wake_at: Option<Timestamp>,
    /// Why the pass ended early.
    pub failure: Option<Failure>,
    /// How far a deletion has come: what is awaited, in one word and a sentence.
    pub deletion: Option<(&'static str, String)>,
}

/// State of the first admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// Not looked at in this pass.
    Unknown,
    /// The invitation waits in its Secret.
    Invited {
        /// End of its validity.
        expires_at: Timestamp,
    },
    /// The invitation has expired unused.
    Expired,
    /// The invitation was accepted.
    Active,
}

/// What the Deployment says of its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Pods wanted.
    pub wanted: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Pods that serve.
    pub available: i32,
    /// All pods, those of older templates among them.
    pub total: i32,
    /// When the newest template was rolled out, where Kubernetes says so.
    pub rolled_out_at: Option<Timestamp>,
    /// Whether Kubernetes has seen the newest spec.
    pub current: bool,
    /// Why it makes no progress.
    pub trouble: Option<String>,
}

impl Pass {
    /// A pass that has not begun to act.
    #[must_use]
    pub fn begin(generation: Option<i64>, report: Option<NodeReportStatus>, reporting: Reporting) -> Self {
        Self {
            generation,
            state: NodeState::Active,
            url: None,
            namespace: None,
            image: None,
            placed: None,
            database: None,
            size_may_move: true,
            admin: Admin::Unknown,
            workload: None,
            route: None,
            report,
            items: Items::default(),
            reporting,
            handled: HandledRequests::default(),
            rotated: Vec::new(),
            wake_at: None,
            failure: None,
            deletion: None,
        }
    }

    /// Looks again at `time`, or before.
    pub fn wake(&mut self, time: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(time, |already| already.min(time)));
    }
}

/// A pod that is asked to go may serve for so long: its grace.
const LAST_SECONDS: Duration = Duration::from_secs(30);

impl Workload {
    /// From when on no pod of an older template is left; none while a rollout is under way.
    #[must_use]
    pub fn settled_at(&self) -> Option<Timestamp> {
        let only_new = self.is_rolled_out() && self.total == self.updated && self.ready >= self.wanted;
        let rolled_out = self.rolled_out_at.unwrap_or(Timestamp::UNIX_EPOCH);
        only_new.then(|| rolled_out.saturating_add(LAST_SECONDS).unwrap_or(rolled_out))
    }

    const fn is_rolled_out(&self) -> bool {
        self.current && self.updated >= self.wanted && self.available >= self.wanted
    }
}

/// The status that `pass` makes of the `previous` one.
#[must_use]
pub fn status(previous: &LocalNodeStatus, pass: &Pass, now: Timestamp) -> LocalNodeStatus {
    // At this generation: a new one is converged to, whatever the one before it had reached.
    let served_before = find(&previous.conditions, "Ready").is_some_and(|ready| {
        ready.observed_generation == pass.generation && (ready.status == "True" || previous.phase == Phase::Degraded)
    });
    let ready = ready(pass, served_before);
    let stalled = pass.failure.as_ref().is_some_and(|failure| failure.disposition() == Disposition::NeedsAPerson);
    let done = ready.holds == Some(true);
    let facts = vec![
        match (stalled, done) {
            (true, _) => Fact::fails("Reconciling", "Stalled", "waiting for a person"),
            (_, true) => Fact::fails("Reconciling", "Done", "the node is as its spec says"),
            _ => Fact::holds("Reconciling", ready.reason, ready.message.clone()),
        },
        if stalled {
            Fact::holds("Stalled", ready.reason, ready.message.clone())
        } else {
            Fact::fails("Stalled", "Progressing", "no person needs to act")
        },
        database(pass),
        workload(pass),
        route(pass),
        admin(pass, previous),
        reporting(pass, previous),
    ];
    let deletion = pass.deletion.as_ref().map(|(reason, message)| Fact::holds("DeletionBlocked", reason, message));
    let facts = [ready].into_iter().chain(facts).chain(deletion).collect();
    let conditions = merge(&previous.conditions, facts, pass.generation, now);
    LocalNodeStatus {
        observed_generation: pass.generation,
        phase: phase(pass, done, stalled, served_before),
        conditions,
        url: pass.url.clone().or_else(|| previous.url.clone()),
        namespace: pass.namespace.clone().or_else(|| previous.namespace.clone()),
        database: database_status(pass, previous.database.as_ref()),
        runtime: runtime(pass.image.clone(), pass.workload.as_ref(), pass.report.as_ref(), previous.runtime.as_ref()),
        content: Some(pass.items.status(pass.report.as_ref())),
        statistics: statistics(pass.report.clone(), previous.statistics.clone()),
        handled: handled(&pass.handled, &previous.handled),
    }
}

/// What was taken up now, and before.
fn handled(now: &HandledRequests, before: &HandledRequests) -> HandledRequests {
    let latest = |now: &Option<String>, before: &Option<String>| now.clone().or_else(|| before.clone());
    HandledRequests {
        invite: latest(&now.invite, &before.invite),
        rotate_password: latest(&now.rotate_password, &before.rotate_password),
        rotate_signing_key: latest(&now.rotate_signing_key, &before.rotate_signing_key),
        recreate_database: latest(&now.recreate_database, &before.recreate_database),
    }
}

fn ready(pass: &Pass, served_before: bool) -> Fact {
    if let Some((reason, message)) = &pass.deletion {
        return Fact::fails("Ready", reason, format!("being deleted: {message}"));
    }
    if let Some(failure) = &pass.failure {
        let (reason, message) = (failure.reason(), failure.to_string());
        let certain = failure.disposition() == Disposition::NeedsAPerson
            || matches!(failure, Failure::DatabaseUnreachable { .. });
        // A request that failed says nothing about a node that serves.
        return if certain { Fact::fails("Ready", reason, message) } else { Fact::unknown("Ready", reason, message) };
    }
    match &pass.workload {
        Some(workload) if workload.wanted == 0 && (workload.ready > 0 || !workload.current) => {
            Fact::unknown("Ready", "Stopping", format!("{} pods are still to stop", workload.ready))
        }
        Some(workload) if workload.wanted == 0 => {
            let message = match pass.state {
                NodeState::Inactive => "inactive as asked: no pods, no route, its role locked; all data is kept",
                _ => "suspended as asked: no pods, no route; all data is kept",
            };
            Fact::holds("Ready", state_reason(pass.state), message)
        }
        Some(workload) if workload.is_rolled_out() => match &pass.route {
            // While it moves there, the Ingress of before serves.
            Some(Route::AtGateway(Standing::Pending(why))) => Fact::unknown("Ready", "RoutePending", why.clone()),
            _ => Fact::holds("Ready", "Serving", format!("answers at {}", pass.url.as_deref().unwrap_or_default())),
        },
        Some(workload) if workload.available == 0 && served_before => {
            Fact::fails("Ready", "PodsUnavailable", workload_message(workload))
        }
        Some(workload) => Fact::unknown("Ready", "Deploying", workload_message(workload)),
        None => Fact::unknown("Ready", "Provisioning", "the node is being made"),
    }
}

fn database(pass: &Pass) -> Fact {
    match (&pass.database, &pass.failure) {
        (Some(database), _) => Fact::holds(
            "DatabaseReady",
            "Provisioned",
            format!("database {} on server {}", database.name, database.server),
        ),
        (None, Some(failure)) => Fact::fails("DatabaseReady", failure.reason(), failure.to_string()),
        (None, None) => Fact::unknown("DatabaseReady", "Provisioning", "the database is being made"),
    }
}

fn workload(pass: &Pass) -> Fact {
    match &pass.workload {
        Some(workload) if workload.wanted == 0 => Fact::fails(
            "WorkloadAvailable",
            state_reason(pass.state),
            format!("no pods are wanted, {} are left", workload.ready),
        ),
        Some(workload) if workload.available > 0 => {
            Fact::holds("WorkloadAvailable", "Available", workload_message(workload))
        }
        Some(workload) => Fact::fails("WorkloadAvailable", "Deploying", workload_message(workload)),
        None => Fact::unknown("WorkloadAvailable", "Waiting", "the pods were not reached in this pass"),
    }
}

fn workload_message(workload: &Workload) -> String {
    let Workload { wanted, available, updated, trouble, .. } = workload;
    match trouble {
        Some(trouble) => format!("{available} of {wanted} pods serve: {trouble}"),
        None if updated < wanted => format!("{available} of {wanted} pods serve, {updated} are up to date"),
        None => format!("{available} of {wanted} pods serve"),
    }
}

fn route(pass: &Pass) -> Fact {
    const KIND: &str = "RouteReady";
    let url = pass.url.as_deref().unwrap_or_default();
    match &pass.route {
        _ if pass.state != NodeState::Active && pass.workload.is_some() => {
            Fact::fails(KIND, state_reason(pass.state), "no route of its own is wanted")
        }
        Some(Route::Applied) => Fact::holds(KIND, "Applied", format!("Ingress for {url}")),
        Some(Route::AtGateway(standing) | Route::MovingToGateway(standing)) => match standing {
            Standing::Served => Fact::holds(KIND, "Programmed", format!("HTTPRoute for {url}")),
            Standing::Pending(why) => Fact::unknown(KIND, "RoutePending", why.clone()),
            Standing::Refused(why) => Fact::fails(KIND, "RouteRefused", why.clone()),
        },
        None => Fact::unknown(KIND, "Waiting", "the route was not reached in this pass"),
    }
}

fn admin(pass: &Pass, previous: &LocalNodeStatus) -> Fact {
    const KIND: &str = "AdminBootstrapped";
    match pass.admin {
        Admin::Active => Fact::holds(KIND, "Active", "the first admin has signed up"),
        Admin::Invited { expires_at } => Fact::holds(
            KIND,
            "Invited",
            format!("the invitation lies in the Secret node-invitation until {expires_at}"),
        ),
        Admin::Expired => Fact::fails(
            KIND,
            "InvitationExpired",
            "the invitation expired unused; the annotation fateh-platform.com/invite with any new value makes another",
        ),
        Admin::Unknown => match find(&previous.conditions, KIND) {
            Some(before) if before.reason == "Active" => Fact::holds(KIND, "Active", "the first admin has signed up"),
            _ => Fact::unknown(KIND, "Waiting", "the database was not reached in this pass"),
        },
    }
}

fn reporting(pass: &Pass, previous: &LocalNodeStatus) -> Fact {
    if pass.state != NodeState::Active {
        return Fact::fails("Reporting", state_reason(pass.state), "a node without pods does not report");
    }
    match pass.reporting {
        Reporting::Current => Fact::holds("Reporting", "Reporting", "the node reports on time"),
        Reporting::Silent => Fact::fails("Reporting", "Silent", "three reports in a row are missing"),
        // A watch that has just begun knows less than the one before it did.
        Reporting::TooEarly if is_true(&previous.conditions, "Reporting") => {
            Fact::holds("Reporting", "Reporting", "the node reports on time")
        }
        Reporting::TooEarly | Reporting::Unknown => {
            Fact::unknown("Reporting", "Waiting", "no report has been seen yet")
        }
    }
}

const fn state_reason(state: NodeState) -> &'static str {
    match state {
        NodeState::Active => "Active",
        NodeState::Suspended => "Suspended",
        NodeState::Inactive => "Inactive",
    }
}

fn phase(pass: &Pass, done: bool, stalled: bool, served_before: bool) -> Phase {
    if pass.deletion.is_some() {
        Phase::Deleting
    } else if stalled {
        Phase::Stalled
    } else if done {
        match pass.state {
            NodeState::Active => Phase::Ready,
            NodeState::Suspended => Phase::Suspended,
            NodeState::Inactive => Phase::Inactive,
        }
    } else if served_before {
        Phase::Degraded
    } else {
        Phase::Provisioning
    }
}

/// A size that moved by less than 5 %, or moved of late, is not worth a write.
fn database_status(pass: &Pass, before: Option<&DatabaseStatus>) -> Option<DatabaseStatus> {
    let Some(mut now) = pass.database.clone() else { return pass.placed.clone().or_else(|| before.cloned()) };
    if let (Some(new), Some(old)) = (now.size_bytes, before.and_then(|before| before.size_bytes))
        && ((new - old).abs() * 20 < old || !pass.size_may_move)
    {
        now.size_bytes = Some(old);
    }
    Some(now)
}

fn runtime(
    image: Option<String>,
    workload: Option<&Workload>,
    report: Option<&NodeReportStatus>,
    before: Option<&RuntimeStatus>,
) -> Option<RuntimeStatus> {
    let (Some(image), Some(workload)) = (image, workload) else { return before.cloned() };
    let version =
        report.map(|report| report.version.clone()).or_else(|| before.and_then(|before| before.version.clone()));
    Some(RuntimeStatus { image, replicas: workload.wanted, ready_replicas: workload.ready, version })
}

/// Figures that did not change keep the time at which they last did.
fn statistics(report: Option<NodeReportStatus>, before: Option<StatisticsStatus>) -> Option<StatisticsStatus> {
    let Some(report) = report else { return before };
    if before.as_ref().is_some_and(|before| before.figures == report.statistics) {
        return before;
    }
    let summary: Vec<_> =
        report.statistics.revenue.iter().map(|revenue| format_minor_units(revenue.gross, &revenue.currency)).collect();
    Some(StatisticsStatus {
        figures: report.statistics,
        revenue_summary: (!summary.is_empty()).then(|| summary.join(", ")),
        reported_at: Some(report.reported_at),
    })
}

#[cfg(test)]
mod tests;
