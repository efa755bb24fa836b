//! Tokens of the centre: believed by its keys alone, also while it is away; and asked for without holding anyone up.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use ed25519_dalek::pkcs8::{EncodePrivateKey, spki::der::pem::LineEnding};
use fateh_common::{
    clock::Clock,
    tokens::{Claims, SigningKey},
};
use fateh_tests::{Http, Postgres, eventually};
use serde_json::{Value, json};

use crate::{
    peer::{self, Peer},
    running::{Running, become_admin, make, run, run_with_hub, sign_in, text, user},
};

const ISSUER: &str = "https://hub.fateh-platform.com";
const TOKEN: &str = "/api/local/auth/global-token";

/// A key of the centre's.
fn key(seed: u8) -> SigningKey {
    let pem = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).to_pkcs8_pem(LineEnding::LF).unwrap();
    SigningKey::from_pem(&pem).unwrap()
}

fn publish(hub: &Peer, keys: &[&SigningKey]) {
    // A key of a kind that nodes do not know must not hide the others.
    let mut all = vec![json!({"kty": "new", "kid": "x"})];
    all.extend(keys.iter().map(|key| json!(key.public())));
    *hub.jwks.lock().unwrap() = json!({"keys": all});
}

fn now() -> i64 {
    Clock::system().now().as_second()
}

/// A token for the node at `audience`, with some claims of the centre's.
fn token(key: &SigningKey, audience: &str, extra: Value) -> String {
    honest(key, |claims| audience.clone_into(&mut claims.aud), extra)
}

fn honest(key: &SigningKey, change: impl FnOnce(&mut Claims<Value>), extra: Value) -> String {
    let mut claims = Claims {
        iss: ISSUER.to_owned(),
        sub: "7d9f3a52-6f0e-4a53-9d0a-1df7c5b8a001".to_owned(),
        aud: String::new(),
        exp: now() + 600,
        iat: now(),
        jti: "one".to_owned(),
        extra,
    };
    change(&mut claims);
    key.sign(&claims).unwrap()
}

async fn status(http: &Http, path: &str, token: &str) -> u16 {
    http.get(path, Some(token)).await.status
}

