//! Sessions, and what ends them; attempts, and what slows them.

use std::time::{Duration, Instant};

use fateh_tests::{Answer, Http, Postgres, eventually};
use serde_json::{Value, json};

use crate::running::{PASSWORD, become_admin, make, run, sign_in, text};

const REFRESH: &str = "/api/local/auth/refresh";

async fn refresh(http: &Http, token: &str) -> Answer {
    http.post(REFRESH, None, &json!({"refreshToken": token})).await
}

async fn a_session_lives_on_by_refreshing(server: Postgres) {
    let node = run(&format!("sessions-{}", server.name()), server).await;
    let other = node.replica().await;
    become_admin(&node).await;
    let session = sign_in(&node.users, "admin@example.com").await;
    let first = text(&session, "refreshToken");

    // Of several who hold the token one wins, on whichever replica, and the others get the same successor.
    let mut asking = tokio::task::JoinSet::new();
    for index in 0..8 {
        let http = if index % 2 == 0 { node.users.clone() } else { other.users.clone() };
        let token = first.clone();
        asking.spawn(async move { text(&refresh(&http, &token).await.data(200), "refreshToken") });
    }
    let answers = asking.join_all().await;
    let second = answers[0].clone();
    assert!(second != first && answers.iter().all(|answer| *answer == second), "{answers:?}");
    let me = refresh(&other.users, &second).await.data(200);
    assert_eq!(node.users.get("/api/local/users/me", me["accessToken"].as_str()).await.status, 200);

    // The one before the last is no lost answer.
    assert_eq!(refresh(&node.users, &first).await.error(401), "session-ended");
    assert_eq!(refresh(&other.users, &text(&me, "refreshToken")).await.error(401), "session-ended");

    // Nor is the last one after a while.
    let session = sign_in(&node.users, "admin@example.com").await;
    let before = text(&session, "refreshToken");
    let after = text(&refresh(&node.users, &before).await.data(200), "refreshToken");
    let rotated = "UPDATE local_node.sessions SET rotated_at = rotated_at - interval '11 s'";
    sqlx::query(rotated).execute(&mut node.database(server).await).await.unwrap();
    assert_eq!(refresh(&node.users, &before).await.error(401), "session-ended");
    assert_eq!(refresh(&node.users, &after).await.error(401), "session-ended");

    for nonsense in ["", "x", &"A".repeat(64)] {
        assert_eq!(refresh(&node.users, nonsense).await.error(401), "session-ended");
    }
    let session = sign_in(&node.users, "admin@example.com").await;
    let token = json!({"refreshToken": session["refreshToken"]});
    node.users.post("/api/local/auth/logout", None, &token).await.data(200);
    assert_eq!(other.users.post(REFRESH, None, &token).await.error(401), "session-ended");
}

#[tokio::test]
async fn a_session_lives_on_by_refreshing_on_postgresql_15() {
    a_session_lives_on_by_refreshing(Postgres::V15).await;
}

#[tokio::test]
async fn a_session_lives_on_by_refreshing_on_postgresql_18() {
    a_session_lives_on_by_refreshing(Postgres::V18).await;
}

/// How long a replica that was told nothing goes on accepting the token.
async fn refused_within(http: &Http, token: &str, seconds: u64) {
    let started = Instant::now();
    eventually("the token no longer holds", seconds, async || {
        let answer = http.get("/api/local/users/me", Some(token)).await;
        if answer.status == 401 { Ok(()) } else { Err(answer.status) }
    })
    .await;
    println!("refused after {} ms", started.elapsed().as_millis());
}

