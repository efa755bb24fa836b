//! Requests made from the hub's own description, good ones and every kind of bad one: no answer is undocumented, and
//! none is a 500.

use fateh_crds::{ContentDistribution, LocalNode};
use fateh_tests::{
    fuzz::{Asked, Target, fuzz},
    kubernetes, service_account_token,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use serde_json::json;

use crate::hub;

/// A node that is there before the first request; no server takes nodes of its region, so that none is provisioned.
const NODE: &str = "fuzz-standing";

/// Digest of the bytes `{}`, which are put before the first request.
const EMPTY: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

fn words(random: &mut StdRng, asked: Asked<'_>) -> Option<String> {
    let words: &[&str] = match asked.name {
        "slug" => return Some(format!("fuzz-{}", random.random_range(0..8))),
        "id" | "contentId" if asked.path.contains("content") => {
            return Some(format!("fuzzed-{}", random.random_range(0..8)));
        }
        "email" | "adminEmail" if asked.honest => return Some(format!("{}@example.com", random.random::<u32>())),
        "email" | "adminEmail" => &["omar@example.com", "a@b.co", "someone@example.org"],
        "node" | "targetNodes" => &[NODE],
        "region" => &["fuzz-land"],
        "country" => &["SA", "EG"],
        "currency" => &["SAR", "EGP"],
        "timezone" => &["Asia/Riyadh", "UTC"],
        "password" | "newPassword" => &["another long password 1", "one more long password 2"],
        "role" if asked.path.contains("partners") => &["owner", "manager", "instructor", "support"],
        "role" => &["content-manager", "finance", "support"],
        "status" if asked.honest => &["active"],
        "status" => &["active", "suspended", "ended"],
        "state" => &["Active", "Suspended", "Inactive"],
        "type" => &["Course", "Lesson", "Quiz", "Resource"],
        "language" | "targetLanguages" => &["ar", "en", "fr-CA"],
        // More than are ever released, so that there are always drafts to make and to change.
        "version" if asked.honest && asked.path.ends_with("{version}") => {
            return Some(random.random::<u8>().to_string());
        }
        "version" => &["1", "2", "3"],
        "digests" if asked.honest => &[EMPTY],
        "digest" | "digests" => &["6f2c", EMPTY],
        "by" => &["node", "country", "day", "month"],
        "limit" => &["1", "2", "100", "0", "201"],
        "shareFrom" if asked.honest => &["2999-01-01"],
        "from" | "to" if asked.honest => &["2026-01-01", "2026-10-01"],
        "from" | "to" | "since" | "until" | "shareFrom" => {
            &["2026-01-01", "2026-11-20T10:00:00Z", "1969-12-31", "9999-12-31", "2026-02-30"]
        }
        _ => return None,
    };
    words.choose(random).map(|&word| word.to_owned())
}

#[tokio::test]
async fn no_request_is_answered_with_what_is_not_documented() {
    let rounds = if fateh_tests::soak() { 2000 } else { 60 };
    let hub = hub::start("fuzzed").await;
    let admin = hub.admin().await;
    let node = json!({"name": "x", "slug": NODE, "region": "fuzz-land", "adminEmail": "a@b.co"});
    hub.http.post("/api/global/nodes", Some(&admin), &node).await.data(202);
    // Half of the content that is spoken of is there, in drafts.
    for id in ["fuzzed-0", "fuzzed-1", "fuzzed-2", "fuzzed-3"] {
        let content = json!({"id": id, "type": "Course", "title": {"ar": "درس"}});
        hub.http.post("/api/global/content", Some(&admin), &content).await.data(201);
        for version in ["1", "2", "3"] {
            let path = format!("/api/global/content/{id}/versions/{version}");
            let draft = json!({"languages": {"ar": {"text": version}}});
            hub.http.send("PUT", &path, Some(&admin), "en", Some(&draft)).await.data(200);
        }
    }
    let empty = hub.http.send("PUT", &format!("/content/{EMPTY}"), Some(&admin), "en", Some(&json!({}))).await;
    assert!(empty.status < 300, "{}", empty.text);
    let client = kubernetes().await;
    let pods = service_account_token(&client, "default", "default", Some(hub::HUB)).await;
    let mut tokens = vec![Some(admin.clone()), Some(admin.clone()), None, Some("a.b.c".to_owned()), Some(pods)];
    for role in ["content-manager", "finance", "support"] {
        tokens.push(Some(hub.account(&admin, &format!("{role}@example.com"), json!(role)).await));
    }
    let named = &["slug", "id", "version", "digest"];
    let seen = fuzz(&Target { base: &hub.http.base, tokens, words, named }, 30, rounds).await;

    let nodes = Api::<LocalNode>::all(client.clone());
    for node in nodes.list_metadata(&ListParams::default()).await.unwrap() {
        if node.name_any().starts_with("fuzz-") {
            nodes.delete(&node.name_any(), &DeleteParams::default()).await.unwrap();
        }
    }
    let distributions = Api::<ContentDistribution>::all(client);
    for distribution in distributions.list_metadata(&ListParams::default()).await.unwrap() {
        if distribution.name_any().starts_with("fuzzed-") {
            distributions.delete(&distribution.name_any(), &DeleteParams::default()).await.unwrap();
        }
    }
    // A fuzzer that is only ever refused finds nothing.
    let succeeded: Vec<_> = seen.keys().filter(|(_, status)| *status < 300).map(|(name, _)| name.as_str()).collect();
    for name in [
        "POST /api/global/nodes",
        "PUT /api/global/nodes/{slug}",
        "POST /api/global/users",
        "POST /api/global/partners",
        "POST /api/global/content",
        "PUT /api/global/content/{id}/versions/{version}",
        "POST /api/global/content/{id}/versions/{version}/release",
        "POST /api/global/content/distribute",
    ] {
        assert!(succeeded.contains(&name), "{name} never succeeded: {seen:#?}");
    }
    assert_eq!(hub.http.get("/api/global/statistics", Some(&admin)).await.status, 200);
}
