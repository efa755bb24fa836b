//! Carries rollouts out. All distributions are planned together, so that a node for which several have something new is
//! written once; nothing is asked again and again, and nothing waits inside a pass.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use fateh_crds::{
    APPROVE_ANNOTATION, ContentDistribution, DISTRIBUTION_FINALIZER, PAUSE_ANNOTATION, RETRY_ANNOTATION, namespace_of,
};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt};
use tokio::{sync::mpsc::UnboundedReceiver, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    catalogue::Catalogue,
    content::Content,
    fleet::{Fleet, Member, Wanted},
    plan::{Change, Plan, plan},
    publications::{Publications, Published},
    revision,
    status::{COUNTS_INTERVAL, Said, Saying, saying, write_status},
    view::{Controls, Node, Rollout, Targets},
};
use crate::{applied::version, cache::Cache, context::Context, failure::Failure, kubernetes::remove_finalizer};

pub(super) const KIND: &str = "ContentDistribution";
/// What happens within so short a time is planned for together: as long as the last pass took, within these bounds.
/// Of a few nodes each is followed by the next at once; over thousands, passes take half of the time at most.
const GATHER: [Duration; 2] = [Duration::from_millis(40), Duration::from_millis(200)];
/// How soon the cache has what overtook a plan.
const OVERTAKEN: Duration = Duration::from_millis(200);
/// Writes at once, of statuses and to nodes.
const WRITES: usize = 16;

/// What makes distributions worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dirty {
    /// This distribution.
    One(String),
    /// All: a node changed.
    All,
}

/// The caches that passes read.
pub struct Caches {
    /// Distributions.
    pub distributions: Cache<ContentDistribution>,
    /// What nodes were told, and said.
    pub contents: Cache<Content>,
}

