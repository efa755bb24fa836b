//! The JSON envelope that every answer comes in, and the language it speaks.

use axum::http::{HeaderMap, header};
use serde::Serialize;
use utoipa::ToSchema;

/// `{ "success", "data", "message", "error" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Envelope<T> {
    /// Whether the request was carried out.
    pub success: bool,
    /// What was asked for; null on an error.
    pub data: Option<T>,
    /// For people, in their language.
    pub message: String,
    /// For programs: one word that does not change with the language; absent on success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// The fields that were refused, by name; absent when none was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldError>,
}

/// Why one field of a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Name of the field, as the request has it.
    pub field: &'static str,
    /// What would be accepted, for people.
    pub message: String,
}

impl<T> Envelope<T> {
    /// A request that was carried out.
    pub const fn success(data: T, message: String) -> Self {
        Self { success: true, data: Some(data), message, error: None, fields: Vec::new() }
    }
}

impl Envelope<()> {
    /// A request that was refused or failed.
    #[must_use]
    pub const fn failure(error: &'static str, message: String, fields: Vec<FieldError>) -> Self {
        Self { success: false, data: None, message, error: Some(error), fields }
    }
}

/// Languages that messages are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    /// Arabic, the default.
    #[default]
    Arabic,
    /// English.
    English,
}

impl Language {
    /// The language of `Accept-Language` with the highest weight that is spoken here; Arabic when there is none.
    #[must_use]
    pub fn negotiate(headers: &HeaderMap) -> Self {
        let Some(accepted) = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()) else {
            return Self::default();
        };
        let mut best = (0.0, Self::default());
        for range in accepted.split(',').take(32) {
            let (tag, weight) = range.split_once(";q=").unwrap_or((range, "1"));
            let weight: f32 = weight.trim().parse().unwrap_or(0.0);
            let language = match tag.trim().split('-').next().map(str::to_ascii_lowercase).as_deref() {
                Some("ar" | "*") => Self::Arabic,
                Some("en") => Self::English,
                _ => continue,
            };
            if weight > best.0 {
                best = (weight, language);
            }
        }
        best.1
    }

    /// BCP 47 tag.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Arabic => "ar",
            Self::English => "en",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_follows_the_highest_weight_and_falls_back_to_arabic() {
        for (accepted, expected) in [
            ("", Language::Arabic),
            ("en", Language::English),
            ("en-GB,ar;q=0.9", Language::English),
            ("ar-SA,en;q=0.9", Language::Arabic),
            ("fr, en;q=0.5", Language::English),
            ("fr,de", Language::Arabic),
            ("en;q=0", Language::Arabic),
            ("*", Language::Arabic),
            ("en;q=nonsense", Language::Arabic),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, accepted.parse().unwrap());
            assert_eq!(Language::negotiate(&headers), expected, "{accepted:?}");
        }
    }
}