#[tokio::test]
async fn what_ends_a_user_s_rights_reaches_every_replica_within_five_seconds() {
    let node = run("revoked", Postgres::V18).await;
    let other = node.replica().await;
    let admin = become_admin(&node).await;
    let change = |id: String, body: Value| {
        let (http, admin) = (node.users.clone(), admin.clone());
        async move { http.send("PATCH", &format!("/api/local/users/{id}"), Some(&admin), "en", Some(&body)).await }
    };
    for name in ["suspended", "promoted", "renamed", "deleted"] {
        make(&node.users, &admin, name, "instructor").await;
    }
    let id = |session: &Value| text(&session["user"], "id");

    let session = sign_in(&other.users, "suspended").await;
    let token = text(&session, "accessToken");
    assert_eq!(other.users.get("/api/local/users/me", Some(&token)).await.status, 200);
    change(id(&session), json!({"status": "suspended"})).await.data(200);
    assert_eq!(node.users.get("/api/local/users/me", Some(&token)).await.status, 401, "at once where it was made");
    refused_within(&other.users, &token, 5).await;
    assert_eq!(refresh(&other.users, &text(&session, "refreshToken")).await.error(401), "session-ended");
    let again = json!({"login": "suspended", "password": PASSWORD});
    assert_eq!(other.users.post("/api/local/auth/login", None, &again).await.error(403), "account-suspended");
    change(id(&session), json!({"status": "active"})).await.data(200);
    sign_in(&other.users, "suspended").await;

    // A new role ends the tokens, and not the session: the next refresh has it.
    let session = sign_in(&other.users, "promoted").await;
    change(id(&session), json!({"role": "admin"})).await.data(200);
    refused_within(&other.users, &text(&session, "accessToken"), 5).await;
    let session = refresh(&other.users, &text(&session, "refreshToken")).await.data(200);
    assert_eq!(session["user"]["role"], "admin");
    eventually("the new token holds", 5, async || {
        let answer = other.users.get("/api/local/users/me", session["accessToken"].as_str()).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.status) }
    })
    .await;

    // One's own name and profile end nothing.
    let session = sign_in(&other.users, "renamed").await;
    change(id(&session), json!({"username": "renamed-since", "profile": {"phone": "1"}})).await.data(200);
    let token = text(&session, "accessToken");
    for _ in 0..6 {
        assert_eq!(other.users.get("/api/local/users/me", Some(&token)).await.status, 200);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    let session = sign_in(&other.users, "deleted").await;
    let path = format!("/api/local/users/{}", id(&session));
    node.users.send("DELETE", &path, Some(&admin), "en", None).await.data(200);
    refused_within(&other.users, &text(&session, "accessToken"), 5).await;
}

#[tokio::test]
async fn a_password_is_changed_by_its_owner_and_reset_by_a_one_time_token() {
    const NEW: &str = "another long password";
    let node = run("passwords", Postgres::V18).await;
    let admin = become_admin(&node).await;
    let id = make(&node.users, &admin, "omar", "student").await;
    let http = &node.users;
    let session = sign_in(http, "omar").await;
    let token = text(&session, "accessToken");
    let change = |current: &str, new: &str| json!({"currentPassword": current, "newPassword": new});
    let own = "/api/local/users/me/password";
    assert_eq!(http.post(own, Some(&token), &change("a wrong password", NEW)).await.error(403), "wrong-password");
    assert_eq!(http.post(own, Some(&token), &change(PASSWORD, "short")).await.error(422), "invalid-request");
    let begun = http.post(own, Some(&token), &change(PASSWORD, NEW)).await.data(200);
    assert_eq!(http.get("/api/local/users/me", Some(&token)).await.status, 401, "tokens of before no longer hold");
    assert_eq!(refresh(http, &text(&session, "refreshToken")).await.status, 401);
    assert_eq!(http.get("/api/local/users/me", begun["accessToken"].as_str()).await.status, 200);
    let login = |password: &str| json!({"login": "omar", "password": password});
    assert_eq!(http.post("/api/local/auth/login", None, &login(PASSWORD)).await.error(401), "wrong-credentials");
    http.post("/api/local/auth/login", None, &login(NEW)).await.data(200);

    let reset = format!("/api/local/users/{id}/password-reset");
    let forgotten = http.send("POST", &reset, Some(&admin), "en", None).await.data(201);
    let newer = http.send("POST", &reset, Some(&admin), "en", None).await.data(201);
    let accept = "/api/local/auth/password-reset";
    let with = |token: &Value, password: &str| json!({"token": token, "password": password});
    assert_eq!(http.post(accept, None, &with(&forgotten["token"], PASSWORD)).await.error(403), "reset-invalid");
    assert_eq!(http.post(accept, None, &with(&newer["token"], "short")).await.error(422), "invalid-request");
    assert_eq!(http.post(accept, None, &with(&json!("guess"), PASSWORD)).await.error(403), "reset-invalid");
    http.post(accept, None, &with(&newer["token"], PASSWORD)).await.data(200);
    assert_eq!(http.post(accept, None, &with(&newer["token"], NEW)).await.error(403), "reset-invalid", "once");
    assert_eq!(http.get("/api/local/users/me", begun["accessToken"].as_str()).await.status, 401);
    sign_in(http, "omar").await;
}

