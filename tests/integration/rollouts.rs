//! Rollouts by the operator that runs, over nodes whose pods the tests play: they watch what they are told, and say what
//! became of it.

use std::{collections::BTreeMap, time::Duration};

use fateh_crds::{ContentDistribution, ContentDistributionStatus, LocalNode, NodeContent};
use fateh_tests::{agents::Agents, eventually, kubernetes, ready_node, variable};
use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

const TESTER: &str = "rollout-tests";

/// Nodes of one label, each with someone who answers for its pods.
struct Fleet {
    client: Client,
    names: Vec<String>,
    agents: Agents,
}

fn names(fleet: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{fleet}-{number}")).collect()
}

impl Fleet {
    async fn start(fleet: &str, count: usize) -> Self {
        let client = kubernetes().await;
        let names = names(fleet, count);
        let making = names.iter().map(|name| ready_node(&client, name, json!({"region": "pg18"})));
        futures::future::join_all(making).await;
        let agents = Agents::start(&client, &names, Duration::from_secs(1));
        let fleet = Self { client, names, agents };
        for name in &fleet.names {
            fateh_tests::condition(&fleet.client, name, "Reporting", "True").await;
        }
        fleet
    }

    /// Takes a distribution and the nodes away; what they held makes room for others.
    async fn end(self, distribution: &str) {
        let _ = self.distributions().delete(distribution, &DeleteParams::default()).await;
        for name in &self.names {
            let nodes = Api::<LocalNode>::all(self.client.clone());
            nodes.delete(name, &DeleteParams::default()).await.unwrap();
        }
    }

    fn distributions(&self) -> Api<ContentDistribution> {
        Api::all(self.client.clone())
    }

    /// Applies a distribution of inline content to this fleet.
    async fn distribute(&self, name: &str, version: &str, rollout: Value) {
        let body = json!({
            "apiVersion": "fateh-platform.com/v1alpha1", "kind": "ContentDistribution", "metadata": {"name": name},
            "spec": {
                "content": {"id": name, "type": "Course", "version": version, "title": {"ar": "الجمع"},
                    "source": {"inline": {"ar": {"text": format!("version {version}"), "lessons": []}}}},
                "targets": {"nodes": self.names}, "rollout": rollout, "removal": "Delete",
            },
        });
        let parameters = PatchParams::apply(TESTER).force();
        self.distributions().patch(name, &parameters, &Patch::Apply(&body)).await.unwrap();
    }

    async fn annotate(&self, name: &str, annotation: &str, value: &str) {
        let body = json!({"metadata": {"annotations": {format!("fateh-platform.com/{annotation}"): value}}});
        self.distributions().patch(name, &PatchParams::default(), &Patch::Merge(&body)).await.unwrap();
    }

    async fn status(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&ContentDistributionStatus) -> bool,
    ) -> ContentDistributionStatus {
        eventually(what, 60, async || {
            let found = self.distributions().get(name).await.unwrap();
            let generation = found.metadata.generation;
            let status = found.status.unwrap_or_default();
            if status.observed_generation == generation && is(&status) { Ok(status) } else { Err(status) }
        })
        .await
    }

    async fn content(&self, node: &str) -> NodeContent {
        Api::namespaced(self.client.clone(), &format!("fateh-node-{node}")).get("node").await.unwrap()
    }

    /// The revision that each node was told to hold.
    async fn told(&self, distribution: &str) -> BTreeMap<String, String> {
        let mut told = BTreeMap::new();
        for name in &self.names {
            let items = self.content(name).await.spec.items;
            let item = items.into_iter().find(|item| item.distribution == distribution && item.removal.is_none());
            told.extend(item.map(|item| (name.clone(), item.revision)));
        }
        told
    }
}

fn phase(wanted: &'static str) -> impl Fn(&ContentDistributionStatus) -> bool {
    move |status| status.phase.as_deref() == Some(wanted)
}

