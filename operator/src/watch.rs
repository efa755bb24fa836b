//! Watches that also list everything anew at intervals, so that an event that was lost is made up for.

use std::{fmt::Debug, sync::Arc, time::Duration};

use fateh_crds::{NODE_LABEL, node_of};
use futures::{Stream, StreamExt, TryStreamExt, future, stream};
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{
    applied::{Applied, ChildKind, Names, Sight, version},
    context::Context,
    news::{News, hash},
};

/// Objects in one answer to a listing. All kinds are listed at once when the operator starts; pages as long as the
/// client's default would be most of the memory that it ever needs.
const PAGE: u32 = 50;

/// Events of one kind, with back-off after errors. After each `interval` the watch begins again with a full listing.
pub fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    interval: Duration,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    stream::repeat(()).flat_map(move |()| {
        let events = watcher(api.clone(), config.clone().page_size(PAGE)).default_backoff();
        // Boxed: a watch lives long, and is made seldom.
        events.take_until(Box::pin(tokio::time::sleep(interval))).boxed()
    })
}

/// Passes events through, and cancels the token after the first listing.
pub fn note_filled<K, S>(
    events: S,
    filled: &CancellationToken,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + use<K, S>
where
    S: Stream<Item = Result<Event<K>, watcher::Error>>,
{
    let filled = filled.clone();
    events.inspect(move |event| {
        if matches!(event, Ok(Event::InitDone)) {
            filled.cancel();
        }
    })
}

/// The same events of less.
pub fn reduced<K, S>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
) -> impl Stream<Item = Result<Event<S>, watcher::Error>> + Send + 'static
where
    K: 'static,
    S: From<K> + 'static,
{
    events.map_ok(|event| match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(object.into()),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(object.into()),
        Event::Delete(object) => Event::Delete(object.into()),
    })
}

/// The names of objects that are not as they were when they were last seen, as far as is looked at. kube's own filter
/// keeps all names, ten times as much.
pub fn changes<K>(
    kind: &'static str,
    objects: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
    name: impl Fn(&K) -> Option<&str> + Send + 'static,
    looked_at: impl Fn(&K) -> u64 + Send + 'static,
) -> impl Stream<Item = String> + Send + 'static
where
    K: Send + 'static,
{
    let mut news = News::default();
    objects.filter_map(move |object| {
        let object = object.inspect_err(|error| tracing::warn!(kind, %error, "a watch failed")).ok();
        let name = object.as_ref().and_then(|object| {
            let name = name(object)?;
            news.are_in(&name, &looked_at(object)).then(|| name.to_owned())
        });
        future::ready(name)
    })
}

/// Takes away what nobody looks at, of objects that a cache holds thousands of.
pub fn forget(object: &mut impl Resource) {
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// What of a kind of child starts a reconcile of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heed {
    /// Any change; a node may be without it.
    Changes,
    /// Any change, and that it is not there.
    ChangesAndAbsence,
    /// Only that it is not there: its changes are the node's own.
    Absence,
}

/// The nodes whose children of one kind and name changed or went.
///
/// Only metadata is read, and nothing of it is kept but versions: a listing repeats what is newer, and names the
/// nodes that it did not find a child for. What the operator did itself is no news.
pub fn children(
    context: &Arc<Context>,
    resource: ApiResource,
    child: Child,
) -> impl Stream<Item = String> + Send + 'static {
    let mut seen = Seen::default();
    let kind = ChildKind::new(&resource.kind, child.name.unwrap_or_default());
    let config = match child.name {
        Some(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
        None => watcher::Config::default().labels(NODE_LABEL),
    };
    // Of one type for all kinds: code of its own for each would be a good part of the program.
    let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(context.client.clone(), &resource);
    let context = Arc::clone(context);
    events(api, config, context.settings.resync_interval)
        .filter_map(move |event| {
            let kind = &resource.kind;
            future::ready(event.inspect_err(|error| tracing::warn!(kind, %error, "a watch failed")).ok())
        })
        .flat_map(move |event| {
            let step = match event {
                Event::Init => Step::Listing,
                Event::InitApply(it) => Step::Listed(slug(&it), sight(&it, child.heed)),
                Event::InitDone => Step::Complete,
                Event::Apply(it) => Step::Changed(slug(&it), sight(&it, child.heed)),
                Event::Delete(it) => Step::Deleted(slug(&it)),
            };
            stream::iter(seen.take(step, kind, child.heed, &context.applied, || context.nodes.keys()))
        })
}

