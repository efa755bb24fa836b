//! Chooses the database server of a node. Pure: needs no client.

use std::sync::Arc;

use fateh_crds::{DatabaseServer, LocalNode};
use kube::ResourceExt;

use crate::failure::Failure;

/// The server that the node is on already, names, or fits best: one for its region before one for all.
///
/// # Errors
/// Stalled when the server named does not exist, or none fits.
pub fn place(node: &LocalNode, servers: &[Arc<DatabaseServer>]) -> Result<Arc<DatabaseServer>, Failure> {
    let wanted = node.spec.database.server_ref.as_ref();
    let recorded = node.status.as_ref().and_then(|status| status.database.as_ref()).map(|database| &database.server);
    if let (Some(recorded), Some(wanted)) = (recorded, wanted)
        && recorded != wanted
    {
        return Err(Failure::stalled(
            "ServerRefChanged",
            format!(
                "spec.database.serverRef: the database lies on {recorded} and is not moved to {wanted}; name {recorded}"
            ),
        ));
    }
    if let Some(name) = recorded.or(wanted) {
        return servers.iter().find(|server| server.name_any() == *name).cloned().ok_or_else(|| {
            Failure::stalled("DatabaseServerUnknown", format!("spec.database.serverRef: there is no DatabaseServer {name}; create it, or name one of those that `kubectl get databaseservers` lists"))
        });
    }
    let mut fitting: Vec<_> = servers
        .iter()
        .filter(|server| server.metadata.deletion_timestamp.is_none())
        .filter(|server| server.spec.regions.is_empty() || server.spec.regions.contains(&node.spec.region))
        .collect();
    fitting.sort_by_key(|server| (server.spec.regions.is_empty(), server.name_any()));
    fitting.first().map(|server| Arc::clone(server)).ok_or_else(|| {
        let region = &node.spec.region;
        Failure::stalled(
            "NoDatabaseServer",
            format!(
                "no DatabaseServer takes nodes of region {region}; create one, or add the region to its spec.regions"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::local_node::validate::tests::node;

    fn server(name: &str, regions: &[&str]) -> Arc<DatabaseServer> {
        let spec = json!({"host": "db.test", "adminSecretRef": {"name": "s"}, "regions": regions});
        Arc::new(DatabaseServer::new(name, serde_json::from_value(spec).unwrap()))
    }

    #[test]
    fn a_server_for_the_region_comes_before_one_for_all() {
        let servers = [server("all", &[]), server("asia", &["asia"]), server("mena", &["mena"])];
        assert_eq!(place(&node("riyadh", json!({})), &servers).unwrap().name_any(), "mena");
        assert_eq!(place(&node("riyadh", json!({"region": "europe"})), &servers).unwrap().name_any(), "all");
        assert_eq!(
            place(&node("riyadh", json!({"database": {"serverRef": "asia"}})), &servers).unwrap().name_any(),
            "asia"
        );
    }

    #[test]
    fn a_recorded_choice_is_kept() {
        let mut placed = node("riyadh", json!({}));
        placed.status = Some(
            serde_json::from_value(json!({"database": {"server": "all", "name": "", "role": "", "secret": ""}}))
                .unwrap(),
        );
        assert_eq!(place(&placed, &[server("all", &[]), server("mena", &["mena"])]).unwrap().name_any(), "all");
    }

    #[test]
    fn a_placed_node_is_not_moved() {
        let mut placed = node("riyadh", json!({"database": {"serverRef": "mena"}}));
        placed.status = Some(
            serde_json::from_value(json!({"database": {"server": "all", "name": "", "role": "", "secret": ""}}))
                .unwrap(),
        );
        let failure = place(&placed, &[server("all", &[]), server("mena", &["mena"])]).unwrap_err();
        assert_eq!(failure.reason(), "ServerRefChanged");
    }

    #[test]
    fn no_fitting_server_is_for_a_person_to_mend() {
        let unknown =
            place(&node("riyadh", json!({"database": {"serverRef": "x"}})), &[server("all", &[])]).unwrap_err();
        assert_eq!(unknown.reason(), "DatabaseServerUnknown");
        assert_eq!(
            place(&node("riyadh", json!({})), &[server("asia", &["asia"])]).unwrap_err().reason(),
            "NoDatabaseServer"
        );
    }
}
