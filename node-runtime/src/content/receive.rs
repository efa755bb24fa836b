//! What becomes of a piece of content when the centre sends another version of it. Pure.

use fateh_common::catalogue::{Digest, Manifest};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{
    Path,
    edit::document,
    get,
    merge::{Merged, edits, merge},
    put,
};
use crate::storage::contents::{Content, Kind, State};

/// What happens to a node's own edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They are merged with what comes.
    Merge,
    /// What was edited stays as it is.
    Preserve,
    /// What comes replaces them.
    Overwrite,
}

impl Policy {
    /// As a manifest names it.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        match manifest.local_changes.as_deref() {
            Some("Preserve") => Self::Preserve,
            Some("Overwrite") => Self::Overwrite,
            _ => Self::Merge,
        }
    }
}

/// What comes of one piece.
#[derive(Clone, Debug)]
pub struct Received {
    /// The piece, as it is to be held.
    pub piece: Content,
    /// What the node served before, where an edit of it was replaced.
    pub replaced: Option<Value>,
    /// Edits that were replaced because their fields are locked.
    pub locked: Vec<Path>,
    /// Whether what is served changes.
    pub changes: bool,
}

/// A piece that the node does not hold yet.
#[must_use]
pub fn first(id: uuid::Uuid, manifest: &Manifest, language: &str, body: &Value, now: Timestamp) -> Received {
    let title = title(manifest, language);
    let upstream = document(&title, body);
    let piece = Content {
        id,
        global_id: Some(manifest.content_id.clone()),
        kind: kind(&manifest.kind),
        title,
        content: body.clone(),
        language: language.to_owned(),
        state: State::Published,
        is_customized: false,
        customization: None,
        revision: 1,
        upstream: Some(upstream.clone()),
        base: Some(upstream),
        conflicts: Vec::new(),
        created_at: now,
        updated_at: now,
    };
    Received { piece, replaced: None, locked: Vec::new(), changes: true }
}

/// A piece that the node holds in another version, or in this one. Going back is a merge as well.
#[must_use]
pub fn next(mut piece: Content, manifest: &Manifest, body: &Value, now: Timestamp) -> Received {
    let upstream = document(&title(manifest, &piece.language), body);
    let served = document(&piece.title, &piece.content);
    let mut base = piece.base.clone().unwrap_or_else(|| served.clone());
    let before = piece.upstream.clone().unwrap_or_else(|| base.clone());
    let mut local = served.clone();
    let own = edits(&before, &served);
    let locked: Vec<_> = own.iter().filter(|path| is_locked(path, &manifest.locked_fields)).cloned().collect();
    for path in &locked {
        // Both begin with what was distributed, so that what comes now is no conflict.
        put(&mut local, path, get(&before, path).cloned(), &before);
        put(&mut base, path, get(&before, path).cloned(), &before);
    }
    let merged = merge(&base, &local, &upstream);
    let Merged { value, base, conflicts } = match Policy::of(manifest) {
        Policy::Merge => merged,
        // Where both changed, the node's stays, and nobody is asked.
        Policy::Preserve => Merged { base: upstream.clone(), conflicts: Vec::new(), ..merged },
        Policy::Overwrite => Merged { value: upstream.clone(), base: upstream.clone(), conflicts: Vec::new() },
    };
    let paths = edits(&upstream, &value);
    let lost = !locked.is_empty() || (Policy::of(manifest) == Policy::Overwrite && !own.is_empty());
    let by = piece.customization.as_ref().and_then(|noted| noted.get("by").cloned()).unwrap_or_default();
    let at = piece.customization.as_ref().and_then(|noted| noted.get("at").cloned()).unwrap_or_else(|| json!(now));
    piece.is_customized = !paths.is_empty();
    piece.customization = (!paths.is_empty()).then(|| json!({"paths": paths, "by": by, "at": at}));
    if let Some(title) = value.get("title").and_then(Value::as_str) {
        title.clone_into(&mut piece.title);
    }
    piece.content = value.get("content").cloned().unwrap_or_default();
    piece.kind = kind(&manifest.kind);
    piece.upstream = Some(upstream);
    piece.base = Some(base);
    piece.conflicts = conflicts;
    piece.updated_at = now;
    Received { piece, changes: value != served, replaced: lost.then_some(served), locked }
}

