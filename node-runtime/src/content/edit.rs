//! What an editor does to a piece of content, and what becomes of its standing to upstream. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Path,
    merge::{Choice, Merged, edits, merge, revert, settle},
};
use crate::storage::contents::Content;

/// Title and body in one document, as merges see them.
#[must_use]
pub fn document(title: &str, content: &Value) -> Value {
    json!({"title": title, "content": content})
}

/// Gives a piece another document, by this editor. Of what was distributed the difference to upstream is noted.
#[must_use]
pub fn edited(mut piece: Content, document: Value, by: Uuid, now: Timestamp) -> Content {
    let document = match (&piece.base, &piece.upstream) {
        (Some(base), Some(upstream)) => {
            // Where upstream has changed nothing since, this is the document itself.
            let Merged { value, base, conflicts } = merge(base, &document, upstream);
            let paths = edits(upstream, &value);
            piece.is_customized = !paths.is_empty();
            piece.customization = (!paths.is_empty()).then(|| json!({"paths": paths, "by": by, "at": now}));
            piece.base = Some(base);
            piece.conflicts = conflicts;
            value
        }
        _ => document,
    };
    if let Some(title) = document.get("title").and_then(Value::as_str) {
        title.clone_into(&mut piece.title);
    }
    piece.content = document.get("content").cloned().unwrap_or_default();
    piece.updated_at = now;
    piece
}

/// Puts upstream's value back, at one place or everywhere; none where there is nothing to put back.
#[must_use]
pub fn reverted(piece: Content, path: Option<&Path>, by: Uuid, now: Timestamp) -> Option<Content> {
    let upstream = piece.upstream.clone()?;
    let local = document(&piece.title, &piece.content);
    let document = match path {
        Some(path) => revert(&upstream, &local, path)?,
        None => upstream.clone(),
    };
    // What is as upstream has it is no conflict any more.
    Some(edited(piece, document, by, now)).filter(document_is_sound)
}

/// Settles the conflict at one place; none where there is none, or the choice cannot be carried out.
#[must_use]
pub fn settled(mut piece: Content, path: &Path, choice: Choice, by: Uuid, now: Timestamp) -> Option<Content> {
    let conflict = piece.conflicts.iter().find(|conflict| conflict.path == *path)?;
    let (base, upstream) = (piece.base.clone()?, piece.upstream.clone()?);
    let merged = Merged { value: document(&piece.title, &piece.content), base, conflicts: piece.conflicts.clone() };
    let (value, base) = settle(&merged, &upstream, conflict, choice)?;
    piece.base = Some(base);
    Some(edited(piece, value, by, now)).filter(document_is_sound)
}

/// A title that people can read, and a body that is an object.
#[must_use]
pub fn document_is_sound(piece: &Content) -> bool {
    (1..=512).contains(&piece.title.chars().count()) && piece.content.is_object()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::contents::{Kind, State};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn piece(base: &Value, upstream: &Value) -> Content {
        let merged = merge(base, base, upstream);
        Content {
            id: Uuid::nil(),
            global_id: Some("sums".into()),
            kind: Kind::Lesson,
            title: merged.value["title"].as_str().unwrap().into(),
            content: merged.value["content"].clone(),
            language: "ar".into(),
            state: State::Published,
            is_customized: false,
            customization: None,
            revision: 1,
            upstream: Some(upstream.clone()),
            base: Some(merged.base),
            conflicts: Vec::new(),
            created_at: at(0),
            updated_at: at(0),
        }
    }

    #[test]
    fn an_edit_is_noted_and_can_be_put_back() {
        let upstream = document("Sums", &json!({"text": "one", "note": "x"}));
        let before = piece(&upstream, &upstream);
        let mine = document("Sums", &json!({"text": "two", "note": "x"}));
        let changed = edited(before.clone(), mine, Uuid::from_u128(1), at(5));
        assert!(changed.is_customized && changed.conflicts.is_empty());
        let noted = changed.customization.as_ref().unwrap();
        assert_eq!((&noted["paths"], &noted["by"]), (&json!(["/content/text"]), &json!(Uuid::from_u128(1))));
        let path = Path::try_from("/content/text".to_owned()).unwrap();
        for back in [
            reverted(changed.clone(), Some(&path), Uuid::nil(), at(6)),
            reverted(changed.clone(), None, Uuid::nil(), at(6)),
        ] {
            let back = back.unwrap();
            assert_eq!((back.is_customized, &back.content, &back.customization), (false, &before.content, &None));
        }
        assert!(reverted(before, Some(&path), Uuid::nil(), at(6)).is_none(), "there is nothing to put back");
    }

    #[test]
    fn a_conflict_is_settled_by_choice_or_by_writing_what_upstream_has() {
        let base = document("Sums", &json!({"text": "one"}));
        let upstream = document("Sums", &json!({"text": "two"}));
        let mine = document("Sums", &json!({"text": "mine"}));
        let merged = merge(&base, &mine, &upstream);
        let mut conflicted = piece(&base, &upstream);
        conflicted.content = merged.value["content"].clone();
        conflicted.base = Some(merged.base);
        conflicted.conflicts = merged.conflicts;
        let path = Path::try_from("/content/text".to_owned()).unwrap();
        for (choice, text, customized) in
            [(Choice::Ours, "mine", true), (Choice::Theirs, "two", false), (Choice::Edit(json!("both")), "both", true)]
        {
            let after = settled(conflicted.clone(), &path, choice, Uuid::nil(), at(1)).unwrap();
            assert_eq!((&after.content["text"], after.is_customized), (&json!(text), customized));
            assert!(after.conflicts.is_empty() && after.base == after.upstream);
        }
        let written = edited(conflicted.clone(), upstream, Uuid::nil(), at(1));
        assert!(written.conflicts.is_empty() && !written.is_customized);
        let other = Path::try_from("/title".to_owned()).unwrap();
        assert!(settled(conflicted, &other, Choice::Ours, Uuid::nil(), at(1)).is_none());
    }
}
