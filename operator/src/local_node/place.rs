//! Chooses the database server of a node, by region and free capacity. Pure but for [`Placements`], which remembers
//! what was chosen a moment ago and is not in the cache yet.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use fateh_crds::{DatabaseServer, LocalNode};
use kube::ResourceExt;

use crate::{failure::Failure, node_summary::NodeSummary};

/// What is placed on a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// LocalNodes.
    pub nodes: i64,
    /// Sum of their connection limits.
    pub connections: i64,
}

/// The load of each server, by name, from what the LocalNodes among `nodes` say of themselves: a limit that was asked
/// for and not granted counts for nothing.
#[must_use]
pub fn loads(nodes: &[Arc<NodeSummary>]) -> HashMap<String, Load> {
    loads_with(nodes, &HashMap::new())
}

/// The same, where `recent` holds what was granted a moment ago, by UID.
fn loads_with(nodes: &[Arc<NodeSummary>], recent: &HashMap<String, (String, i32)>) -> HashMap<String, Load> {
    let mut loads = HashMap::<String, Load>::new();
    for node in nodes {
        if let Some((server, limit)) = recent.get(&*node.uid) {
            add(&mut loads, server, *limit);
        } else if let Some(placed) = &node.placed {
            add(&mut loads, &placed.server, placed.granted.unwrap_or(node.connection_limit));
        }
    }
    loads
}

/// The connection limit that was last carried out.
fn granted(node: &LocalNode) -> Option<i32> {
    node.status.as_ref()?.database.as_ref()?.connection_limit
}

fn add(loads: &mut HashMap<String, Load>, server: &str, limit: i32) {
    let load = loads.entry(server.to_owned()).or_default();
    load.nodes += 1;
    load.connections += i64::from(limit);
}

fn recorded(node: &LocalNode) -> Option<&str> {
    node.status.as_ref()?.database.as_ref().map(|database| database.server.as_str())
}

/// The sum of connection limits that a server takes; none before it was first asked.
#[must_use]
pub fn connections_allowed(server: &DatabaseServer) -> Option<i64> {
    let capacity = &server.spec.capacity;
    let connections = server.status.as_ref()?.connections?;
    let free = (connections - i64::from(capacity.reserved_connections)).max(0);
    Some(free * i64::from(capacity.connection_overcommit))
}

/// Why a server takes no more than `load`, in a sentence; none if it takes a node with this connection limit too.
#[must_use]
pub fn full(server: &DatabaseServer, load: Load, limit: i32) -> Option<String> {
    let name = server.name_any();
    let most = server.spec.capacity.max_databases;
    if load.nodes >= i64::from(most) {
        return Some(format!(
            "DatabaseServer {name} holds {} of at most {most} nodes (spec.capacity.maxDatabases)",
            load.nodes
        ));
    }
    let allowed = connections_allowed(server)?;
    (load.connections + i64::from(limit) > allowed).then(|| {
        format!(
            "the connection limits on DatabaseServer {name} add up to {} of at most {allowed}, and {limit} more are asked for (spec.database.connectionLimit; see spec.capacity of the server)",
            load.connections
        )
    })
}

