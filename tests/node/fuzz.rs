//! Requests made from the node's own description, good ones and every kind of bad one: no answer is undocumented, and
//! none is a 500.

use fateh_tests::{
    Postgres,
    fuzz::{Asked, Target, fuzz},
};
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use crate::running::{Running, become_admin, make, run, sign_in, text};

fn words(random: &mut StdRng, asked: Asked<'_>) -> Option<String> {
    let words: &[&str] = match asked.name {
        "username" | "search" => {
            // Each is taken once.
            let name = ["omar", "ليلى", "nour"].choose(random).copied().unwrap_or_default();
            return Some(format!("{name}-{}", random.random::<u16>()));
        }
        "email" if asked.honest => return Some(format!("{}@example.com", random.random::<u32>())),
        "email" | "login" => &["omar@example.com", "a@b.co", "someone@example.org"],
        "Idempotency-Key" if asked.honest => return Some(random.random::<u64>().to_string()),
        "password" | "newPassword" | "currentPassword" => &["another long password 1", "one more long password 2"],
        "role" => &["student", "instructor", "admin"],
        "status" => &["active", "suspended", "draft", "published", "archived"],
        "type" if asked.path.contains("content") => &["lesson", "quiz", "course"],
        "type" => &["subscription", "course", "consulting", "workshop"],
        "language" => &["ar", "en", "fr-CA"],
        "amount" if asked.honest => &["1", "100.50", "0.01"],
        "transactionDate" if asked.honest => &["2026-11-20T10:00:00Z"],
        "x-node-id" => &["fuzzed"],
        "currency" if asked.honest => &["SAR"],
        "currency" => &["SAR", "USD"],
        "amount" => &["1", "100.50", "0.01", "0", "1.005", "9999999999999999", "١٠"],
        "period" | "groupBy" | "by" => &["day", "month", "year"],
        "limit" => &["1", "2", "100", "0", "101"],
        "from" | "to" | "since" | "until" | "transactionDate" => {
            &["2026-01-01", "2026-11-20T10:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "2026-02-30"]
        }
        "choice" | "take" | "resolution" => &["ours", "theirs", "edit"],
        "path" => &["/title", "/content/text", "/content/questions/0", "title", "content"],
        _ => return None,
    };
    words.choose(random).map(|&word| word.to_owned())
}

async fn tokens(node: &Running) -> Vec<Option<String>> {
    let admin = become_admin(node).await;
    make(&node.users, &admin, "teacher", "instructor").await;
    make(&node.users, &admin, "learner", "student").await;
    let mut tokens = vec![Some(admin.clone()), Some(admin), None, Some("a.b.c".to_owned())];
    for login in ["teacher", "learner"] {
        tokens.push(Some(text(&sign_in(&node.users, login).await, "accessToken")));
    }
    tokens
}

#[tokio::test]
async fn no_request_is_answered_with_what_is_not_documented() {
    let rounds = if fateh_tests::soak() { 2000 } else { 60 };
    let node = run("fuzzed", Postgres::V18).await;
    let target = Target { base: &node.users.base, tokens: tokens(&node).await, words, named: &[] };
    let seen = fuzz(&target, 25, rounds).await;
    // A fuzzer that is only ever refused finds nothing.
    let succeeded: Vec<_> = seen.keys().filter(|(_, status)| *status < 300).map(|(name, _)| name.as_str()).collect();
    for name in ["POST /api/local/users", "POST /api/local/content", "POST /api/local/revenue"] {
        assert!(succeeded.contains(&name), "{name} never succeeded: {seen:#?}");
    }
    assert_eq!(node.management.get("/readyz", None).await.status, 200);
}
