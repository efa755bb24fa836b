//! Time does not run backwards: a reconcile is not begun with an older version of an object than one before it.
//!
//! An API server that lags behind may list what was true a moment ago; a fee that was in force then would be
//! appended to the node's rate table as if it came into force now.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use kube::ResourceExt;

/// The newest version of each object that a reconcile began with. An entry stays when its object is deleted,
/// because a listing from before the deletion may yet come.
#[derive(Debug, Default)]
pub struct Newest(Mutex<HashMap<String, u64>>);

impl Newest {
    /// Whether `object` is as new as what was seen of its name before; if so it is what was seen.
    pub fn admits(&self, object: &impl ResourceExt) -> bool {
        // Versions of one kind can be compared; one that is no number cannot, and is believed.
        let Some(version) = object.resource_version().and_then(|version| version.parse::<u64>().ok()) else {
            return true;
        };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = seen.entry(object.name_any()).or_default();
        let admitted = version >= *newest;
        *newest = version.max(*newest);
        admitted
    }

    /// Believes the API server's own word on `object`, though it be older: etcd may have been restored.
    pub fn believe(&self, object: &impl ResourceExt) {
        let Some(version) = object.resource_version().and_then(|version| version.parse::<u64>().ok()) else { return };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(object.name_any(), version);
    }
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
        newest.believe(&object("a", "4"));
        assert!(newest.admits(&object("a", "5")), "etcd was restored");
    }
}
