//! Content by digest, as the hub serves it, the operator releases it and nodes fetch it: manifests and bodies. Pure.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Bytes of one body, which is the content in one language, and of a manifest.
pub const MAX_BODY: usize = 1024 * 1024;
/// Where content is served by its digest.
pub const CONTENT_PATH: &str = "/content/{digest}";
/// Where the operator releases a manifest whose bodies it has put.
pub const MANIFEST_PATH: &str = "/api/global/v1/manifests";

/// Where the operator finds the manifest of a released version of the catalogue.
pub const VERSION_PATH: &str = "/api/global/v1/content/{id}/versions/{version}";

/// SHA-256 of bytes, written as 64 hex digits in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

/// A text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hex digits in lower case")]
pub struct NoDigest;

impl Digest {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let lower = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let mut bytes = [0; 32];
        if lower && hex::decode_to_slice(text, &mut bytes).is_ok() { Ok(Self(bytes)) } else { Err(NoDigest) }
    }
}

impl TryFrom<String> for Digest {
    type Error = NoDigest;

    fn try_from(text: String) -> Result<Self, NoDigest> {
        text.parse()
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = NoDigest;

    fn try_from(bytes: &[u8]) -> Result<Self, NoDigest> {
        bytes.try_into().map(Self).map_err(|_| NoDigest)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What a version of content is: one body for each language, by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The content that it is a version of.
    pub content_id: String,
    /// Course, Lesson, Quiz or Resource
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the version.
    pub version: String,
    /// Title by language.
    pub title: BTreeMap<String, String>,
    /// Body by language.
    pub languages: BTreeMap<String, Digest>,
    /// What becomes of a node's own edits: Merge, Preserve or Overwrite; absent in the catalogue's own manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_changes: Option<String>,
    /// Fields that a node may not edit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locked_fields: Vec<String>,
    /// Languages that a node is to hold; none: its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted_languages: Vec<String>,
    /// What a node does where it lacks such a language: Require, Fallback or Skip; absent in the catalogue's own manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_fallback: Option<String>,
}

impl Manifest {
    /// The bytes that its digest is of.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_value(self).ok().and_then(|value| canonical(&value)).unwrap_or_default()
    }
}

/// JSON in its one canonical form (RFC 8785); none when it holds a number that the form does not know.
#[must_use]
pub fn canonical(value: &Value) -> Option<Vec<u8>> {
    serde_json_canonicalizer::to_vec(value).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_digest_is_of_the_bytes_and_written_in_lower_case() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(Digest::of(b"")));
        for bad in ["", "e3b0", &empty.to_uppercase(), &format!("{empty}00"), &empty.replace('e', "g")] {
            assert_eq!(bad.parse::<Digest>(), Err(NoDigest), "{bad}");
        }
    }

    #[test]
    fn the_order_of_fields_and_spaces_make_no_difference() {
        let one = json!({"b": [1, 2.0, {"z": "é\u{1f600}", "a": null}], "a": "\u{8}\"\\/"});
        let text = r#"{ "a" : "\b\"\\/", "b": [ 1.0, 2, {"a":null, "z":"é😀"}] }"#;
        let other: Value = serde_json::from_str(text).unwrap();
        let expected = r#"{"a":"\b\"\\/","b":[1,2,{"a":null,"z":"é😀"}]}"#;
        for value in [one, other] {
            assert_eq!(String::from_utf8(canonical(&value).unwrap()).unwrap(), expected);
        }
    }

    #[test]
    fn a_manifest_reads_as_it_is_written_and_says_nothing_else() {
        let manifest = Manifest {
            content_id: "algebra-1".into(),
            kind: "Course".into(),
            version: "1.0".into(),
            title: [("ar".to_owned(), "الجبر".to_owned())].into(),
            languages: [("ar".to_owned(), Digest::of(b"{}"))].into(),
            local_changes: None,
            locked_fields: Vec::new(),
            wanted_languages: Vec::new(),
            language_fallback: None,
        };
        let bytes = manifest.canonical();
        assert_eq!(serde_json::from_slice::<Manifest>(&bytes).unwrap(), manifest);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with(r#"{"contentId":"algebra-1","languages":{"ar":"44136fa3"#), "{text}");
        assert!(serde_json::from_str::<Manifest>(&text.replacen('{', r#"{"x":1,"#, 1)).is_err());
    }
}
