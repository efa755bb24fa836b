//! What Argo CD is told of our kinds, run as it runs it: in Lua 5.1, with the object as `obj`.

use mlua::{Lua, LuaSerdeExt, Value as LuaValue};
use serde_json::{Value, json};

const GROUP: &str = "fateh-platform.com";

fn settings() -> Value {
    let config: Value = serde_yaml::from_str(include_str!("../../manifests/argocd/argocd-cm.yaml")).unwrap();
    config["data"].clone()
}

fn run(script: &str, object: &Value) -> Value {
    let lua = Lua::new();
    lua.globals().set("obj", lua.to_value(object).unwrap()).unwrap();
    lua.from_value(lua.load(script).eval::<LuaValue>().unwrap()).unwrap()
}

fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "X", "message": message})
}

/// An object of generation 2, whose status is about `observed`.
fn object(observed: i64, status: Value, conditions: &[Value]) -> Value {
    let mut status = status;
    status["observedGeneration"] = json!(observed);
    status["conditions"] = json!(conditions);
    json!({"metadata": {"name": "it", "generation": 2}, "spec": {}, "status": status})
}

fn health(kind: &str, object: &Value) -> (String, String) {
    let key = format!("resource.customizations.health.{GROUP}_{kind}");
    let said = run(settings()[&key].as_str().unwrap(), object);
    let text = |field: &str| said[field].as_str().unwrap().to_owned();
    (text("status"), text("message"))
}