#[tokio::test]
async fn stages_follow_one_another_a_gate_waits_and_the_next_version_begins_anew() {
    let fleet = Fleet::start("staged", 4).await;
    let stages = json!({"stages": [{"name": "canary", "count": 1}, {"name": "rest", "approval": true}]});
    fleet.distribute("sums", "1", stages.clone()).await;
    let waiting = fleet.status("sums", "the gate", phase("AwaitingApproval")).await;
    assert_eq!((waiting.done.as_deref(), waiting.stage.as_deref()), (Some("1/4"), Some("rest")));
    assert_eq!(fleet.told("sums").await.len(), 1, "behind the gate nothing is released");
    let revision = waiting.current.unwrap().revision;
    fleet.annotate("sums", "approve", "000000000000/rest").await;
    fleet.annotate("sums", "approve", &format!("{revision}/rest")).await;
    let done = fleet.status("sums", "the end", phase("Complete")).await;
    assert_eq!((done.summary.applied, done.summary.desired), (4, 4));

    // What the digest names is in the hub's catalogue, and says what it is.
    let digest = done.current.unwrap().digest;
    let manifest: Value =
        reqwest::get(format!("{}/content/{digest}", variable("FATEH_HUB"))).await.unwrap().json().await.unwrap();
    assert_eq!(
        (&manifest["contentId"], &manifest["version"], &manifest["localChanges"]),
        (&json!("sums"), &json!("1"), &json!("Merge"))
    );
    let body = manifest["languages"]["ar"].as_str().unwrap();
    let body: Value =
        reqwest::get(format!("{}/content/{body}", variable("FATEH_HUB"))).await.unwrap().json().await.unwrap();
    assert_eq!(body["text"], "version 1");

    // All nodes report the old digest as applied: that counts for nothing. An approval is of one revision.
    fleet.distribute("sums", "2", stages).await;
    let again = fleet.status("sums", "the gate again", phase("AwaitingApproval")).await;
    assert_eq!((again.done.as_deref(), again.history.len()), (Some("1/4"), 1));
    assert_ne!(again.current.unwrap().revision, revision);
    let told = fleet.told("sums").await;
    assert_eq!(told.values().filter(|told| **told == revision).count(), 3, "{told:?}");

    // Other content under a version that was published.
    let taken = json!({"spec": {"content": {"version": "1", "source": {"inline": {"ar": {"text": "another"}}}}}});
    fleet.distributions().patch("sums", &PatchParams::default(), &Patch::Merge(&taken)).await.unwrap();
    fleet
        .status("sums", "a refusal", |status| {
            status
                .conditions
                .iter()
                .any(|it| it.type_ == "Stalled" && it.status == "True" && it.reason == "VersionTaken")
        })
        .await;

    // The nodes are told to remove it, and then it goes.
    fleet.distributions().delete("sums", &DeleteParams::default()).await.unwrap();
    eventually("the end of the distribution", 30, async || match fleet.distributions().get_opt("sums").await {
        Ok(None) => Ok(()),
        other => Err(other),
    })
    .await;
    for name in &fleet.names {
        let items = fleet.content(name).await.spec.items;
        assert!(items.iter().all(|item| item.removal == Some(fateh_crds::Removal::Delete)), "{items:?}");
    }
    fleet.end("sums").await;
}

#[tokio::test]
async fn failures_stop_a_rollout_within_its_budget_and_a_retry_goes_on() {
    let fleet = Fleet::start("failing", 6).await;
    for name in &fleet.names {
        fleet.agents.behave(name, Some("Failed"));
    }
    let stages = json!({"stages": [{"name": "all", "maxConcurrency": 50, "maxFailures": 2}]});
    fleet.distribute("failing", "1", stages).await;
    let stopped = fleet.status("failing", "the budget", phase("OverBudget")).await;
    assert_eq!((stopped.summary.failed, stopped.failed_nodes.len(), fleet.told("failing").await.len()), (3, 3, 3));
    let stalled = stopped.conditions.iter().find(|it| it.type_ == "Stalled").unwrap();
    assert_eq!((&*stalled.status, &*stalled.reason), ("True", "FailureBudgetExceeded"));
    for name in &fleet.names {
        fleet.agents.behave(name, Some("Merged"));
    }
    fleet.annotate("failing", "retry", "once more").await;
    let done = fleet.status("failing", "the end", phase("Complete")).await;
    assert_eq!((done.summary.merged, done.summary.failed), (6, 0));
    fleet.end("failing").await;
}

