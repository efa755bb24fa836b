//! What people may send: checked and normalised here, before anything else sees it. Pure.

use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::error::ApiError;

/// Collects what is wrong with a request, so that one answer names every field.
#[derive(Debug, Default)]
pub struct Problems(Vec<(&'static str, &'static str)>);

impl Problems {
    /// Notes a field unless `accepted`; `key` names the message that says what would be.
    pub fn unless(&mut self, accepted: bool, field: &'static str, key: &'static str) {
        if !accepted {
            self.0.push((field, key));
        }
    }

    /// Refuses the request if anything was noted.
    ///
    /// # Errors
    /// With every field noted.
    pub fn refuse(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self.0)) }
    }
}

/// One spelling for comparing: compatibility forms folded, lower case.
#[must_use]
pub fn key(text: &str) -> String {
    let mut key = text.to_owned();
    // Folding and lower case may each make work for the other; Unicode settles within a few rounds.
    for _ in 0..4 {
        let next: String = key.trim().nfkc().flat_map(char::to_lowercase).nfkc().collect();
        if next == key {
            break;
        }
        key = next;
    }
    key
}

/// 3 to 64 letters and digits of any script, `.`, `_` and `-`.
#[must_use]
pub fn is_username(text: &str) -> bool {
    let length = text.chars().count();
    // No '@': what is typed at sign-in is an e-mail or a user name, never both.
    (3..=64).contains(&length)
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '\u{64b}'..='\u{652}'))
}

/// One '@', a domain with a dot, no spaces or control characters, at most 254 bytes.
#[must_use]
pub fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    text.len() <= 254
        && (1..=64).contains(&local.len())
        && local.chars().all(|c| c.is_ascii_alphanumeric() || ".!#$%&*+/=?^_{|}~-'`".contains(c))
        && domain.contains('.')
        && domain.split('.').all(label)
}

/// At least 12 characters, and no more than is worth hashing.
#[must_use]
pub fn is_password(text: &str) -> bool {
    (12..=256).contains(&text.chars().count())
}

/// A language tag as BCP 47 writes the common ones: `ar`, `pt-BR`, `zh-Hant-TW`.
#[must_use]
pub fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    let letters = (2..=3).contains(&first.len()) && first.bytes().all(|byte| byte.is_ascii_lowercase());
    letters
        && text.len() <= 35
        && parts.all(|part| (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// A JSON object of at most 16 KiB, without NUL characters, which PostgreSQL cannot store.
#[must_use]
pub fn is_profile(value: &Value) -> bool {
    value.is_object() && value.to_string().len() <= 16 * 1024 && is_storable(value)
}

/// Whether PostgreSQL can store the value as jsonb and give it back at about its size.
#[must_use]
pub fn is_storable(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.contains('\0'),
        Value::Array(values) => values.iter().all(is_storable),
        Value::Object(fields) => fields.iter().all(|(name, value)| !name.contains('\0') && is_storable(value)),
        // PostgreSQL writes every digit: a few bytes like 1e308 would come back as hundreds.
        Value::Number(number) => {
            number.as_f64().is_some_and(|number| number == 0.0 || (1e-20..1e20).contains(&number.abs()))
        }
        Value::Null | Value::Bool(_) => true,
    }
}

/// The identifier of content at the centre: 1 to 128 of a-z, 0-9, `.`, `_` and `-`, beginning and ending with a letter or
/// digit.
#[must_use]
pub fn is_content_id(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = text.as_bytes();
    // Addresses of their own.
    !matches!(text, "distribute" | "distributions")
        && text.len() <= 128
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| edge(Some(byte)) || b"._-".contains(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_addresses_are_checked_by_their_shape() {
        for good in ["sara", "سارة", "a.b-c_1", "Ångström"] {
            assert!(is_username(good), "{good}");
        }
        for bad in ["ab", "a b c", "a@b.c", "semi;colon", "quote'", "new\nline", "\u{202e}abc", &"a".repeat(65)] {
            assert!(!is_username(bad), "{bad:?}");
        }
        for good in ["a@b.co", "first.last+tag@mail.example.com"] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "a",
            "a@b",
            "@b.co",
            "a@.co",
            "a@b..co",
            "a b@c.co",
            "a@b.co\n",
            "a@-b.co",
            &format!("{}@b.co", "a".repeat(65)),
        ] {
            assert!(!is_email(bad), "{bad:?}");
        }
        assert!(!is_password("elevenchars") && is_password("twelve chars"));
    }

    #[test]
    fn a_language_is_a_tag() {
        for good in ["ar", "en", "pt-BR", "zh-Hant-TW", "ast"] {
            assert!(is_language(good), "{good}");
        }
        for bad in ["", "Arabic", "a", "AR", "ar-", "ar_SA", "ar-SA;q=1", "*", "a\0", &"ar-SA".repeat(9)] {
            assert!(!is_language(bad), "{bad}");
        }
    }

    #[test]
    fn the_name_of_content_is_fit_for_an_address() {
        for good in ["a", "algebra-1", "2026.summer_x", &"a".repeat(128)] {
            assert!(is_content_id(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "جبر", "..", "distribute", "distributions", &"a".repeat(129)]
        {
            assert!(!is_content_id(bad), "{bad}");
        }
    }

    #[test]
    fn a_profile_is_an_object_that_can_be_stored() {
        use serde_json::json;
        assert!(is_profile(&json!({"phone": "+966", "tags": [1, null, {"a": true}]})));
        for bad in [
            json!([]),
            json!("text"),
            json!({"a": ["x\u{0}"]}),
            json!({"\u{0}": 1}),
            json!({"a": 1e300}),
            json!({"a": "x".repeat(16 * 1024)}),
        ] {
            assert!(!is_profile(&bad));
        }
    }

    #[test]
    fn spellings_of_one_name_share_a_key() {
        assert_eq!(key("ＳＡＲＡ"), key("sara"));
        assert_eq!(key(" Admin@Example.COM "), "admin@example.com");
    }

    proptest! {
        #[test]
        fn a_key_is_its_own_key(text in "\\PC{0,40}") {
            prop_assert_eq!(key(&key(&text)), key(&text));
        }
    }
}
