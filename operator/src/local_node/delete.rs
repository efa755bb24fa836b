//! The end of a node: namespace, then database, then the finalizer. Needs a client.

use fateh_crds::{ABANDON_ANNOTATION, DatabaseStatus, LocalNode, ReclaimPolicy, Slug};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};

use super::observe;
use crate::{
    context::Context,
    database::Mark,
    failure::{Failure, kubernetes},
    kubernetes::delete,
};

/// What a step of the deletion came to.
pub enum Step {
    /// Nothing of the node is left; the finalizer can go.
    Done(String),
    /// Something must end first: one word, and a sentence.
    Waiting(&'static str, String),
}

/// Takes the next step. Each is idempotent: what is done already is passed over.
///
/// # Errors
/// When a step fails; it is tried again.
pub async fn step(context: &Context, node: &LocalNode) -> Result<Step, Failure> {
    let Ok(slug) = Slug::parse(&node.name_any()) else {
        return Ok(Step::Done("nothing was ever made under this name".to_owned()));
    };
    let uid = node.uid().unwrap_or_default();
    if let Some(waiting) = delete_namespace(context, &slug, &uid).await? {
        return Ok(waiting);
    }
    release_database(context, node, &slug, uid).await
}

#[tracing::instrument(level = "debug", skip_all)]
async fn delete_namespace(context: &Context, slug: &Slug, uid: &str) -> Result<Option<Step>, Failure> {
    let api = Api::<Namespace>::all(context.client.clone());
    let name = slug.namespace();
    let Some(namespace) = api.get_opt(&name).await.map_err(kubernetes("read the namespace"))? else { return Ok(None) };
    if !observe::is_namespace_of(&namespace, slug, uid) {
        return Ok(None);
    }
    if namespace.metadata.deletion_timestamp.is_none() {
        delete(&api, "delete the namespace", &namespace).await?;
    }
    Ok(Some(Step::Waiting("NamespaceTerminating", waiting_for(&name, &namespace))))
}

/// Kubernetes' own words on what keeps the namespace, where it has any.
fn waiting_for(name: &str, namespace: &Namespace) -> String {
    let conditions = namespace.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let remaining: Vec<_> = conditions
        .filter(|condition| condition.status == "True" && condition.type_.contains("Remaining"))
        .filter_map(|condition| condition.message.clone())
        .collect();
    if remaining.is_empty() {
        return format!("namespace {name} and all in it are being deleted");
    }
    format!("namespace {name} is being deleted: {}", remaining.join("; "))
}

#[tracing::instrument(level = "debug", skip_all)]
async fn release_database(context: &Context, node: &LocalNode, slug: &Slug, uid: String) -> Result<Step, Failure> {
    // The choice of a server is recorded before anything is made on it.
    let Some(database) = node.status.as_ref().and_then(|status| status.database.as_ref()) else {
        return Ok(Step::Done("no database had been made".to_owned()));
    };
    let DatabaseStatus { name, server, .. } = database;
    if node.annotations().get(ABANDON_ANNOTATION) == Some(&uid) {
        return Ok(Step::Done(format!(
            "database {name} on server {server} is given up, as asked: nothing was done to it"
        )));
    }
    let servers = context.database_servers.all();
    let Some(resource) = servers.into_iter().find(|resource| resource.name_any() == *server) else {
        return Ok(Step::Waiting(
            "DatabaseServerUnknown",
            format!(
                "database {name} lies on DatabaseServer {server}, which does not exist; create it again, or give the database up with the annotation {ABANDON_ANNOTATION}: \"{uid}\""
            ),
        ));
    };
    let server = observe::connect(context, resource).await?.server;
    let mark = Mark { node: uid, cluster: context.cluster.clone() };
    let done = match node.spec.database.reclaim_policy {
        ReclaimPolicy::Retain => match server.retire_database(slug, &mark, context.clock.now()).await? {
            Some(retired) => format!("the database is retained as {retired} on server {}", server.name),
            None => "there was no database left to retain".to_owned(),
        },
        ReclaimPolicy::Delete => {
            server.drop_database(slug, &mark).await?;
            format!("the database is dropped from server {}", server.name)
        }
    };
    Ok(Step::Done(done))
}
