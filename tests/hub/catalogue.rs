//! The catalogue: versions from draft to release, bytes by their digest, and distributions over nodes.

use fateh_common::catalogue::{Digest, Manifest};
use fateh_crds::ContentDistribution;
use fateh_tests::{eventually, kubernetes, ready_node, service_account_token};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::hub::{HUB, Hub, start};

const CONTENT: &str = "/api/global/content";

async fn course(hub: &Hub, manager: &str, id: &str) {
    let body =
        json!({"id": id, "type": "Course", "title": {"ar": "الجبر", "en": "Algebra"}, "targetLanguages": ["ar", "en"]});
    hub.http.post(CONTENT, Some(manager), &body).await.data(201);
}

async fn draft(hub: &Hub, manager: &str, id: &str, version: &str, languages: Value) -> fateh_tests::Answer {
    let path = format!("{CONTENT}/{id}/versions/{version}");
    hub.http.send("PUT", &path, Some(manager), "en", Some(&json!({"languages": languages}))).await
}

async fn release(hub: &Hub, manager: &str, id: &str, version: &str) -> fateh_tests::Answer {
    hub.http.post(&format!("{CONTENT}/{id}/versions/{version}/release"), Some(manager), &json!({})).await
}

#[tokio::test]
async fn a_version_is_served_by_digest_once_it_is_released_and_never_changes() {
    let hub = start("catalogue").await;
    let (http, admin) = (&hub.http, hub.admin().await);
    let manager = hub.account(&admin, "content@example.com", json!("content-manager")).await;
    course(&hub, &manager, "algebra").await;
    let again = json!({"id": "algebra", "type": "Quiz", "title": {"ar": "x"}});
    assert_eq!(http.post(CONTENT, Some(&manager), &again).await.error(409), "content-taken");
    let support = hub.account(&admin, "support@example.com", json!("support")).await;
    assert_eq!(http.post(CONTENT, Some(&support), &again).await.error(403), "forbidden");
    assert_eq!(http.get(&format!("{CONTENT}/algebra"), Some(&support)).await.data(200)["type"], "Course");

    let long: String = "س".repeat(2000);
    let drafted = draft(&hub, &manager, "algebra", "1.0", json!({"ar": {"text": long, "b": 1.0}, "en": {"text": "x"}}))
        .await
        .data(200);
    assert_eq!(drafted["state"], "draft");
    let arabic = format!("/content/{}", drafted["languages"]["ar"].as_str().unwrap());
    assert_eq!(http.get(&arabic, None).await.error(404), "not-found", "a draft is nobody's");
    let changed = draft(&hub, &manager, "algebra", "1.0", json!({"ar": {"b": 1, "text": long}})).await.data(200);
    assert_eq!(changed["languages"]["ar"], drafted["languages"]["ar"], "the same content has one form");
    let released = release(&hub, &manager, "algebra", "1.0").await.data(200);
    assert_eq!((&released["state"], &released["digest"]), (&json!("released"), &changed["digest"]));
    assert_eq!(release(&hub, &manager, "algebra", "1.0").await.data(200), released, "again it changes nothing");
    let after = draft(&hub, &manager, "algebra", "1.0", json!({"ar": {"text": "other"}})).await;
    assert_eq!(after.error(409), "version-is-released");

    let served = http.get(&arabic, None).await;
    assert_eq!(served.status, 200);
    let digest = drafted["languages"]["ar"].as_str().unwrap();
    assert_eq!(Digest::of(served.text.as_bytes()).to_string(), digest, "the bytes are those of the digest");
    assert!(served.headers.contains("cache-control: public, max-age=31536000, immutable"), "{}", served.headers);
    assert!(served.headers.contains(&format!("etag: \"{digest}\"")), "{}", served.headers);
    let known = http.with_header(&format!("If-None-Match: \"{digest}\"")).get(&arabic, None).await;
    assert_eq!((known.status, &*known.text), (304, ""));
    let part = http.with_header("Range: bytes=5-9").get(&arabic, None).await;
    assert_eq!((part.status, part.text.as_bytes()), (206, &served.text.as_bytes()[5..10]));
    assert!(part.headers.contains(&format!("content-range: bytes 5-9/{}", served.text.len())), "{}", part.headers);
    let beyond = http.with_header("Range: bytes=999999-").get(&arabic, None).await;
    assert_eq!(beyond.status, 416);
    let compressed = http.with_header("Accept-Encoding: gzip").get(&arabic, None).await;
    assert!(compressed.headers.contains("content-encoding: gzip"), "{}", compressed.headers);
    assert!(compressed.text.len() < served.text.len() / 4, "{} bytes", compressed.text.len());
    let manifest = http.get(&format!("/content/{}", released["digest"].as_str().unwrap()), None).await;
    let manifest: Manifest = serde_json::from_str(&manifest.text).unwrap();
    assert_eq!((&*manifest.content_id, manifest.languages.len()), ("algebra", 1));
    for nothing in ["0".repeat(64), "x".to_owned(), digest.to_uppercase()] {
        assert_eq!(http.get(&format!("/content/{nothing}"), None).await.error(404), "not-found");
    }

    for (field, body) in [
        ("languages", json!({"languages": {}})),
        ("languages", json!({"languages": {"arabic": {}}})),
        ("languages", json!({"languages": {"ar": [1]}})),
        ("languages", json!({"languages": {"ar": {"a": "\u{0}"}}})),
        ("digests", json!({"digests": {"ar": "abc"}})),
        ("digests", json!({"digests": {"ar": "0".repeat(64)}})),
    ] {
        let answer =
            http.send("PUT", &format!("{CONTENT}/algebra/versions/2"), Some(&manager), "en", Some(&body)).await;
        assert_eq!(answer.error(422), "invalid-request", "{body}");
        assert_eq!(answer.json["fields"][0]["field"], field, "{}", answer.json);
    }
    for (field, body) in [
        ("id", json!({"id": "No", "type": "Course", "title": {"ar": "x"}})),
        ("id", json!({"id": "distributions", "type": "Course", "title": {"ar": "x"}})),
        ("type", json!({"id": "x", "type": "Film", "title": {"ar": "x"}})),
        ("title", json!({"id": "x", "type": "Course", "title": {}})),
        ("title", json!({"id": "x", "type": "Course", "title": {"ar": " "}})),
        ("targetLanguages", json!({"id": "x", "type": "Course", "title": {"ar": "x"}, "targetLanguages": ["?"]})),
    ] {
        let answer = http.post(CONTENT, Some(&manager), &body).await;
        assert_eq!(answer.error(422), "invalid-request", "{body}");
        assert_eq!(answer.json["fields"][0]["field"], field, "{}", answer.json);
    }
}