/// Whether a place is one of these, within one of them, or holds one of them.
#[must_use]
pub fn is_locked(path: &Path, locked: &[String]) -> bool {
    let locked = locked.iter().filter_map(|locked| Path::try_from(locked.clone()).ok());
    locked.into_iter().any(|locked| {
        let (one, other) = (path.segments(), locked.segments());
        one.starts_with(other) || other.starts_with(one)
    })
}

/// The languages that a node is to hold, each with its body's digest.
///
/// # Errors
/// Names the language that is missing, where none may be.
pub fn languages(manifest: &Manifest, own: &str) -> Result<BTreeMap<String, Digest>, String> {
    let own = [own.to_owned()];
    let wanted = if manifest.wanted_languages.is_empty() { &own[..] } else { &manifest.wanted_languages };
    let mut chosen = BTreeMap::new();
    for language in wanted {
        // ar serves who wants ar-EG.
        let general = language.split('-').next().unwrap_or_default();
        let exact = manifest.languages.get_key_value(language).or_else(|| manifest.languages.get_key_value(general));
        let found = match (exact, manifest.language_fallback.as_deref()) {
            (Some(found), _) => Some(found),
            (None, Some("Require")) => {
                let there: Vec<_> = manifest.languages.keys().map(String::as_str).collect();
                return Err(format!(
                    "the content is not there in {language}, which is required; there is {}",
                    there.join(", ")
                ));
            }
            (None, Some("Skip")) => None,
            (None, _) => [own[0].as_str(), "ar", "en"]
                .iter()
                .find_map(|fallback| manifest.languages.get_key_value(*fallback))
                .or_else(|| manifest.languages.first_key_value()),
        };
        chosen.extend(found.map(|(language, digest)| (language.clone(), *digest)));
    }
    Ok(chosen)
}

fn title(manifest: &Manifest, language: &str) -> String {
    let general = language.split('-').next().unwrap_or_default();
    let titles = &manifest.title;
    let found = titles.get(language).or_else(|| titles.get(general)).or_else(|| titles.values().next());
    found.filter(|title| !title.trim().is_empty()).unwrap_or(&manifest.content_id).clone()
}

