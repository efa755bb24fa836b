//! The node's people.

use fateh_tests::{Http, Postgres};
use serde_json::{Value, json};

use crate::running::{PASSWORD, become_admin, make, run, sign_in, text, user};

const USERS: &str = "/api/local/users";

async fn patch(http: &Http, token: &str, id: &str, body: &Value) -> fateh_tests::Answer {
    http.send("PATCH", &format!("{USERS}/{id}"), Some(token), "en", Some(body)).await
}

async fn users_are_made_found_changed_and_deleted(server: Postgres) {
    let node = run(&format!("users-{}", server.name()), server).await;
    let admin = become_admin(&node).await;
    let http = &node.users;
    let mut omar = user("omar", "student");
    omar["profile"] = json!({"phone": "+966 1", "class": {"year": 3}});
    let made = http.post(USERS, Some(&admin), &omar).await.data(201);
    assert_eq!(made["profile"], omar["profile"]);
    let id = text(&made, "id");
    for (name, role) in [("o_mara", "student"), ("omxara", "instructor"), ("zayd", "instructor")] {
        make(http, &admin, name, role).await;
    }
    let names = async |query: &str| {
        let listed = http.get(&format!("{USERS}?{query}"), Some(&admin)).await.data(200);
        let users = listed["users"].as_array().unwrap();
        users.iter().map(|user| text(user, "username")).collect::<Vec<_>>()
    };
    assert_eq!(names("search=OM").await, ["omar", "omxara"], "how a name begins, in any case");
    assert_eq!(names("search=o_").await, ["o_mara"], "letter by letter");
    assert_eq!(names("search=zayd%40example").await, ["zayd"], "or an e-mail");
    assert_eq!(names("role=instructor&search=om").await, ["omxara"]);
    assert_eq!(names("status=suspended").await, Vec::<String>::new());
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = http.get(&format!("{USERS}?limit=2{cursor}"), Some(&admin)).await.data(200);
        all.extend(page["users"].as_array().unwrap().iter().map(|user| text(user, "username")));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(all, ["سارة", "omar", "o_mara", "omxara", "zayd"]);

    let changed = patch(http, &admin, &id, &json!({"email": "new@example.com", "role": "instructor"})).await.data(200);
    assert_eq!((text(&changed, "email"), text(&changed, "role")), ("new@example.com".into(), "instructor".into()));
    assert_eq!(changed["profile"], omar["profile"], "what is not named stays");
    assert_eq!(http.get(&format!("{USERS}/{id}"), Some(&admin)).await.data(200), changed);
    assert_eq!(patch(http, &admin, &id, &json!({"username": "ZAYD"})).await.error(409), "username-taken");

    http.send("DELETE", &format!("{USERS}/{id}"), Some(&admin), "en", None).await.data(200);
    assert_eq!(http.get(&format!("{USERS}/{id}"), Some(&admin)).await.error(404), "not-found");
    assert_eq!(patch(http, &admin, &id, &json!({"username": "ghost"})).await.error(404), "not-found");
    let mut database = node.database(server).await;
    let left: String =
        sqlx::query_scalar("SELECT row_to_json(u)::text FROM local_node.local_users u WHERE id = $1::uuid")
            .bind(&id)
            .fetch_one(&mut database)
            .await
            .unwrap();
    assert!(!left.contains("omar") && !left.contains("new@") && !left.contains("+966 1"), "{left}");
    make(http, &admin, "omar", "student").await;

    // What the centre is to be told was written with each user, the first admin included.
    let told: Vec<(String, String)> =
        sqlx::query_as("SELECT kind, payload->>'role' FROM local_node.outbox ORDER BY created_at, payload->>'role'")
            .fetch_all(&mut database)
            .await
            .unwrap();
    let users: i64 =
        sqlx::query_scalar("SELECT count(*) FROM local_node.local_users").fetch_one(&mut database).await.unwrap();
    assert_eq!(i64::try_from(told.len()).unwrap(), users);
    assert_eq!(told[0], ("user_created".to_owned(), "admin".to_owned()));
}

#[tokio::test]
async fn users_are_made_found_changed_and_deleted_on_postgresql_15() {
    users_are_made_found_changed_and_deleted(Postgres::V15).await;
}

#[tokio::test]
async fn users_are_made_found_changed_and_deleted_on_postgresql_18() {
    users_are_made_found_changed_and_deleted(Postgres::V18).await;
}

