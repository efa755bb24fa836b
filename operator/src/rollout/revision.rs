//! What of a spec makes a revision: the manifest that nodes hold, and the bodies that it names. Pure.

use std::collections::BTreeMap;

use fateh_common::catalogue::{Digest, Manifest, canonical};
use fateh_crds::ContentDistributionSpec;
use serde_json::{Value, json};

use crate::failure::Failure;

/// Inline content in all its languages is no larger.
const MAX_INLINE: usize = 128 * 1024;

/// Digest of all of the spec that makes a revision: while it is the same, so is the manifest.
pub fn source(spec: &ContentDistributionSpec) -> Digest {
    let parts = json!([spec.content, spec.languages, spec.local_changes]);
    Digest::of(parts.to_string().as_bytes())
}

/// The manifest of a revision, from the digest of each language's body.
pub fn manifest(spec: &ContentDistributionSpec, languages: BTreeMap<String, Digest>) -> Manifest {
    let word = |value: Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let sorted = |mut list: Vec<String>| {
        list.sort_unstable();
        list
    };
    Manifest {
        content_id: spec.content.id.clone(),
        kind: word(json!(spec.content.kind)),
        version: spec.content.version.clone(),
        title: spec.content.title.clone(),
        languages,
        local_changes: Some(word(json!(spec.local_changes.policy))),
        locked_fields: sorted(spec.local_changes.locked_fields.clone()),
        wanted_languages: sorted(spec.languages.want.clone()),
        language_fallback: Some(word(json!(spec.languages.fallback))),
    }
}

/// The bodies of inline content by language, in their one form; none where the content is the catalogue's.
///
/// # Errors
/// When they are too large, or hold what has no one form; the message names the field.
pub fn bodies(spec: &ContentDistributionSpec) -> Result<Option<BTreeMap<String, Vec<u8>>>, Failure> {
    let Some(inline) = &spec.content.source.inline else { return Ok(None) };
    let invalid = |message: String| Failure::stalled("ContentInvalid", message);
    if inline.is_empty() {
        return Err(invalid(
            "spec.content.source.inline holds no language; give at least one, for example ar".to_owned(),
        ));
    }
    let mut bodies = BTreeMap::new();
    for (language, body) in inline {
        let value = Value::Object(body.clone());
        let bytes = canonical(&value).ok_or_else(|| {
            invalid(format!("spec.content.source.inline.{language} holds a number that JSON cannot carry exactly"))
        })?;
        bodies.insert(language.clone(), bytes);
    }
    let size: usize = bodies.values().map(Vec::len).sum();
    if size > MAX_INLINE {
        let message = format!(
            "spec.content.source.inline is {size} bytes in all, and may be {MAX_INLINE}: publish it to the hub's catalogue and use source.catalog"
        );
        return Err(Failure::stalled("ContentTooLarge", message));
    }
    Ok(Some(bodies))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(inline: &Value) -> ContentDistributionSpec {
        let content = json!({"id": "sums", "type": "Course", "version": "1", "source": {"inline": inline}});
        serde_json::from_value(json!({"content": content})).unwrap()
    }

    #[test]
    fn the_same_content_has_the_same_digest_however_it_is_written() {
        let one = bodies(&spec(&json!({"ar": {"b": 1, "a": [2.0]}}))).unwrap().unwrap();
        let other = bodies(&spec(&json!({"ar": {"a": [2], "b": 1.0}}))).unwrap().unwrap();
        assert_eq!(one, other);
    }

    #[test]
    fn what_changes_what_nodes_hold_is_another_revision_and_nothing_else_is() {
        let before = spec(&json!({"ar": {"a": 1}}));
        let mut locked = before.clone();
        locked.local_changes.locked_fields = vec!["/title".into()];
        let mut staged = before.clone();
        staged.rollout.stages.pop();
        staged.suspend = true;
        assert_eq!(source(&before), source(&staged));
        assert_ne!(source(&before), source(&locked));
        let digests = |spec| Digest::of(&manifest(spec, BTreeMap::new()).canonical());
        assert_eq!(digests(&before), digests(&staged));
        assert_ne!(digests(&before), digests(&locked));
    }

    #[test]
    fn content_that_is_too_large_or_none_is_refused_by_name() {
        let large = spec(&json!({"ar": {"text": "x".repeat(MAX_INLINE)}}));
        assert_eq!(bodies(&large).unwrap_err().reason(), "ContentTooLarge");
        assert!(bodies(&spec(&json!({}))).unwrap_err().to_string().contains("spec.content.source.inline"));
    }
}