fn kind(name: &str) -> Kind {
    match name {
        "Course" => Kind::Course,
        "Quiz" => Kind::Quiz,
        "Resource" => Kind::Resource,
        _ => Kind::Lesson,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::edit::edited;

    fn manifest(policy: &str, locked: &[&str]) -> Manifest {
        Manifest {
            content_id: "sums".into(),
            kind: "Course".into(),
            version: "1".into(),
            title: [("ar".to_owned(), "الجمع".to_owned())].into(),
            languages: [("ar", "1"), ("en", "2")]
                .map(|(language, body)| (language.to_owned(), Digest::of(body.as_bytes())))
                .into(),
            local_changes: Some(policy.into()),
            locked_fields: locked.iter().map(|&field| field.to_owned()).collect(),
            wanted_languages: Vec::new(),
            language_fallback: None,
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1).unwrap()
    }

    /// A piece whose text and note the centre wrote, and whose text the node changed and added a lesson to.
    fn edited_piece() -> Content {
        let body = json!({"text": "one", "note": "x", "lessons": [{"id": "a"}]});
        let piece = first(uuid::Uuid::nil(), &manifest("Merge", &[]), "ar", &body, now()).piece;
        let mine = json!({"text": "mine", "note": "x", "lessons": [{"id": "a"}, {"id": "own"}]});
        edited(piece, document("الجمع", &mine), uuid::Uuid::from_u128(1), now())
    }

    #[test]
    fn each_policy_treats_edits_as_it_says() {
        let elsewhere = json!({"text": "one", "note": "y", "lessons": [{"id": "a"}]});
        let same = json!({"text": "two", "note": "x", "lessons": [{"id": "a"}]});
        for (policy, locked, body, text, conflicts, replaced) in [
            ("Merge", &[][..], &elsewhere, "mine", 0, false),
            ("Merge", &[], &same, "mine", 1, false),
            ("Preserve", &[], &same, "mine", 0, false),
            ("Overwrite", &[], &same, "two", 0, true),
            ("Merge", &["/content/text"], &same, "two", 0, true),
            ("Merge", &["/content/text"], &elsewhere, "one", 0, true),
        ] {
            let received = next(edited_piece(), &manifest(policy, locked), body, now());
            let piece = &received.piece;
            let name = format!("{policy} {locked:?} {body}");
            assert_eq!((&piece.content["text"], piece.conflicts.len()), (&json!(text), conflicts), "{name}");
            assert_eq!(received.replaced.is_some(), replaced, "{name}");
            assert_eq!(piece.content["note"], body["note"], "{name}: what the node did not edit follows");
            let kept = piece.content["lessons"].as_array().unwrap().len() == 2;
            assert_eq!(kept, policy != "Overwrite", "{name}: a lesson added here survives");
            assert_eq!(piece.is_customized, policy != "Overwrite", "{name}");
        }
    }

    #[test]
    fn a_field_that_is_locked_while_in_conflict_is_the_centre_s_again() {
        let body = |text: &str| json!({"text": text, "note": "x", "lessons": [{"id": "a"}]});
        let conflicted = next(edited_piece(), &manifest("Merge", &[]), &body("two"), now()).piece;
        assert_eq!(conflicted.conflicts.len(), 1);
        let locked = next(conflicted, &manifest("Merge", &["/content/text"]), &body("three"), now());
        assert_eq!((&locked.piece.content["text"], locked.piece.conflicts.len()), (&json!("three"), 0));
        assert!(locked.replaced.is_some_and(|document| document["content"]["text"] == "mine"));
    }

    #[test]
    fn going_back_to_the_version_before_is_a_merge_too() {
        let two = json!({"text": "one", "note": "y", "lessons": [{"id": "a"}]});
        let one = json!({"text": "one", "note": "x", "lessons": [{"id": "a"}]});
        let there = next(edited_piece(), &manifest("Merge", &[]), &two, now()).piece;
        let back = next(there, &manifest("Merge", &[]), &one, now()).piece;
        assert_eq!(back.content, edited_piece().content);
    }

    #[test]
    fn languages_are_chosen_as_the_manifest_says() {
        let chosen = |wanted: &[&str], fallback: &str, own: &str| {
            let wanted_languages = wanted.iter().map(|&language| language.to_owned()).collect();
            let manifest =
                Manifest { wanted_languages, language_fallback: Some(fallback.into()), ..manifest("Merge", &[]) };
            languages(&manifest, own).map(|chosen| chosen.into_keys().collect::<Vec<_>>().join(","))
        };
        assert_eq!(chosen(&[], "Fallback", "ar").as_deref(), Ok("ar"));
        assert_eq!(chosen(&[], "Fallback", "ar-EG").as_deref(), Ok("ar"));
        assert_eq!(chosen(&[], "Fallback", "fr").as_deref(), Ok("ar"));
        assert_eq!(chosen(&["ar", "en"], "Require", "fr").as_deref(), Ok("ar,en"));
        assert_eq!(chosen(&["en", "fr"], "Skip", "ar").as_deref(), Ok("en"));
        assert!(chosen(&["fr"], "Require", "ar").unwrap_err().contains("fr"));
    }
}
