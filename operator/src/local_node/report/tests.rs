//! Statuses, as passes make them of one another.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn serving() -> Pass {
    Pass {
        url: Some("https://riyadh.test".into()),
        database: Some(DatabaseStatus {
            server: "default".into(),
            name: "node_riyadh".into(),
            ..DatabaseStatus::default()
        }),
        admin: Admin::Invited { expires_at: at(9999) },
        workload: Some(Workload {
            wanted: 1,
            ready: 1,
            updated: 1,
            available: 1,
            total: 1,
            current: true,
            ..Workload::default()
        }),
        route: Some(Route::Applied),
        image: Some("image".into()),
        ..Pass::begin(Some(1), None, Reporting::Unknown)
    }
}

fn unreachable() -> Failure {
    Failure::DatabaseUnreachable { server: "default".into(), source: sqlx::Error::PoolTimedOut }
}

fn ready_of(status: &LocalNodeStatus) -> (&str, &str, Phase) {
    let ready = find(&status.conditions, "Ready").unwrap();
    (&ready.status, &ready.reason, status.phase)
}

#[test]
fn a_node_is_ready_once_its_gateway_serves_its_route() {
    let at = |route: fn(Standing) -> Route, standing: Standing| {
        let refused = match &standing {
            Standing::Refused(why) => Some(Failure::stalled("RouteRefused", why.clone())),
            _ => None,
        };
        let pass = Pass { route: Some(route(standing)), failure: refused, ..serving() };
        let made = status(&LocalNodeStatus::default(), &pass, at(1));
        let (ready, route) = (find(&made.conditions, "Ready").unwrap(), find(&made.conditions, "RouteReady").unwrap());
        [&ready.status, &ready.reason, &route.status, &route.reason].map(Clone::clone)
    };
    let (new, moving) = (Route::AtGateway, Route::MovingToGateway);
    assert_eq!(at(new, Standing::Served), ["True", "Serving", "True", "Programmed"]);
    assert_eq!(at(new, Standing::Pending("x".into())), ["Unknown", "RoutePending", "Unknown", "RoutePending"]);
    assert_eq!(at(new, Standing::Refused("x".into())), ["False", "RouteRefused", "False", "RouteRefused"]);
    assert_eq!(at(moving, Standing::Pending("x".into())), ["True", "Serving", "Unknown", "RoutePending"]);
}

#[test]
fn a_node_converges_serves_degrades_and_recovers() {
    let fresh = LocalNodeStatus::default();
    let making = status(&fresh, &Pass { workload: None, route: None, ..serving() }, at(1));
    assert_eq!(ready_of(&making), ("Unknown", "Provisioning", Phase::Provisioning));
    assert!(is_true(&making.conditions, "Reconciling"));

    let serving_status = status(&making, &serving(), at(2));
    assert_eq!(ready_of(&serving_status), ("True", "Serving", Phase::Ready));
    assert!(!is_true(&serving_status.conditions, "Reconciling"));

    let gone = Workload { available: 0, ready: 0, ..serving().workload.unwrap() };
    let degraded = status(&serving_status, &Pass { workload: Some(gone), ..serving() }, at(3));
    assert_eq!(ready_of(&degraded), ("False", "PodsUnavailable", Phase::Degraded));
    assert!(is_true(&degraded.conditions, "Reconciling"));

    let down = status(&degraded, &Pass { failure: Some(unreachable()), database: None, ..serving() }, at(4));
    assert_eq!(ready_of(&down), ("False", "DatabaseUnreachable", Phase::Degraded));
    assert_eq!(ready_of(&status(&down, &serving(), at(5))), ("True", "Serving", Phase::Ready));
}

#[test]
fn what_a_person_must_mend_is_stalled_and_not_reconciling() {
    let failure = Failure::stalled("NamespaceTaken", "taken");
    let stalled = status(
        &LocalNodeStatus::default(),
        &Pass { failure: Some(failure), ..Pass::begin(Some(1), None, Reporting::Unknown) },
        at(1),
    );
    assert_eq!(ready_of(&stalled), ("False", "NamespaceTaken", Phase::Stalled));
    assert!(is_true(&stalled.conditions, "Stalled"));
}

#[test]
fn a_suspended_node_is_ready_once_its_pods_are_gone_and_comes_back() {
    let before = status(&LocalNodeStatus::default(), &serving(), at(1));
    let suspended = |left: i32| Pass {
        state: NodeState::Suspended,
        workload: Some(Workload { ready: left, available: left, total: left, current: true, ..Workload::default() }),
        route: None,
        ..serving()
    };
    assert_eq!(ready_of(&status(&before, &suspended(1), at(2))).0, "Unknown");
    let done = status(&before, &suspended(0), at(3));
    assert_eq!(ready_of(&done), ("True", "Suspended", Phase::Suspended));
    assert!(!is_true(&done.conditions, "RouteReady") && !is_true(&done.conditions, "Stalled"));
    let inactive = Pass { state: NodeState::Inactive, ..suspended(0) };
    assert_eq!(ready_of(&status(&done, &inactive, at(4))), ("True", "Inactive", Phase::Inactive));
    assert_eq!(ready_of(&status(&done, &serving(), at(5))), ("True", "Serving", Phase::Ready));
}

