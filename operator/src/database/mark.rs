//! The comment that tells whose a database or role is.

const NODE: &str = "fateh-platform.com/uid=";
const CLUSTER: &str = "fateh-platform.com/cluster=";
const PASSWORD: &str = "fateh-platform.com/password=";

/// Whose a database or role is: nothing without the matching mark is ever altered or dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// UID of the LocalNode.
    pub node: String,
    /// UID of the cluster: that of its namespace `kube-system`.
    pub cluster: String,
}

impl Mark {
    /// The comment of a database.
    #[must_use]
    pub fn comment(&self) -> String {
        format!("{NODE}{} {CLUSTER}{}", self.node, self.cluster)
    }

    /// The comment of a role, with the fingerprint of the password that it was last given.
    #[must_use]
    pub fn role_comment(&self, fingerprint: &str) -> String {
        format!("{} {PASSWORD}{fingerprint}", self.comment())
    }

    /// Whether `comment` says that the object is this node's.
    #[must_use]
    pub fn is_on(&self, comment: Option<&str>) -> bool {
        comment.is_some_and(|comment| {
            value(comment, NODE) == Some(&self.node) && value(comment, CLUSTER) == Some(&self.cluster)
        })
    }
}

/// Whether `comment` is a mark of ours, whosever.
pub fn is_marked(comment: Option<&str>) -> bool {
    comment.is_some_and(|comment| value(comment, NODE).is_some() && value(comment, CLUSTER).is_some())
}

/// The password fingerprint in a role's comment.
pub fn fingerprint(comment: Option<&str>) -> Option<&str> {
    value(comment?, PASSWORD)
}

fn value<'a>(comment: &'a str, key: &str) -> Option<&'a str> {
    comment.split(' ').find_map(|word| word.strip_prefix(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_recognised_only_with_both_uids() {
        let mark = Mark { node: "n1".into(), cluster: "c1".into() };
        assert!(mark.is_on(Some(&mark.comment())));
        assert!(mark.is_on(Some(&mark.role_comment("ff00"))));
        assert_eq!(fingerprint(Some(&mark.role_comment("ff00"))), Some("ff00"));
        let others = [Mark { node: "n2".into(), ..mark.clone() }, Mark { cluster: "c2".into(), ..mark.clone() }];
        for comment in others.iter().map(Mark::comment).chain([String::new(), "fateh-platform.com/uid=n1".into()]) {
            assert!(!mark.is_on(Some(&comment)), "{comment:?}");
        }
        assert!(!mark.is_on(None));
    }
}
