//! What the ServiceAccounts of a node and of the operator may do, tried with their real tokens.

use fateh_crds::{LocalNode, NodeContent, NodeReport};
use fateh_tests::{kubernetes, ready_node, signed_in};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Pod, Secret},
    rbac::v1::{ClusterRole, RoleBinding},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

/// A client that signs in as a ServiceAccount.
async fn sign_in(admin: &Client, namespace: &str, name: &str) -> Client {
    Client::try_from(signed_in(admin, namespace, name).await).unwrap()
}

fn forbidden<T: std::fmt::Debug>(what: &str, result: Result<T, kube::Error>) {
    match result {
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        other => panic!("{what} should be forbidden: {other:?}"),
    }
}

#[tokio::test]
async fn a_node_reads_its_content_writes_its_status_and_nothing_else() {
    let admin = kubernetes().await;
    ready_node(&admin, "confined", json!({})).await;
    ready_node(&admin, "neighbour", json!({})).await;
    let client = sign_in(&admin, "fateh-node-confined", "node").await;
    let (own, other) = ("fateh-node-confined", "fateh-node-neighbour");

    let contents = |namespace: &str| Api::<NodeContent>::namespaced(client.clone(), namespace);
    let reports = |namespace: &str| Api::<NodeReport>::namespaced(client.clone(), namespace);
    contents(own).get("node").await.unwrap();
    contents(own).list(&ListParams::default()).await.unwrap();
    let part = |kind: &str| json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": kind, "status": {"items": []}});
    let apply = PatchParams::apply("node-runtime").force();
    contents(own).patch_status("node", &apply, &Patch::Apply(part("NodeContent"))).await.unwrap();

    // Through a status endpoint nothing but status is taken, whatever else is sent.
    let sly = json!({"metadata": {"finalizers": ["evil.example/stay"], "labels": {"a": "b"}}, "spec": {"items": []}, "status": {"items": []}});
    contents(own).patch_status("node", &PatchParams::default(), &Patch::Merge(&sly)).await.unwrap();
    let kept = Api::<NodeContent>::namespaced(admin.clone(), own).get("node").await.unwrap();
    assert!(kept.metadata.finalizers.is_none() && !kept.metadata.labels.unwrap().contains_key("a"));

    let edit = json!({"metadata": {"labels": {"a": "b"}}});
    let merge = PatchParams::default();
    forbidden("edit its NodeContent", contents(own).patch("node", &merge, &Patch::Merge(&edit)).await);
    forbidden("edit its NodeReport", reports(own).patch("node", &merge, &Patch::Merge(&edit)).await);
    forbidden("delete its NodeContent", contents(own).delete("node", &DeleteParams::default()).await);
    forbidden("read its NodeReport", reports(own).get("node").await);
    forbidden("read a neighbour's content", contents(other).get("node").await);
    forbidden("write a neighbour's report", reports(other).patch_status("node", &merge, &Patch::Merge(&edit)).await);
    forbidden("read all content", Api::<NodeContent>::all(client.clone()).list(&ListParams::default()).await);
    forbidden("read its Secret", Api::<Secret>::namespaced(client.clone(), own).get("node-database").await);
    forbidden("list its Secrets", Api::<Secret>::namespaced(client.clone(), own).list(&ListParams::default()).await);
    forbidden("read its ConfigMap", Api::<ConfigMap>::namespaced(client.clone(), own).get("node").await);
    forbidden("list pods", Api::<Pod>::namespaced(client.clone(), own).list(&ListParams::default()).await);
    forbidden("read its LocalNode", Api::<LocalNode>::all(client.clone()).get("confined").await);
    forbidden(
        "write its LocalNode's status",
        Api::<LocalNode>::all(client.clone()).patch_status("confined", &merge, &Patch::Merge(&edit)).await,
    );
    forbidden("list namespaces", Api::<Namespace>::all(client.clone()).list(&ListParams::default()).await);
}

/// A request by its verb: method, and what follows the collection's path.
const VERBS: [(&str, &str, &str); 8] = [
    ("list", "GET", ""),
    ("watch", "GET", "?watch=true&timeoutSeconds=1"),
    ("create", "POST", "?dryRun=All"),
    ("deletecollection", "DELETE", "?dryRun=All"),
    ("get", "GET", "/node"),
    ("update", "PUT", "/node?dryRun=All"),
    ("patch", "PATCH", "/node?dryRun=All"),
    ("delete", "DELETE", "/node?dryRun=All"),
];

