//! A node from its first admin to its end.

use fateh_tests::{Postgres, eventually};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::process::Command;

use crate::running::{PASSWORD, become_admin, run, user};

async fn the_first_admin_signs_in_and_adds_users(server: Postgres) {
    let node = run(&format!("people-{}", server.name()), server).await;
    let admin = become_admin(&node).await;
    let created = node.users.post("/api/local/users", Some(&admin), &user("omar", "student")).await.data(201);
    assert_eq!((created["username"].as_str(), created["status"].as_str()), (Some("omar"), Some("active")));

    for login in ["سارة", "ADMIN@example.com"] {
        let session = node
            .users
            .post("/api/local/auth/login", None, &json!({"login": login, "password": PASSWORD}))
            .await
            .data(200);
        assert_eq!((session["tokenType"].as_str(), session["expiresIn"].as_i64()), (Some("Bearer"), Some(600)));
    }
    let listed = node.users.get("/api/local/users?limit=1", Some(&admin)).await.data(200);
    assert_eq!(listed["users"].as_array().unwrap().len(), 1);
    let next = format!("/api/local/users?cursor={}", listed["nextCursor"].as_str().unwrap());
    let rest = node.users.get(&next, Some(&admin)).await.data(200);
    assert_eq!((rest["users"][0]["username"].as_str(), rest["nextCursor"].as_str()), (Some("omar"), None));
    assert!(!rest.to_string().contains("argon2"), "no hash leaves the node");

    let jwks = node.users.get("/.well-known/jwks.json", None).await.json;
    assert_eq!((jwks["keys"][0]["crv"].as_str(), jwks["keys"][0]["d"].as_str()), (Some("Ed25519"), None));
}

#[tokio::test]
async fn the_first_admin_signs_in_and_adds_users_on_postgresql_15() {
    the_first_admin_signs_in_and_adds_users(Postgres::V15).await;
}