/// Runs until `stop`.
pub async fn run(
    context: Arc<Context>,
    caches: Caches,
    catalogue: Option<Catalogue>,
    mut dirty: UnboundedReceiver<Dirty>,
    stop: CancellationToken,
) {
    let (published, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let mut controller = Controller {
        publications: Publications::new(catalogue, published, context.clock.clone()),
        context,
        caches,
        written: HashMap::new(),
        told: HashMap::new(),
        refused: HashMap::new(),
        written_at: HashMap::new(),
        overtaken: HashMap::new(),
    };
    let mut names = BTreeSet::new();
    let mut all = true;
    // Times at which a distribution is to be looked at though nothing happens.
    let mut due: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut gather = GATHER[0];
    loop {
        let now = controller.context.clock.now();
        due.retain(|name, at| {
            let is_due = *at <= now;
            if is_due {
                names.insert(name.clone());
            }
            !is_due
        });
        if all || !names.is_empty() {
            let asked = std::mem::take(&mut names);
            let started = Instant::now();
            due.extend(controller.pass((!all).then_some(&asked), now).await);
            gather = started.elapsed().clamp(GATHER[0], GATHER[1]);
            all = false;
            continue_gathering(&mut dirty, &mut names, &mut all);
        }
        let next = due.values().min().map(|at| at.duration_since(controller.context.clock.now()));
        let wait = next.map_or(Duration::from_secs(3600), |next| Duration::try_from(next).unwrap_or(Duration::ZERO));
        // What came in during the pass.
        let wait = if all || !names.is_empty() { gather } else { wait };
        tokio::select! {
            () = stop.cancelled() => return,
            some = dirty.recv() => {
                note(some, &mut names, &mut all);
                let until = Instant::now() + gather;
                while let Ok(some @ Some(_)) = tokio::time::timeout_at(until, dirty.recv()).await {
                    note(some, &mut names, &mut all);
                }
            }
            Some(name) = heard.recv() => drop(names.insert(name)),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn note(dirty: Option<Dirty>, names: &mut BTreeSet<String>, all: &mut bool) {
    match dirty {
        Some(Dirty::One(name)) => drop(names.insert(name)),
        Some(Dirty::All) => *all = true,
        None => {}
    }
}

/// What came in while a pass was under way.
fn continue_gathering(dirty: &mut UnboundedReceiver<Dirty>, names: &mut BTreeSet<String>, all: &mut bool) {
    while let Ok(some) = dirty.try_recv() {
        note(Some(some), names, all);
    }
}

struct Controller {
    context: Arc<Context>,
    caches: Caches,
    publications: Publications,
    /// Distributions as they were last written, until the cache has them.
    written: HashMap<String, Arc<ContentDistribution>>,
    /// What nodes are told to hold as it was last written, by namespace, until the cache has it.
    told: HashMap<String, Arc<Content>>,
    /// Why the API server did not take what a node is to be told, by distribution, until it does.
    refused: HashMap<String, String>,
    /// When the status of each distribution was last written, or was to be.
    written_at: HashMap<String, Instant>,
    /// The versions of NodeContents, by namespace, that the API server had newer ones of when they were planned from.
    overtaken: HashMap<String, Option<u64>>,
}

/// A distribution's part in a pass.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) resource: Arc<ContentDistribution>,
    pub(super) course: Course,
}

/// What is to become of a distribution in a pass.
pub(super) enum Course {
    /// What the planner says.
    Planned(Box<Plan>),
    /// Its revision is still on its way to the hub.
    Publishing,
    /// It cannot go on as it is.
    Failed(Failure),
}

/// A distribution's name, and what was written of it, if anything was.
type Written = (String, Result<Option<ContentDistribution>, Failure>);

/// What became of the write to a node.
struct Told<'a> {
    member: &'a Member,
    /// The distributions that it was told of.
    distributions: Vec<String>,
    written: Result<Content, Failure>,
}

impl Controller {
    /// Plans, and does what follows from it. When distributions are to be looked at again though nothing happens.
    #[tracing::instrument(level = "debug", name = "rollouts", skip_all)]
    async fn pass(&mut self, asked: Option<&BTreeSet<String>>, now: Timestamp) -> Vec<(String, Timestamp)> {
        let distributions = self.distributions();
        let fleet = self.fleet();
        let parts = self.decide(asked, &distributions, &fleet, now);
        // Status first: what it remembers must stand before anything is done that follows from it. What could not be
        // written is planned for again, after the object's own wait.
        let begun = Instant::now();
        let sayings = parts.iter().map(|part| saying(part, self.refused.get(&part.name).cloned(), now));
        let said = Said::new(sayings.collect(), &self.written_at, begun);
        let said_now = said.first.iter().chain(&said.meanwhile).filter(|saying| saying.status.is_some());
        self.written_at.extend(said_now.map(|saying| (saying.part.name.clone(), begun)));
        let written = write_statuses(&self.context, said.first).await;
        let mut failed = self.note_said(written);
        let mut wake = Vec::new();
        let mut wanted = Wanted::new();
        for part in parts.iter().filter(|part| !failed.contains(&part.name)) {
            match &part.course {
                Course::Publishing => {}
                Course::Planned(plan) => {
                    wake.extend(plan.wake_at.map(|at| (part.name.clone(), at)));
                    add(&mut wanted, part, plan);
                }
                Course::Failed(failure) => {
                    self.context.metrics.failed(KIND, failure.reason());
                    let at = self.publications.retry_at(&part.name).unwrap_or(now + Duration::from_secs(60));
                    wake.push((part.name.clone(), at));
                }
            }
        }
        let names: BTreeSet<_> = distributions.iter().map(|resource| resource.name_any()).collect();
        for (index, name) in fleet.left_behind(&names) {
            wanted.entry(index).or_default().push((name, Change::Forget));
        }
        let tried = parts.iter().filter(|part| !failed.contains(&part.name));
        let refused: Vec<_> = tried.filter_map(|part| self.refused.remove_entry(&part.name)).collect();
        let (told, counted) = futures::join!(self.tell(&fleet, wanted), write_statuses(&self.context, said.meanwhile));
        let (not_told, overtaken) = self.note_told(told);
        self.refused.retain(|name, _| names.contains(name));
        self.written_at.retain(|name, _| names.contains(name));
        // What status says of it is to be taken back.
        let taken_back = refused.into_iter().filter(|(name, _)| !self.refused.contains_key(name));
        wake.extend(taken_back.map(|(name, _)| (name, now)));
        let not_let_go = self.let_go(parts.iter().filter(|part| !failed.contains(&part.name))).await;
        let not_counted = self.note_said(counted);
        failed.extend(not_told.into_iter().chain(not_let_go).chain(not_counted));
        for part in parts.iter().filter(|part| !failed.contains(&part.name)) {
            self.context.backoff.succeeded(&backoff_key(&part.name));
        }
        let soon = now + COUNTS_INTERVAL;
        for name in said.later.into_iter().filter(|name| !failed.contains(name)) {
            // The last word on a name holds.
            if wake.iter().all(|(other, at)| *other != name || *at > soon) {
                wake.push((name, soon));
            }
        }
        let later = self.context.clock.now();
        wake.extend(overtaken.into_iter().map(|name| (name, later + OVERTAKEN)));
        let again = failed.into_iter().map(|name| {
            let wait = self.context.backoff.failed(&backoff_key(&name));
            (name, later.saturating_add(wait).unwrap_or(Timestamp::MAX))
        });
        wake.extend(again);
        wake
    }

    /// What is to become of those that are asked for, or of all.
    fn decide(
        &mut self,
        asked: Option<&BTreeSet<String>>,
        distributions: &[Arc<ContentDistribution>],
        fleet: &Fleet,
        now: Timestamp,
    ) -> Vec<Arc<Part>> {
        let mut due: Vec<_> =
            distributions.iter().filter(|it| asked.is_none_or(|asked| asked.contains(&it.name_any()))).collect();
        // Those that are ahead go first, and the others keep to the nodes that those tell. A node that each of many
        // distributions told of itself would be written as often.
        due.sort_by_cached_key(|resource| Reverse(reached(resource)));
        let (mut planned_for, mut courses) = (BTreeSet::new(), HashMap::new());
        for resource in due {
            let course = self.consider(resource, distributions, fleet, &planned_for, now);
            if let Course::Planned(plan) = &course {
                planned_for.extend(plan.changes.iter().map(|(index, _)| *index));
            }
            courses.insert(resource.name_any(), course);
        }
        // What all of them bring to the nodes, whether or not they are told of it in this pass; older ones first.
        let mut brought = Wanted::new();
        let mut parts = Vec::new();
        for resource in distributions {
            let name = resource.name_any();
            let Some(course) = courses.remove(&name) else { continue };
            let mut part = Part { resource: Arc::clone(resource), course, name };
            if let Course::Planned(plan) = &part.course {
                let mut full = plan.changes.iter();
                match full.find_map(|(index, change)| fleet.is_full(*index, &part.name, change, &brought)) {
                    Some(full) => part.course = Course::Failed(full),
                    None => add(&mut brought, &part, plan),
                }
            }
            parts.push(Arc::new(part));
        }
        parts
    }

    /// Notes what was written of distributions. The names of those of which it failed.
    fn note_said(&mut self, written: Vec<Written>) -> BTreeSet<String> {
        let mut failed = BTreeSet::new();
        for (name, written) in written {
            match written {
                Ok(Some(written)) => {
                    drop(self.written.insert(name, Arc::new(written)));
                }
                Ok(None) => {}
                Err(failure) => {
                    tracing::warn!(distribution = name, error = %failure, "a distribution's status could not be written");
                    self.context.metrics.failed(KIND, failure.reason());
                    failed.insert(name);
                }
            }
        }
        failed
    }

    /// Tells nodes what they are to hold, each with one write.
    async fn tell<'a>(&self, fleet: &'a Fleet, wanted: Wanted) -> Vec<Told<'a>> {
        let writes = wanted.into_iter().map(|(index, changes)| {
            let (context, contents) = (Arc::clone(&self.context), self.caches.contents.clone());
            let member = &fleet.members[index];
            async move {
                let distributions: Vec<_> = changes.iter().map(|(name, _)| name.clone()).collect();
                let cached = contents.get(&namespace_of(&member.node.name));
                let written = member.tell(&context.client, cached, changes).await;
                Told { member, distributions, written }
            }
        });
        stream::iter(writes).buffer_unordered(WRITES).collect().await
    }

    /// Notes what nodes were told. The names of distributions of which it failed, and of those of which something
    /// happened to a node just then that the cache does not have yet.
    fn note_told(&mut self, told: Vec<Told<'_>>) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut failed, mut overtaken) = (BTreeSet::new(), BTreeSet::new());
        for Told { member, distributions: names, written } in told {
            match written {
                Ok(content) => {
                    drop(self.told.insert(content.namespace().to_owned(), Arc::new(content)));
                }
                // Once; when the cache does not get what is newer, it is a failure as any other.
                Err(failure) if failure.reason() == "KubernetesConflict" && self.is_first_conflict(member) => {
                    tracing::debug!(error = %failure, distributions = ?names, "a plan was overtaken; it is made again");
                    overtaken.extend(names);
                }
                Err(failure) => {
                    tracing::warn!(error = %failure, distributions = ?names, "a node could not be told; it is planned for again");
                    self.context.metrics.failed(KIND, failure.reason());
                    if matches!(failure.reason(), "KubernetesInvalid" | "KubernetesForbidden") {
                        let node = &*member.node.name;
                        let message = format!("node {node}: {failure}; see which policy or webhook refuses it");
                        for name in &names {
                            // Of several nodes always the same one is named.
                            let said = self.refused.entry(name.clone()).or_insert_with(|| message.clone());
                            if message < *said {
                                said.clone_from(&message);
                            }
                        }
                    }
                    failed.extend(names);
                }
            }
        }
        (failed, overtaken)
    }

    fn is_first_conflict(&mut self, member: &Member) -> bool {
        let planned = member.content.as_ref().map(|content| content.version);
        let before = self.overtaken.insert(namespace_of(&member.node.name), planned);
        before.is_none_or(|before| before != planned)
    }

    /// Lets those go that no node holds any more. The names of those of which it failed.
    async fn let_go(&self, parts: impl Iterator<Item = &Arc<Part>>) -> BTreeSet<String> {
        let api = Api::<ContentDistribution>::all(self.context.client.clone());
        let mut failed = BTreeSet::new();
        for part in parts {
            if !matches!(&part.course, Course::Planned(plan) if plan.released) {
                continue;
            }
            let what = "let the ContentDistribution go";
            if let Err(failure) = remove_finalizer(&api, what, &*part.resource, DISTRIBUTION_FINALIZER).await {
                tracing::warn!(distribution = part.name, error = %failure, "a distribution could not be let go");
                failed.insert(part.name.clone());
            }
        }
        failed
    }

    /// The distributions, oldest first, as the cache has them, or as they were written since.
    fn distributions(&mut self) -> Vec<Arc<ContentDistribution>> {
        let state = |resource: &ContentDistribution| (resource.uid(), version(resource));
        let cached = self.caches.distributions.all();
        let names: BTreeSet<_> = cached.iter().map(|resource| resource.name_any()).collect();
        self.written.retain(|name, _| names.contains(name));
        let mut newest: Vec<_> =
            cached.into_iter().map(|cached| newest(&mut self.written, cached.name_any(), cached, state)).collect();
        newest.sort_by_key(age);
        newest
    }

    /// The nodes, each with what it was told and said.
    fn fleet(&mut self) -> Fleet {
        let state = |content: &Content| (content.uid.clone(), content.version);
        let mut contents: HashMap<String, Arc<Content>> = HashMap::new();
        for cached in self.caches.contents.all() {
            let namespace = cached.namespace().to_owned();
            let content = newest(&mut self.told, namespace.clone(), cached, state);
            contents.insert(namespace, content);
        }
        self.told.retain(|namespace, _| contents.contains_key(namespace));
        self.overtaken.retain(|namespace, _| contents.contains_key(namespace));
        let nodes = self.context.nodes.all();
        let living = nodes.into_iter().filter(|node| !node.is_leaving);
        let members = living.map(|node| Member { content: contents.remove(&namespace_of(&node.name)), node });
        let mut members: Vec<_> = members.collect();
        members.sort_by(|one, other| one.node.name.cmp(&other.node.name));
        Fleet { members }
    }

    fn consider(
        &mut self,
        resource: &Arc<ContentDistribution>,
        all: &[Arc<ContentDistribution>],
        fleet: &Fleet,
        planned_for: &BTreeSet<usize>,
        now: Timestamp,
    ) -> Course {
        let name = resource.name_any();
        let deleting = resource.metadata.deletion_timestamp.is_some();
        let nodes = fleet.view(&name, planned_for);
        let status = resource.status.clone().unwrap_or_default();
        let source = revision::source(&resource.spec).to_string();
        let digest = if deleting {
            String::new()
        } else {
            if let Some(failure) = taken(resource, all, &nodes) {
                return Course::Failed(failure);
            }
            let pinned = status.current.as_ref().filter(|current| current.source.as_ref() == Some(&source));
            match pinned {
                Some(current) => current.digest.clone(),
                None => match self.publications.of(&name, &source, &resource.spec, now) {
                    Published::Done(digest) => digest.to_string(),
                    Published::UnderWay => return Course::Publishing,
                    Published::Failed(failure) => return Course::Failed(failure),
                },
            }
        };
        let controls = controls(resource);
        let (spec, status) = (&resource.spec, &status);
        let rollout =
            Rollout { name: &name, spec, status, digest: &digest, source: &source, controls: &controls, deleting };
        Course::Planned(Box::new(plan(&rollout, &nodes, now)))
    }
}