/// What a node may do, as `resource verb`, in its own namespace.
const ALLOWED: [&str; 5] = [
    "nodecontents list",
    "nodecontents watch",
    "nodecontents get",
    "nodecontents/status patch",
    "nodereports/status patch",
];
/// What everybody who is signed in may ask: about themselves.
const ABOUT_ONESELF: [&str; 3] =
    ["selfsubjectaccessreviews create", "selfsubjectrulesreviews create", "selfsubjectreviews create"];

#[tokio::test]
async fn a_node_is_refused_every_verb_on_every_resource_but_its_own_few() {
    let admin = kubernetes().await;
    ready_node(&admin, "matrix", json!({})).await;
    ready_node(&admin, "bystanding", json!({})).await;
    let client = sign_in(&admin, "fateh-node-matrix", "node").await;
    let discovery = kube::discovery::Discovery::new(admin.clone()).run().await.unwrap();
    let mut allowed = Vec::new();
    let mut asked = 0;
    for (resource, capabilities) in discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources) {
        let root = if resource.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", resource.group) };
        let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
        let places: &[&str] = if namespaced {
            &["/namespaces/fateh-node-matrix", "/namespaces/fateh-node-bystanding", ""]
        } else {
            &[""]
        };
        let subresources = capabilities
            .subresources
            .iter()
            .map(|(sub, _)| format!("/{}", sub.plural.rsplit('/').next().unwrap_or_default()));
        let subresources: Vec<_> = std::iter::once(String::new()).chain(subresources).collect();
        for place in places {
            for (verb, method, rest) in VERBS {
                for sub in &subresources {
                    let of_one = rest.starts_with("/node");
                    // All namespaces together can only be listed and watched; a subresource is one object's.
                    if (namespaced && place.is_empty() && !["list", "watch"].contains(&verb))
                        || (!sub.is_empty() && !of_one)
                    {
                        continue;
                    }
                    let rest = rest.replacen("/node", &format!("/node{sub}"), 1);
                    let path = format!("{root}/{}{place}/{}{rest}", resource.version, resource.plural);
                    let request = http::Request::builder()
                        .method(method)
                        .uri(&path)
                        .header("content-type", "application/merge-patch+json");
                    let answer = client.request_text(request.body(b"{}".to_vec()).unwrap()).await;
                    asked += 1;
                    if !matches!(&answer, Err(kube::Error::Api(status)) if status.code == 403 || status.code == 405) {
                        allowed.push(format!(
                            "{}{sub} {verb}{}",
                            resource.plural,
                            if *place == places[0] { "" } else { place }
                        ));
                    }
                }
            }
        }
    }
    allowed.sort();
    let mut expected: Vec<_> = ALLOWED.iter().chain(&ABOUT_ONESELF).map(|&allowed| allowed.to_owned()).collect();
    expected.sort();
    assert_eq!(allowed, expected, "of {asked} requests");
    assert!(asked > 500, "{asked} requests");
    // Another field manager changes nothing about what it may write.
    let reports = Api::<NodeReport>::namespaced(client.clone(), "fateh-node-matrix");
    for manager in ["fateh-operator", "kubectl", "anyone"] {
        let sly = json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": "NodeReport",
            "metadata": {"finalizers": ["evil.example/stay"], "ownerReferences": [], "labels": {"fateh-platform.com/node": "other"}},
            "status": {"reportedAt": "2026-01-01T00:00:00.000000Z", "version": "1", "adminState": "Invited"}});
        reports.patch_status("node", &PatchParams::apply(manager).force(), &Patch::Apply(sly)).await.unwrap();
    }
    let kept = Api::<NodeReport>::namespaced(admin.clone(), "fateh-node-matrix").get("node").await.unwrap();
    assert!(kept.metadata.finalizers.is_none());
    assert_eq!(kept.metadata.labels.unwrap()["fateh-platform.com/node"], "matrix");
    assert_eq!(kept.metadata.owner_references.unwrap().len(), 1);
}