#[tokio::test]
async fn guessing_is_slowed_for_an_account_and_an_address_on_all_replicas_together() {
    let node = run("guessed", Postgres::V18).await;
    let other = node.replica().await;
    let admin = become_admin(&node).await;
    make(&node.users, &admin, "target", "student").await;
    let guess = async |index: usize, login: &str, address: &str| {
        let http = if index.is_multiple_of(2) { &node.users } else { &other.users };
        let http = http.with_header(&format!("X-Forwarded-For: {address}"));
        http.post("/api/local/auth/login", None, &json!({"login": login, "password": "a wrong password"})).await
    };
    for login in ["target", "nobody-of-that-name"] {
        let mut refused = 0;
        let started = Instant::now();
        for index in 0..24 {
            let answer = guess(index, login, &format!("192.0.2.{index}")).await;
            if answer.status == 401 {
                assert_eq!(answer.json["error"], "wrong-credentials");
                continue;
            }
            assert_eq!(answer.error(429), "too-many-attempts");
            assert!(answer.headers.contains("retry-after: 5"), "{}", answer.headers);
            refused += 1;
        }
        let refilled = usize::try_from(started.elapsed().as_secs() / 5 + 1).unwrap();
        assert!(refused + 10 + refilled >= 24, "{refused} of 24 were refused at {login}");
    }
    // Never for good: the right password gets in when an attempt has come back.
    eventually("the owner gets in", 20, async || {
        let answer =
            node.users.post("/api/local/auth/login", None, &json!({"login": "target", "password": PASSWORD})).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.status) }
    })
    .await;

    // Many accounts from one address; another address is not concerned.
    let started = Instant::now();
    let mut tried = tokio::task::JoinSet::new();
    let (first, second) = (node.users.clone(), other.users.clone());
    for index in 0..80 {
        let http = if index % 2 == 0 { &first } else { &second }.with_header("X-Forwarded-For: 198.51.100.7");
        let body = json!({"login": format!("user-{index}"), "password": "a wrong password"});
        tried.spawn(async move { http.post("/api/local/auth/login", None, &body).await.status });
    }
    let statuses = tried.join_all().await;
    let of = |status: u16| statuses.iter().filter(|one| **one == status).count();
    // Those that found no place were not checked either.
    assert_eq!(of(401) + of(429) + of(503), 80, "{statuses:?}");
    let refilled = usize::try_from(started.elapsed().as_secs() * 2 + 2).unwrap();
    assert!(of(401) <= 40 + refilled && of(429) > 0, "{statuses:?}");
    assert_eq!(guess(0, "somebody", "203.0.113.1").await.status, 401);

    // Right passwords from one address are no guesses, however many.
    let school = node.users.with_header("X-Forwarded-For: 203.0.113.50");
    for _ in 0..60 {
        sign_in(&school, "admin@example.com").await;
    }
}
