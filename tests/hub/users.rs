//! People of the centre: made, changed, given another password, and deleted.

use fateh_tests::eventually;
use serde_json::json;

use crate::{
    hub::{PASSWORD, start},
    running::text,
};

const USERS: &str = "/api/global/users";
const LOGIN: &str = "/api/global/auth/login";

#[tokio::test]
async fn an_account_is_changed_and_its_tokens_of_before_end_with_its_rights() {
    let hub = start("accounts").await;
    let http = &hub.http;
    let admin = hub.admin().await;
    let finance = hub.account(&admin, "nora@example.com", json!("finance")).await;
    let nora = http.get(&format!("{USERS}/me"), Some(&finance)).await.data(200);
    let path = format!("{USERS}/{}", text(&nora, "id"));
    let change = async |body| http.send("PATCH", &path, Some(&admin), "en", Some(&body)).await;

    for (body, field) in [
        (json!({"displayName": ""}), "displayName"),
        (json!({"email": "nora"}), "email"),
        (json!({"role": "owner"}), "role"),
        (json!({"status": "deleted"}), "status"),
    ] {
        let refused = change(body).await;
        assert_eq!(refused.json["fields"][0]["field"], field, "{refused:?}");
    }
    let taken = change(json!({"email": "Root@example.com"})).await;
    assert_eq!(taken.error(409), "email-taken");
    let renamed = change(json!({"displayName": "نورة", "email": "noura@example.com"})).await.data(200);
    assert_eq!(
        (&renamed["displayName"], &renamed["role"]),
        (&json!("نورة"), &json!("finance")),
        "the rest is as it was"
    );
    assert_eq!(http.get("/api/global/revenue", Some(&finance)).await.status, 200, "a name is no right");
    let login = |email: &str, password: &str| json!({"email": email, "password": password});
    assert_eq!(http.post(LOGIN, None, &login("nora@example.com", PASSWORD)).await.error(401), "wrong-credentials");

    assert_eq!(change(json!({"role": "none"})).await.data(200)["role"], json!(null));
    eventually("the token of before ends", 5, async || {
        let answer = http.get("/api/global/revenue", Some(&finance)).await;
        if answer.status == 401 { Ok(()) } else { Err(answer) }
    })
    .await;
    let session = http.post(LOGIN, None, &login("noura@example.com", PASSWORD)).await.data(200);
    let nobody = text(&session, "accessToken");
    assert_eq!(http.get(USERS, Some(&nobody)).await.error(403), "forbidden");
    for (method, path) in
        [("PATCH", path.clone()), ("DELETE", path.clone()), ("POST", format!("{path}/password-reset"))]
    {
        let body = json!({"status": "active"});
        let refused = http.send(method, &path, Some(&nobody), "en", (method == "PATCH").then_some(&body)).await;
        assert_eq!(refused.error(403), "forbidden", "{method} {path}");
    }

    // The last platform admin stays one.
    let root = http.get(&format!("{USERS}/me"), Some(&admin)).await.data(200);
    let root = format!("{USERS}/{}", text(&root, "id"));
    for body in [json!({"role": "finance"}), json!({"role": "none"}), json!({"status": "suspended"})] {
        let refused = http.send("PATCH", &root, Some(&admin), "en", Some(&body)).await;
        assert_eq!(refused.error(409), "last-platform-admin", "{body}");
    }
    assert_eq!(http.send("DELETE", &root, Some(&admin), "en", None).await.error(409), "last-platform-admin");

    http.send("DELETE", &path, Some(&admin), "en", None).await.data(200);
    assert_eq!(http.send("DELETE", &path, Some(&admin), "en", None).await.error(404), "not-found");
    assert_eq!(http.post(LOGIN, None, &login("noura@example.com", PASSWORD)).await.error(401), "wrong-credentials");
    let kept: String =
        sqlx::query_scalar("SELECT global_users::text FROM global_platform.global_users WHERE status = 'deleted'")
            .fetch_one(&mut hub.database().await)
            .await
            .unwrap();
    assert!(!kept.contains("nora") && !kept.contains("نورة") && !kept.contains("argon2"), "{kept}");
    hub.account(&admin, "noura@example.com", json!("support")).await;
    let log = http.get("/api/global/audit", Some(&admin)).await;
    assert_eq!(log.status, 200, "{log:?}");
    for action in ["change-user", "delete-user"] {
        assert!(log.text.contains(action), "{action}: {}", log.text);
    }
    assert!(!log.text.contains("noura@example.com") && !log.text.contains("نورة"), "{}", log.text);
}

#[tokio::test]
async fn a_password_is_changed_by_its_owner_and_reset_by_a_one_time_token() {
    let hub = start("passwords").await;
    let other = hub.replica().await;
    let http = &hub.http;
    let admin = hub.admin().await;
    let before = hub.account(&admin, "sami@example.com", json!("support")).await;
    let sami = http.get(&format!("{USERS}/me"), Some(&before)).await.data(200);
    let reset = format!("{USERS}/{}/password-reset", text(&sami, "id"));
    let own = format!("{USERS}/me/password");

    let body = |current: &str, new: &str| json!({"currentPassword": current, "newPassword": new});
    assert_eq!(
        http.post(&own, Some(&before), &body("a wrong password", "another password")).await.error(403),
        "wrong-password"
    );
    let short = http.post(&own, Some(&before), &body(PASSWORD, "short")).await;
    assert_eq!(short.json["fields"][0]["field"], "newPassword", "{short:?}");
    let session = http.post(&own, Some(&before), &body(PASSWORD, "another password")).await.data(200);
    let now = text(&session, "accessToken");
    assert_eq!(http.get(&format!("{USERS}/me"), Some(&now)).await.status, 200);
    for replica in [http, &other.http] {
        eventually("the token of before ends on each replica", 5, async || {
            let answer = replica.get(&format!("{USERS}/me"), Some(&before)).await;
            if answer.status == 401 { Ok(()) } else { Err(answer) }
        })
        .await;
    }

    let made = http.send("POST", &reset, Some(&admin), "en", None).await.data(201);
    let (token, path) = (text(&made, "token"), "/api/global/auth/password-reset");
    let set = |token: &str, password: &str| json!({"token": token, "password": password});
    assert_eq!(http.post(path, None, &set("x", "a third password")).await.error(403), "reset-invalid");
    assert_eq!(http.post(path, None, &set(&token, "short")).await.json["fields"][0]["field"], "password");
    let newer = text(&http.send("POST", &reset, Some(&admin), "en", None).await.data(201), "token");
    assert_eq!(http.post(path, None, &set(&token, "a third password")).await.error(403), "reset-invalid", "replaced");
    http.post(path, None, &set(&newer, "a third password")).await.data(200);
    assert_eq!(http.post(path, None, &set(&newer, "a fourth password")).await.error(403), "reset-invalid", "once");
    let refresh = json!({"refreshToken": text(&session, "refreshToken")});
    assert_eq!(http.post("/api/global/auth/refresh", None, &refresh).await.error(401), "session-ended");
    for (password, status) in [(PASSWORD, 401), ("another password", 401), ("a third password", 200)] {
        let login = json!({"email": "sami@example.com", "password": password});
        assert_eq!(http.post(LOGIN, None, &login).await.status, status, "{password}");
    }
    let log = http.get("/api/global/audit", Some(&admin)).await;
    for action in ["change-password", "offer-password-reset"] {
        assert!(log.text.contains(action), "{action}: {}", log.text);
    }
}
