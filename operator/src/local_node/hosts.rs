//! Whose an extra host is: the node's that was made first. Pure: needs no client.

use std::sync::Arc;

use fateh_crds::LocalNode;
use jiff::Timestamp;
use kube::ResourceExt;

use crate::node_summary::NodeSummary;

/// An extra host of one node that an older one has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The host.
    pub host: String,
    /// Name of the node that has it.
    pub by: String,
}

/// The extra hosts of `node` that older ones among `all` have.
#[must_use]
pub fn taken(node: &LocalNode, all: &[Arc<NodeSummary>]) -> Vec<Taken> {
    let hosts = &node.spec.routing.extra_hosts;
    if hosts.is_empty() {
        return Vec::new();
    }
    let age = age(node);
    let others = all.iter().map(Arc::as_ref);
    let mut older: Vec<_> = others.filter(|other| other.age() < (age.0, &age.1)).collect();
    older.sort_by_key(|other| other.age());
    let holder = |host: &String| older.iter().find(|other| other.extra_hosts.contains(host));
    hosts
        .iter()
        .filter_map(|host| holder(host).map(|other| Taken { host: host.clone(), by: other.name.to_string() }))
        .collect()
}

/// The younger nodes among `all` that name one of this node's extra hosts, and so are to give it up.
#[must_use]
pub fn yielding(node: &LocalNode, all: &[Arc<NodeSummary>]) -> Vec<String> {
    let names = |other: &NodeSummary| other.extra_hosts.iter().any(|host| node.spec.routing.extra_hosts.contains(host));
    let others = all.iter().map(Arc::as_ref);
    let age = age(node);
    let younger = others.filter(|other| other.age() > (age.0, &age.1) && names(other));
    younger.map(|other| other.name.to_string()).collect()
}

/// What tells an older node from a younger one, as [`NodeSummary::age`].
fn age(node: &LocalNode) -> (Option<Timestamp>, String) {
    (node.creation_timestamp().map(|time| time.0), node.uid().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::local_node::validate::tests::node;

    fn made(name: &str, second: i64, hosts: &[&str]) -> LocalNode {
        let mut node = node(name, json!({"routing": {"extraHosts": hosts}}));
        let time = Timestamp::from_second(second).unwrap();
        node.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
        node.metadata.uid = Some(format!("uid-{name}"));
        node
    }

    #[test]
    fn a_host_belongs_to_the_oldest_node_that_names_it() {
        let nodes = [
            made("younger", 3, &["a.test", "b.test"]),
            made("oldest", 1, &["a.test"]),
            made("older", 2, &["a.test", "b.test"]),
        ];
        let all = nodes.clone().map(|node| Arc::new(NodeSummary::from(node)));
        let taken = |index: usize| {
            taken(&nodes[index], &all)
                .into_iter()
                .map(|taken| format!("{} {}", taken.host, taken.by))
                .collect::<Vec<_>>()
        };
        assert_eq!(taken(0), ["a.test oldest", "b.test older"]);
        assert_eq!(taken(1), Vec::<String>::new());
        assert_eq!(taken(2), ["a.test oldest"]);
        assert_eq!(yielding(&nodes[1], &all), ["younger", "older"]);
        assert_eq!(yielding(&nodes[2], &all), ["younger"]);
        assert_eq!(yielding(&nodes[0], &all), Vec::<String>::new());
    }
}