/// How many nodes a distribution has reached, as its status says.
fn reached(resource: &ContentDistribution) -> i32 {
    let summary = resource.status.as_ref().map(|status| &status.summary);
    summary.map_or(0, |summary| summary.applied + summary.merged + summary.conflicted)
}

/// Writes what is said of distributions.
async fn write_statuses(context: &Context, due: Vec<Saying>) -> Vec<Written> {
    let writes = due.into_iter().map(|Saying { part, status, .. }| async move {
        (part.name.clone(), write_status(context, &part, status).await)
    });
    stream::iter(writes).buffer_unordered(WRITES).collect().await
}

/// Adds what a distribution tells nodes.
fn add(wanted: &mut Wanted, part: &Part, plan: &Plan) {
    for (index, change) in &plan.changes {
        wanted.entry(*index).or_default().push((part.name.clone(), change.clone()));
    }
}

/// The order of distributions by age. Of those that were made in the same second the one that has begun is the older,
/// since it is what nodes hold.
fn age(resource: &Arc<ContentDistribution>) -> (Option<Time>, bool, Option<String>) {
    let begun = resource.status.as_ref().is_some_and(|status| status.current.is_some());
    (resource.creation_timestamp(), !begun, resource.uid())
}

/// The name of a distribution among all objects that wait.
fn backoff_key(name: &str) -> String {
    format!("{KIND}/{name}")
}