#[tokio::test]
async fn the_operator_is_confined_to_the_namespaces_that_it_made() {
    let admin = kubernetes().await;
    ready_node(&admin, "walled", json!({})).await;
    let client = sign_in(&admin, "fateh-system", "fateh-operator").await;
    let namespaces = Api::<Namespace>::all(client.clone());
    let namespace = |name: &str, label: Option<&str>| -> Namespace {
        let labels = label.map(|node| json!({"fateh-platform.com/node": node}));
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
    };
    let create = PostParams::default();
    forbidden("make an unmarked namespace", namespaces.create(&create, &namespace("fateh-node-x1", None)).await);
    forbidden(
        "make one with another's mark",
        namespaces.create(&create, &namespace("fateh-node-x2", Some("other"))).await,
    );
    forbidden("make one of another name", namespaces.create(&create, &namespace("elsewhere", Some("elsewhere"))).await);
    let bystander = namespace("bystander", None);
    Api::<Namespace>::all(admin.clone()).create(&create, &bystander).await.unwrap();
    let mark = json!({"metadata": {"labels": {"fateh-platform.com/node": "bystander"}}});
    let merge = PatchParams::default();
    forbidden("mark a stranger's namespace", namespaces.patch("bystander", &merge, &Patch::Merge(&mark)).await);
    forbidden("delete a stranger's namespace", namespaces.delete("bystander", &DeleteParams::default()).await);
    forbidden("delete kube-system", namespaces.delete("kube-system", &DeleteParams::default()).await);
    let unmark = json!({"metadata": {"labels": {"fateh-platform.com/node": null}}});
    forbidden("unmark a node's namespace", namespaces.patch("fateh-node-walled", &merge, &Patch::Merge(&unmark)).await);

    let apply = PatchParams::apply("fateh-operator").force();
    let object = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    for elsewhere in ["default", "kube-system", "bystander"] {
        let maps = Api::<ConfigMap>::namespaced(client.clone(), elsewhere);
        forbidden(elsewhere, maps.patch("node", &apply, &Patch::Apply(object("ConfigMap", "node"))).await);
        let secrets = Api::<Secret>::namespaced(client.clone(), elsewhere);
        forbidden(
            elsewhere,
            secrets.patch("node-database", &apply, &Patch::Apply(object("Secret", "node-database"))).await,
        );
        forbidden(elsewhere, secrets.get("a-secret-of-someone").await);
        forbidden(elsewhere, secrets.list(&ListParams::default()).await);
    }
    forbidden("list all Secrets", Api::<Secret>::all(client.clone()).list(&ListParams::default()).await);
    let own = Api::<Secret>::namespaced(client.clone(), "fateh-system");
    forbidden("list its own Secrets", own.list(&ListParams::default()).await);
    forbidden(
        "change its own Secrets",
        own.patch("postgres-admin", &merge, &Patch::Merge(object("Secret", "postgres-admin"))).await,
    );
    forbidden(
        "make a Secret in its own namespace",
        own.patch("hub-database-too", &apply, &Patch::Apply(object("Secret", "hub-database-too"))).await,
    );

    let binding = |role: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "node"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "node", "namespace": "fateh-node-walled"}],
        })
    };
    let bindings = Api::<RoleBinding>::namespaced(client.clone(), "fateh-node-walled");
    Api::<RoleBinding>::namespaced(admin.clone(), "fateh-node-walled")
        .delete("node", &DeleteParams::default())
        .await
        .unwrap();
    forbidden(
        "give a node another role",
        bindings.patch("node", &apply, &Patch::Apply(binding("cluster-admin"))).await,
    );
    // It marks what people made; what that is to be it cannot say.
    let nodes = Api::<LocalNode>::all(client.clone());
    forbidden(
        "change a LocalNode",
        nodes.patch("walled", &merge, &Patch::Merge(&json!({"spec": {"displayName": "other"}}))).await,
    );
    let servers = Api::<fateh_crds::DatabaseServer>::all(client.clone());
    forbidden(
        "change a DatabaseServer",
        servers.patch("pg18", &merge, &Patch::Merge(&json!({"spec": {"host": "evil.test"}}))).await,
    );
    forbidden("delete a DatabaseServer", servers.delete("pg18", &DeleteParams::default()).await);

    let roles = Api::<ClusterRole>::all(client.clone());
    forbidden("read roles", roles.get("fateh-node").await);
    forbidden("widen its own role", roles.patch("fateh-operator", &merge, &Patch::Merge(json!({"rules": []}))).await);
}
