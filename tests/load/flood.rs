//! A thousand people who sign in at the same moment.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fateh_tests::{Postgres, eventually, program, seed_people};
use reqwest::Client;
use serde_json::{Value, json};

use crate::running::{PASSWORD, Running, become_admin, run};

const LOGIN: &str = "/api/local/auth/login";
const PEOPLE: u32 = 1000;
/// Places at the one who checks passwords.
const PLACES: usize = 24;

/// How a request was answered, and how long it took.
#[derive(Debug)]
struct Answered {
    status: u16,
    retry_after: bool,
    took: Duration,
    body: Value,
}

async fn sign_in(client: &Client, node: &Running, login: &str, password: &str, address: u32) -> Answered {
    let started = Instant::now();
    let from = format!("10.{}.{}.{}", address >> 16 & 255, address >> 8 & 255, address & 255);
    let request = client.post(format!("{}{LOGIN}", node.users.base)).header("x-forwarded-for", from);
    let answer = request.json(&json!({"login": login, "password": password})).send().await.unwrap();
    let (status, retry_after) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
    let body = answer.json().await.unwrap();
    Answered { status, retry_after, took: started.elapsed(), body }
}

async fn people(node: &Running) {
    seed_people(&mut node.database(Postgres::V18).await, PEOPLE).await;
}

fn memory(node: &Running, line: &str) -> u64 {
    program::memory(node.child.id().unwrap(), line)
}

/// The share of answers that took the node no longer than this, of one route and status; by its own clock, because the
/// thousand clients of this test share two cores with it.
async fn within(node: &Running, route: &str, status: u16, seconds: &str) -> f64 {
    let metrics = node.management.text("/metrics", None).await;
    let value = |series: &str, bucket: &str| -> f64 {
        let line = metrics.lines().find(|line| {
            line.starts_with(&format!("fateh_node_http_request_duration_seconds_{series}{{"))
                && [format!("route=\"{route}\""), format!("status=\"{status}\""), bucket.to_owned()]
                    .iter()
                    .all(|label| line.contains(label.as_str()))
        });
        line.unwrap_or_else(|| panic!("{route} {status}: {metrics}")).rsplit(' ').next().unwrap().parse().unwrap()
    };
    value("bucket", &format!("le=\"{seconds}\"")) / value("count", "")
}

fn quantile(mut times: Vec<Duration>, per_thousand: usize) -> Duration {
    times.sort_unstable();
    times.get((times.len() * per_thousand / 1000).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Reads one's own profile over and over until `stop`; how long each took.
async fn reads(client: Client, url: String, token: String, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        let status = client.get(&url).bearer_auth(&token).send().await.unwrap().status();
        assert_eq!(status, 200, "a read while people sign in");
        times.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sign_ins_at_once_are_taken_or_refused_at_once() {
    let node = run("flooded", Postgres::V18).await;
    let admin = become_admin(&node).await;
    people(&node).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let me = format!("{}/api/local/users/me", node.users.base);
    let idle = eventually("what the first admin's password took is given back", 10, async || {
        let now = memory(&node, "VmRSS:");
        if now < 20_000 { Ok(now) } else { Err(now) }
    })
    .await;
    let reading = tokio::spawn(reads(client.clone(), me.clone(), admin.clone(), Arc::clone(&stop)));
    let all =
        (1..=PEOPLE).map(async |person| sign_in(&client, &node, &format!("person{person}"), PASSWORD, person).await);
    let answers = futures::future::join_all(all).await;
    stop.store(true, Ordering::Relaxed);
    let reading = reading.await.unwrap();

    let of = |status: u16| answers.iter().filter(move |answer| answer.status == status).collect::<Vec<_>>();
    let (taken, refused) = (of(200), of(503));
    let times = |some: &[&Answered]| some.iter().map(|answer| answer.took).collect::<Vec<_>>();
    println!(
        "{} signed in (slowest {:?}), {} refused (p50 {:?}, p99 {:?}); {} reads meanwhile, p50 {:?}, p99 {:?}",
        taken.len(),
        quantile(times(&taken), 1000),
        refused.len(),
        quantile(times(&refused), 500),
        quantile(times(&refused), 990),
        reading.len(),
        quantile(reading.clone(), 500),
        quantile(reading, 990),
    );
    assert_eq!(taken.len() + refused.len(), answers.len(), "{answers:#?}");
    assert!(taken.len() >= PLACES, "{} were taken", taken.len());
    assert!(refused.iter().all(|answer| answer.retry_after && answer.body["error"] == "overloaded"));
    assert!(within(&node, LOGIN, 503, "0.25").await >= 0.99);
    // The goal is 1.5 s, which a machine that is busy with other things may miss.
    assert!((within(&node, LOGIN, 200, "2.5").await - 1.0).abs() < f64::EPSILON);
    // Of a hundred reads beside a thousand clients on the same two cores, some wait for a core and not for the node.
    assert!(within(&node, "/api/local/users/me", 200, "0.05").await >= 0.9);
    let peak = memory(&node, "VmHWM:");
    drop(client);
    let rested = eventually("the memory is given back", 10, async || {
        let now = memory(&node, "VmRSS:");
        if now < 30_000 { Ok(now) } else { Err(now) }
    })
    .await;
    println!("resident memory: idle {idle} kB, at most {peak} kB, afterwards {rested} kB");
    assert!(peak < 80_000, "{peak} kB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sign_ins_at_one_account_spend_no_hash() {
    let node = run("besieged", Postgres::V18).await;
    become_admin(&node).await;
    people(&node).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let all =
        (1..=PEOPLE).map(async |address| sign_in(&client, &node, "person7", "not the right password", address).await);
    let answers = futures::future::join_all(all).await;
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for answer in &answers {
        *counts.entry(answer.status).or_default() += 1;
        assert!(answer.status == 401 || answer.retry_after, "{answer:?}");
    }
    println!("at one account: {counts:?}");
    // Ten at once, and one each five seconds.
    let checked = counts.get(&401).copied().unwrap_or(0);
    assert!((1..=12).contains(&checked), "{counts:?}");
    assert!(counts.keys().all(|status| [401, 429, 503].contains(status)), "{counts:?}");
    assert!(counts.get(&429).copied().unwrap_or(0) > 500, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_there_cannot_be_told_from_one_that_is_not() {
    let node = run("discreet", Postgres::V18).await;
    become_admin(&node).await;
    people(&node).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    // In turns, so that whatever else the machine does falls on both.
    for person in 1..=150 {
        for (login, times) in [(format!("person{person}"), &mut known), (format!("nobody{person}"), &mut unknown)] {
            let answer = sign_in(&client, &node, &login, "not the right password", person).await;
            assert_eq!(answer.status, 401);
            assert_eq!(answer.body["error"], "wrong-credentials");
            times.push((answer.took, answer.body));
        }
    }
    let texts: std::collections::HashSet<_> = known.iter().chain(&unknown).map(|(_, body)| body.to_string()).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    let middle =
        |times: &[(Duration, Value)]| quantile(times.iter().map(|(took, _)| *took).collect(), 500).as_secs_f64();
    let (known, unknown) = (middle(&known), middle(&unknown));
    println!("median of a known account {:.2} ms, of an unknown one {:.2} ms", known * 1e3, unknown * 1e3);
    assert!((known / unknown - 1.0).abs() < 0.1, "{known} and {unknown}");
}