/// The newer of what is cached and what was written, by UID and version.
fn newest<T, U: PartialEq>(
    written: &mut HashMap<String, Arc<T>>,
    key: String,
    cached: Arc<T>,
    state: impl Fn(&T) -> (U, u64),
) -> Arc<T> {
    let (uid, version) = state(&cached);
    let is_newer = |ours: &T| {
        let (same, newer) = state(ours);
        same == uid && newer > version
    };
    match written.get(&key) {
        Some(ours) if is_newer(ours) => Arc::clone(ours),
        Some(_) => {
            written.remove(&key);
            cached
        }
        None => cached,
    }
}

/// A distribution whose content another, older one has brought to one of its nodes, or is to bring.
fn taken(resource: &ContentDistribution, all: &[Arc<ContentDistribution>], nodes: &[Node]) -> Option<Failure> {
    let id = &resource.spec.content.id;
    let older = all.iter().take_while(|other| other.uid() != resource.uid());
    let ours = Targets::of(&resource.spec);
    for other in older.filter(|other| other.spec.content.id == *id) {
        let theirs = Targets::of(&other.spec);
        let both = |node: &&Node| ours.take(node) && theirs.take(node);
        if let Some(node) = nodes.iter().find(both) {
            let message = format!(
                "content {id} on node {} belongs to the ContentDistribution {}, which is older; delete one of them, or part their spec.targets",
                node.name,
                other.name_any()
            );
            return Some(Failure::stalled("ContentTaken", message));
        }
    }
    None
}

