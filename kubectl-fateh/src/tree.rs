//! `kubectl fateh tree`: a node and everything that was made for it.

use std::fmt::{self, Debug, Display};

use fateh_crds::{ContentState, DatabaseServer, Items, LocalNode, NodeContent, NodeReport, is_true, namespace_of};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{ConfigMap, Namespace, Pod, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
    rbac::v1::RoleBinding,
};
use kube::{Api, Resource, ResourceExt, api::ListParams, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    cluster::{Cluster, Failure, failure},
    output::Table,
};

/// An object and what belongs to it.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Branch {
    kind: String,
    name: String,
    /// How it is, in a few words; empty where there is nothing to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    state: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Branch>,
}

/// An object, with what decides where it stands.
struct Found {
    uid: String,
    owner: Option<String>,
    branch: Branch,
}

/// Looks at a node, its database server and all that is in its namespace.
pub async fn of(cluster: &Cluster, name: &str) -> Result<Branch, Failure> {
    let node: LocalNode = cluster.get(name).await?;
    let status = node.status.clone().unwrap_or_default();
    let mut root = branch(&node, format!("{:?}", status.phase));
    if let Some(database) = status.database {
        let state = match cluster.get::<DatabaseServer>(&database.server).await {
            Ok(server) => {
                let conditions = server.status.unwrap_or_default().conditions;
                let reachable = is_true(&conditions, "Reachable");
                format!("{}, database {}", if reachable { "reachable" } else { "not reachable" }, database.name)
            }
            Err(failure @ (Failure::Forbidden(..) | Failure::NotFound(..))) => failure.to_string(),
            Err(failure) => return Err(failure),
        };
        root.children.push(Branch {
            kind: "DatabaseServer".to_owned(),
            name: database.server,
            state,
            ..Branch::default()
        });
    }
    let namespace = namespace_of(name);
    match cluster.get::<Namespace>(&namespace).await {
        Ok(found) => {
            let phase = found.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            let mut within = branch(&found, phase);
            within.children = nested(in_namespace(cluster, &namespace).await?);
            root.children.push(within);
        }
        Err(Failure::NotFound(..)) => {}
        // Who may not read namespaces may still read what is in them.
        Err(Failure::Forbidden(..)) => {
            let children = nested(in_namespace(cluster, &namespace).await?);
            root.children.push(Branch { kind: "Namespace".to_owned(), name: namespace, children, ..Branch::default() });
        }
        Err(failure) => return Err(failure),
    }
    Ok(root)
}

async fn in_namespace(cluster: &Cluster, namespace: &str) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    let kinds = Kinds { cluster, namespace };
    kinds
        .add(&mut found, |object: &Deployment| {
            let status = object.status.clone().unwrap_or_default();
            let wanted = object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
            format!("{}/{wanted} ready", status.ready_replicas.unwrap_or(0))
        })
        .await?;
    kinds
        .add(&mut found, |object: &ReplicaSet| {
            let wanted = object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
            let ready = object.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
            if wanted == 0 { "kept for going back".to_owned() } else { format!("{ready}/{wanted} ready") }
        })
        .await?;
    kinds.add(&mut found, pod).await?;
    kinds
        .add(&mut found, |object: &Service| object.spec.clone().and_then(|spec| spec.cluster_ip).unwrap_or_default())
        .await?;
    kinds
        .add(&mut found, |object: &Ingress| {
            let rules = object.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
            rules.filter_map(|rule| rule.host.clone()).collect::<Vec<_>>().join(", ")
        })
        .await?;
    kinds
        .add(&mut found, |object: &NodeReport| {
            object
                .status
                .as_ref()
                .map_or_else(|| "no report yet".to_owned(), |status| format!("at {}", status.reported_at.0))
        })
        .await?;
    kinds.add(&mut found, content).await?;
    kinds.add(&mut found, |_: &ConfigMap| String::new()).await?;
    kinds.add(&mut found, |_: &NetworkPolicy| String::new()).await?;
    kinds.add(&mut found, |_: &PodDisruptionBudget| String::new()).await?;
    kinds.add(&mut found, |_: &ServiceAccount| String::new()).await?;
    kinds.add(&mut found, |object: &RoleBinding| object.role_ref.name.clone()).await?;
    // Of Secrets nobody needs to be sent what they hold.
    let secrets = Api::<Secret>::namespaced(cluster.client.clone(), namespace);
    let listed = secrets.list_metadata(&ListParams::default()).await;
    match listed.map_err(|error| failure::<Secret>("list", None, error)) {
        Ok(secrets) => found.extend(secrets.items.iter().map(|secret| Found {
            uid: secret.uid().unwrap_or_default(),
            owner: owner(secret),
            branch: Branch { kind: "Secret".to_owned(), name: secret.name_any(), ..Branch::default() },
        })),
        Err(failure) => found.push(hidden("Secret", failure)?),
    }
    Ok(found)
}

