//! One request, seen through node and hub.

use fateh_tests::{collector::Collector, eventually};

use crate::{
    hub::{self, node_of},
    running::{become_admin, make, user},
};

#[tokio::test]
async fn a_request_is_one_trace_through_node_and_hub_and_says_nothing_of_the_person() {
    let collector = Collector::start().await;
    let hub = hub::start("traces").await;
    let node = node_of(&hub, "traced").await;
    let admin = become_admin(&node).await;
    make(&node.users, &admin, "traced-person", "student").await;

    let (trace, caller) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let browser = node.users.with_header(&format!("traceparent: 00-{trace}-{caller}-01"));
    browser.send("POST", "/api/local/sync", Some(&admin), "en", None).await.data(200);
    let twice = browser.post("/api/local/users", Some(&admin), &user("traced-person", "student")).await;
    assert_eq!(twice.error(409), "username-taken");

    let ours = eventually("the trace is whole", 20, async || {
        let ours = collector.spans(|span| span.trace == trace);
        let told = ours.iter().any(|span| span.service == "fateh-hub");
        if told && ours.iter().any(|span| span.name == "POST /api/local/users") { Ok(ours) } else { Err(ours) }
    })
    .await;
    let named = |service: &str, name: &str| {
        ours.iter()
            .find(|span| span.service == service && span.name == name)
            .unwrap_or_else(|| panic!("{name}: {ours:#?}"))
    };
    let request = named("fateh-node", "POST /api/local/sync");
    assert_eq!(request.parent, caller, "the caller's trace goes on");
    let sync = named("fateh-node", "sync");
    assert_eq!(sync.parent, request.id);
    let received = named("fateh-hub", "POST /api/global/v1/sync");
    assert_eq!(received.parent, sync.id, "the hub's part is within the node's");
    for said in ["http.request.method=POST", "http.route=/api/local/sync", "http.response.status_code=200"] {
        assert!(request.attributes.contains(&said.to_owned()), "{said}: {request:#?}");
    }
    let refused = named("fateh-node", "POST /api/local/users");
    assert!(refused.attributes.contains(&"http.response.status_code=409".to_owned()), "{refused:#?}");
    for personal in ["traced-person", "admin@example.com", &admin] {
        assert!(!collector.holds(personal), "{personal} stands in a trace");
    }
}
