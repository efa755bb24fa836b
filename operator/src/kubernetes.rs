//! The few ways in which the operator writes to Kubernetes.

use std::fmt::Debug;

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, kubernetes},
    ownership::take_over,
};

/// Field manager of everything that the operator applies.
pub const FIELD_MANAGER: &str = "fateh-operator";

/// Applies a namespaced object that is the operator's alone: what others added to it is removed.
/// Returns what the API server made of it, status included.
///
/// # Errors
/// Names the act; a namespace that is being deleted is told apart, because it only takes waiting.
pub async fn apply<K>(client: &Client, act: &'static str, object: &K) -> Result<K, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let applied = apply_shared(client, act, object).await?;
    let Some(entries) = take_over(applied.managed_fields(), FIELD_MANAGER) else { return Ok(applied) };
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<K>::namespaced(client.clone(), &namespace);
    // The version guards against a change in between: then the next pass tries again.
    let part = json!({"metadata": {"resourceVersion": applied.resource_version(), "managedFields": entries}});
    api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&part)).await.map_err(kubernetes(act))?;
    apply_shared(client, act, object).await
}

/// Applies a namespaced object of which others may own parts of the spec; see [`apply`].
///
/// # Errors
/// As [`apply`].
pub async fn apply_shared<K>(client: &Client, act: &'static str, object: &K) -> Result<K, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<K>::namespaced(client.clone(), &namespace);
    match api.patch(&object.name_any(), &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object)).await {
        Err(kube::Error::Api(status)) if is_terminating(&status) => Err(Failure::NamespaceTerminating(namespace)),
        other => other.map_err(kubernetes(act)),
    }
}

/// Applies part of an object that the operator does not create. `part` must hold `metadata.uid`,
/// so that a deleted object is not made anew.
///
/// # Errors
/// Names the act.
pub async fn apply_part<K>(api: &Api<K>, act: &'static str, name: &str, part: &Value) -> Result<(), Failure>
where
    K: Clone + Debug + DeserializeOwned,
{
    let patch = Patch::Apply(part);
    api.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &patch).await.map_err(kubernetes(act))?;
    Ok(())
}

/// Applies the status of an object that the operator does not create; see [`apply_part`].
///
/// # Errors
/// Names the act.
pub async fn apply_status<K>(api: &Api<K>, act: &'static str, name: &str, part: &Value) -> Result<(), Failure>
where
    K: Clone + Debug + DeserializeOwned,
{
    let patch = Patch::Apply(part);
    api.patch_status(name, &PatchParams::apply(FIELD_MANAGER).force(), &patch).await.map_err(kubernetes(act))?;
    Ok(())
}

/// Deletes exactly this object, unless it is gone already.
///
/// # Errors
/// Names the act.
pub async fn delete<K>(api: &Api<K>, act: &'static str, object: &K) -> Result<(), Failure>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let preconditions = Preconditions { uid: object.uid(), resource_version: None };
    match api.delete(&object.name_any(), &DeleteParams::default().preconditions(preconditions)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop).map_err(kubernetes(act)),
    }
}

fn is_terminating(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}
