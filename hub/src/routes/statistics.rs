//! `/api/global/statistics`: how the platform is doing, and each of its nodes.

use std::collections::{BTreeMap, HashMap};

use axum::{extract::State, http::StatusCode, response::Response};
use fateh_common::service::{error::Failed, extract::Speaks};
use fateh_crds::LocalNode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::Answer;
use crate::{
    fleet,
    permissions::{Permission, ReadStatistics},
    scope::{self, Sees},
    state::AppState,
    storage::ledger::Sums,
    totals::{self, NodeTotal, OfNodes, Revenue},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(read))
}

/// How the platform is doing.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Statistics<'a> {
    total_nodes: usize,
    total_users: i64,
    /// What all nodes have received, those that are gone included, by currency; empty for those who may not see it.
    total_revenue: Vec<Revenue>,
    nodes: Vec<NodeFigures<'a>>,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NodeFigures<'a> {
    slug: &'a str,
    country: Option<&'a str>,
    phase: String,
    users: i64,
    /// What the centre was told of, but for the last two seconds; by currency.
    revenue: Vec<&'a Revenue>,
}

/// See how the platform is doing.
#[utoipa::path(get, path = "/api/global/statistics", tag = "statistics",
    responses((status = 200, body = Answer<Statistics<'static>>)), security(("token" = [])))]
async fn read(
    State(state): State<AppState>,
    speaks: Speaks,
    Sees { user, scope, .. }: Sees<ReadStatistics>,
) -> Result<Response, Failed> {
    let read = async {
        // Who may not see the ledger sees nodes and users.
        let money = scope::of(&state, &user, Permission::ReadLedger).await?;
        let totals = if money.is_some() { totals::of_nodes(&state).await? } else { OfNodes::default() };
        Ok((money, totals))
    };
    let (money, totals) = match read.await {
        Ok(read) => read,
        Err(error) => return speaks.answer::<Statistics<'_>>(StatusCode::OK, "statistics", Err(error)),
    };
    let nodes = state.fleet.nodes();
    let seen = nodes.iter().map(|node| &**node).filter(|node| scope.sees(fleet::uid(node)));
    let totals = totals.iter().filter(|total| money.as_ref().is_some_and(|money| money.sees(Some(total.node))));
    speaks.answer(StatusCode::OK, "statistics", Ok(count(seen, totals)))
}

fn count<'a>(
    nodes: impl Iterator<Item = &'a LocalNode>,
    totals: impl Iterator<Item = &'a NodeTotal>,
) -> Statistics<'a> {
    let mut of_node: HashMap<Uuid, Vec<&Revenue>> = HashMap::new();
    let mut of_all: BTreeMap<&str, Sums> = BTreeMap::new();
    for NodeTotal { node, sums, revenue } in totals {
        of_node.entry(*node).or_default().push(revenue);
        of_all.entry(&sums.currency).or_insert_with(|| Sums::none(sums.currency.clone())).add(sums);
    }
    let nodes: Vec<_> = nodes
        .map(|node| {
            let status = node.status.as_ref();
            let statistics = status.and_then(|status| status.statistics.as_ref());
            let uid = fleet::uid(node);
            NodeFigures {
                slug: node.metadata.name.as_deref().unwrap_or_default(),
                country: node.spec.country.as_deref(),
                phase: format!("{:?}", status.map_or_else(Default::default, |status| status.phase)),
                users: statistics.map_or(0, |statistics| statistics.figures.users.total),
                revenue: uid.and_then(|uid| of_node.remove(&uid)).unwrap_or_default(),
            }
        })
        .collect();
    Statistics {
        total_nodes: nodes.len(),
        total_users: nodes.iter().fold(0, |sum, node| sum.saturating_add(node.users)),
        total_revenue: of_all.values().map(Revenue::from).collect(),
        nodes,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn money_of_nodes_that_are_gone_still_counts() {
        let node = |name: &str, uid: u128| {
            let spec = json!({"displayName": name, "region": "mena", "adminEmail": "a@example.com"});
            let mut node = LocalNode::new(name, serde_json::from_value(spec).unwrap());
            node.metadata.uid = Some(Uuid::from_u128(uid).to_string());
            node
        };
        let total = |uid: u128, currency: &str, gross| {
            let sums =
                Sums { revenues: 1, gross, fee: gross / 10, net: gross - gross / 10, ..Sums::none(currency.into()) };
            NodeTotal::new(Uuid::from_u128(uid), sums)
        };
        let totals = [
            total(1, "SAR", 1000),
            total(2, "SAR", 500),
            total(9, "SAR", 1),
            total(2, "KWD", i128::from(i64::MAX) * 4),
        ];
        let nodes = [node("a", 1), node("b", 2)];
        let statistics = count(nodes.iter(), totals.iter());
        assert_eq!((statistics.total_nodes, statistics.total_users), (2, 0));
        let gross: Vec<_> = statistics.total_revenue.iter().map(|sum| (&*sum.currency, &*sum.gross)).collect();
        assert_eq!(gross, [("KWD", "36893488147419103.228"), ("SAR", "15.01")]);
        assert_eq!(statistics.nodes[0].revenue.len(), 1);
        assert_eq!(statistics.nodes[1].revenue.len(), 2);
    }
}
