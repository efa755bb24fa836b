//! Names: the slug of a node and all that is derived from it.

use std::fmt;

/// Slugs that could be taken for a part of the platform itself.
pub const RESERVED_SLUGS: &[&str] = &[
    "about",
    "account",
    "accounts",
    "admin",
    "api",
    "app",
    "assets",
    "auth",
    "billing",
    "blog",
    "cdn",
    "console",
    "dashboard",
    "dev",
    "docs",
    "download",
    "fateh",
    "files",
    "ftp",
    "git",
    "grafana",
    "help",
    "hub",
    "imap",
    "internal",
    "login",
    "mail",
    "media",
    "metrics",
    "monitoring",
    "node",
    "ns1",
    "ns2",
    "oauth",
    "pop",
    "prometheus",
    "registry",
    "root",
    "search",
    "secure",
    "security",
    "smtp",
    "sso",
    "staging",
    "static",
    "status",
    "store",
    "support",
    "system",
    "test",
    "www",
];

/// The shape of a slug, as a regular expression that Rust, CEL and JSON schema agree on.
pub const SLUG_PATTERN: &str = "^[a-z]([a-z0-9-]{1,38}[a-z0-9])$";

/// What a slug must be, for people.
pub const SLUG_RULE: &str = "a node's name is its host name: 3 to 40 characters of a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit";

/// A node's name: the first label of its host, and what its namespace and database are named by.
///
/// A DNS label of 3 to 40 characters that begins with a letter and is not reserved, so everything
/// derived from it stays within the 63 bytes of a DNS label and of a PostgreSQL identifier.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slug(String);

/// Why a text is not a [`Slug`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlugError {
    /// It has the wrong length or characters.
    #[error("{SLUG_RULE}")]
    Malformed,
    /// It is one of [`RESERVED_SLUGS`].
    #[error("the name {0:?} is reserved for the platform; choose another")]
    Reserved(String),
}

impl Slug {
    /// Parses a LocalNode's `metadata.name`.
    ///
    /// # Errors
    /// [`SlugError`] says what would be accepted.
    pub fn parse(text: &str) -> Result<Self, SlugError> {
        let bytes = text.as_bytes();
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        let well_formed = (3..=40).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes.iter().all(inner)
            && bytes[bytes.len() - 1] != b'-';
        if !well_formed {
            return Err(SlugError::Malformed);
        }
        if RESERVED_SLUGS.contains(&text) {
            return Err(SlugError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The slug itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `fateh-node-<slug>`.
    #[must_use]
    pub fn namespace(&self) -> String {
        namespace_of(&self.0)
    }

    /// `<slug>.<base domain>`.
    #[must_use]
    pub fn host(&self, base_domain: &str) -> String {
        format!("{}.{base_domain}", self.0)
    }

    /// `node_<slug>`, dashes as underscores: the name of the node's database and of its login role.
    #[must_use]
    pub fn database(&self) -> String {
        format!("node_{}", self.underscored())
    }

    /// `deleted_<slug>_<stamp>`: the name of the database once it is retired; `stamp` is
    /// `YYYYMMDDHHMMSS`, UTC.
    #[must_use]
    pub fn retired_database(&self, stamp: &str) -> String {
        format!("deleted_{}_{stamp}", self.underscored())
    }

    fn underscored(&self) -> String {
        self.0.replace('-', "_")
    }
}

/// How the namespaces of nodes begin.
const NAMESPACE_PREFIX: &str = "fateh-node-";

/// Namespace of the node of this name, whether or not the name is a valid slug.
#[must_use]
pub fn namespace_of(name: &str) -> String {
    format!("{NAMESPACE_PREFIX}{name}")
}

/// Name of the node that a namespace would be of; none when it is called like none.
#[must_use]
pub fn node_of(namespace: &str) -> Option<&str> {
    namespace.strip_prefix(NAMESPACE_PREFIX)
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slugs_are_parsed_by_their_shape() {
        for good in ["riyadh", "abc", "a-b", "a1b2", &"a".repeat(40), "new-york-2"] {
            assert!(Slug::parse(good).is_ok(), "{good} should be accepted");
        }
        for bad in ["", "ab", "Riyadh", "1abc", "-abc", "abc-", "a_b", "a.b", "رياض", "a b", &"a".repeat(41), "abc\n"]
        {
            assert_eq!(Slug::parse(bad), Err(SlugError::Malformed), "{bad:?} should be refused");
        }
    }

    #[test]
    fn reserved_slugs_are_refused_by_name() {
        for name in RESERVED_SLUGS {
            assert_eq!(Slug::parse(name), Err(SlugError::Reserved((*name).to_owned())));
        }
    }

    #[test]
    fn two_slugs_never_share_a_database() {
        // Underscores are not allowed in a slug, so dash → underscore loses nothing.
        assert_eq!(Slug::parse("a-b").unwrap().database(), "node_a_b");
        assert_eq!(Slug::parse("a_b"), Err(SlugError::Malformed));
    }

    proptest! {
        #[test]
        fn derived_names_fit_their_limits(text in "[a-z][a-z0-9-]{1,38}[a-z0-9]") {
            if let Ok(slug) = Slug::parse(&text) {
                prop_assert!(slug.namespace().len() <= 63);
                prop_assert!(slug.database().len() <= 63);
                prop_assert!(slug.retired_database("20260101000000").len() <= 63);
            }
        }

        #[test]
        fn what_the_parser_takes_fits_the_pattern_of_the_schema(text in "\\PC{0,45}|[a-z0-9-]{1,45}") {
            if Slug::parse(&text).is_ok() {
                let b = text.as_bytes();
                prop_assert!(b[0].is_ascii_lowercase() && b.iter().all(u8::is_ascii));
            }
        }
    }
}
