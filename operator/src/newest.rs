//! Time does not run backwards: a reconcile is not begun with an older version of an object than one before it.
//!
//! An API server that lags behind may list what was true a moment ago; a fee that was in force then would be
//! appended to the node's rate table as if it came into force now.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::ResourceExt;

/// The newest version of each object that a reconcile began with or left. An entry stays when its object is deleted,
/// because a listing from before the deletion may yet come.
#[derive(Debug, Default)]
pub struct Newest(Mutex<HashMap<String, Seen>>);

#[derive(Debug, Default)]
struct Seen {
    version: u64,
    /// A write was sent, and whether it was carried out is not known.
    doubtful: bool,
}

impl Newest {
    /// Whether `object`, as a cache has it, is as new as what was seen of its name before; if so it is what was seen.
    pub fn admits(&self, object: &impl ResourceExt) -> bool {
        self.look(object, |seen, version| !seen.doubtful && version >= seen.version)
    }

    /// The same of an object as the API server has it, which settles a doubt.
    pub fn admits_read(&self, object: &impl ResourceExt) -> bool {
        self.look(object, |seen, version| {
            seen.doubtful = false;
            version >= seen.version
        })
    }

    /// Believes the API server's own word on `object`, though it be older: etcd may have been restored.
    pub fn believe(&self, object: &impl ResourceExt) {
        let Some(version) = number(object) else { return };
        self.seen().insert(object.name_any(), Seen { version, doubtful: false });
    }

    /// Believes no cache on `name` until the API server was asked.
    pub fn doubt(&self, name: &str) {
        self.seen().entry(name.to_owned()).or_default().doubtful = true;
    }

    fn look(&self, object: &impl ResourceExt, admits: impl FnOnce(&mut Seen, u64) -> bool) -> bool {
        // Versions of one kind can be compared; one that is no number cannot, and is believed.
        let Some(version) = number(object) else { return true };
        let mut all = self.seen();
        let seen = all.entry(object.name_any()).or_default();
        let admitted = admits(seen, version);
        seen.version = version.max(seen.version);
        admitted
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(object: &impl ResourceExt) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;

    use super::*;

    #[test]
    fn an_older_version_is_not_admitted() {
        let newest = Newest::default();
        let object = |name: &str, version: &str| {
            let mut object = Namespace::default();
            object.metadata.name = Some(name.to_owned());
            object.metadata.resource_version = Some(version.to_owned());
            object
        };
        for (name, version, admitted) in [
            ("a", "9", true),
            ("a", "10", true),
            ("a", "9", false),
            ("a", "10", true),
            ("b", "3", true),
            ("a", "x", true),
        ] {
            assert_eq!(newest.admits(&object(name, version)), admitted, "{name} {version}");
        }
        newest.doubt("b");
        assert!(!newest.admits(&object("b", "3")), "it may be another by now");
        assert!(newest.admits_read(&object("b", "3")) && newest.admits(&object("b", "3")));
        newest.believe(&object("a", "4"));
        assert!(newest.admits(&object("a", "5")), "etcd was restored");
    }
}
