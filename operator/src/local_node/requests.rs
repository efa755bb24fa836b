//! What a person asks for by annotation: a value is a nonce, and works once. Pure: needs no client.

use fateh_crds::LocalNode;
use kube::ResourceExt;
use sha2::{Digest, Sha256};

/// The digest of the annotation's value, if it asks for something that was not `handled` yet.
///
/// Compared and kept as a digest: the value may be longer than status has room for.
#[must_use]
pub fn open(node: &LocalNode, annotation: &str, handled: Option<&String>) -> Option<String> {
    let nonce = node.annotations().get(annotation)?;
    let asked = hex::encode(&Sha256::digest(nonce)[..8]);
    (Some(&asked) != handled).then_some(asked)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::local_node::validate::tests::node;

    #[test]
    fn a_value_asks_once() {
        let mut asking = node("riyadh", json!({}));
        assert_eq!(open(&asking, "a", None), None);
        asking.annotations_mut().insert("a".into(), "1".into());
        let first = open(&asking, "a", None).unwrap();
        assert_eq!(open(&asking, "a", Some(&first)), None);
        asking.annotations_mut().insert("a".into(), "2".repeat(10_000));
        let second = open(&asking, "a", Some(&first)).unwrap();
        assert_eq!(second.len(), 16);
        assert_ne!(first, second);
    }
}
