//! The node's side of a rollout: what it is told to hold it fetches from a hub that may break off, or lie.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use fateh_common::catalogue::{Digest, Manifest, canonical};
use fateh_crds::{ContentAcknowledgement, ContentItem, ContentState, NodeContent, Removal};
use fateh_tests::{Answer, Http, Postgres, eventually, kubernetes};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    peer::{self, Peer},
    running::{Running, become_admin, make, run_with_hub, sign_in, text},
};

const CONTENT: &str = "/api/local/content";
const REPLACED: &str = "/api/local/content/replaced";

/// A hub, a node that asks it, and a partner who is signed in there.
struct Rollout {
    hub: Arc<Peer>,
    node: Running,
    partner: String,
}

/// What is put into the hub: a version in Arabic.
struct Release {
    manifest: Digest,
    body: Digest,
}

impl Rollout {
    async fn start(name: &str) -> Self {
        let (hub, url) = peer::start().await;
        let node = run_with_hub(name, Postgres::V18, &url).await;
        let partner = become_admin(&node).await;
        Self { hub, node, partner }
    }

    /// Puts a version of one course into the hub.
    fn publish(&self, version: &str, content: &Value, locked: &[&str]) -> Release {
        let bytes = canonical(content).unwrap();
        let body = Digest::of(&bytes);
        let manifest = Manifest {
            content_id: "sums".to_owned(),
            kind: "Course".to_owned(),
            version: version.to_owned(),
            title: BTreeMap::from([("ar".to_owned(), "الجمع".to_owned())]),
            languages: BTreeMap::from([("ar".to_owned(), body)]),
            local_changes: Some("Merge".to_owned()),
            locked_fields: locked.iter().map(|&field| field.to_owned()).collect(),
            wanted_languages: Vec::new(),
            language_fallback: Some("Require".to_owned()),
        };
        let manifest_bytes = manifest.canonical();
        let manifest = Digest::of(&manifest_bytes);
        self.sends(&body, bytes);
        self.sends(&manifest, manifest_bytes);
        Release { manifest, body }
    }

    fn sends(&self, digest: &Digest, bytes: Vec<u8>) {
        self.hub.content.lock().unwrap().insert(digest.to_string(), bytes);
    }

    fn told(&self, client: Client) -> Api<NodeContent> {
        Api::namespaced(client, &format!("fateh-node-{}", self.node.name))
    }

    async fn write(&self, release: &Release, attempt: i32, removal: Option<Removal>) -> ContentItem {
        let digest = release.manifest.to_string();
        let mut item = json!({"distribution": "sums-of-the-test", "revision": digest[..12], "digest": digest,
            "stage": "all", "attempt": attempt, "releasedAt": "2026-01-01T00:00:00.000000Z"});
        if let Some(removal) = removal {
            item["removal"] = json!(removal);
        }
        let told =
            json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": "NodeContent", "spec": {"items": [item]}});
        let api = self.told(kubernetes().await);
        let written = api.patch("node", &PatchParams::apply("fateh-tests").force(), &Patch::Apply(&told)).await;
        written.unwrap().spec.items.remove(0)
    }

    /// Tells the node to hold a version, and waits for what it says of that.
    async fn tell(&self, release: &Release, attempt: i32) -> ContentAcknowledgement {
        let item = self.write(release, attempt, None).await;
        let api = self.told(kubernetes().await);
        eventually("the node's answer", 30, async || {
            let said = api.get("node").await.unwrap().status.unwrap_or_default().items;
            said.iter().find(|said| said.is_of(&item)).cloned().ok_or(said)
        })
        .await
    }

    /// The only piece that the node teaches, and its tag.
    async fn piece(&self) -> (String, Value, String) {
        let listed = self.node.users.get(CONTENT, Some(&self.partner)).await.data(200);
        let path = format!("{CONTENT}/{}", text(&listed["content"][0], "id"));
        let answer = self.node.users.get(&path, Some(&self.partner)).await;
        let tag = answer.headers.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim().to_owned();
        (path, answer.data(200), tag)
    }

    /// The partner's edit of the whole content.
    async fn edit(&self, content: &Value) -> Answer {
        let (path, _, tag) = self.piece().await;
        let http = self.node.users.with_header(&format!("If-Match: {tag}"));
        http.send("PATCH", &path, Some(&self.partner), "en", Some(&json!({"content": content}))).await
    }
}