#[tokio::test]
async fn each_bad_field_is_refused_by_its_name() {
    let node = run("bad-fields", Postgres::V18).await;
    let admin = become_admin(&node).await;
    let http = &node.users;
    let id = make(http, &admin, "omar", "student").await;
    let big = json!({"a": "x".repeat(17_000)});
    for (field, value, status) in [
        ("username", json!("no spaces"), 422),
        ("username", json!("a\u{0}bc"), 422),
        ("username", json!(7), 400),
        ("email", json!("nobody"), 422),
        ("email", json!("a".repeat(300)), 422),
        ("role", json!("owner"), 422),
        ("role", json!(["admin"]), 400),
        ("profile", json!("text"), 422),
        ("profile", json!({"a": "nul \u{0}"}), 422),
        ("profile", big, 422),
        ("surprise", json!(1), 400),
    ] {
        for answer in [patch(http, &admin, &id, &json!({field: value})).await, {
            let mut body = user("another", "student");
            body[field] = value.clone();
            http.post(USERS, Some(&admin), &body).await
        }] {
            assert_eq!(answer.status, status, "{field} {value}: {}", answer.json);
            if status == 422 {
                assert_eq!(answer.json["fields"][0]["field"], field, "{}", answer.json);
            }
        }
    }
    assert_eq!(patch(http, &admin, &id, &json!({"status": "deleted"})).await.json["fields"][0]["field"], "status");
    for query in ["role=owner", "status=gone", "limit=0", "limit=x", "cursor=x", &format!("search={}", "x".repeat(300))]
    {
        let answer = http.get(&format!("{USERS}?{query}"), Some(&admin)).await;
        assert_eq!(answer.error(422), "invalid-request", "{query}");
        assert_eq!(answer.json["fields"][0]["field"], query.split('=').next().unwrap());
    }
    for path in ["not-an-id", "00000000-0000-0000-0000-000000000000", "%00", "..%2f.."] {
        assert_eq!(http.get(&format!("{USERS}/{path}"), Some(&admin)).await.error(404), "not-found", "{path}");
    }
}

#[tokio::test]
async fn a_role_may_do_what_the_table_says_and_no_more() {
    let node = run("permissions", Postgres::V18).await;
    let admin = become_admin(&node).await;
    let http = &node.users;
    let id = make(http, &admin, "omar", "student").await;
    make(http, &admin, "zayd", "instructor").await;
    let one = format!("{USERS}/{id}");
    let reset = format!("{one}/password-reset");
    let nothing = json!({});
    for (login, reads) in [("omar", 403), ("zayd", 200)] {
        let token = text(&sign_in(http, login).await, "accessToken");
        let token = Some(token.as_str());
        assert_eq!(http.get("/api/local/users/me", token).await.data(200)["username"], login);
        let own = http.send("PATCH", "/api/local/users/me", token, "en", Some(&json!({"profile": {"a": 1}}))).await;
        assert_eq!(own.data(200)["profile"], json!({"a": 1}));
        let own = http.send("PATCH", "/api/local/users/me", token, "en", Some(&json!({"role": "admin"}))).await;
        assert_eq!(own.error(400), "invalid-json", "nobody gives oneself a role");
        assert_eq!((http.get(USERS, token).await.status, http.get(&one, token).await.status), (reads, reads));
        assert_eq!(http.post(USERS, token, &user("eve", "admin")).await.error(403), "forbidden");
        assert_eq!(http.send("PATCH", &one, token, "en", Some(&nothing)).await.error(403), "forbidden");
        assert_eq!(http.send("DELETE", &one, token, "en", None).await.error(403), "forbidden");
        assert_eq!(http.send("POST", &reset, token, "en", None).await.error(403), "forbidden");
    }
}

#[tokio::test]
async fn the_last_admin_stays() {
    let node = run("last-admin", Postgres::V18).await;
    let admin = become_admin(&node).await;
    let http = &node.users;
    let own = text(&http.get("/api/local/users/me", Some(&admin)).await.data(200), "id");
    for change in [json!({"role": "student"}), json!({"status": "suspended"})] {
        assert_eq!(patch(http, &admin, &own, &change).await.error(409), "last-admin");
    }
    assert_eq!(http.send("DELETE", &format!("{USERS}/{own}"), Some(&admin), "en", None).await.error(409), "last-admin");
    assert_eq!(http.get("/api/local/users/me", Some(&admin)).await.status, 200, "nothing was half done");

    // Two admins who demote each other at once: one of them stays.
    let second = make(http, &admin, "second", "admin").await;
    let login = json!({"login": "second", "password": PASSWORD});
    let session = http.post("/api/local/auth/login", None, &login).await.data(200);
    let other = text(&session, "accessToken");
    let demotion = json!({"role": "instructor"});
    let (one, two) = tokio::join!(patch(http, &admin, &second, &demotion), patch(http, &other, &own, &demotion));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert!(statuses == [200, 409] || statuses == [200, 401] || statuses == [200, 403], "{statuses:?}");
    let admins: i64 = sqlx::query_scalar("SELECT count(*) FROM local_node.local_users WHERE role = 'admin'")
        .fetch_one(&mut node.database(Postgres::V18).await)
        .await
        .unwrap();
    assert_eq!(admins, 1);
}