/// Which child is watched, and what of it is heeded.
#[derive(Clone, Copy, Debug)]
pub struct Child {
    /// Its name; none for a namespace, which is found by its label.
    pub name: Option<&'static str>,
    /// What starts a reconcile.
    pub heed: Heed,
}

/// An event, reduced to what is looked at: the node's name, and what the child looks like.
enum Step {
    Listing,
    Listed(Option<String>, Sight),
    Complete,
    Changed(Option<String>, Sight),
    Deleted(Option<String>),
}

/// What was seen of one kind of child.
#[derive(Default)]
struct Seen {
    /// The newest version; none before the first listing is complete.
    newest: Option<u64>,
    listing: Names,
    newest_listed: u64,
}

impl Seen {
    /// The names of the nodes that an event concerns.
    fn take(
        &mut self,
        step: Step,
        kind: ChildKind,
        heed: Heed,
        applied: &Applied,
        nodes: impl FnOnce() -> Vec<String>,
    ) -> Vec<String> {
        match step {
            Step::Listing => {
                self.listing = Names::default();
                self.newest_listed = 0;
                Vec::new()
            }
            Step::Listed(slug, sight) => {
                let version = sight.version;
                self.newest_listed = self.newest_listed.max(version);
                let Some(slug) = slug else { return Vec::new() };
                self.listing.add(&slug);
                // At the first listing every node is reconciled anyway. One that nobody knew of may be older than the
                // newest, where etcd was restored.
                let newest = self.newest.filter(|_| heed != Heed::Absence);
                let is_news = newest.is_some_and(|newest| version > newest || applied.is_unknown(&slug, kind));
                if applied.sees(&slug, kind, sight) && is_news { vec![slug] } else { Vec::new() }
            }
            Step::Complete => {
                let first = self.newest.is_none();
                self.newest = self.newest.max(Some(self.newest_listed));
                let listed = std::mem::take(&mut self.listing);
                applied.only(kind, &listed);
                if first || heed == Heed::Changes {
                    return Vec::new();
                }
                nodes().into_iter().filter(|node| !listed.contain(node)).collect()
            }
            Step::Changed(slug, sight) => {
                self.newest = self.newest.max(Some(sight.version));
                slug.into_iter().filter(|slug| applied.sees(slug, kind, sight) && heed != Heed::Absence).collect()
            }
            Step::Deleted(slug) => slug.into_iter().inspect(|slug| applied.gone(slug, kind)).collect(),
        }
    }
}

/// A child as it looks. Where pods or controllers write a status into it, or nodes are told something in it, its version
/// says little: then what is the operator's in its metadata does, and the generation of its spec.
fn sight(child: &PartialObjectMeta<DynamicObject>, heed: Heed) -> Sight {
    let metadata = &child.metadata;
    let spec = if heed == Heed::Absence { Some(0) } else { metadata.generation };
    let shape = spec.map(|spec| {
        let owners = serde_json::to_string(&metadata.owner_references).unwrap_or_default();
        hash(&(&metadata.uid, &metadata.labels, &metadata.annotations, owners, &metadata.finalizers, spec))
    });
    Sight { version: version(child), shape }
}