#[tokio::test]
async fn bytes_are_put_under_their_own_digest_and_the_operator_releases_inline_content() {
    let client = kubernetes().await;
    let hub = start("bodies").await;
    let (http, admin) = (&hub.http, hub.admin().await);
    let operator = service_account_token(&client, "fateh-system", "fateh-operator", Some(HUB)).await;
    let put = async |token: &str, digest: &str, body: &Value| {
        http.send("PUT", &format!("/content/{digest}"), Some(token), "en", Some(body)).await
    };
    let body = json!({"lessons": [{"id": "one"}]});
    let digest = Digest::of(body.to_string().as_bytes());
    assert_eq!(put(&operator, &digest.to_string(), &body).await.status, 201);
    assert_eq!(put(&operator, &digest.to_string(), &body).await.status, 200, "again it changes nothing");
    assert_eq!(put(&admin, &digest.to_string(), &body).await.status, 200);
    let wrong = put(&operator, &"0".repeat(64), &body).await;
    assert_eq!((wrong.error(422), &wrong.json["fields"][0]["field"]), ("invalid-request".to_owned(), &json!("digest")));
    let array = json!([1]);
    assert_eq!(put(&operator, &Digest::of(b"[1]").to_string(), &array).await.error(422), "invalid-request");
    let huge = json!({"a": "x".repeat(1024 * 1024)});
    assert_eq!(
        put(&operator, &Digest::of(huge.to_string().as_bytes()).to_string(), &huge).await.error(413),
        "payload-too-large"
    );
    assert_eq!(http.get(&format!("/content/{digest}"), None).await.error(404), "not-found", "not yet released");

    // Who else may not.
    ready_node(&client, "reader", json!({})).await;
    let node = service_account_token(&client, "fateh-node-reader", "node", Some(HUB)).await;
    assert_eq!(put(&node, &digest.to_string(), &body).await.error(403), "forbidden");
    let for_the_cluster = service_account_token(&client, "fateh-system", "fateh-operator", None).await;
    assert_eq!(put(&for_the_cluster, &digest.to_string(), &body).await.error(401), "unauthenticated");
    let finance = hub.account(&admin, "finance@example.com", json!("finance")).await;
    assert_eq!(put(&finance, &digest.to_string(), &body).await.error(403), "forbidden");
    for path in ["/api/global/nodes", "/api/global/users", CONTENT] {
        assert_eq!(http.get(path, Some(&operator)).await.error(401), "unauthenticated", "{path} is not the operator's");
    }

    let manifest = |version: &str, digest: Digest| Manifest {
        content_id: "inline".into(),
        kind: "Lesson".into(),
        version: version.into(),
        title: [("ar".to_owned(), "درس".to_owned())].into(),
        languages: [("ar".to_owned(), digest)].into(),
        local_changes: Some("Merge".into()),
        locked_fields: vec!["/title".into()],
        wanted_languages: Vec::new(),
        language_fallback: Some("Fallback".into()),
    };
    let release = async |token: &str, manifest: &Manifest| {
        let value: Value = serde_json::from_slice(&manifest.canonical()).unwrap();
        http.post("/api/global/v1/manifests", Some(token), &value).await
    };
    let first = manifest("1", digest);
    assert_eq!(release(&admin, &first).await.error(403), "forbidden", "people release by the catalogue");
    let missing = release(&operator, &manifest("1", Digest::of(b"{}"))).await;
    assert_eq!(missing.error(409), "body-missing");
    let released = release(&operator, &first).await;
    assert_eq!((released.status, &released.json["digest"]), (200, &json!(Digest::of(&first.canonical()).to_string())));
    assert_eq!(release(&operator, &first).await.status, 200);
    assert_eq!(http.get(&format!("/content/{digest}"), None).await.text, body.to_string());
    // The same version with other bodies is another thing under a name that is taken.
    let other = json!({"lessons": []});
    let other_digest = Digest::of(other.to_string().as_bytes());
    put(&operator, &other_digest.to_string(), &other).await;
    assert_eq!(release(&operator, &manifest("1", other_digest)).await.error(409), "version-taken");
    assert_eq!(release(&operator, &manifest("2", other_digest)).await.status, 200);
    let bad = json!({"contentId": "inline", "type": "Lesson"});
    assert_eq!(http.post("/api/global/v1/manifests", Some(&operator), &bad).await.error(422), "invalid-request");
}

