//! `kubectl fateh` as people of each role run it: the program itself, with a real token.

use std::time::Duration;

use fateh_crds::ContentDistribution;
use fateh_tests::{
    agents::Agents, delete_node, eventually, kubernetes, now, ready_node, report, service_account_token, variable,
};
use k8s_openapi::api::{core::v1::ServiceAccount, rbac::v1::ClusterRoleBinding};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::process::Command;

/// Somebody at a command line.
struct Person {
    kubeconfig: String,
}

impl Person {
    /// Somebody to whom these ClusterRoles are bound.
    async fn with(admin: &Client, name: &str, roles: &[&str]) -> Self {
        let accounts = Api::<ServiceAccount>::namespaced(admin.clone(), "default");
        let account = json!({"metadata": {"name": name}});
        accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
        for role in roles {
            let binding = json!({
                "metadata": {"name": format!("{name}-{role}")},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
            });
            let bindings = Api::<ClusterRoleBinding>::all(admin.clone());
            bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
        }
        let token = service_account_token(admin, "default", name, None).await;
        let server = Config::infer().await.unwrap().cluster_url.to_string();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": server, "insecure-skip-tls-verify": true}}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        });
        let kubeconfig = format!("{}/{name}.kubeconfig", variable("FATEH_STATE"));
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Self { kubeconfig }
    }

