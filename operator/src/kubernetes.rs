//! The few ways in which the operator writes to Kubernetes.

use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    context::Context,
    failure::{Failure, kubernetes},
    ownership::take_over,
};

/// Field manager of everything that the operator applies.
pub const FIELD_MANAGER: &str = "fateh-operator";

/// Applies a child that is the operator's alone, unless it is as it was left.
///
/// # Errors
/// As [`apply`].
pub async fn ensure<K>(context: &Context, act: &'static str, object: &K) -> Result<(), Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    if context.applied.stands(object) { Ok(()) } else { apply(context, act, object).await.map(drop) }
}

/// The same, and returns the child as it is now, status included.
///
/// # Errors
/// As [`apply`].
pub async fn ensure_and_read<K>(context: &Context, act: &'static str, object: &K) -> Result<K, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    if context.applied.stands(object) {
        let namespace = object.namespace().unwrap_or_default();
        let api = Api::<K>::namespaced(context.client.clone(), &namespace);
        if let Some(found) = api.get_opt(&object.name_any()).await.map_err(kubernetes(act))? {
            return Ok(found);
        }
    }
    apply(context, act, object).await
}

/// Applies a child that is the operator's alone: what others added to it is removed.
/// Returns what the API server made of it, status included.
///
/// # Errors
/// Names the act; a namespace that is being deleted is told apart, because it only takes waiting.
pub async fn apply<K>(context: &Context, act: &'static str, object: &K) -> Result<K, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let applied = apply_shared(context, act, object).await?;
    let Some(entries) = take_over(applied.managed_fields(), FIELD_MANAGER) else {
        context.applied.left(object, &applied);
        return Ok(applied);
    };
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<K>::namespaced(context.client.clone(), &namespace);
    // The version guards against a change in between: then the next pass tries again.
    let part = json!({"metadata": {"resourceVersion": applied.resource_version(), "managedFields": entries}});
    api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&part)).await.map_err(kubernetes(act))?;
    // The version that it was to be applied to is passed by what we did ourselves.
    let mut again = object.clone();
    again.meta_mut().resource_version = None;
    let applied = apply_shared(context, act, &again).await?;
    // Only now is it as it is to be left.
    context.applied.left(object, &applied);
    Ok(applied)
}

/// Applies a child of which others may own parts of the spec, unless it is as it was left.
///
/// # Errors
/// As [`apply`].
pub async fn ensure_shared<K>(context: &Context, act: &'static str, object: &K) -> Result<(), Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    if !context.applied.stands(object) {
        let applied = apply_shared(context, act, object).await?;
        context.applied.left(object, &applied);
    }
    Ok(())
}

/// Applies a child of which others may own parts of the spec; see [`apply`].
///
/// # Errors
/// As [`apply`].
async fn apply_shared<K>(context: &Context, act: &'static str, object: &K) -> Result<K, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<K>::namespaced(context.client.clone(), &namespace);
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

/// Applies the status of an object that the operator does not create; see [`apply_part`]. The object as it is then.
///
/// # Errors
/// Names the act.
pub async fn apply_status<K>(api: &Api<K>, act: &'static str, name: &str, part: &Value) -> Result<(), Failure>
where
    K: Clone + Debug + DeserializeOwned,
{
    let patch = Patch::Apply(part);
    let written = api.patch_status(name, &PatchParams::apply(FIELD_MANAGER).force(), &patch).await;
    written.map(drop).map_err(kubernetes(act))
}

/// An object; none where there is none of the name, or no such type: of a type that it does not know, the API server
/// says 404 without a reason.
///
/// # Errors
/// Names the act.
pub async fn find<K>(api: &Api<K>, act: &'static str, name: &str) -> Result<Option<K>, Failure>
where
    K: Clone + Debug + DeserializeOwned,
{
    match api.get(name).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        other => other.map(Some).map_err(kubernetes(act)),
    }
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

/// Whether an object is held by this finalizer.
pub fn has_finalizer(object: &impl ResourceExt, finalizer: &str) -> bool {
    object.finalizers().iter().any(|held| held == finalizer)
}

/// Puts a finalizer of ours on exactly this object, where it is not yet.
///
/// # Errors
/// Names the act.
pub async fn put_finalizer<K>(api: &Api<K>, act: &'static str, object: &K, finalizer: &str) -> Result<(), Failure>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    if has_finalizer(object, finalizer) {
        return Ok(());
    }
    let part = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()),
        "metadata": {"uid": object.uid(), "finalizers": [finalizer]},
    });
    apply_part(api, act, &object.name_any(), &part).await
}

/// Takes a finalizer of ours off exactly this object, unless it is gone already. Not by server-side apply, which
/// would leave it if anyone else had applied it too.
///
/// # Errors
/// Names the act; a change by another at the same moment is left to the next pass.
pub async fn remove_finalizer<K>(api: &Api<K>, act: &'static str, object: &K, finalizer: &str) -> Result<(), Failure>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    // Read anew, so that no one's finalizer is lost and the status written a moment ago is no conflict.
    let Some(current) = api.get_opt(&object.name_any()).await.map_err(kubernetes(act))? else { return Ok(()) };
    let kept: Vec<_> = current.finalizers().iter().filter(|kept| *kept != finalizer).collect();
    let part =
        json!({"metadata": {"uid": object.uid(), "resourceVersion": current.resource_version(), "finalizers": kept}});
    match api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&part)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop).map_err(kubernetes(act)),
    }
}

fn is_terminating(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}
