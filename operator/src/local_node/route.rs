//! Leads a node's hosts to its pods: by an Ingress of its own, or by an HTTPRoute at the platform's Gateway.

use std::{fmt::Debug, time::Duration};

use fateh_crds::CHILD_NAME;
use k8s_openapi::api::networking::v1::Ingress;
use kube::{Api, Resource, ResourceExt, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;

use super::{apply::remove, build::Entrance, report::Pass, validate::ValidNode};
use crate::{
    context::Context,
    failure::Failure,
    gateway::{Gateway, GatewayRef, HttpRoute, Standing, standing},
    kubernetes::{self, delete, ensure_and_read, find},
};

/// How long a new way in stands before the old one is taken away: what is accepted is served a moment later.
const OVERLAP: Duration = Duration::from_secs(5);

const REMOVE_HTTP_ROUTE: &str = "remove the HTTPRoute";
const REMOVE_INGRESS: &str = "remove the Ingress";

/// How far a node's route has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The Ingress is applied; what its controller makes of it is not known.
    Applied,
    /// The HTTPRoute is applied; what its Gateway makes of it.
    AtGateway(Standing),
    /// The same, while the Ingress of before is still there.
    MovingToGateway(Standing),
}

/// Applies the route that is wanted, and removes what an earlier state or setting left: the old way in is open until
/// the new one is. Returns what a person must mend, where a Gateway refuses the route.
///
/// # Errors
/// Names the act.
pub async fn ensure(
    context: &Context,
    node: &ValidNode,
    entrance: Entrance,
    pass: &mut Pass,
) -> Result<Option<Failure>, Failure> {
    match entrance {
        Entrance::Closed => {
            remove::<HttpRoute>(context, node, REMOVE_HTTP_ROUTE, CHILD_NAME).await?;
            remove::<Ingress>(context, node, REMOVE_INGRESS, CHILD_NAME).await?;
            Ok(None)
        }
        Entrance::Ingress(ingress) => {
            kubernetes::ensure(context, "apply the Ingress", &ingress).await?;
            pass.route = Some(Route::Applied);
            if let Some(route) = find(&api::<HttpRoute>(context, node), REMOVE_HTTP_ROUTE, CHILD_NAME).await? {
                let new = find(&api::<Ingress>(context, node), REMOVE_HTTP_ROUTE, CHILD_NAME).await?;
                take_away(context, node, REMOVE_HTTP_ROUTE, &route, new.as_ref(), pass).await?;
            }
            Ok(None)
        }
        Entrance::Gateway(route, gateway) => {
            let route = ensure_and_read(context, "apply the HTTPRoute", &route).await?;
            let standing = standing(&route, read(context, &gateway).await?.as_ref(), &gateway);
            let before = find(&api::<Ingress>(context, node), REMOVE_INGRESS, CHILD_NAME).await?;
            if let Some(ingress) = before.as_ref().filter(|_| standing == Standing::Served) {
                take_away(context, node, REMOVE_INGRESS, ingress, Some(&route), pass).await?;
            }
            let refused = match &standing {
                Standing::Refused(why) => Some(Failure::stalled("RouteRefused", why.clone())),
                Standing::Served | Standing::Pending(_) => None,
            };
            pass.route = Some(match before {
                Some(_) => Route::MovingToGateway(standing),
                None => Route::AtGateway(standing),
            });
            Ok(refused)
        }
    }
}

/// Removes the old way in, once the new one has stood for a while.
async fn take_away<Old, New>(
    context: &Context,
    node: &ValidNode,
    act: &'static str,
    old: &Old,
    new: Option<&New>,
    pass: &mut Pass,
) -> Result<(), Failure>
where
    Old: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    New: ResourceExt,
{
    let made = new.and_then(ResourceExt::creation_timestamp).map(|time| time.0);
    let settled = made.and_then(|made| made.checked_add(OVERLAP).ok());
    match settled {
        Some(time) if time > context.clock.now() => {
            pass.wake(time);
            Ok(())
        }
        _ => delete(&api::<Old>(context, node), act, old).await,
    }
}

fn api<K>(context: &Context, node: &ValidNode) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(context.client.clone(), &node.slug.namespace())
}

/// The Gateway; none where there is none of its name, or no such type.
async fn read(context: &Context, gateway: &GatewayRef) -> Result<Option<Gateway>, Failure> {
    let gateways = Api::<Gateway>::namespaced(context.client.clone(), &gateway.namespace);
    find(&gateways, "read the Gateway", &gateway.name).await
}