    async fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let program = format!("{}/kubectl-fateh", variable("FATEH_PROGRAMS"));
        let mut command = Command::new(program);
        let output = command.args(arguments).env("KUBECONFIG", &self.kubeconfig).kill_on_drop(true).output();
        let output = tokio::time::timeout(Duration::from_secs(60), output).await.unwrap().unwrap();
        let [out, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        if output.status.success() { Ok(out) } else { Err(error) }
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[arguments, &["-o", "json"]].concat()).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

#[tokio::test]
async fn the_fleet_a_node_and_its_money_are_shown_to_who_may_see_them() {
    let admin = kubernetes().await;
    let spec = json!({"region": "pg18", "country": "JO", "currency": "JOD", "displayName": "مدرسة عمّان"});
    ready_node(&admin, "inspected", spec).await;
    let figures = json!({
        "users": {"total": 7, "active30d": 3, "byRole": {"student": 6, "instructor": 0, "admin": 1}},
        "content": {"published": 0, "customised": 0},
        "revenue": [{"currency": "JOD", "gross": 1_250_500, "fee": 125_050, "net": 1_125_450, "refunds": 0, "pendingGross": 500}],
    });
    report(
        &admin,
        "inspected",
        json!({"reportedAt": now().await, "version": "1", "adminState": "Active", "statistics": figures}),
    )
    .await;
    let viewer = Person::with(&admin, "plugin-viewer", &["fateh-viewer"]).await;
    let node = eventually("the figures in the fleet", 30, async || {
        let fleet = viewer.json(&["status", "-l", "fateh-platform.com/country=JO"]).await;
        let node = fleet["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "inspected").cloned();
        node.filter(|node| node["users"] == 7).ok_or(fleet)
    })
    .await;
    assert_eq!((&node["phase"], &node["revenue"]), (&json!("Ready"), &json!("1,250.500 JOD")));
    let table = viewer.run(&["status"]).await.unwrap();
    let line = table.lines().find(|line| line.starts_with("inspected ")).unwrap_or_else(|| panic!("{table}"));
    assert!(["Ready", "yes", "7", "1,250.500 JOD", "pg18"].iter().all(|cell| line.contains(cell)), "{line}");

    let report = viewer.json(&["report", "-l", "fateh-platform.com/country=JO"]).await;
    let mine = report["nodes"].as_array().unwrap().iter().find(|line| line["name"] == "inspected").unwrap();
    let line = json!({"name": "inspected", "currency": "JOD", "gross": "1250.500", "refunds": "0.000", "fee": "125.050",
        "net": "1125.450", "pending": "0.500"});
    assert_eq!(*mine, line);

    // What the platform keeps for itself of a node is not for everybody who may see nodes.
    let kinds = |tree: &Value, kind: &str| {
        let children = tree["children"].as_array().unwrap();
        let namespace = children.iter().find(|child| child["kind"] == "Namespace").unwrap();
        let found = namespace["children"].as_array().unwrap().iter().filter(|child| child["kind"] == kind).cloned();
        found.collect::<Vec<_>>()
    };
    let seen = viewer.json(&["tree", "inspected"]).await;
    assert_eq!(kinds(&seen, "Deployment")[0]["state"], "you may not list them");
    assert_eq!(kinds(&seen, "NodeReport")[0]["name"], "node");
    let inspector = Person::with(&admin, "plugin-inspector", &["fateh-viewer", "fateh-node-inspector"]).await;
    let seen = inspector.json(&["tree", "inspected"]).await;
    assert_eq!((&seen["kind"], &seen["state"]), (&json!("LocalNode"), &json!("Ready")));
    assert_eq!(kinds(&seen, "Deployment")[0]["name"], "node");
    assert_eq!(kinds(&seen, "Ingress").len(), 1);
    assert_eq!(kinds(&seen, "Secret"), [json!({"kind": "Secret", "name": "?", "state": "you may not list them"})]);

    let nobody = Person::with(&admin, "plugin-nobody", &[]).await;
    assert_eq!(
        nobody.run(&["status"]).await.unwrap_err(),
        "error: you may not list localnodes: ask who runs the platform to bind you to the ClusterRole fateh-viewer\n"
    );
    assert_eq!(viewer.run(&["tree", "nowhere"]).await.unwrap_err(), "error: there is no LocalNode named \"nowhere\"\n");
    let words = inspector.run(&["logs", "inspected"]).await.unwrap_err();
    assert_eq!(words, "error: inspected has no pods; it is Ready\n", "no pods run here");
    delete_node(&admin, "inspected").await;
}

#[tokio::test]
async fn a_rollout_is_followed_and_steered_by_who_may() {
    let admin = kubernetes().await;
    ready_node(&admin, "plugged", json!({"region": "pg18"})).await;
    let agents = Agents::start(&admin, &["plugged".to_owned()], Duration::from_secs(1));
    fateh_tests::condition(&admin, "plugged", "Reporting", "True").await;
    let viewer = Person::with(&admin, "plugin-reader", &["fateh-viewer"]).await;
    let editor = Person::with(&admin, "plugin-editor", &["fateh-content-editor"]).await;
    let distribution = json!({
        "apiVersion": "fateh-platform.com/v1alpha1", "kind": "ContentDistribution", "metadata": {"name": "plugged"},
        "spec": {
            "content": {"id": "plugged", "type": "Lesson", "version": "1",
                "source": {"inline": {"ar": {"text": "واحد"}}}},
            "targets": {"nodes": ["plugged"]}, "rollout": {"stages": [{"name": "all", "approval": true}]},
        },
    });
    let distributions = Api::<ContentDistribution>::all(admin.clone());
    let apply = PatchParams::apply("plugin-tests");
    distributions.patch("plugged", &apply, &Patch::Apply(&distribution)).await.unwrap();

    // It stands where a person is wanted, and so does who follows it.
    eventually("the gate", 60, async || {
        let seen = viewer.json(&["rollout", "plugged"]).await;
        if seen["phase"] == "AwaitingApproval" { Ok(()) } else { Err(seen) }
    })
    .await;
    let shown = viewer.run(&["rollout", "plugged", "--watch"]).await.unwrap();
    assert!(shown.contains("AwaitingApproval: stage all waits for approval"), "{shown}");
    let refused = viewer.run(&["approve", "plugged"]).await.unwrap_err();
    assert!(refused.contains("bind you to the ClusterRole fateh-content-editor"), "{refused}");

    editor.run(&["pause", "plugged"]).await.unwrap();
    eventually("the pause", 30, async || {
        let seen = viewer.json(&["rollout", "plugged"]).await;
        if seen["phase"] == "Paused" { Ok(()) } else { Err(seen) }
    })
    .await;
    editor.run(&["resume", "plugged"]).await.unwrap();
    assert!(
        editor.run(&["approve", "plugged", "--stage", "other"]).await.unwrap_err().contains("has no stage \"other\"")
    );
    agents.behave("plugged", Some("Conflicted"));
    let approved = editor.run(&["approve", "plugged", "--stage", "all"]).await.unwrap();
    assert!(approved.starts_with("stage all of plugged is approved for revision "), "{approved}");
    eventually("the end", 60, async || {
        let shown = viewer.run(&["rollout", "plugged", "--watch"]).await.unwrap();
        if shown.contains("Complete: ") && shown.contains("of 1 nodes: 1 conflicted") { Ok(()) } else { Err(shown) }
    })
    .await;
    let conflicts = viewer.json(&["conflicts", "plugged"]).await;
    assert_eq!(
        (&conflicts["conflicts"][0]["node"], &conflicts["conflicts"][0]["distribution"]),
        (&json!("plugged"), &json!("plugged"))
    );
    assert!(viewer.run(&["conflicts", "nothing"]).await.unwrap_err().contains("no ContentDistribution named"));

    editor.run(&["retry", "plugged"]).await.unwrap();
    let found = distributions.get("plugged").await.unwrap();
    assert!(found.metadata.annotations.unwrap().contains_key("fateh-platform.com/retry"));
    distributions.delete("plugged", &DeleteParams::default()).await.unwrap();
    delete_node(&admin, "plugged").await;
}