/// The node that an object belongs to: by its namespace, and that by its label. What an object in a namespace is
/// labelled says nothing: anyone may take a label off, or put one on in a namespace of their own.
fn slug(child: &impl ResourceExt) -> Option<String> {
    match child.namespace() {
        Some(namespace) => node_of(&namespace).map(str::to_owned),
        None => child.labels().get(NODE_LABEL).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Namespace};

    use super::*;

    #[tokio::test]
    async fn an_object_is_news_when_what_is_looked_at_changes_and_when_it_is_another() {
        let object = |name: &str, uid: &str, generation| {
            let mut object = Namespace::default();
            object.metadata.name = Some(name.to_owned());
            object.metadata.uid = Some(uid.to_owned());
            object.metadata.generation = Some(generation);
            object
        };
        let told = [("a", "1", 1), ("a", "1", 1), ("b", "2", 1), ("a", "1", 2), ("a", "3", 2), ("b", "2", 1)];
        let objects = stream::iter(told.map(|(name, uid, generation)| Ok(object(name, uid, generation))));
        let looked_at = |object: &Namespace| hash(&(&object.metadata.uid, object.metadata.generation));
        let news = changes("Namespace", objects, |object| object.metadata.name.as_deref(), looked_at)
            .collect::<Vec<_>>()
            .await;
        assert_eq!(news, ["a", "b", "a", "a"]);
    }

    #[test]
    fn a_child_is_its_nodes_whatever_it_is_labelled() {
        let object = |namespace: Option<&str>, label: Option<&str>| {
            let mut object = ConfigMap::default();
            object.metadata.namespace = namespace.map(str::to_owned);
            object.metadata.labels = label.map(|node| [(NODE_LABEL.to_owned(), node.to_owned())].into());
            object
        };
        assert_eq!(slug(&object(Some("fateh-node-riyadh"), None)).as_deref(), Some("riyadh"), "it was taken off");
        assert_eq!(slug(&object(Some("fateh-node-riyadh"), Some("cairo"))).as_deref(), Some("riyadh"));
        assert_eq!(slug(&object(Some("default"), Some("riyadh"))), None, "anyone may say so there");
        assert_eq!(slug(&object(None, Some("riyadh"))).as_deref(), Some("riyadh"), "a namespace itself");
    }

    #[test]
    fn what_nobody_knew_of_is_news_however_old() {
        let (applied, kind) = (Applied::default(), ChildKind::new("Service", "node"));
        let mut seen = Seen::default();
        let mut listing = |applied: &Applied, children: &[(&str, u64)]| -> Vec<String> {
            let mut take = |step| seen.take(step, kind, Heed::Changes, applied, Vec::new);
            let mut named = take(Step::Listing);
            for (slug, version) in children {
                let sight = Sight { version: *version, shape: None };
                named.extend(take(Step::Listed(Some((*slug).to_owned()), sight)));
            }
            named.extend(take(Step::Complete));
            named
        };
        assert!(listing(&applied, &[("a", 9)]).is_empty());
        assert!(applied.is_absent("b", kind));
        assert_eq!(listing(&applied, &[("a", 9), ("b", 4)]), ["b"], "etcd was restored");
        assert!(!applied.is_absent("b", kind));
    }

    #[test]
    fn a_second_listing_names_what_changed_and_what_is_missing() {
        let nodes = || ["a", "b", "c"].map(str::to_owned).to_vec();
        let applied = Applied::default();
        let kind = ChildKind::new("Service", "node");
        let at = |version| Sight { version, shape: None };
        let take = |seen: &mut Seen, heed, step| seen.take(step, kind, heed, &applied, nodes);
        let listing = |seen: &mut Seen, heed, children: &[(&str, u64)]| -> Vec<String> {
            let mut named = take(seen, heed, Step::Listing);
            for (slug, version) in children {
                named.extend(take(seen, heed, Step::Listed(Some((*slug).to_owned()), at(*version))));
            }
            named.extend(take(seen, heed, Step::Complete));
            named
        };
        for (heed, changed, missing) in [
            (Heed::Changes, &["b"][..], &[][..]),
            (Heed::ChangesAndAbsence, &["b"], &["c"]),
            (Heed::Absence, &[], &["c"]),
        ] {
            let mut seen = Seen::default();
            assert!(listing(&mut seen, heed, &[("a", 5), ("b", 6), ("c", 7)]).is_empty(), "the first says nothing");
            assert!(listing(&mut seen, heed, &[("a", 5), ("b", 6), ("c", 7)]).is_empty(), "nothing changed");
            assert_eq!(listing(&mut seen, heed, &[("a", 5), ("b", 9), ("c", 7)]), changed);
            assert_eq!(listing(&mut seen, heed, &[("a", 5), ("b", 9)]), missing);
            assert_eq!(take(&mut seen, heed, Step::Deleted(Some("a".into()))), ["a"]);
            let named = take(&mut seen, heed, Step::Changed(Some("a".into()), at(12)));
            assert_eq!(named.is_empty(), heed == Heed::Absence);
            assert!(listing(&mut seen, Heed::Changes, &[("a", 12)]).is_empty(), "seen already");
        }
    }
}