fn controls(resource: &ContentDistribution) -> Controls {
    let annotations = resource.annotations();
    let approve = annotations.get(APPROVE_ANNOTATION).and_then(|value| value.split_once('/'));
    Controls {
        approve: approve.map(|(revision, stage)| (revision.trim().to_owned(), stage.trim().to_owned())),
        pause: annotations.get(PAUSE_ANNOTATION).is_some_and(|value| value != "false"),
        retry: annotations
            .get(RETRY_ANNOTATION)
            .map(|nonce| fateh_common::catalogue::Digest::of(nonce.as_bytes()).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_two_made_in_the_same_second_the_one_that_has_begun_is_older() {
        let made = |uid: &str, second: i64, begun: bool| {
            let content = json!({"id": "sums", "type": "Course", "version": "1", "source": {"catalog": {}}});
            let mut resource =
                ContentDistribution::new("x", serde_json::from_value(json!({"content": content})).unwrap());
            resource.metadata.uid = Some(uid.to_owned());
            resource.metadata.creation_timestamp = Some(Time(Timestamp::from_second(second).unwrap()));
            let current = json!({"revision": "a", "digest": "a", "version": "1", "startedAt": "2026-01-01T00:00:00Z"});
            resource.status = begun.then(|| serde_json::from_value(json!({"current": current})).unwrap());
            Arc::new(resource)
        };
        let mut all = [made("a", 5, false), made("b", 5, true), made("c", 4, false), made("d", 5, false)];
        all.sort_by_key(age);
        let order: Vec<_> = all.iter().map(|resource| resource.uid().unwrap()).collect();
        assert_eq!(order, ["c", "b", "a", "d"]);
    }
}
