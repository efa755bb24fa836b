//! Content on a real cluster: from a manifest to what a student reads, with a partner's own edits kept.

use fateh_tests::{Http, eventually};
use serde_json::{Value, json};

use crate::{
    backbone::{answers, apply, apply_text, become_admin, host, invitation, kubectl, kubectl_json, wait_ready},
    hub,
};

const NODES: [&str; 2] = ["hebron", "nablus"];

/// Applies a version of a course, in Arabic, for some nodes: the first of them, and then the others.
pub async fn distribute(name: &str, nodes: &[&str], version: &str, body: &Value, more: Value) {
    let mut spec = json!({
        "content": {"id": name, "type": "Course", "version": version, "title": {"ar": "الجمع"},
            "source": {"inline": {"ar": body}}},
        "targets": {"nodes": nodes}, "removal": "Delete",
        "rollout": {"stages": [{"name": "first", "nodes": [nodes[0]]}, {"name": "rest"}]},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let manifest = json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": "ContentDistribution", "metadata": {"name": name}, "spec": spec});
    apply_text(&manifest.to_string()).await;
}

/// The status of a distribution, once it is as it is asked for.
pub async fn status(name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, 90, async || {
        let found = kubectl_json(&["get", "cdist", name]).await;
        let status = &found["status"];
        let seen = status["observedGeneration"] == found["metadata"]["generation"];
        if seen && is(status) { Ok(status.clone()) } else { Err(status.clone()) }
    })
    .await
}

/// The only piece that a node teaches, and its tag.
async fn piece(http: &Http, token: &str) -> (Value, String) {
    let listed = http.get("/api/local/content", Some(token)).await.data(200);
    let id = listed["content"][0]["id"].as_str().unwrap_or_else(|| panic!("{listed}"));
    let answer = http.get(&format!("/api/local/content/{id}"), Some(token)).await;
    let tag = answer.headers.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim().to_owned();
    (answer.data(200), tag)
}

#[tokio::test]
async fn a_course_reaches_nodes_in_stages_and_a_partner_s_edits_survive_its_next_version() {
    for name in NODES {
        apply(name, "").await;
    }
    let mut partners = Vec::new();
    for name in NODES {
        wait_ready(name).await;
        kubectl(&["wait", "--for=condition=Reporting", "--timeout=120s", &format!("localnode/{name}")]).await;
        let http = host(name);
        answers(&http).await;
        let token = become_admin(&http, &invitation(name).await).await;
        partners.push((http, token));
    }
    let lessons = json!([{"id": "one", "text": "1 + 1"}, {"id": "two", "text": "2 + 2"}]);
    distribute("sums", &NODES, "1", &json!({"intro": "مرحبا", "lessons": lessons}), json!({})).await;
    let done = status("sums", "the first version", |status| status["phase"] == "Complete").await;
    assert_eq!((&done["done"], &done["summary"]["applied"]), (&json!("2/2"), &json!(2)));
    let (http, token) = &partners[0];
    let (first, tag) = piece(http, token).await;
    assert_eq!(
        (&first["title"], &first["globalContentId"], &first["status"]),
        (&json!("الجمع"), &json!("sums"), &json!("published"))
    );

    // The partner rewrites the introduction and adds a lesson.
    let mut mine = first["content"].clone();
    mine["intro"] = json!("أهلا بكم في الخليل");
    mine["lessons"].as_array_mut().unwrap().push(json!({"id": "ours", "text": "3 + 3"}));
    let path = format!("/api/local/content/{}", first["id"].as_str().unwrap());
    let edit = http.with_header(&format!("If-Match: {tag}"));
    let edit = edit.send("PATCH", &path, Some(token), "ar", Some(&json!({"content": mine}))).await;
    assert_eq!(edit.data(200)["isCustomized"], true);

    // The centre changes a lesson: both are kept.
    let lessons = json!([{"id": "one", "text": "1 + 1 = 2"}, {"id": "two", "text": "2 + 2"}]);
    distribute("sums", &NODES, "2", &json!({"intro": "مرحبا", "lessons": lessons}), json!({})).await;
    let merged = status("sums", "the second version", |status| {
        status["phase"] == "Complete" && status["history"][0]["version"] == "1"
    })
    .await;
    assert_eq!((&merged["summary"]["merged"], &merged["summary"]["applied"]), (&json!(1), &json!(1)));
    let (second, _) = piece(http, token).await;
    assert_eq!(second["content"]["intro"], "أهلا بكم في الخليل");
    assert_eq!(second["content"]["lessons"][0]["text"], "1 + 1 = 2");
    assert_eq!(second["content"]["lessons"].as_array().unwrap().len(), 3, "the lesson that was added survives");

    // To lock a field that a node has edited is asked first: nothing changes.
    let locked = json!({"localChanges": {"policy": "Merge", "lockedFields": ["/content/intro"]}, "mode": "Plan"});
    distribute("sums", &NODES, "3", &json!({"intro": "أهلا", "lessons": lessons}), locked).await;
    let plan = status("sums", "the plan", |status| status["phase"] == "Planned").await;
    assert_eq!((&plan["plan"]["answered"], &plan["plan"]["lockedEdits"]), (&json!(2), &json!(1)));
    assert_eq!(plan["plan"]["examples"], json!(["hebron: /content/intro"]));
    assert_eq!(piece(http, token).await.0["content"], second["content"]);

    // Where both change the same place, the partner's goes on being served, and decides.
    distribute("sums", &NODES, "4", &json!({"intro": "أهلا", "lessons": lessons}), json!({})).await;
    status("sums", "the conflict", |status| status["phase"] == "Complete" && status["summary"]["conflicted"] == 1)
        .await;
    let (conflicted, tag) = piece(http, token).await;
    assert_eq!(conflicted["content"]["intro"], "أهلا بكم في الخليل");
    assert_eq!(conflicted["conflicts"][0]["upstream"], "أهلا");
    let choice = json!({"path": "/content/intro", "choice": "theirs"});
    let settled = http.with_header(&format!("If-Match: {tag}"));
    let settled = settled.post(&format!("{path}/conflicts"), Some(token), &choice).await.data(200);
    assert_eq!(settled["content"]["intro"], "أهلا");
    status("sums", "the decision", |status| status["summary"]["conflicted"] == 0 && status["summary"]["merged"] == 1)
        .await;

    // Deleted, it goes from the nodes as well.
    kubectl(&["delete", "cdist", "sums", "--timeout=60s"]).await;
    for (http, token) in &partners {
        eventually("an empty list", 60, async || {
            let listed = http.get("/api/local/content", Some(token)).await.data(200);
            if listed["content"] == json!([]) { Ok(()) } else { Err(listed) }
        })
        .await;
    }
    kubectl(&["delete", "localnode", NODES[0], NODES[1], "--wait=false"]).await;
}

#[tokio::test]
async fn content_of_the_catalogue_is_sent_by_the_hub_s_api() {
    apply("jericho", "").await;
    wait_ready("jericho").await;
    kubectl(&["wait", "--for=condition=Reporting", "--timeout=120s", "localnode/jericho"]).await;
    let http = host("jericho");
    answers(&http).await;
    let token = become_admin(&http, &invitation("jericho").await).await;
    let (hub, admin) = hub::admin().await;
    let content = json!({"id": "poems", "type": "Lesson", "title": {"ar": "قصائد", "en": "Poems"}});
    hub.post("/api/global/content", Some(&admin), &content).await.data(201);
    let draft = json!({"languages": {"ar": {"text": "قفا نبك"}, "en": {"text": "Stop, let us weep"}}});
    hub.send("PUT", "/api/global/content/poems/versions/1", Some(&admin), "en", Some(&draft)).await.data(200);
    let sent = json!({"contentId": "poems", "version": "1", "targetNodes": ["jericho"]});
    assert_eq!(
        hub.post("/api/global/content/distribute", Some(&admin), &sent).await.status,
        409,
        "a draft is not sent"
    );
    hub.post("/api/global/content/poems/versions/1/release", Some(&admin), &json!({})).await.data(200);
    let sent = hub.post("/api/global/content/distribute", Some(&admin), &sent).await.data(202);
    let follow = format!("/api/global/content/distributions/{}", sent["name"].as_str().unwrap());
    eventually("the end of the rollout, as the hub sees it", 90, async || {
        let progress = hub.get(&follow, Some(&admin)).await.data(200);
        if progress["phase"] == "Complete" && progress["done"] == "1/1" { Ok(()) } else { Err(progress) }
    })
    .await;
    let (piece, _) = piece(&http, &token).await;
    assert_eq!((&piece["content"]["text"], &piece["type"]), (&json!("قفا نبك"), &json!("lesson")));
    kubectl(&["delete", "contentdistribution/poems", "localnode/jericho", "--wait=false"]).await;
}
