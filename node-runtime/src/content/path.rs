//! Places in a JSON document that stay the same when a list is put in another order. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The way to a value: names of fields, and the `id`s of a list's elements. Written as a JSON Pointer (RFC 6901)
/// whose list segments are ids instead of numbers: `/lessons/intro/title`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Path(Vec<String>);

/// A text that is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a path such as /lessons/intro/title")]
pub struct PathError;

impl Path {
    /// The place one step further.
    #[must_use]
    pub fn join(&self, segment: &str) -> Self {
        Self(self.0.iter().cloned().chain([segment.to_owned()]).collect())
    }

    /// The steps from the document's root.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<String> for Path {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let rest = text.strip_prefix('/').ok_or(PathError)?;
        Ok(Self(rest.split('/').map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect()))
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.to_string()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| write!(formatter, "/{}", segment.replace('~', "~0").replace('/', "~1")))
    }
}

/// The `id` of a list's element, as text.
#[must_use]
pub fn id(element: &Value) -> Option<String> {
    match element.as_object()?.get("id")? {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// The value at a place; none where there is none.
#[must_use]
pub fn get<'a>(document: &'a Value, path: &Path) -> Option<&'a Value> {
    path.segments().iter().try_fold(document, |value, segment| match value {
        Value::Object(fields) => fields.get(segment),
        Value::Array(elements) => elements.iter().find(|element| id(element).as_deref() == Some(segment)),
        _ => None,
    })
}

/// Puts a value at a place, or takes away what is there. A new element of a list goes behind its neighbour in
/// `model`, the document that it comes from. False, and nothing changed, where the place cannot be reached.
pub fn put(document: &mut Value, path: &Path, value: Option<Value>, model: &Value) -> bool {
    put_at(document, path.segments(), value, Some(model))
}

fn put_at(document: &mut Value, segments: &[String], value: Option<Value>, model: Option<&Value>) -> bool {
    let Some((segment, rest)) = segments.split_first() else {
        return value.is_some_and(|value| {
            *document = value;
            true
        });
    };
    let model_below = model.and_then(|model| get(model, &Path(vec![segment.clone()])));
    match document {
        Value::Object(fields) if rest.is_empty() => {
            match value {
                Some(value) => fields.insert(segment.clone(), value),
                None => fields.remove(segment),
            };
            true
        }
        Value::Object(fields) => fields.get_mut(segment).is_some_and(|below| put_at(below, rest, value, model_below)),
        Value::Array(elements) => {
            let found = elements.iter().position(|element| id(element).as_deref() == Some(segment));
            match (found, value) {
                (Some(index), None) if rest.is_empty() => {
                    elements.remove(index);
                    true
                }
                (Some(index), value) => put_at(&mut elements[index], rest, value, model_below),
                (None, Some(value)) if rest.is_empty() && id(&value).as_deref() == Some(segment) => {
                    let order = model.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                    elements.insert(behind_neighbour(elements, order, segment), value);
                    true
                }
                (None, None) => rest.is_empty(),
                (None, Some(_)) => false,
            }
        }
        _ => false,
    }
}

/// Where an element goes in a list: behind the nearest of those before it in `order` that the list has.
fn behind_neighbour(list: &[Value], order: &[Value], element: &str) -> usize {
    let before = order.iter().take_while(|other| id(other).as_deref() != Some(element));
    let nearest = before.filter_map(|other| {
        let wanted = id(other)?;
        list.iter().position(|present| id(present).as_deref() == Some(&wanted))
    });
    nearest.last().map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> Path {
        Path::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_path_is_read_as_it_is_written() {
        for text in ["", "/a", "/a~1b/~0c", "/lessons/intro/title", "/"] {
            assert_eq!(path(text).to_string(), text);
        }
        assert_eq!(path("/a~1b").segments(), ["a/b"]);
        assert_eq!(Path::try_from("a".to_owned()), Err(PathError));
    }

    #[test]
    fn values_are_found_and_put_by_field_and_id() {
        let mut document = json!({"lessons": [{"id": "a", "title": "A"}, {"id": 7, "title": "Seven"}]});
        assert_eq!(get(&document, &path("/lessons/7/title")), Some(&json!("Seven")));
        assert_eq!(get(&document, &path("/lessons/none/title")), None);
        let model = json!({"lessons": [{"id": "a"}, {"id": "b"}, {"id": 7}]});
        assert!(put(&mut document, &path("/lessons/a/title"), Some(json!("B")), &model));
        assert!(put(&mut document, &path("/lessons/b"), Some(json!({"id": "b"})), &model));
        assert!(put(&mut document, &path("/lessons/7"), None, &model));
        assert!(put(&mut document, &path("/note"), Some(json!(1)), &model));
        assert_eq!(document, json!({"lessons": [{"id": "a", "title": "B"}, {"id": "b"}], "note": 1}));
        for (place, value) in [("/lessons/c", json!({"id": "d"})), ("/note/x", json!(1)), ("/none/x", json!(1))] {
            let before = document.clone();
            assert!(!put(&mut document, &path(place), Some(value), &model), "{place}");
            assert_eq!(document, before);
        }
    }
}
