//! What the node teaches: made, read and changed by several, and what was distributed with the node's own edits.

use fateh_tests::{Answer, Http, Postgres};
use serde_json::{Value, json};

use crate::running::{Running, become_admin, make, run, sign_in, text};

const CONTENT: &str = "/api/local/content";

fn etag(answer: &Answer) -> String {
    answer.headers.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned()
}

async fn send(http: &Http, token: &str, method: &str, path: &str, tag: &str, body: Option<&Value>) -> Answer {
    http.with_header(&format!("If-Match: {tag}")).send(method, path, Some(token), "en", body).await
}

/// An instructor's and a student's token.
async fn people(node: &Running) -> (String, String) {
    let admin = become_admin(node).await;
    make(&node.users, &admin, "teacher", "instructor").await;
    make(&node.users, &admin, "pupil", "student").await;
    let token = async |login| text(&sign_in(&node.users, login).await, "accessToken");
    (token("teacher").await, token("pupil").await)
}

#[tokio::test]
async fn content_is_made_published_and_changed_by_one_at_a_time() {
    let node = run("teaching", Postgres::V18).await;
    let (teacher, pupil) = people(&node).await;
    let http = &node.users;
    let lesson = json!({"type": "lesson", "title": "الجمع", "content": {"blocks": [{"id": "a", "text": "1 + 1"}]}});
    assert_eq!(http.post(CONTENT, Some(&pupil), &lesson).await.error(403), "forbidden");
    let made = http.post(CONTENT, Some(&teacher), &lesson).await;
    let (first_tag, id) = (etag(&made), text(&made.data(201), "id"));
    let one = format!("{CONTENT}/{id}");
    assert_eq!(http.get(&one, Some(&pupil)).await.error(404), "not-found", "a draft is for those who make it");
    assert_eq!(http.get(CONTENT, Some(&pupil)).await.data(200)["content"], json!([]));

    let publish = json!({"status": "published"});
    assert_eq!(http.send("PATCH", &one, Some(&teacher), "en", Some(&publish)).await.error(428), "version-required");
    let published = send(http, &teacher, "PATCH", &one, &first_tag, Some(&publish)).await;
    let second_tag = etag(&published);
    assert_eq!(published.data(200)["language"], "ar", "the node's own language");
    let late = send(http, &teacher, "PATCH", &one, &first_tag, Some(&json!({"title": "late"}))).await;
    assert_eq!(late.error(412), "changed-meanwhile");

    // Of several who change the same version one does.
    let mut changing = tokio::task::JoinSet::new();
    for index in 0..8 {
        let (http, teacher, one, tag) = (http.clone(), teacher.clone(), one.clone(), second_tag.clone());
        changing.spawn(async move {
            send(&http, &teacher, "PATCH", &one, &tag, Some(&json!({"title": format!("title {index}")}))).await.status
        });
    }
    let mut statuses = changing.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);

    let read = http.get(&one, Some(&pupil)).await;
    let tag = etag(&read);
    assert!(
        read.headers.contains("cache-control: private, no-cache") && read.headers.contains("vary:"),
        "{}",
        read.headers
    );
    assert!(read.clone().data(200)["title"].as_str().unwrap().starts_with("title "));
    let held = http.with_header(&format!("If-None-Match: \"x\", {tag}"));
    let unchanged = held.get(&one, Some(&pupil)).await;
    assert_eq!((unchanged.status, unchanged.text.as_str()), (304, ""));
    let arabic = held.send("GET", &one, Some(&pupil), "ar", None).await;
    assert_eq!(arabic.status, 200, "another language is another answer");
    let listed = http.get(&format!("{CONTENT}?type=lesson"), Some(&pupil)).await.data(200);
    assert_eq!(listed["content"].as_array().unwrap().len(), 1);

    assert_eq!(send(http, &pupil, "DELETE", &one, &tag, None).await.error(403), "forbidden");
    assert_eq!(send(http, &teacher, "DELETE", &one, &first_tag, None).await.error(412), "changed-meanwhile");
    send(http, &teacher, "DELETE", &one, &tag, None).await.data(200);
    assert_eq!(http.get(&one, Some(&teacher)).await.error(404), "not-found");

    for (field, value, status) in [
        ("type", json!("film"), 422),
        ("title", json!(""), 422),
        ("title", json!("two\nlines"), 422),
        ("title", json!("x".repeat(513)), 422),
        ("content", json!([1]), 422),
        ("content", json!({"a": "\u{0}"}), 422),
        ("content", json!({"a": "x".repeat(50_000)}), 422),
        ("language", json!("Arabic"), 422),
        ("status", json!("hidden"), 422),
        ("title", json!(1), 400),
    ] {
        let mut body = lesson.clone();
        body[field] = value;
        let answer = http.post(CONTENT, Some(&teacher), &body).await;
        assert_eq!(answer.status, status, "{field}: {}", answer.json);
        if status == 422 {
            assert_eq!(answer.json["fields"][0]["field"], field);
        }
    }
}