fn pod(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let waits = containers.iter().find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let restarts: i32 = containers.iter().map(|container| container.restart_count).sum();
    let ready = !containers.is_empty() && containers.iter().all(|container| container.ready);
    let state = waits.or(status.phase).unwrap_or_default();
    let ready = if ready { ", ready" } else { ", not ready" };
    let restarts = if restarts > 0 { format!(", restarted {restarts} times") } else { String::new() };
    format!("{state}{ready}{restarts}")
}

fn content(content: &NodeContent) -> String {
    let said = content.status.as_ref().map(|status| &*status.items).unwrap_or_default();
    let Items { desired, applied, .. } = Items::of(&content.spec.items, said);
    let conflicted = said.iter().filter(|said| said.state == ContentState::Conflicted).count();
    let conflicts = if conflicted > 0 { format!(", {conflicted} with conflicts") } else { String::new() };
    format!("{applied}/{desired} held{conflicts}")
}

/// The kinds of a namespace, one after the other.
struct Kinds<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
}

impl Kinds<'_> {
    /// Adds all objects of a kind; a kind that may not be listed is shown as such.
    async fn add<K>(&self, found: &mut Vec<Found>, state: impl Fn(&K) -> String) -> Result<(), Failure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.cluster.client.clone(), self.namespace);
        match self.cluster.list(&api, None).await {
            Ok(objects) => found.extend(objects.iter().map(|object| Found {
                uid: object.uid().unwrap_or_default(),
                owner: owner(object),
                branch: branch(object, state(object)),
            })),
            Err(failure) => found.push(hidden(&K::kind(&()), failure)?),
        }
        Ok(())
    }
}

/// In the place of what may not be seen.
fn hidden(kind: &str, failure: Failure) -> Result<Found, Failure> {
    let Failure::Forbidden(..) = failure else { return Err(failure) };
    let branch = Branch {
        kind: kind.to_owned(),
        name: "?".to_owned(),
        state: "you may not list them".to_owned(),
        ..Branch::default()
    };
    Ok(Found { uid: String::new(), owner: None, branch })
}

fn owner(object: &impl Resource) -> Option<String> {
    object.owner_references().iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
}

fn branch<K: Resource<DynamicType = ()>>(object: &K, state: String) -> Branch {
    Branch { kind: K::kind(&()).into_owned(), name: object.name_any(), state, ..Branch::default() }
}

/// Puts each object under its owner, where that is among them.
fn nested(mut found: Vec<Found>) -> Vec<Branch> {
    let known: Vec<_> = found.iter().map(|found| found.uid.clone()).collect();
    // Owners stand before what they own, so that from the end nothing is moved that is still to be given something.
    let mut roots = Vec::new();
    while let Some(Found { owner, branch, .. }) = found.pop() {
        let above = owner.and_then(|owner| known.iter().take(found.len()).position(|uid| *uid == owner));
        match above {
            Some(above) => found[above].branch.children.insert(0, branch),
            None => roots.insert(0, branch),
        }
    }
    roots
}

impl Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["OBJECT", "STATE"]);
        self.draw(&mut table, "", "");
        table.fmt(f)
    }
}

impl Branch {
    /// `before` stands before this object, `below` before what is under it.
    fn draw(&self, table: &mut Table, before: &str, below: &str) {
        table.row(&[&format!("{before}{} {}", self.kind, self.name), &self.state]);
        let last = self.children.len().saturating_sub(1);
        for (index, child) in self.children.iter().enumerate() {
            let (at, under) = if index == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            child.draw(table, &format!("{below}{at}"), &format!("{below}{under}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(uid: &str, owner: Option<&str>) -> Found {
        let branch = Branch { kind: "Kind".to_owned(), name: uid.to_owned(), ..Branch::default() };
        Found { uid: uid.to_owned(), owner: owner.map(str::to_owned), branch }
    }

    #[test]
    fn what_is_owned_stands_under_its_owner_in_the_order_in_which_it_was_found() {
        let all = vec![
            found("deployment", Some("node")),
            found("set", Some("deployment")),
            found("one", Some("set")),
            found("two", Some("set")),
            found("service", None),
        ];
        let roots = nested(all);
        let tree = Branch { kind: "LocalNode".to_owned(), name: "x".to_owned(), children: roots, ..Branch::default() };
        insta::assert_snapshot!(tree, @r"
        OBJECT               STATE
        LocalNode x          -
        ├─ Kind deployment   -
        │  └─ Kind set       -
        │     ├─ Kind one    -
        │     └─ Kind two    -
        └─ Kind service      -
        ");
    }
}