/// The server that the node is on already, names, or fits best: one for its region before one for all, and
/// of these the one with the most room. `loads` leaves the node itself out.
///
/// # Errors
/// Stalled when the server named does not exist or is full, or none fits.
pub fn place(
    node: &LocalNode,
    servers: &[Arc<DatabaseServer>],
    loads: &HashMap<String, Load>,
) -> Result<Arc<DatabaseServer>, Failure> {
    let wanted = node.spec.database.server_ref.as_deref();
    let limit = node.spec.database.connection_limit;
    let load = |server: &DatabaseServer| loads.get(&server.name_any()).copied().unwrap_or_default();
    if let Some(name) = recorded(node) {
        return stay(node, name, wanted, servers, load);
    }
    if let Some(name) = wanted {
        let server = named(name, servers)?;
        if server.metadata.deletion_timestamp.is_some() {
            return Err(Failure::stalled(
                "DatabaseServerUnknown",
                format!("spec.database.serverRef: DatabaseServer {name} is being deleted; name another"),
            ));
        }
        return match full(&server, load(&server), limit) {
            Some(why) => Err(Failure::stalled("NoCapacity", format!("{why}; raise it, or name another server"))),
            None => Ok(server),
        };
    }
    let region = &node.spec.region;
    let fitting: Vec<_> = servers
        .iter()
        .filter(|server| server.metadata.deletion_timestamp.is_none())
        .filter(|server| server.spec.regions.is_empty() || server.spec.regions.contains(region))
        .collect();
    if fitting.is_empty() {
        return Err(Failure::stalled(
            "NoDatabaseServer",
            format!(
                "no DatabaseServer takes nodes of region {region}; create one, or add the region to its spec.regions"
            ),
        ));
    }
    let roomy = fitting.iter().filter(|server| full(server, load(server), limit).is_none());
    let best = roomy.min_by_key(|server| {
        // Thousandths of its databases that are taken: whole numbers compare.
        let taken = load(server).nodes * 1000 / i64::from(server.spec.capacity.max_databases.max(1));
        (server.spec.regions.is_empty(), taken, server.name_any())
    });
    best.map(|server| Arc::clone(server)).ok_or_else(|| {
        let why: Vec<_> = fitting.iter().filter_map(|server| full(server, load(server), limit)).collect();
        Failure::stalled(
            "NoCapacity",
            format!(
                "no DatabaseServer for region {region} has room: {}; raise it, or create another server",
                why.join("; ")
            ),
        )
    })
}

/// A node stays where its database lies; a higher connection limit must find room there.
fn stay(
    node: &LocalNode,
    name: &str,
    wanted: Option<&str>,
    servers: &[Arc<DatabaseServer>],
    load: impl Fn(&DatabaseServer) -> Load,
) -> Result<Arc<DatabaseServer>, Failure> {
    if let Some(wanted) = wanted.filter(|wanted| *wanted != name) {
        return Err(Failure::stalled(
            "ServerRefChanged",
            format!("spec.database.serverRef: the database lies on {name} and is not moved to {wanted}; name {name}"),
        ));
    }
    let server = named(name, servers)?;
    let limit = node.spec.database.connection_limit;
    let raised = granted(node).is_some_and(|granted| limit > granted);
    let others = Load { nodes: 0, ..load(&server) };
    match full(&server, others, limit).filter(|_| raised) {
        Some(why) => Err(Failure::stalled("NoCapacity", format!("{why}; ask for fewer, or raise it"))),
        None => Ok(server),
    }
}

fn named(name: &str, servers: &[Arc<DatabaseServer>]) -> Result<Arc<DatabaseServer>, Failure> {
    servers.iter().find(|server| server.name_any() == name).cloned().ok_or_else(|| {
        Failure::stalled("DatabaseServerUnknown", format!("spec.database.serverRef: there is no DatabaseServer {name}; create it, or name one of those that `kubectl get databaseservers` lists"))
    })
}

/// Choices of this process that the cache may not show yet, by UID of the LocalNode: two nodes must not be given
/// the last free place.
#[derive(Debug, Default)]
pub struct Placements(Mutex<HashMap<String, (String, i32)>>);