#[tokio::test]
async fn the_first_admin_signs_in_and_adds_users_on_postgresql_18() {
    the_first_admin_signs_in_and_adds_users(Postgres::V18).await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_in_words_that_help() {
    let node = run("refusals", Postgres::V18).await;
    let http = &node.users;
    let acceptance = |token: &str, username: &str, password: &str| json!({"token": token, "username": username, "password": password});
    let accept = "/api/local/auth/invitation";
    assert_eq!(http.post(accept, None, &acceptance("guess", "sara", PASSWORD)).await.error(403), "invitation-invalid");
    let short = http.post(accept, None, &acceptance(&node.invitation, "s", "short")).await;
    assert_eq!(short.error(422), "invalid-request");
    let fields: Vec<_> =
        short.json["fields"].as_array().unwrap().iter().map(|field| field["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["username", "password"]);
    let admin = become_admin(&node).await;
    assert_eq!(
        http.post(accept, None, &acceptance(&node.invitation, "mallory", PASSWORD)).await.error(403),
        "invitation-invalid"
    );

    let users = "/api/local/users";
    assert_eq!(http.get(users, None).await.error(401), "unauthenticated");
    assert_eq!(http.get(users, Some("not.a.token")).await.error(401), "unauthenticated");
    assert_eq!(http.get("/api/local/users?limit=9999", Some(&admin)).await.error(422), "invalid-request");
    assert_eq!(http.get("/nowhere", None).await.error(404), "not-found");
    let wrong_method = http.send("DELETE", users, Some(&admin), "en", None).await;
    assert_eq!(wrong_method.error(405), "method-not-allowed");
    assert!(wrong_method.headers.contains("allow: get,head,post"), "{}", wrong_method.headers);
    assert_eq!(http.send("POST", users, Some(&admin), "en", Some(&json!("text"))).await.error(400), "invalid-json");
    let huge = json!({"username": "a".repeat(100_000), "email": "a@b.co", "password": PASSWORD, "role": "student"});
    assert_eq!(http.post(users, Some(&admin), &huge).await.error(413), "payload-too-large");

    assert_eq!(http.post(users, Some(&admin), &user("omar", "student")).await.status, 201);
    assert_eq!(http.post(users, Some(&admin), &user("OMAR", "student")).await.error(409), "username-taken");
    let mut same_email = user("umar", "student");
    same_email["email"] = "Omar@Example.com".into();
    assert_eq!(http.post(users, Some(&admin), &same_email).await.error(409), "email-taken");

    let login = |login: &str, password: &str| json!({"login": login, "password": password});
    let sign_in = "/api/local/auth/login";
    assert_eq!(http.post(sign_in, None, &login("omar", "a long wrong password")).await.error(401), "wrong-credentials");
    assert_eq!(http.post(sign_in, None, &login("nobody", PASSWORD)).await.error(401), "wrong-credentials");
    assert_eq!(http.post(sign_in, None, &login("o\u{0}mar", PASSWORD)).await.error(401), "wrong-credentials");
    let session = http.post(sign_in, None, &login("omar", PASSWORD)).await.data(200);
    let student = session["accessToken"].as_str().unwrap();
    assert_eq!(http.get(users, Some(student)).await.error(403), "forbidden");
    assert_eq!(http.post(users, Some(student), &user("eve", "admin")).await.error(403), "forbidden");

    let arabic = http.send("GET", "/nowhere", None, "", None).await;
    assert_eq!(arabic.json["message"], "لا يوجد شيء على هذا العنوان", "Arabic first");
}

#[tokio::test]
async fn a_token_of_another_node_is_refused() {
    let (one, two) = (run("issuer-one", Postgres::V18).await, run("issuer-two", Postgres::V18).await);
    let token = become_admin(&one).await;
    assert_eq!(one.users.get("/api/local/users", Some(&token)).await.status, 200);
    assert_eq!(two.users.get("/api/local/users", Some(&token)).await.error(401), "unauthenticated");
}

#[tokio::test]
async fn two_who_hold_the_invitation_make_one_admin() {
    let node = run("contested", Postgres::V18).await;
    let attempts = (0..8).map(|index| {
        let (http, token) = (node.users.clone(), node.invitation.clone());
        tokio::spawn(async move {
            let body = json!({"token": token, "username": format!("admin{index}"), "password": PASSWORD});
            http.post("/api/local/auth/invitation", None, &body).await.status
        })
    });
    let mut statuses = Vec::new();
    for attempt in attempts.collect::<Vec<_>>() {
        statuses.push(attempt.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403, 403, 403, 403, 403, 403, 403]);
}

#[tokio::test]
async fn a_node_tells_when_it_is_ready_and_drains_when_it_is_stopped() {
    let mut node = run("draining", Postgres::V18).await;
    assert_eq!(node.management.get("/livez", None).await.status, 200);
    node.users.get("/", None).await.data(200);
    let metrics =
        Command::new("curl").args(["-s", &format!("{}/metrics", node.management.base)]).output().await.unwrap();
    let metrics = String::from_utf8(metrics.stdout).unwrap();
    assert!(
        metrics.contains(r#"fateh_node_http_request_duration_seconds_count{method="GET",route="/",status="200"} 1"#),
        "{metrics}"
    );
    assert_eq!(node.users.get("/metrics", None).await.status, 404, "metrics do not face users");

    let pid = node.child.id().unwrap().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
    eventually("not ready", 5, async || {
        let answer = node.management.get("/readyz", None).await;
        if answer.status == 503 { Ok(()) } else { Err(answer) }
    })
    .await;
    node.users.get("/", None).await.data(200);
    assert!(node.child.wait().await.unwrap().success(), "it ends by itself, in order");
}

#[tokio::test]
async fn every_answer_bears_its_request_s_id_and_keeps_browsers_from_mischief() {
    let node = run("manners", Postgres::V18).await;
    let header = |headers: &str, name: &str| {
        let line = headers.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.map(|value| value.trim().to_owned())
    };
    let given = "0192f0c1-2f4b-7e5a-9b1c-6a1f0e9d8c7b";
    let kept = node.users.with_header(&format!("x-request-id: {given}")).get("/api/local/node", None).await;
    assert_eq!(header(&kept.headers, "x-request-id").as_deref(), Some(given));
    for path in ["/api/local/node", "/api/local/users", "/nowhere"] {
        let strange = node.users.with_header("x-request-id: <b>someone@example.com").get(path, None).await;
        let id = header(&strange.headers, "x-request-id").unwrap();
        assert!(uuid::Uuid::parse_str(&id).is_ok(), "{path}: {id}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("referrer-policy", "no-referrer"),
            ("strict-transport-security", "max-age=31536000"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(header(&strange.headers, name).as_deref(), Some(value), "{path}");
        }
    }
    // Another site's pages may not read answers.
    let foreign = node.users.with_header("Origin: https://elsewhere.example.com");
    let asked = foreign.with_header("Access-Control-Request-Method: POST");
    let preflight = asked.send("OPTIONS", "/api/local/users", None, "en", None).await;
    assert_eq!(preflight.error(405), "method-not-allowed");
    for answer in [preflight, foreign.get("/api/local/node", None).await] {
        assert!(!answer.headers.contains("access-control-allow"), "{}", answer.headers);
    }
}

#[tokio::test]
async fn a_database_that_does_not_let_the_node_in_is_away_and_not_a_fault() {
    let node = run("shut-out", Postgres::V18).await;
    let admin = become_admin(&node).await;
    let mut superuser = PgConnection::connect_with(&Postgres::V18.superuser("postgres")).await.unwrap();
    let verifier: String = sqlx::query_scalar("SELECT rolpassword FROM pg_authid WHERE rolname = 'node_shut_out'")
        .fetch_one(&mut superuser)
        .await
        .unwrap();
    for statement in [
        "ALTER ROLE node_shut_out PASSWORD 'of somebody else'",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'node_shut_out'",
    ] {
        sqlx::query(statement).execute(&mut superuser).await.unwrap();
    }
    let shut_out = "password authentication failed for user \"node_shut_out\"";
    let refused = eventually("a request that the role is shut out of", 10, async || {
        let answer = node.users.get("/api/local/users", Some(&admin)).await;
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        if answer.status == 503 && node.log().replace('\\', "").contains(shut_out) { Ok(answer) } else { Err(answer) }
    })
    .await;
    assert_eq!(refused.clone().error(503), "unavailable");
    assert!(refused.headers.contains("retry-after:"), "{}", refused.headers);
    let back = format!("ALTER ROLE node_shut_out PASSWORD '{verifier}'");
    sqlx::query(AssertSqlSafe(back)).execute(&mut superuser).await.unwrap();
    eventually("it is let in again", 10, async || {
        let answer = node.users.get("/api/local/users", Some(&admin)).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
}
