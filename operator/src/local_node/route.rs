//! Leads a node's hosts to its pods: by an Ingress of its own, or by an HTTPRoute at the platform's Gateway.

use std::time::Duration;

use fateh_crds::CHILD_NAME;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;

use super::{apply::remove, build::Entrance, report::Pass, validate::ValidNode};
use crate::{
    context::Context,
    failure::Failure,
    gateway::{Gateway, GatewayRef, HttpRoute, Standing, standing},
    kubernetes::{self, ensure_and_read},
};

/// How soon a Gateway is looked at again that does not serve a route yet: it is not watched.
const PENDING_RECHECK: Duration = Duration::from_secs(5);

/// How far a node's route has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The Ingress is applied; what its controller makes of it is not known.
    Applied,
    /// The HTTPRoute is applied; what its Gateway makes of it.
    AtGateway(Standing),
}

/// Applies the route that is wanted, and removes what an earlier state or setting left: the old way in is open until
/// the new one is.
///
/// # Errors
/// Names the act.
pub async fn ensure(context: &Context, node: &ValidNode, entrance: Entrance, pass: &mut Pass) -> Result<(), Failure> {
    match entrance {
        Entrance::Closed => {
            remove_http_route(context, node).await?;
            remove_ingress(context, node).await
        }
        Entrance::Ingress(ingress) => {
            kubernetes::ensure(context, "apply the Ingress", &ingress).await?;
            pass.route = Some(Route::Applied);
            remove_http_route(context, node).await
        }
        Entrance::Gateway(route, gateway) => {
            let route = ensure_and_read(context, "apply the HTTPRoute", &route).await?;
            let standing = standing(&route, read(context, &gateway).await?.as_ref(), &gateway);
            let served = standing == Standing::Served;
            pass.route = Some(Route::AtGateway(standing));
            if served {
                return remove_ingress(context, node).await;
            }
            let now = context.clock.now();
            pass.wake(now.saturating_add(PENDING_RECHECK).unwrap_or(now));
            Ok(())
        }
    }
}

async fn remove_ingress(context: &Context, node: &ValidNode) -> Result<(), Failure> {
    remove::<Ingress>(context, node, "remove the Ingress", CHILD_NAME).await
}

async fn remove_http_route(context: &Context, node: &ValidNode) -> Result<(), Failure> {
    remove::<HttpRoute>(context, node, "remove the HTTPRoute", CHILD_NAME).await
}

/// The Gateway; none where there is none of its name, or no such type.
async fn read(context: &Context, gateway: &GatewayRef) -> Result<Option<Gateway>, Failure> {
    let gateways = Api::<Gateway>::namespaced(context.client.clone(), &gateway.namespace);
    kubernetes::find(&gateways, "read the Gateway", &gateway.name).await
}