#[tokio::test]
async fn what_is_not_what_its_digest_names_is_not_taken_and_what_broke_off_goes_on() {
    let rollout = Rollout::start("lied-to").await;
    let first = rollout.publish("1", &json!({"text": "one"}), &[]);
    let said = rollout.tell(&first, 1).await;
    assert_eq!((said.state, said.active_digest), (ContentState::Applied, Some(first.manifest.to_string())));

    let long = "درس طويل ".repeat(2000);
    let second = rollout.publish("2", &json!({"text": long}), &[]);
    let honest = rollout.hub.content.lock().unwrap().clone();
    // A body, and then a manifest, under a name that is not theirs: well formed, and not what was published.
    for (attempt, lie) in [(1, &second.body), (2, &second.manifest)] {
        rollout.sends(lie, honest[&if attempt == 1 { first.body } else { first.manifest }.to_string()].clone());
        let said = rollout.tell(&second, attempt).await;
        assert_eq!((said.state, said.active_digest), (ContentState::Failed, None));
        let message = said.message.unwrap();
        assert!(message.contains(&lie.to_string()) && message.contains("not what that digest names"), "{message}");
        assert_eq!(rollout.piece().await.1["content"]["text"], "one", "what was held is served on");
        rollout.sends(lie, honest[&lie.to_string()].clone());
    }
    // Something that is no content at all.
    rollout.sends(&second.body, vec![0; 2 << 20]);
    let said = rollout.tell(&second, 3).await;
    assert!(said.message.unwrap().contains("more than"));
    rollout.sends(&second.body, honest[&second.body.to_string()].clone());

    // Two answers break off: the manifest's, and the body's; neither is sent again from its beginning.
    rollout.hub.breaks.store(2, Ordering::Relaxed);
    let said = rollout.tell(&second, 4).await;
    assert_eq!(said.state, ContentState::Applied);
    assert_eq!(rollout.piece().await.1["content"]["text"], long);
    let resumed = rollout.hub.resumed_at.lock().unwrap().clone();
    assert!(resumed.len() == 2 && resumed.iter().all(|from| *from > 0), "{resumed:?}");
}

#[tokio::test]
async fn what_a_partner_had_changed_is_kept_where_it_is_replaced_or_deleted() {
    let rollout = Rollout::start("replaced").await;
    let http: &Http = &rollout.node.users;
    let first = rollout.publish("1", &json!({"intro": "مرحبا", "text": "x".repeat(100_000)}), &[]);
    assert_eq!(rollout.tell(&first, 1).await.state, ContentState::Applied);
    // More than a piece of the node's own may have: it came from the centre, and can be edited all the same.
    let mine = |intro: &str| json!({"intro": intro, "text": "x".repeat(100_000)});
    assert_eq!(rollout.edit(&mine("أهلا")).await.data(200)["isCustomized"], true);
    let too_long = rollout.edit(&json!({"text": "x".repeat(150_000)})).await;
    assert_eq!((too_long.status, &too_long.json["fields"][0]["field"]), (422, &json!("content")));

    // The centre locks what was edited.
    let second = rollout.publish("2", &json!({"intro": "مرحبا بكم", "text": "x".repeat(100_000)}), &["/content/intro"]);
    assert_eq!(rollout.tell(&second, 1).await.state, ContentState::Applied);
    assert_eq!(rollout.piece().await.1["content"]["intro"], "مرحبا بكم");
    assert_eq!(rollout.edit(&mine("أهلا")).await.error(409), "field-locked");

    // Another edit, and the content is deleted.
    let edit = json!({"intro": "مرحبا بكم", "text": "another"});
    rollout.edit(&edit).await.data(200);
    rollout.write(&second, 2, Some(Removal::Delete)).await;
    eventually("an empty list", 30, async || {
        let listed = http.get(CONTENT, Some(&rollout.partner)).await.data(200);
        if listed["content"] == json!([]) { Ok(()) } else { Err(listed) }
    })
    .await;

    let page = async |query: &str| http.get(&format!("{REPLACED}{query}"), Some(&rollout.partner)).await;
    let newest = page("?contentId=sums&limit=1").await.data(200);
    let entry = newest["replaced"][0].clone();
    assert_eq!(
        (&entry["globalContentId"], &entry["language"], &entry["title"]),
        (&json!("sums"), &json!("ar"), &json!("الجمع"))
    );
    let whole = http.get(&format!("{REPLACED}/{}", text(&entry, "id")), Some(&rollout.partner)).await.data(200);
    assert_eq!(whole["content"], edit);
    let older = page(&format!("?limit=1&cursor={}", text(&newest, "nextCursor"))).await.data(200);
    assert_eq!((older["replaced"].as_array().unwrap().len(), &older["nextCursor"]), (1, &json!(null)));
    let older = format!("{REPLACED}/{}", text(&older["replaced"][0], "id"));
    assert_eq!(http.get(&older, Some(&rollout.partner)).await.data(200)["content"], mine("أهلا"));
    assert_eq!(page("?contentId=other").await.data(200)["replaced"], json!([]));

    for (query, field) in [("?contentId=no%20id", "contentId"), ("?cursor=x", "cursor"), ("?limit=0", "limit")] {
        let refused = page(query).await;
        assert_eq!((refused.status, &refused.json["fields"][0]["field"]), (422, &json!(field)), "{query}");
    }
    let nothing = http.get(&format!("{REPLACED}/{}", uuid::Uuid::nil()), Some(&rollout.partner)).await;
    assert_eq!(nothing.error(404), "not-found");
    make(http, &rollout.partner, "pupil", "student").await;
    let pupil = text(&sign_in(http, "pupil").await, "accessToken");
    for path in [REPLACED, &older] {
        assert_eq!(http.get(path, Some(&pupil)).await.error(403), "forbidden");
        assert_eq!(http.get(path, None).await.status, 401);
    }
}