/// Lets the replicas ask the centre again, as after 30 s.
async fn half_a_minute_later(node: &Running) {
    let mut database = node.database(Postgres::V18).await;
    sqlx::query("UPDATE local_node.centre_keys SET asked_at = 'epoch'").execute(&mut database).await.unwrap();
    // A replica looks into the database every 2 s at most.
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn the_centre_s_people_may_what_their_role_says_also_while_it_is_away() {
    let (hub, url) = peer::start().await;
    let (first, second) = (key(1), key(2));
    publish(&hub, &[&first]);
    let node = run_with_hub("central", Postgres::V18, &url).await;
    let http = &node.users;
    let admin = become_admin(&node).await;
    let omar = make(http, &admin, "omar", "student").await;
    let here = http.get("/api/local/node", None).await.data(200)["url"].as_str().unwrap().to_owned();

    let owner = token(&first, &here, json!({"roles": ["owner"]}));
    assert_eq!(status(http, "/api/local/users", &owner).await, 200);
    assert_eq!(status(http, "/api/local/users/me", &owner).await, 403, "an owner has no account here");
    let lesson = json!({"type": "lesson", "title": "درس", "content": {"text": "نص"}, "language": "ar"});
    let made = http.post("/api/local/content", Some(&owner), &lesson).await.data(201);
    let support = token(&first, &here, json!({"roles": ["support", "astronaut"]}));
    assert_eq!(status(http, "/api/local/users", &support).await, 200);
    assert_eq!(http.post("/api/local/users", Some(&support), &user("nour", "student")).await.status, 403);
    let nobody = token(&first, &here, json!({"roles": ["astronaut"]}));
    assert_eq!(status(http, &format!("/api/local/content/{}", text(&made, "id")), &nobody).await, 403);
    // Who has an account here is what the node says, whatever the centre says.
    let student = token(&first, &here, json!({"roles": ["owner"], "localUser": omar}));
    assert_eq!(http.get("/api/local/users/me", Some(&student)).await.data(200)["username"], "omar");
    assert_eq!(status(http, "/api/local/users", &student).await, 403);

    let audience = |claims: &mut Claims<Value>| claims.aud.clone_from(&here);
    let owner_but = |change: fn(&mut Claims<Value>)| {
        honest(
            &first,
            |claims| {
                audience(claims);
                change(claims);
            },
            json!({"roles": ["owner"]}),
        )
    };
    for (what, token) in [
        ("for the hub", owner_but(|claims| claims.aud = ISSUER.to_owned())),
        ("for another node", owner_but(|claims| claims.aud = "https://other.fateh-platform.com".to_owned())),
        ("by another issuer", owner_but(|claims| claims.iss = "https://hub.example.com".to_owned())),
        ("by this node, says the centre's key", owner_but(|claims| claims.iss.clone_from(&claims.aud))),
        ("expired", owner_but(|claims| claims.exp -= 700)),
        ("of tomorrow", owner_but(|claims| claims.iat += 86400)),
        ("of nobody", owner_but(|claims| claims.sub = "owner".to_owned())),
        ("of a user who is not there", token(&first, &here, json!({"localUser": uuid::Uuid::nil()}))),
        ("with roles that are no list", token(&first, &here, json!({"roles": "owner"}))),
        ("by a key that the centre never had", token(&key(9), &here, json!({"roles": ["owner"]}))),
    ] {
        assert_eq!(status(http, "/api/local/users", &token).await, 401, "{what}");
    }

    // A key that is not known makes the node ask, and not more than once in half a minute.
    half_a_minute_later(&node).await;
    let asked = hub.jwks_asked.load(Ordering::Relaxed);
    for seed in 10..40 {
        assert_eq!(status(http, "/api/local/users", &token(&key(seed), &here, json!({}))).await, 401);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut database = node.database(Postgres::V18).await;
    sqlx::query("UPDATE local_node.centre_keys SET asked_at = now()").execute(&mut database).await.unwrap();
    let other = node.replica().await;
    for http in [http, &other.users] {
        assert_eq!(status(http, "/api/local/users", &token(&key(41), &here, json!({}))).await, 401);
    }
    assert_eq!(hub.jwks_asked.load(Ordering::Relaxed), asked + 1);

    // The centre changes its keys: what it has withdrawn is not believed any more.
    publish(&hub, &[&second]);
    half_a_minute_later(&node).await;
    let anew = token(&second, &here, json!({"roles": ["manager"]}));
    assert_eq!(status(http, "/api/local/users", &anew).await, 200);
    assert_eq!(status(http, "/api/local/users", &owner).await, 401);
    // What one replica has learned, the others have.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(status(&other.users, "/api/local/users", &anew).await, 200);

    // The centre is away for long, and the node is started anew.
    hub.away.store(true, Ordering::Relaxed);
    sqlx::query("UPDATE local_node.centre_keys SET fetched_at = fetched_at - interval '2 hours', asked_at = 'epoch'")
        .execute(&mut database)
        .await
        .unwrap();
    let restarted = node.replica().await;
    assert_eq!(status(&restarted.users, "/api/local/users", &anew).await, 200, "the keys are in the database");
    half_a_minute_later(&node).await;
    assert_eq!(status(&restarted.users, "/api/local/users", &token(&key(42), &here, json!({}))).await, 401);
    assert_eq!(status(&restarted.users, "/api/local/users", &anew).await, 200, "a fetch that fails loses nothing");
    // Nonsense in place of keys loses nothing either.
    hub.away.store(false, Ordering::Relaxed);
    *hub.jwks.lock().unwrap() = json!({"keys": []});
    half_a_minute_later(&node).await;
    assert_eq!(status(http, "/api/local/users", &token(&key(43), &here, json!({}))).await, 401);
    assert_eq!(status(http, "/api/local/users", &anew).await, 200);

    // A new password here ends what the centre's token may.
    let student = token(&second, &here, json!({"localUser": omar}));
    assert_eq!(status(http, "/api/local/users/me", &student).await, 200);
    assert_eq!(http.send("POST", TOKEN, Some(&student), "en", None).await.status, 403, "none brings the next");
    let reset = format!("/api/local/users/{omar}/password-reset");
    let one_time = text(&http.send("POST", &reset, Some(&admin), "en", None).await.data(201), "token");
    let forgotten = json!({"token": one_time, "password": "quite another password"});
    http.post("/api/local/auth/password-reset", None, &forgotten).await.data(200);
    assert_eq!(status(http, "/api/local/users/me", &student).await, 401);
    tokio::time::sleep(Duration::from_secs(2)).await;

    // A suspension here holds for the centre's token too.
    let change = json!({"status": "suspended"});
    let student = token(&second, &here, json!({"localUser": omar}));
    assert_eq!(status(http, "/api/local/users/me", &student).await, 200);
    http.send("PATCH", &format!("/api/local/users/{omar}"), Some(&admin), "en", Some(&change)).await.data(200);
    assert_eq!(status(http, "/api/local/users/me", &student).await, 401);
}

#[tokio::test]
async fn a_sign_in_brings_the_centre_s_token_or_says_that_it_is_still_to_be_fetched() {
    let (hub, url) = peer::start().await;
    let node = run_with_hub("both-tokens", Postgres::V18, &url).await;
    let http = &node.users;
    let admin = become_admin(&node).await;
    make(http, &admin, "omar", "student").await;
    let session = eventually("a token within the half second", 20, async || {
        let session = sign_in(http, "omar").await;
        if session["globalToken"]["state"] == "issued" { Ok(session) } else { Err(session) }
    })
    .await;
    let issued = json!({"state": "issued", "accessToken": format!("token of {} at both-tokens, a student", text(&session["user"], "id")), "expiresIn": 300});
    assert_eq!(session["globalToken"], issued);
    let omar = text(&session, "accessToken");
    let ask = async || http.send("POST", TOKEN, Some(&omar), "en", None).await;

    let quickest = async |hub: &Arc<Peer>| {
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let started = Instant::now();
            let session = sign_in(http, "omar").await;
            best = best.min(started.elapsed());
            let pending = hub.silent.load(Ordering::Relaxed) || hub.away.load(Ordering::Relaxed);
            assert!(!pending || session["globalToken"]["state"] == "pending", "{session}");
        }
        best
    };
    let usual = quickest(&hub).await;
    hub.silent.store(true, Ordering::Relaxed);
    let silent = quickest(&hub).await;
    println!("a sign-in takes {usual:?} with the hub, {silent:?} with one that does not answer");
    assert!(silent < usual + Duration::from_millis(600), "{usual:?}, {silent:?}");
    let refused = ask().await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.error(503), "hub-away");
    hub.silent.store(false, Ordering::Relaxed);
    hub.away.store(true, Ordering::Relaxed);
    quickest(&hub).await;
    hub.away.store(false, Ordering::Relaxed);
    eventually("the token, fetched by itself", 10, async || {
        let answer = ask().await;
        if answer.status == 200 && answer.json["data"] == issued { Ok(()) } else { Err(answer) }
    })
    .await;
}

#[tokio::test]
async fn a_node_without_a_centre_speaks_of_none_and_believes_none() {
    let node = run("alone", Postgres::V18).await;
    let admin = become_admin(&node).await;
    let session = sign_in(&node.users, "admin@example.com").await;
    assert!(session.get("globalToken").is_none(), "{session}");
    assert_eq!(node.users.send("POST", TOKEN, Some(&admin), "en", None).await.status, 404);
    let here = node.users.get("/api/local/node", None).await.data(200)["url"].as_str().unwrap().to_owned();
    let owner = token(&key(1), &here, json!({"roles": ["owner"]}));
    assert_eq!(status(&node.users, "/api/local/users", &owner).await, 401);
}