#[tokio::test]
async fn released_content_is_sent_by_a_distribution_that_can_be_followed() {
    let client = kubernetes().await;
    let hub = start("distribute").await;
    let (http, admin) = (&hub.http, hub.admin().await);
    let path = format!("{CONTENT}/distribute");
    let send = async |body: &Value| http.post(&path, Some(&admin), body).await;
    course(&hub, &admin, "geometry_1").await;
    let body = json!({"contentId": "geometry_1"});
    assert_eq!(send(&body).await.error(409), "version-not-released");
    draft(&hub, &admin, "geometry_1", "1", json!({"ar": {"a": 1}})).await.data(200);
    assert_eq!(send(&json!({"contentId": "geometry_1", "version": "1"})).await.error(409), "version-not-released");
    release(&hub, &admin, "geometry_1", "1").await.data(200);
    let sent = send(&body).await;
    let location = sent.headers.lines().find_map(|line| line.strip_prefix("location: ")).unwrap().trim().to_owned();
    let sent = sent.data(202);
    let name = sent["name"].as_str().unwrap().to_owned();
    let api = Api::<ContentDistribution>::all(client.clone());
    let made = api.get(&name).await.unwrap();
    assert_eq!((&*made.spec.content.id, &*made.spec.content.version), ("geometry_1", "1"));
    assert!(made.spec.content.source.catalog.is_some() && made.spec.targets.nodes.is_empty());
    assert_eq!(made.spec.rollout.stages.len(), 3, "one canary, a quarter, the rest");

    // What the operator says of it is what is seen here. The operator beside looks into another hub and finds nothing, and
    // may say so between what is said here for it and what is read.
    let generation = made.metadata.generation;
    let status = json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": "ContentDistribution", "status": {
        "observedGeneration": generation, "phase": "Progressing", "stage": "canary", "done": "1/3",
        "summary": {"desired": 3, "applied": 1, "pending": 2},
        "conditions": [{"type": "Ready", "status": "False", "reason": "x", "message": "three",
            "lastTransitionTime": "2026-11-25T00:00:00Z", "observedGeneration": generation}]}});
    let progress = eventually("the hub shows what is said", 30, async || {
        api.patch_status(&name, &PatchParams::apply("fateh-operator").force(), &Patch::Apply(&status)).await.unwrap();
        let progress = http.get(&location, Some(&admin)).await.data(200);
        if progress["message"] == "three" { Ok(progress) } else { Err(progress) }
    })
    .await;
    assert_eq!(
        (&progress["name"], &progress["done"], &progress["stage"], &progress["ready"]),
        (&json!(name), &json!("1/3"), &json!("canary"), &json!(false))
    );
    assert_eq!((&progress["summary"]["desired"], &progress["summary"]["pending"]), (&json!(3), &json!(2)));

    // Another version, to some nodes, in other stages: the same distribution.
    ready_node(&client, "target", json!({})).await;
    eventually("the hub knows the node", 10, async || {
        let answer = http.get("/api/global/nodes/target", Some(&admin)).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    draft(&hub, &admin, "geometry_1", "2", json!({"ar": {"a": 2}})).await.data(200);
    release(&hub, &admin, "geometry_1", "2").await.data(200);
    let second = json!({"contentId": "geometry_1", "targetNodes": ["target"],
        "rollout": {"stages": [{"name": "all", "maxConcurrency": 5, "minSuccessTime": "30m", "approval": true}]}});
    assert_eq!(send(&second).await.data(202)["version"], "2", "the version released last");
    let changed = api.get(&name).await.unwrap();
    assert_eq!(changed.spec.targets.nodes, ["target"]);
    assert_eq!((changed.spec.rollout.stages.len(), changed.spec.rollout.stages[0].approval), (1, true));
    let listed = http.get(&format!("{CONTENT}/distributions"), Some(&admin)).await.data(200);
    assert!(listed["distributions"].as_array().unwrap().iter().any(|one| one["name"] == *name), "{listed}");

    for (field, bad) in [
        ("targetNodes", json!({"contentId": "geometry_1", "targetNodes": ["nowhere"]})),
        ("targetNodes", json!({"contentId": "geometry_1", "targetNodes": []})),
        ("rollout", json!({"contentId": "geometry_1", "rollout": {"stages": []}})),
        ("rollout", json!({"contentId": "geometry_1", "rollout": {"stages": [{"name": "a", "percent": 101}]}})),
        (
            "rollout",
            json!({"contentId": "geometry_1", "rollout": {"stages": [{"name": "a", "percent": 1, "count": 1}]}}),
        ),
        (
            "rollout",
            json!({"contentId": "geometry_1", "rollout": {"stages": [{"name": "a", "minSuccessTime": "-1s"}]}}),
        ),
        ("rollout", json!({"contentId": "geometry_1", "rollout": {"stages": [{"name": "a", "maxFailures": "200%"}]}})),
        (
            "rollout",
            json!({"contentId": "geometry_1", "rollout": {"stages": [{"name": "a", "count": 1}, {"name": "a"}]}}),
        ),
        ("rollout", json!({"contentId": "geometry_1", "rollout": {"onFailure": "Explode"}})),
        ("rollout", json!({"contentId": "geometry_1", "rollout": {"stagse": []}})),
        ("version", json!({"contentId": "geometry_1", "version": "no version"})),
    ] {
        let answer = send(&bad).await;
        assert_eq!(answer.error(422), "invalid-request", "{bad}");
        assert_eq!(answer.json["fields"][0]["field"], field, "{bad}: {}", answer.json);
    }
    assert_eq!(send(&json!({"contentId": "nothing"})).await.error(404), "not-found");
    assert_eq!(send(&json!({"contentId": "geometry_1", "version": "9"})).await.error(404), "not-found");

    // What Argo CD owns is Argo CD's.
    let owned = json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": "ContentDistribution",
        "metadata": {"name": name}, "spec": {"targets": {"nodes": ["target"]}, "rollout": {"onFailure": "Abort"}}});
    api.patch(&name, &PatchParams::apply("argocd-controller").force(), &Patch::Apply(&owned)).await.unwrap();
    let mut taken = second.clone();
    taken["rollout"]["onFailure"] = json!("Continue");
    let refused = send(&taken).await;
    assert_eq!(refused.error(409), "field-owned");
    assert!(refused.json["message"].as_str().unwrap().contains("argocd-controller"), "{}", refused.json);
    api.delete(&name, &DeleteParams::default()).await.unwrap();
}