impl Placements {
    /// [`place`]s the node among `servers`, where `nodes` are all that the cache knows, and remembers the choice.
    ///
    /// # Errors
    /// As [`place`].
    pub fn choose(
        &self,
        node: &LocalNode,
        servers: &[Arc<DatabaseServer>],
        nodes: impl FnOnce() -> Vec<Arc<NodeSummary>>,
    ) -> Result<Arc<DatabaseServer>, Failure> {
        let uid = node.uid().unwrap_or_default();
        let limit = node.spec.database.connection_limit;
        if recorded(node).is_some() && granted(node).is_none_or(|granted| limit <= granted) {
            // It stays where it is, and asks for no more: what others hold is of no matter.
            return place(node, servers, &HashMap::new());
        }
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others: Vec<_> = nodes().into_iter().filter(|other| *other.uid != uid).collect();
        // What status shows, or was given up, is no longer remembered.
        recent.retain(|uid, (_, limit)| {
            let other = others.iter().find(|other| *other.uid == **uid);
            let granted = |other: &NodeSummary| other.placed.as_ref().and_then(|placed| placed.granted);
            other.is_some_and(|other| granted(other) != Some(*limit) && other.connection_limit == *limit)
        });
        let server = place(node, servers, &loads_with(&others, &recent))?;
        recent.insert(uid, (server.name_any(), limit));
        Ok(server)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::local_node::validate::tests::node;

    fn server(name: &str, regions: &[&str]) -> Arc<DatabaseServer> {
        limited(name, regions, 1000, 100)
    }
    fn limited(name: &str, regions: &[&str], databases: i32, connections: i64) -> Arc<DatabaseServer> {
        let spec = json!({"host": "db.test", "adminSecretRef": {"name": "s"}, "regions": regions,
            "capacity": {"maxDatabases": databases, "reservedConnections": 20, "connectionOvercommit": 2}});
        let mut server = DatabaseServer::new(name, serde_json::from_value(spec).unwrap());
        server.status = Some(serde_json::from_value(json!({"connections": connections})).unwrap());
        Arc::new(server)
    }
    fn placed(name: &str, spec: Value, server: &str) -> LocalNode {
        let mut placed = node(name, spec);
        let database =
            json!({"database": {"server": server, "name": "", "role": "", "secret": "", "connectionLimit": 20}});
        placed.status = Some(serde_json::from_value(database).unwrap());
        placed.metadata.uid = Some(format!("uid-{name}"));
        placed
    }
    fn brief(node: &LocalNode) -> Arc<NodeSummary> {
        Arc::new(node.clone().into())
    }
    fn chosen(node: &LocalNode, servers: &[Arc<DatabaseServer>], others: &[LocalNode]) -> Result<String, &'static str> {
        let others: Vec<_> = others.iter().map(brief).collect();
        place(node, servers, &loads(&others)).map(|server| server.name_any()).map_err(|failure| failure.reason())
    }

    #[test]
    fn a_server_for_the_region_comes_before_one_for_all() {
        let servers = [server("all", &[]), server("asia", &["asia"]), server("mena", &["mena"])];
        assert_eq!(chosen(&node("riyadh", json!({})), &servers, &[]), Ok("mena".into()));
        assert_eq!(chosen(&node("riyadh", json!({"region": "europe"})), &servers, &[]), Ok("all".into()));
        let named = node("riyadh", json!({"database": {"serverRef": "asia"}}));
        assert_eq!(chosen(&named, &servers, &[]), Ok("asia".into()));
    }

    #[test]
    fn a_recorded_choice_is_kept_whatever_has_become_of_the_server() {
        let servers = [limited("all", &[], 1, 20), server("mena", &["mena"])];
        assert_eq!(chosen(&placed("riyadh", json!({}), "all"), &servers, &[]), Ok("all".into()));
        let moved = placed("riyadh", json!({"database": {"serverRef": "mena"}}), "all");
        assert_eq!(chosen(&moved, &servers, &[]), Err("ServerRefChanged"));
    }

    #[test]
    fn no_fitting_server_is_for_a_person_to_mend() {
        let unknown = node("riyadh", json!({"database": {"serverRef": "x"}}));
        assert_eq!(chosen(&unknown, &[server("all", &[])], &[]), Err("DatabaseServerUnknown"));
        assert_eq!(chosen(&node("riyadh", json!({})), &[server("asia", &["asia"])], &[]), Err("NoDatabaseServer"));
    }