/// Puts content there as a rollout does, with a node's edit of one field that upstream has changed since.
async fn distribute(node: &Running, server: Postgres, global: &str, language: &str, title: &str) -> String {
    let document = |text: &str, note: &str| json!({"title": title, "content": {"text": text, "note": note}});
    let conflict = json!([{"path": "/content/text", "base": "one", "local": "mine", "upstream": "two"}]);
    sqlx::query_scalar::<_, String>(
        "INSERT INTO local_node.local_content (id, global_content_id, type, title, content, is_customized, language,
             status, created_at, updated_at, base, upstream, conflicts)
         VALUES (gen_random_uuid(), $1, 'lesson', $2, $3, true, $4, 'published', now(), now(), $5, $6, $7)
         RETURNING id::text",
    )
    .bind(global)
    .bind(title)
    .bind(json!({"text": "mine", "note": "new"}))
    .bind(language)
    .bind(document("one", "new"))
    .bind(document("two", "new"))
    .bind(conflict)
    .fetch_one(&mut node.database(server).await)
    .await
    .unwrap()
}

async fn distributed_content_keeps_the_node_s_edits_and_upstream_s_value(server: Postgres) {
    let node = run(&format!("distributed-{}", server.name()), server).await;
    let (teacher, pupil) = people(&node).await;
    let http = &node.users;
    let arabic = distribute(&node, server, "sums", "ar", "الجمع").await;
    let english = distribute(&node, server, "sums", "en", "Sums").await;
    distribute(&node, server, "french", "fr", "Sommes").await;
    let titles = async |language: &str, query: &str| {
        let listed = http.send("GET", &format!("{CONTENT}{query}"), Some(&pupil), language, None).await.data(200);
        let mut titles: Vec<_> = listed["content"].as_array().unwrap().iter().map(|it| text(it, "title")).collect();
        titles.sort();
        titles
    };
    assert_eq!(titles("en-GB,en;q=0.9", "").await, ["Sommes", "Sums"], "in the reader's language, or any");
    assert_eq!(titles("de", "").await, ["Sommes", "الجمع"], "or the node's own");
    assert_eq!(titles("de", "?language=fr").await, ["Sommes", "الجمع"]);

    let one = format!("{CONTENT}/{arabic}");
    let seen = http.get(&one, Some(&pupil)).await.data(200);
    assert_eq!(
        (&seen["content"]["text"], &seen["conflicts"], &seen["upstream"]),
        (&json!("mine"), &json!([]), &json!(null))
    );
    let answer = http.get(&one, Some(&teacher)).await;
    let mut tag = etag(&answer);
    let full = answer.data(200);
    assert_eq!(full["conflicts"][0]["path"], "/content/text");
    assert_eq!(full["upstream"]["content"]["text"], "two");

    assert_eq!(send(http, &teacher, "DELETE", &one, &tag, None).await.error(409), "content-distributed");
    // Another edit beside the conflict, and then each way of settling it.
    let edit = json!({"content": {"text": "mine", "note": "ours"}});
    let edited = send(http, &teacher, "PATCH", &one, &tag, Some(&edit)).await;
    tag = etag(&edited);
    let edited = edited.data(200);
    assert_eq!(edited["customization"]["paths"], json!(["/content/note", "/content/text"]));
    assert_eq!(edited["conflicts"].as_array().unwrap().len(), 1);
    let settle = format!("{one}/conflicts");
    for (body, status, error) in [
        (json!({"path": "/title", "choice": "ours"}), 409, "no-such-conflict"),
        (json!({"path": "title", "choice": "ours"}), 422, "invalid-request"),
        (json!({"path": "/content/text", "choice": "mine"}), 422, "invalid-request"),
        (json!({"path": "/content/text", "choice": "edit"}), 422, "invalid-request"),
    ] {
        assert_eq!(send(http, &teacher, "POST", &settle, &tag, Some(&body)).await.error(status), error, "{body}");
    }
    let both = json!({"path": "/content/text", "choice": "edit", "value": "both"});
    let settled = send(http, &teacher, "POST", &settle, &tag, Some(&both)).await;
    tag = etag(&settled);
    let settled = settled.data(200);
    assert_eq!((&settled["content"]["text"], &settled["conflicts"]), (&json!("both"), &json!([])));

    let revert = format!("{one}/revert");
    let note = json!({"path": "/content/note"});
    let back = send(http, &teacher, "POST", &revert, &tag, Some(&note)).await;
    tag = etag(&back);
    let back = back.data(200);
    assert_eq!((&back["content"], &back["isCustomized"]), (&json!({"text": "both", "note": "new"}), &json!(true)));
    assert_eq!(send(http, &teacher, "POST", &revert, &tag, Some(&note)).await.error(409), "nothing-to-revert");
    let all = send(http, &teacher, "POST", &revert, &tag, Some(&json!({}))).await.data(200);
    assert_eq!(
        (&all["content"]["text"], &all["isCustomized"], &all["customization"]),
        (&json!("two"), &json!(false), &json!(null))
    );

    let other = format!("{CONTENT}/{english}");
    let tag = etag(&http.get(&other, Some(&teacher)).await);
    let theirs = json!({"path": "/content/text", "choice": "theirs"});
    let settled = send(http, &teacher, "POST", &format!("{other}/conflicts"), &tag, Some(&theirs)).await.data(200);
    assert_eq!((&settled["content"]["text"], &settled["isCustomized"]), (&json!("two"), &json!(false)));
}

#[tokio::test]
async fn distributed_content_keeps_the_node_s_edits_and_upstream_s_value_on_postgresql_15() {
    distributed_content_keeps_the_node_s_edits_and_upstream_s_value(Postgres::V15).await;
}

#[tokio::test]
async fn distributed_content_keeps_the_node_s_edits_and_upstream_s_value_on_postgresql_18() {
    distributed_content_keeps_the_node_s_edits_and_upstream_s_value(Postgres::V18).await;
}