#[test]
fn the_same_pass_twice_makes_the_same_status() {
    let once = status(&LocalNodeStatus::default(), &serving(), at(1));
    assert_eq!(status(&once, &serving(), at(99)), once);
}

#[test]
fn a_placement_survives_a_pass_that_fails_after_it() {
    let placed = DatabaseStatus { server: "default".into(), name: "node_riyadh".into(), ..DatabaseStatus::default() };
    let begun = Pass::begin(Some(1), None, Reporting::Unknown);
    let failed = Pass { placed: Some(placed.clone()), failure: Some(unreachable()), ..begun };
    let made = status(&LocalNodeStatus::default(), &failed, at(1));
    assert_eq!(made.database, Some(placed));
    assert!(!is_true(&made.conditions, "DatabaseReady"));
}

#[test]
fn figures_that_did_not_change_keep_their_time() {
    let report = |users: i64, second: i64| -> NodeReportStatus {
        serde_json::from_value(json!({
            "reportedAt": at(second).to_string(), "version": "1", "adminState": "Active",
            "statistics": {"users": {"total": users}, "revenue": [{"currency": "SAR", "gross": 125_000, "fee": 12_500, "net": 112_500, "refunds": 0}]},
        }))
        .unwrap()
    };
    let first = status(&LocalNodeStatus::default(), &Pass { report: Some(report(1, 10)), ..serving() }, at(11));
    assert_eq!(first.statistics.as_ref().unwrap().revenue_summary.as_deref(), Some("1,250.00 SAR"));
    let heartbeat = status(&first, &Pass { report: Some(report(1, 70)), ..serving() }, at(71));
    assert_eq!(heartbeat, first);
    let grown = status(&first, &Pass { report: Some(report(2, 80)), ..serving() }, at(81)).statistics.unwrap();
    assert_eq!((grown.figures.users.total, grown.reported_at.unwrap().0), (2, at(80)));
}

#[test]
fn a_size_moves_by_a_twentieth_and_not_too_often() {
    let sized = |bytes| DatabaseStatus { size_bytes: Some(bytes), ..DatabaseStatus::default() };
    for (new, may_move, expected) in [(104, true, 100), (105, true, 105), (90, true, 90), (900, false, 100)] {
        let pass = Pass { database: Some(sized(new)), size_may_move: may_move, ..serving() };
        assert_eq!(database_status(&pass, Some(&sized(100))), Some(sized(expected)), "{new}");
    }
}

proptest! {
    /// Whatever a pass found: never both reconciling and stalled, and never ready while either.
    #[test]
    fn ready_reconciling_and_stalled_never_contradict_each_other(
        available in 0..3_i32, updated in 0..3_i32, current: bool, reached: bool, failing in 0..3, before: bool,
    ) {
        let workload = Workload { wanted: 2, ready: available, updated, available, total: 2, current, ..Workload::default() };
        let failure = match failing {
            0 => None,
            1 => Some(unreachable()),
            _ => Some(Failure::stalled("HostTaken", "taken")),
        };
        let previous = if before { status(&LocalNodeStatus::default(), &serving(), at(1)) } else { LocalNodeStatus::default() };
        let made = status(&previous, &Pass { workload: reached.then_some(workload), failure, ..serving() }, at(2));
        let is = |kind| is_true(&made.conditions, kind);
        prop_assert!(!(is("Reconciling") && is("Stalled")));
        prop_assert!(!(is("Ready") && (is("Reconciling") || is("Stalled"))));
        prop_assert!(is("Ready") || is("Reconciling") || is("Stalled"));
    }
}

#[test]
fn a_rollout_has_settled_when_no_pod_of_before_is_left_and_its_grace_is_over() {
    let done = Workload { rolled_out_at: Some(at(100)), ..serving().workload.unwrap() };
    assert_eq!(done.settled_at(), Some(at(130)));
    for under_way in [
        Workload { total: 2, ..done.clone() },
        Workload { updated: 0, ..done.clone() },
        Workload { ready: 0, ..done.clone() },
        Workload { current: false, ..done.clone() },
    ] {
        assert_eq!(under_way.settled_at(), None, "{under_way:?}");
    }
    let none = Workload { current: true, ..Workload::default() };
    assert!(none.settled_at().unwrap() < at(100), "a node without pods waits for none");
}