#[test]
fn health_is_what_the_status_of_this_generation_says() {
    let ready = |status: &str| condition("Ready", status, "as it is");
    let stalled = condition("Stalled", "True", "a person must act");
    let deleted = json!({"metadata": {"generation": 2, "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let bare = json!({"metadata": {"generation": 1}, "spec": {}});
    for (kind, object, expected, message) in [
        ("LocalNode", bare.clone(), "Progressing", "not seen"),
        ("LocalNode", object(1, json!({"phase": "Ready"}), &[ready("True")]), "Progressing", "not seen"),
        ("LocalNode", object(2, json!({"phase": "Provisioning"}), &[ready("Unknown")]), "Progressing", "as it is"),
        // Its database cannot be reached before it has served: not yet Degraded.
        ("LocalNode", object(2, json!({"phase": "Provisioning"}), &[ready("False")]), "Progressing", "as it is"),
        ("LocalNode", object(2, json!({"phase": "Ready"}), &[ready("True")]), "Healthy", "as it is"),
        ("LocalNode", object(2, json!({"phase": "Suspended"}), &[ready("True")]), "Healthy", "as it is"),
        ("LocalNode", object(2, json!({"phase": "Degraded"}), &[ready("False")]), "Degraded", "as it is"),
        (
            "LocalNode",
            object(2, json!({"phase": "Stalled"}), &[ready("False"), stalled.clone()]),
            "Degraded",
            "must act",
        ),
        ("LocalNode", deleted.clone(), "Progressing", "being deleted"),
        ("DatabaseServer", bare.clone(), "Progressing", "not seen"),
        ("DatabaseServer", object(1, json!({}), &[ready("True")]), "Progressing", "not seen"),
        ("DatabaseServer", object(2, json!({"version": "18.1"}), &[ready("True")]), "Healthy", "as it is"),
        ("DatabaseServer", object(2, json!({}), &[ready("False")]), "Progressing", "as it is"),
        ("DatabaseServer", object(2, json!({"version": "18.1"}), &[ready("False")]), "Degraded", "as it is"),
        ("DatabaseServer", deleted.clone(), "Progressing", "being deleted"),
        ("ContentDistribution", bare.clone(), "Progressing", "not seen"),
        ("ContentDistribution", object(1, json!({"phase": "Complete"}), &[ready("True")]), "Progressing", "not seen"),
        ("ContentDistribution", object(2, json!({}), &[ready("Unknown")]), "Progressing", "as it is"),
        (
            "ContentDistribution",
            object(2, json!({}), &[ready("Unknown"), condition("AwaitingApproval", "True", "")]),
            "Suspended",
            "as it is",
        ),
        (
            "ContentDistribution",
            object(2, json!({}), &[ready("Unknown"), condition("Paused", "True", "")]),
            "Suspended",
            "as it is",
        ),
        ("ContentDistribution", object(2, json!({"phase": "Planned"}), &[ready("Unknown")]), "Healthy", "as it is"),
        ("ContentDistribution", object(2, json!({"phase": "Complete"}), &[ready("True")]), "Healthy", "as it is"),
        ("ContentDistribution", object(2, json!({}), &[ready("False"), stalled]), "Degraded", "must act"),
        ("ContentDistribution", deleted, "Progressing", "remove"),
        ("NodeReport", bare.clone(), "Progressing", "not reported"),
        ("NodeReport", json!({"status": {"reportedAt": "2026-01-01T00:00:00Z"}}), "Healthy", "reported at 2026"),
        ("NodeContent", bare, "Healthy", "holds"),
    ] {
        let (status, words) = health(kind, &object);
        assert!(status == expected && words.contains(message), "{kind} {object}: {status}, {words}");
    }
}

#[test]
fn a_node_s_content_is_well_once_this_very_item_was_taken() {
    let item = |revision: &str| json!({"distribution": "sums", "revision": revision, "attempt": 1, "dryRun": false});
    let said = |state: &str| json!({"distribution": "sums", "revision": "b", "attempt": 1, "state": state, "message": "no room"});
    let of = |items: Value, answers: Value| {
        health("NodeContent", &json!({"spec": {"items": items}, "status": {"items": answers}})).0
    };
    assert_eq!(of(json!([item("b")]), json!([])), "Progressing");
    assert_eq!(of(json!([item("c")]), json!([said("Applied")])), "Progressing", "an answer to another revision");
    assert_eq!(of(json!([item("b")]), json!([said("Conflicted")])), "Healthy");
    assert_eq!(of(json!([item("b")]), json!([said("Failed")])), "Degraded");
}

/// The actions of a kind: whether each can be taken now, and what it makes of the object.
fn actions(kind: &str, object: &Value) -> Vec<(String, bool, Value)> {
    let key = format!("resource.customizations.actions.{GROUP}_{kind}");
    let settings: Value = serde_yaml::from_str(settings()[&key].as_str().unwrap()).unwrap();
    let offered = run(settings["discovery.lua"].as_str().unwrap(), object);
    let definitions = settings["definitions"].as_array().unwrap();
    let each = definitions.iter().map(|definition| {
        let name = definition["name"].as_str().unwrap();
        let enabled = !offered[name]["disabled"].as_bool().unwrap_or_else(|| panic!("{name} is not offered"));
        let after = if enabled { run(definition["action.lua"].as_str().unwrap(), object) } else { Value::Null };
        (name.to_owned(), enabled, after)
    });
    let all: Vec<_> = each.collect();
    assert_eq!(all.len(), offered.as_object().unwrap().len());
    all
}

fn taken(kind: &str, object: &Value, action: &str) -> Option<Value> {
    let all = actions(kind, object);
    all.into_iter().find(|(name, ..)| name == action).and_then(|(_, enabled, after)| enabled.then_some(after))
}

#[test]
fn actions_are_offered_when_they_make_sense_and_do_what_they_say() {
    let node = json!({"metadata": {"name": "riyadh"}, "spec": {"state": "Active"}});
    let suspended = taken("LocalNode", &node, "suspend").unwrap();
    assert_eq!(suspended["spec"]["state"], "Suspended");
    assert!(taken("LocalNode", &suspended, "suspend").is_none());
    assert_eq!(taken("LocalNode", &suspended, "activate").unwrap(), node);

    let waiting = json!({"metadata": {"name": "sums"}, "spec": {}, "status": {
        "conditions": [condition("AwaitingApproval", "True", "")],
        "current": {"revision": "abc"},
        "stages": [{"name": "canary", "phase": "Done"}, {"name": "rest", "phase": "AwaitingApproval"}],
    }});
    let annotation = |object: &Value, name: &str| object["metadata"]["annotations"][format!("{GROUP}/{name}")].clone();
    let approved = taken("ContentDistribution", &waiting, "approve").unwrap();
    assert_eq!(annotation(&approved, "approve"), "abc/rest");
    let paused = taken("ContentDistribution", &waiting, "pause").unwrap();
    assert_eq!(annotation(&paused, "pause"), "true");
    assert!(taken("ContentDistribution", &paused, "pause").is_none());
    let resumed = taken("ContentDistribution", &paused, "resume").unwrap();
    assert_eq!(annotation(&resumed, "pause"), Value::Null);
    assert!(taken("ContentDistribution", &waiting, "retry").is_none(), "nothing has failed");

    let stalled = json!({"metadata": {"name": "sums", "annotations": {"fateh-platform.com/retry": "1"}}, "spec": {},
        "status": {"conditions": [condition("Stalled", "True", "")]}});
    assert!(taken("ContentDistribution", &stalled, "approve").is_none());
    assert_eq!(annotation(&taken("ContentDistribution", &stalled, "retry").unwrap(), "retry"), "2");
}
