//! What is known of the objects of one kind, as watched. kube's own cache keeps an object's names, UID and version once more
//! beside it, and all objects twice during a listing: of thousands, that is most of it.

use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::{Arc, PoisonError, RwLock},
};

use fateh_crds::{ContentDistribution, DatabaseServer};
use futures::{Stream, TryStreamExt};
use kube::runtime::watcher::{self, Event};

use crate::applied::Names;

/// Something that one name tells from all others of its kind: its own, or that of the namespace where it is alone.
pub trait Keyed {
    /// The name.
    fn key(&self) -> &str;
}

impl Keyed for DatabaseServer {
    fn key(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}

impl Keyed for ContentDistribution {
    fn key(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}

/// What is known, by name. Clones show the same.
#[derive(Debug)]
pub struct Cache<T>(Arc<RwLock<HashSet<Entry<T>>>>);

#[derive(Debug)]
struct Entry<T>(Arc<T>);

impl<T: Keyed> Cache<T> {
    /// What has that name.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<T>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(key).map(|entry| Arc::clone(&entry.0))
    }

    /// All of it, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<T>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|entry| Arc::clone(&entry.0)).collect()
    }

    /// All names, in no order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|entry| entry.0.key().to_owned()).collect()
    }

    /// Passes events through, after what they tell is in the cache.
    pub fn fill<S>(&self, events: S) -> impl Stream<Item = Result<Event<T>, watcher::Error>> + use<T, S>
    where
        T: Clone,
        S: Stream<Item = Result<Event<T>, watcher::Error>>,
    {
        let cache = self.clone();
        let mut listing = Names::default();
        events.inspect_ok(move |event| cache.take(event, &mut listing))
    }

    /// What a listing finds takes the place of what was known at once; what it did not find goes at its end.
    fn take(&self, event: &Event<T>, listing: &mut Names)
    where
        T: Clone,
    {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => *listing = Names::default(),
            Event::InitApply(it) => {
                listing.add(it.key());
                known.replace(Entry(Arc::new(it.clone())));
            }
            Event::InitDone => {
                let listed = std::mem::take(listing);
                known.retain(|entry| listed.contain(entry.0.key()));
            }
            Event::Apply(it) => drop(known.replace(Entry(Arc::new(it.clone())))),
            Event::Delete(it) => drop(known.remove(it.key())),
        }
    }
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Cache<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

// An entry is found by its name, so that no key is kept beside it.
impl<T: Keyed> Borrow<str> for Entry<T> {
    fn borrow(&self) -> &str {
        self.0.key()
    }
}

impl<T: Keyed> Hash for Entry<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

impl<T: Keyed> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl<T: Keyed> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::*;

    #[derive(Clone, Debug)]
    struct Thing(&'static str, i32);

    impl Keyed for Thing {
        fn key(&self) -> &str {
            self.0
        }
    }

    #[tokio::test]
    async fn a_listing_replaces_adds_and_takes_away() {
        let cache = Cache::<Thing>::default();
        let known = || {
            let mut known: Vec<_> = cache.all().iter().map(|thing| (thing.0, thing.1)).collect();
            known.sort_unstable();
            known
        };
        let told = async |events: Vec<Event<Thing>>| {
            let passed = cache.fill(stream::iter(events.into_iter().map(Ok))).count().await;
            (passed, known())
        };
        let listed = |things: &[(&'static str, i32)]| {
            let things = things.iter().map(|(name, value)| Event::InitApply(Thing(name, *value)));
            [Event::Init].into_iter().chain(things).chain([Event::InitDone]).collect()
        };
        assert_eq!(told(listed(&[("a", 1), ("b", 1)])).await, (4, vec![("a", 1), ("b", 1)]));
        assert_eq!(told(vec![Event::Apply(Thing("a", 2))]).await, (1, vec![("a", 2), ("b", 1)]));
        assert_eq!(told(listed(&[("a", 3), ("c", 1)])).await, (4, vec![("a", 3), ("c", 1)]));
        assert_eq!(told(vec![Event::Delete(Thing("c", 1))]).await, (1, vec![("a", 3)]));
        assert_eq!((cache.get("a").map(|thing| thing.1), cache.get("b").map(|thing| thing.1)), (Some(3), None));
    }

    #[tokio::test]
    async fn a_listing_that_was_not_completed_takes_nothing_away() {
        let cache = Cache::<Thing>::default();
        let events = [
            Event::Init,
            Event::InitApply(Thing("a", 1)),
            Event::InitApply(Thing("b", 1)),
            Event::InitDone,
            Event::Init,
            Event::InitApply(Thing("b", 2)),
        ];
        let _ = cache.fill(stream::iter(events.map(Ok))).count().await;
        assert_eq!(cache.all().len(), 2);
    }
}