    #[test]
    fn a_node_goes_where_there_is_room() {
        let held = |count: usize, server: &str| -> Vec<_> {
            (0..count).map(|index| placed(&format!("n{index}"), json!({}), server)).collect()
        };
        let new = node("riyadh", json!({}));
        // By databases: two of two, one of four.
        let servers = [limited("a", &[], 2, 1000), limited("b", &[], 4, 1000)];
        assert_eq!(chosen(&new, &servers, &held(1, "a")), Ok("b".into()), "the emptier one");
        assert_eq!(chosen(&new, &servers[..1], &held(2, "a")), Err("NoCapacity"));
        // By connections: (100 - 20) × 2 is eight nodes of twenty.
        let servers = [limited("a", &[], 100, 100), limited("b", &[], 10, 1000)];
        assert_eq!(chosen(&new, &servers, &held(8, "a")), Ok("b".into()));
        assert_eq!(chosen(&new, &servers[..1], &held(7, "a")), Ok("a".into()));
        let named = node("riyadh", json!({"database": {"serverRef": "a"}}));
        assert_eq!(chosen(&named, &servers, &held(8, "a")), Err("NoCapacity"));
        // One that is for the region and full gives way to one for all.
        let servers = [limited("mena", &["mena"], 1, 1000), limited("all", &[], 10, 1000)];
        assert_eq!(chosen(&new, &servers, &held(1, "mena")), Ok("all".into()));
    }

    #[test]
    fn a_higher_limit_must_find_room_and_a_lower_one_never() {
        let servers = [limited("a", &[], 100, 40)]; // forty in all
        let others = [placed("other", json!({}), "a")];
        let raised = placed("riyadh", json!({"database": {"connectionLimit": 21}}), "a");
        assert_eq!(chosen(&raised, &servers, &others), Err("NoCapacity"));
        let kept = placed("riyadh", json!({"database": {"connectionLimit": 20}}), "a");
        assert_eq!(chosen(&kept, &servers, &others), Ok("a".into()));
        let crowded = [placed("b", json!({}), "a"), placed("c", json!({}), "a"), placed("d", json!({}), "a")];
        assert_eq!(chosen(&kept, &servers, &crowded), Ok("a".into()));
    }

    #[test]
    fn a_choice_counts_before_the_cache_shows_it_and_not_twice_after() {
        let servers = [limited("a", &[], 1, 1000), limited("b", &[], 1, 1000)];
        let placements = Placements::default();
        let [one, two, three] = ["one", "two", "three"].map(placed_nowhere);
        let cache = [&one, &two, &three].map(brief);
        let choose = |node: &LocalNode, cache: &[Arc<NodeSummary>]| {
            placements.choose(node, &servers, || cache.to_vec()).map(|server| server.name_any())
        };
        assert_eq!(choose(&one, &cache).unwrap(), "a");
        assert_eq!(choose(&one, &cache).unwrap(), "a", "its own choice does not stand in its way");
        assert_eq!(choose(&two, &cache).unwrap(), "b");
        assert_eq!(choose(&three, &cache).unwrap_err().reason(), "NoCapacity");
        // Deleted meanwhile: its place is free again.
        assert_eq!(choose(&three, &cache[1..]).unwrap(), "a");
    }

    #[test]
    fn a_limit_that_was_refused_counts_for_nothing_and_two_raises_are_not_granted_the_same_room() {
        let servers = [limited("a", &[], 100, 60)]; // eighty in all
        let greedy = brief(&placed("greedy", json!({"database": {"connectionLimit": 500}}), "a"));
        assert_eq!(loads(std::slice::from_ref(&greedy))["a"], Load { nodes: 1, connections: 20 });
        let raise = |name: &str| placed(name, json!({"database": {"connectionLimit": 40}}), "a");
        let (one, two) = (raise("one"), raise("two"));
        let cache = [brief(&one), brief(&two), greedy];
        let placements = Placements::default();
        let choose = |node: &LocalNode| {
            placements.choose(node, &servers, || cache.to_vec()).map(drop).map_err(|why| why.reason())
        };
        assert_eq!(choose(&one), Ok(()));
        assert_eq!(choose(&two), Err("NoCapacity"));
    }

    fn placed_nowhere(name: &str) -> LocalNode {
        let mut node = node(name, json!({}));
        node.metadata.uid = Some(format!("uid-{name}"));
        node
    }
}
