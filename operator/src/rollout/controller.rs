//! Carries rollouts out. All distributions are planned together, so that a node for which several have something new is
//! written once; nothing is asked again and again, and nothing waits inside a pass.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use fateh_crds::{
    APPROVE_ANNOTATION, CHILD_NAME, ContentDistribution, ContentDistributionStatus, ContentItem, ContentState,
    DISTRIBUTION_FINALIZER, LocalNode, NodeContent, NodeState, PAUSE_ANNOTATION, RETRY_ANNOTATION, namespace_of,
};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{events::EventType, reflector::Store},
};
use serde_json::json;
use tokio::{sync::mpsc::UnboundedReceiver, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    catalogue::Catalogue,
    plan::{Change, Plan, plan},
    publications::{Publications, Published},
    report, revision,
    view::{Controls, Node, Rollout, Targets},
};
use crate::{
    applied::version,
    conditions,
    context::Context,
    failure::{Failure, kubernetes},
    kubernetes::{FIELD_MANAGER, put_finalizer, remove_finalizer},
};

const KIND: &str = "ContentDistribution";
/// What happens within so short a time is planned for together.
const GATHER: Duration = Duration::from_millis(200);
/// Writes at once.
const WRITES: usize = 16;
/// Items that a node may hold.
const MAX_ITEMS: usize = 500;

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
    pub distributions: Store<ContentDistribution>,
    /// What nodes were told, and said.
    pub contents: Store<NodeContent>,
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
    };
    let mut names = BTreeSet::new();
    let mut all = true;
    // Times at which a distribution is to be looked at though nothing happens.
    let mut due: BTreeMap<String, Timestamp> = BTreeMap::new();
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
            due.extend(controller.pass((!all).then_some(&asked), now).await);
            all = false;
            continue_gathering(&mut dirty, &mut names, &mut all);
        }
        let next = due.values().min().map(|at| at.duration_since(controller.context.clock.now()));
        let wait = next.map_or(Duration::from_secs(3600), |next| Duration::try_from(next).unwrap_or(Duration::ZERO));
        // What came in during the pass.
        let wait = if all || !names.is_empty() { GATHER } else { wait };
        tokio::select! {
            () = stop.cancelled() => return,
            some = dirty.recv() => {
                note(some, &mut names, &mut all);
                let until = Instant::now() + GATHER;
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

/// What nodes are to be told, by their place in the fleet, and by whom.
type Wanted = BTreeMap<usize, Vec<(String, Change)>>;

struct Controller {
    context: Arc<Context>,
    caches: Caches,
    publications: Publications,
    /// Distributions as they were last written, until the cache has them.
    written: HashMap<String, Arc<ContentDistribution>>,
    /// NodeContents as they were last written, by namespace, until the cache has them.
    told: HashMap<String, Arc<NodeContent>>,
}

/// A distribution's part in a pass.
struct Part {
    resource: Arc<ContentDistribution>,
    course: Course,
}

/// What is to become of a distribution in a pass.
enum Course {
    /// What the planner says.
    Planned(Box<Plan>),
    /// Its revision is still on its way to the hub.
    Publishing,
    /// It cannot go on as it is.
    Failed(Failure),
}

impl Controller {
    /// Plans, and does what follows from it. When distributions are to be looked at again though nothing happens.
    async fn pass(&mut self, asked: Option<&BTreeSet<String>>, now: Timestamp) -> Vec<(String, Timestamp)> {
        let distributions = self.distributions();
        let fleet = self.fleet();
        let mut wake = Vec::new();
        // What could not be written: it is planned for again, after the object's own wait.
        let mut failed = BTreeSet::new();
        let mut parts = Vec::new();
        for resource in &distributions {
            if asked.is_none_or(|asked| asked.contains(&resource.name_any())) {
                let course = self.consider(resource, &distributions, &fleet, now);
                parts.push(Part { resource: Arc::clone(resource), course });
            }
        }
        let considered: BTreeSet<_> = parts.iter().map(|part| part.resource.name_any()).collect();
        // Status first: what it remembers must stand before anything is done that follows from it.
        let mut wanted = Wanted::new();
        let mut letting_go = Vec::new();
        for mut part in parts {
            let name = part.resource.name_any();
            if let Course::Planned(plan) = &part.course
                && let Some(full) =
                    plan.changes.iter().find_map(|(index, change)| fleet.is_full(*index, &name, change, &wanted))
            {
                part.course = Course::Failed(full);
            }
            if let Err(failure) = self.write_status(&part, now).await {
                tracing::warn!(distribution = name, error = %failure, "a distribution's status could not be written");
                self.context.metrics.failed(KIND, failure.reason());
                failed.insert(name);
                continue;
            }
            match part.course {
                Course::Publishing => {}
                Course::Planned(plan) => {
                    wake.extend(plan.wake_at.map(|at| (name.clone(), at)));
                    if plan.released {
                        letting_go.push(Arc::clone(&part.resource));
                    }
                    for (index, change) in plan.changes {
                        wanted.entry(index).or_default().push((name.clone(), change));
                    }
                }
                Course::Failed(failure) => {
                    self.context.metrics.failed(KIND, failure.reason());
                    let at = self.publications.retry_at(&name).unwrap_or(now + Duration::from_secs(60));
                    wake.push((name, at));
                }
            }
        }
        let names: BTreeSet<_> = distributions.iter().map(|resource| resource.name_any()).collect();
        for (index, name) in fleet.left_behind(&names) {
            wanted.entry(index).or_default().push((name, Change::Forget));
        }
        let writes = wanted.into_iter().map(|(index, changes)| {
            let (context, member) = (Arc::clone(&self.context), &fleet.members[index]);
            let names: Vec<_> = changes.iter().map(|(name, _)| name.clone()).collect();
            async move { (names, tell(&context, member, changes).await) }
        });
        let mut writes = stream::iter(writes).buffer_unordered(WRITES);
        let mut told = Vec::new();
        while let Some((names, written)) = writes.next().await {
            match written {
                Ok(content) => told.push(content),
                Err(failure) => {
                    tracing::warn!(error = %failure, distributions = ?names, "a node could not be told; it is planned for again");
                    self.context.metrics.failed(KIND, failure.reason());
                    failed.extend(names);
                }
            }
        }
        drop(writes);
        self.told.extend(told.into_iter().map(|content| (content.namespace().unwrap_or_default(), Arc::new(content))));
        for resource in letting_go {
            let api = Api::<ContentDistribution>::all(self.context.client.clone());
            let gone =
                remove_finalizer(&api, "let the ContentDistribution go", &*resource, DISTRIBUTION_FINALIZER).await;
            if let Err(failure) = gone {
                tracing::warn!(distribution = resource.name_any(), error = %failure, "a distribution could not be let go");
                failed.insert(resource.name_any());
            }
        }
        for name in considered.difference(&failed) {
            self.context.backoff.succeeded(&backoff_key(name));
        }
        let later = self.context.clock.now();
        let again = failed.into_iter().map(|name| {
            let wait = self.context.backoff.failed(&backoff_key(&name));
            (name, later.saturating_add(wait).unwrap_or(Timestamp::MAX))
        });
        wake.extend(again);
        wake
    }

    /// The distributions, oldest first, as the cache has them, or as they were written since.
    fn distributions(&mut self) -> Vec<Arc<ContentDistribution>> {
        let cached = self.caches.distributions.state();
        let names: BTreeSet<_> = cached.iter().map(|resource| resource.name_any()).collect();
        self.written.retain(|name, _| names.contains(name));
        let mut newest: Vec<_> =
            cached.into_iter().map(|cached| newest(&mut self.written, cached.name_any(), cached)).collect();
        newest.sort_by_key(age);
        newest
    }

    /// The nodes, each with what it was told and said.
    fn fleet(&mut self) -> Fleet {
        let mut contents: HashMap<String, Arc<NodeContent>> = HashMap::new();
        for cached in self.caches.contents.state() {
            let namespace = cached.namespace().unwrap_or_default();
            let content = newest(&mut self.told, namespace.clone(), cached);
            contents.insert(namespace, content);
        }
        self.told.retain(|namespace, _| contents.contains_key(namespace));
        let nodes = self.context.nodes.state();
        let living = nodes.into_iter().filter(|node| node.metadata.deletion_timestamp.is_none());
        let members = living.map(|node| Member { content: contents.remove(&namespace_of(&node.name_any())), node });
        let mut members: Vec<_> = members.collect();
        members.sort_by_cached_key(|member| member.node.name_any());
        Fleet { members }
    }

    fn consider(
        &mut self,
        resource: &Arc<ContentDistribution>,
        all: &[Arc<ContentDistribution>],
        fleet: &Fleet,
        now: Timestamp,
    ) -> Course {
        let name = resource.name_any();
        let deleting = resource.metadata.deletion_timestamp.is_some();
        let nodes = fleet.view(&name);
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

    /// Writes what is known, if that has changed; and holds the distribution before the first node is told.
    async fn write_status(&mut self, part: &Part, now: Timestamp) -> Result<(), Failure> {
        let resource = &part.resource;
        let name = resource.name_any();
        let api = Api::<ContentDistribution>::all(self.context.client.clone());
        if resource.metadata.deletion_timestamp.is_none() {
            put_finalizer(&api, "hold the ContentDistribution", resource.as_ref(), DISTRIBUTION_FINALIZER).await?;
        } else if !resource.finalizers().iter().any(|held| held == DISTRIBUTION_FINALIZER) {
            return Ok(());
        }
        let previous = resource.status.clone().unwrap_or_default();
        let generation = resource.metadata.generation;
        // What was wrong with the last try is said until one succeeds.
        let wrong = conditions::is_true(&previous.conditions, "Stalled")
            || conditions::find(&previous.conditions, "Ready").is_some_and(|ready| ready.reason == "HubUnreachable");
        let publishing = matches!(part.course, Course::Publishing);
        if publishing && wrong && previous.observed_generation == generation {
            return Ok(());
        }
        let before = &previous.conditions;
        let mut status = match &part.course {
            Course::Planned(plan) => ContentDistributionStatus {
                conditions: report::of_plan(&name, before, &plan.status, &plan.verdict, generation, now),
                ..plan.status.clone()
            },
            Course::Publishing => ContentDistributionStatus {
                conditions: report::of_publishing(before, generation, now),
                ..previous.clone()
            },
            Course::Failed(failure) => ContentDistributionStatus {
                conditions: report::of_failure(before, failure, generation, now),
                ..previous.clone()
            },
        };
        status.observed_generation = generation;
        if status == previous {
            return Ok(());
        }
        let body = json!({
            "apiVersion": ContentDistribution::api_version(&()), "kind": KIND,
            "metadata": {"uid": resource.uid()}, "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let mut written = api
            .patch_status(&name, &parameters, &Patch::Apply(&body))
            .await
            .map_err(kubernetes("write the ContentDistribution's status"))?;
        crate::watch::forget(&mut written);
        tell_people(&self.context, resource, &previous, &status).await;
        self.written.insert(name, Arc::new(written));
        Ok(())
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

/// The newer of what is cached and what was written.
fn newest<K: Resource>(written: &mut HashMap<String, Arc<K>>, key: String, cached: Arc<K>) -> Arc<K> {
    match written.get(&key) {
        Some(ours) if ours.uid() == cached.uid() && version(ours.as_ref()) > version(cached.as_ref()) => {
            Arc::clone(ours)
        }
        Some(_) => {
            written.remove(&key);
            cached
        }
        None => cached,
    }
}

struct Member {
    node: Arc<LocalNode>,
    content: Option<Arc<NodeContent>>,
}

struct Fleet {
    members: Vec<Member>,
}

impl Fleet {
    /// The nodes as the planner of one distribution sees them.
    fn view(&self, distribution: &str) -> Vec<Node> {
        self.members.iter().map(|member| member.view(distribution)).collect()
    }

    /// Removals that were carried out, of distributions that are gone and forget nothing themselves any more.
    fn left_behind(&self, names: &BTreeSet<String>) -> Vec<(usize, String)> {
        let members = self.members.iter().enumerate();
        let items = members.flat_map(|(index, member)| {
            let items = member.content.iter().flat_map(|content| &content.spec.items);
            items.filter(|item| !names.contains(&item.distribution)).map(move |item| (index, member, item))
        });
        let removed = items.filter(|(_, member, item)| {
            let said = member.content.iter().flat_map(|content| &content.status).flat_map(|status| &status.items);
            item.removal.is_some()
                && said.into_iter().any(|said| said.is_of(item) && said.state == ContentState::Removed)
        });
        removed.map(|(index, _, item)| (index, item.distribution.clone())).collect()
    }

    /// Why a node cannot take one item more; `wanted` is what others bring to it in the same pass.
    fn is_full(&self, index: usize, distribution: &str, change: &Change, wanted: &Wanted) -> Option<Failure> {
        let member = self.members.get(index)?;
        let items = &member.content.as_ref()?.spec.items;
        let is_new = |distribution: &str, change: &Change| {
            let dry_run = matches!(change, Change::Ask(_));
            let has_one = items.iter().any(|item| item.distribution == distribution && item.dry_run == dry_run);
            matches!(change, Change::Put(_) | Change::Ask(_)) && !has_one
        };
        let others = wanted.get(&index).into_iter().flatten().filter(|(name, change)| is_new(name, change)).count();
        (is_new(distribution, change) && items.len() + others >= MAX_ITEMS).then(|| {
            let message = format!(
                "node {} holds {MAX_ITEMS} items already; delete distributions that are no longer needed, or exclude it in spec.targets.exclude",
                member.node.name_any()
            );
            Failure::stalled("ContentLimit", message)
        })
    }
}

impl Member {
    fn view(&self, distribution: &str) -> Node {
        let node = &self.node;
        let conditions = node.status.as_ref().map(|status| &*status.conditions).unwrap_or_default();
        let reports = conditions::find(conditions, "Reporting").filter(|condition| condition.status == "True");
        // One whose NodeContent is not there yet cannot be told anything.
        let reporting_since =
            reports.filter(|_| self.content.is_some()).map(|condition| condition.last_transition_time.0);
        let items = self.content.as_ref().map(|content| &*content.spec.items).unwrap_or_default();
        let said = self.content.as_ref().and_then(|content| content.status.as_ref());
        let said = said.map(|status| &*status.items).unwrap_or_default();
        let item = |dry_run| items.iter().find(|item| item.distribution == distribution && item.dry_run == dry_run);
        let answer = |dry_run| said.iter().find(|said| said.distribution == distribution && said.dry_run == dry_run);
        Node {
            name: node.name_any(),
            uid: node.uid().unwrap_or_default(),
            created_at: node.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            labels: node.labels().clone(),
            active: node.spec.state == NodeState::Active,
            reporting_since,
            item: item(false).cloned(),
            acknowledgement: answer(false).cloned(),
            question: item(true).cloned(),
            answer: answer(true).cloned(),
        }
    }
}

/// Writes a node's whole list, with everything that changes in it.
async fn tell(context: &Context, member: &Member, changes: Vec<(String, Change)>) -> Result<NodeContent, Failure> {
    let Some(content) = &member.content else {
        return Err(Failure::stalled("NoNodeContent", "the node's NodeContent is not there yet"));
    };
    let mut items: Vec<ContentItem> = content.spec.items.clone();
    for (name, change) in changes {
        let dry_run = matches!(change, Change::Ask(_) | Change::Unask);
        items.retain(|item| item.distribution != name || item.dry_run != dry_run);
        match change {
            Change::Put(item) | Change::Ask(item) => items.push(item),
            Change::Forget | Change::Unask => {}
        }
    }
    items.sort_by(|one, other| (&one.distribution, one.dry_run).cmp(&(&other.distribution, other.dry_run)));
    let namespace = content.namespace().unwrap_or_default();
    // What it was planned from: if it has changed since, it is planned again.
    let body = json!({
        "apiVersion": NodeContent::api_version(&()), "kind": NodeContent::kind(&()),
        "metadata": {"name": CHILD_NAME, "uid": content.uid(), "resourceVersion": content.resource_version()},
        "spec": {"items": items},
    });
    let api = Api::<NodeContent>::namespaced(context.client.clone(), &namespace);
    let parameters = PatchParams::apply(CONTENT_MANAGER).force();
    let mut written =
        api.patch(CHILD_NAME, &parameters, &Patch::Apply(&body)).await.map_err(kubernetes("tell the node"))?;
    crate::watch::forget(&mut written);
    Ok(written)
}

/// Owns the items of NodeContents; the object itself is the LocalNode controller's.
const CONTENT_MANAGER: &str = "fateh-operator-content";

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

/// Events tell what changed: where the rollout stands, in the words of `Ready`.
async fn tell_people(
    context: &Context,
    resource: &ContentDistribution,
    before: &ContentDistributionStatus,
    now: &ContentDistributionStatus,
) {
    let ready = |status: &ContentDistributionStatus| {
        conditions::find(&status.conditions, "Ready").map(|ready| (ready.reason.clone(), ready.message.clone()))
    };
    let Some((reason, message)) = ready(now) else { return };
    let stage_before = before.stage.as_ref();
    if ready(before).is_some_and(|(before, _)| before == reason) && stage_before == now.stage.as_ref() {
        return;
    }
    let bad = conditions::is_true(&now.conditions, "Stalled");
    let kind = if bad { EventType::Warning } else { EventType::Normal };
    context.publish(resource, kind, &reason, "RollOut", &message).await;
}

#[cfg(test)]
mod tests {
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