/// A policy of somebody else's keeps one node from being told, until it is taken away.
#[tokio::test]
async fn a_node_that_the_api_server_lets_nobody_tell_is_named_until_it_does() {
    let fleet = Fleet::start("barred", 2).await;
    let policies = Api::<ValidatingAdmissionPolicy>::all(fleet.client.clone());
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(fleet.client.clone());
    let policy = json!({"metadata": {"name": "barred"}, "spec": {
        "matchConstraints": {"namespaceSelector": {"matchLabels": {"fateh-platform.com/node": "barred-2"}}, "resourceRules": [
            {"apiGroups": ["fateh-platform.com"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["nodecontents"]}]},
        "validations": [{"expression": "false", "message": "closed for the examination"}]}});
    let binding =
        json!({"metadata": {"name": "barred"}, "spec": {"policyName": "barred", "validationActions": ["Deny"]}});
    policies.create(&PostParams::default(), &serde_json::from_value(policy).unwrap()).await.unwrap();
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let contents = Api::<NodeContent>::namespaced(fleet.client.clone(), "fateh-node-barred-2");
    eventually("the policy is in force", 30, async || {
        let touch = Patch::Merge(json!({"metadata": {"labels": {"touched": "yes"}}}));
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        contents.patch("node", &dry, &touch).await.err().ok_or("not yet")
    })
    .await;
    fleet.distribute("barred", "1", json!({"stages": [{"name": "all", "maxConcurrency": 2, "maxFailures": 1}]})).await;
    let stalled = fleet
        .status("barred", "the refusal", |status| {
            let refused = |it: &Condition| it.type_ == "Stalled" && it.status == "True" && it.reason == "NodeRefused";
            status.conditions.iter().any(refused)
        })
        .await;
    let message = &stalled.conditions.iter().find(|it| it.type_ == "Ready").unwrap().message;
    assert!(message.contains("node barred-2") && message.contains("closed for the examination"), "{message}");
    assert_eq!(fleet.told("barred").await.into_keys().collect::<Vec<_>>(), ["barred-1"], "others go on");
    bindings.delete("barred", &DeleteParams::default()).await.unwrap();
    policies.delete("barred", &DeleteParams::default()).await.unwrap();
    let done = fleet.status("barred", "the end", phase("Complete")).await;
    assert!(done.conditions.iter().all(|it| it.type_ != "Stalled" || it.status == "False"), "{:?}", done.conditions);
    fleet.end("barred").await;
}

#[tokio::test]
async fn a_rollback_leads_to_the_last_good_revision_and_a_silent_node_catches_up() {
    let fleet = Fleet::start("returning", 4).await;
    fleet.agents.behave("returning-4", None);
    fateh_tests::condition(&fleet.client, "returning-4", "Reporting", "False").await;
    let rollout = |policy: &str| json!({"onFailure": policy, "stages": [{"name": "canary", "count": 1}, {"name": "rest", "maxConcurrency": "100%", "maxFailures": 0}]});
    fleet.distribute("returning", "1", rollout("Rollback")).await;
    let done = fleet.status("returning", "the end but for one", phase("Complete")).await;
    assert_eq!((done.summary.applied, done.summary.unreachable), (3, 1));
    let ready = done.conditions.iter().find(|it| it.type_ == "Ready").unwrap();
    assert_eq!((&*ready.status, &*ready.reason), ("True", "CompleteExceptUnreachable"));
    let good = done.current.unwrap().revision;
    fleet.agents.behave("returning-4", Some("Applied"));
    fleet.status("returning", "that it catches up", |status| status.summary.applied == 4).await;

    // The next one goes well on the canary alone.
    let canary = {
        fleet.distribute("returning", "2", json!({"onFailure": "Rollback", "stages": [{"name": "canary", "count": 1}, {"name": "rest", "approval": true, "maxFailures": 0, "maxConcurrency": "100%"}]})).await;
        let status = fleet.status("returning", "the gate", phase("AwaitingApproval")).await;
        let revision = status.current.unwrap().revision;
        let told = fleet.told("returning").await;
        let canary = told.into_iter().find(|(_, told)| *told == revision).unwrap().0;
        for name in fleet.names.iter().filter(|name| **name != canary) {
            fleet.agents.behave(name, Some("Failed"));
        }
        fleet.annotate("returning", "approve", &format!("{revision}/rest")).await;
        canary
    };
    fleet
        .status("returning", "the failure", |status| {
            matches!(status.phase.as_deref(), Some("RollingBack" | "RolledBack"))
        })
        .await;
    for name in &fleet.names {
        fleet.agents.behave(name, Some("Applied"));
    }
    let back = fleet.status("returning", "the way back", phase("RolledBack")).await;
    let told = fleet.told("returning").await;
    assert!(told.values().all(|told| *told == good), "{canary} too: {told:?}");
    assert!(back.conditions.iter().any(|it| it.type_ == "RolledBack" && it.status == "True"));
    fleet.end("returning").await;
}

#[tokio::test]
async fn nothing_is_written_when_nothing_changes_and_content_of_an_older_distribution_is_not_taken() {
    let fleet = Fleet::start("resting", 2).await;
    let all = json!({"stages": [{"name": "all"}]});
    fleet.distribute("resting", "1", all.clone()).await;
    fleet.status("resting", "the end", phase("Complete")).await;
    let other = json!({
        "apiVersion": "fateh-platform.com/v1alpha1", "kind": "ContentDistribution", "metadata": {"name": "resting-too"},
        "spec": {"content": {"id": "resting", "type": "Course", "version": "9", "source": {"inline": {"ar": {"a": 1}}}}, "targets": {"nodes": fleet.names}},
    });
    fleet.distributions().patch("resting-too", &PatchParams::apply(TESTER), &Patch::Apply(&other)).await.unwrap();
    let refused = fleet
        .status("resting-too", "a refusal", |status| {
            status.conditions.iter().any(|it| it.type_ == "Stalled" && it.status == "True")
        })
        .await;
    let stalled = refused.conditions.iter().find(|it| it.type_ == "Stalled").unwrap();
    assert!(
        stalled.reason == "ContentTaken" && stalled.message.contains("ContentDistribution resting,"),
        "{stalled:?}"
    );
    fleet.distributions().delete("resting-too", &DeleteParams::default()).await.unwrap();

    let versions = async || {
        let mut versions = vec![fleet.distributions().get("resting").await.unwrap().metadata.resource_version];
        for name in &fleet.names {
            versions.push(fleet.content(name).await.metadata.resource_version);
        }
        versions
    };
    let before = versions().await;
    // A heartbeat is no difference, nor is a change of what is no member.
    let body = json!({"spec": {"settings": {"theme": "dark"}}});
    Api::<LocalNode>::all(fleet.client.clone())
        .patch("resting-1", &PatchParams::default(), &Patch::Merge(&body))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(versions().await, before);
    fleet.end("resting").await;
}

#[tokio::test]
async fn a_manifest_that_is_applied_again_leaves_pause_and_approval_and_the_controller_leaves_the_spec() {
    let fleet = Fleet::start("steered", 2).await;
    let stages =
        json!({"stages": [{"name": "canary", "count": 1}, {"name": "rest", "approval": true, "maxFailures": 0}]});
    let apply = async || fleet.distribute("steered", "1", stages.clone()).await;
    let waiting = {
        apply().await;
        fleet.status("steered", "the gate", phase("AwaitingApproval")).await
    };
    let revision = waiting.current.unwrap().revision;
    fleet.annotate("steered", "pause", "true").await;
    fleet.status("steered", "the pause", phase("Paused")).await;
    apply().await;
    fleet.annotate("steered", "approve", &format!("{revision}/rest")).await;
    apply().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told = fleet.told("steered").await;
    assert_eq!(told.len(), 1, "what is paused stays so");
    let second = fleet.names.iter().find(|name| !told.contains_key(*name)).unwrap();
    fleet.agents.behave(second, Some("Failed"));
    let go_on = json!({"metadata": {"annotations": {"fateh-platform.com/pause": null}}});
    fleet.distributions().patch("steered", &PatchParams::default(), &Patch::Merge(&go_on)).await.unwrap();
    fleet.status("steered", "the failure of the second", phase("OverBudget")).await;
    fleet.agents.behave(second, Some("Applied"));
    fleet.annotate("steered", "retry", "once more").await;
    apply().await;
    fleet.status("steered", "the end", phase("Complete")).await;

    let found = fleet.distributions().get("steered").await.unwrap();
    let annotations = found.metadata.annotations.unwrap();
    assert_eq!(
        (&*annotations["fateh-platform.com/approve"], &*annotations["fateh-platform.com/retry"]),
        (&*format!("{revision}/rest"), "once more")
    );
    assert_eq!(found.metadata.generation, Some(1), "the spec is what was applied");
    let managed = found.metadata.managed_fields.unwrap();
    let ours = managed.iter().filter(|entry| entry.manager.as_ref().is_some_and(|name| name.contains("operator")));
    let fields: Vec<_> = ours.map(|entry| json!(entry.fields_v1)).collect();
    assert!(!fields.is_empty() && fields.iter().all(|fields| fields.get("f:spec").is_none()), "{fields:?}");
    fleet.end("steered").await;
}
