//! The cluster, and what can go wrong with it, in words that help who sits at the command line.

use std::{fmt::Debug, path::Path};

use fateh_crds::GROUP;
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Who writes what is written here.
const FIELD_MANAGER: &str = "kubectl-fateh";
/// Objects that are fetched at once.
const PAGE: u32 = 500;

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No cluster is named, or the file that names it cannot be read.
    #[error(
        "no cluster to speak to: {0}; name a file with --kubeconfig or the variable KUBECONFIG, and a context of it with --context"
    )]
    Kubeconfig(#[from] KubeconfigError),
    /// The API server answered that this is not allowed.
    #[error("you may not {0}: ask who runs the platform to bind you to the ClusterRole {1}")]
    Forbidden(String, &'static str),
    /// There is no object of that name.
    #[error("there is no {0} named {1:?}")]
    NotFound(String, String),
    /// The kind is not known to the cluster.
    #[error(
        "this cluster does not know {0}: install the chart fateh-crds first, or choose another context with --context"
    )]
    NotInstalled(String),
    /// The API server refused the token or certificate.
    #[error("the cluster does not know you: {0}; sign in again as for kubectl")]
    Unauthorized(String),
    /// The API server said no in another way.
    #[error("the cluster refused to {0}: {1}")]
    Refused(String, String),
    /// The API server could not be asked.
    #[error("could not {0}: {1}")]
    Request(String, String),
    /// The command does not fit what there is.
    #[error("{0}")]
    Unfit(String),
    /// It could not be printed.
    #[error("could not print: {0}")]
    Output(#[from] std::io::Error),
}

/// A cluster that can be asked.
pub struct Cluster {
    /// Speaks to it.
    pub client: Client,
}

impl Cluster {
    /// The cluster that kubectl would speak to.
    ///
    /// # Errors
    /// When none is named.
    pub async fn connect(file: Option<&Path>, context: Option<String>) -> Result<Self, Failure> {
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let config = match file {
            Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
            None => Config::from_kubeconfig(&options).await?,
        };
        let client = Client::try_from(config)
            .map_err(|error| Failure::Request("speak to the cluster".to_owned(), error.to_string()))?;
        Ok(Self { client })
    }

    /// All objects of a cluster-wide kind, or those that a selector takes, by name.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn all<K>(&self, selector: Option<&str>) -> Result<Vec<K>, Failure>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.list(&Api::all(self.client.clone()), selector).await
    }

    /// All objects of an API that a selector takes, by namespace and name.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn list<K>(&self, api: &Api<K>, selector: Option<&str>) -> Result<Vec<K>, Failure>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let mut parameters = ListParams::default().limit(PAGE);
        parameters.label_selector = selector.map(str::to_owned);
        let mut found = Vec::new();
        loop {
            let page = api.list(&parameters).await.map_err(|error| failure::<K>("list", None, error))?;
            found.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => break,
            }
        }
        found.sort_by_key(|object| (object.namespace(), object.name_any()));
        Ok(found)
    }

    /// An object of a cluster-wide kind.
    ///
    /// # Errors
    /// When it cannot be read, or is not there.
    pub async fn get<K>(&self, name: &str) -> Result<K, Failure>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::all(self.client.clone());
        api.get(name).await.map_err(|error| failure::<K>("read", Some(name), error))
    }

    /// Gives an object an annotation, or takes it away; nothing else of the object changes.
    ///
    /// # Errors
    /// When it cannot be changed.
    pub async fn annotate<K>(&self, object: &K, annotation: &str, value: Option<&str>) -> Result<(), Failure>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let name = object.name_any();
        // The very object that was looked at, and not one of the same name that was made since.
        let patch = json!({"metadata": {"uid": object.uid(), "annotations": {annotation: value.map_or(Value::Null, Value::from)}}});
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = Api::<K>::all(self.client.clone());
        let written = api.patch_metadata(&name, &parameters, &Patch::Merge(patch)).await;
        written.map(drop).map_err(|error| failure::<K>("change", Some(&name), error))
    }
}

/// What the API server's answer about a kind, or an object of it, means for who asked.
pub fn failure<K: Resource<DynamicType = ()>>(verb: &str, name: Option<&str>, error: kube::Error) -> Failure {
    let kind = if name.is_some() { K::kind(&()) } else { K::plural(&()) };
    let what = name.map_or_else(|| format!("{verb} {kind}"), |name| format!("{verb} {kind} {name:?}"));
    let kube::Error::Api(status) = error else { return Failure::Request(what, reason(&error)) };
    let role = match verb {
        "change" => "fateh-content-editor",
        _ if K::group(&()) == GROUP => "fateh-viewer",
        _ => "fateh-node-inspector",
    };
    match (status.code, name) {
        (401, _) => Failure::Unauthorized(status.message.clone()),
        (403, _) => Failure::Forbidden(what, role),
        // A kind that is not known has no details of an object.
        (404, Some(name)) if status.details.as_ref().is_some_and(|details| !details.name.is_empty()) => {
            Failure::NotFound(kind.into_owned(), name.to_owned())
        }
        (404, _) => Failure::NotInstalled(kind.into_owned()),
        _ => Failure::Refused(what, status.message.clone()),
    }
}

/// The innermost cause: what is around it repeats it.
fn reason(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use fateh_crds::{ContentDistribution, LocalNode};
    use k8s_openapi::api::core::v1::Pod;
    use kube::core::Status;

    use super::*;

    fn said(code: u16, details: Option<&str>) -> kube::Error {
        let details = details.map(|name| json!({"name": name, "kind": "localnodes"}));
        let status = json!({"code": code, "message": "as the server says", "reason": "", "details": details});
        kube::Error::Api(Box::new(serde_json::from_value::<Status>(status).unwrap()))
    }

    #[test]
    fn what_the_server_says_is_said_again_so_that_it_helps() {
        let cases = [
            (
                failure::<LocalNode>("list", None, said(403, None)),
                "you may not list localnodes: ask who runs the platform to bind you to the ClusterRole fateh-viewer",
            ),
            (
                failure::<Pod>("list", None, said(403, None)),
                "you may not list pods: ask who runs the platform to bind you to the ClusterRole fateh-node-inspector",
            ),
            (
                failure::<ContentDistribution>("change", Some("algebra"), said(403, Some("algebra"))),
                "you may not change ContentDistribution \"algebra\": ask who runs the platform to bind you to the ClusterRole fateh-content-editor",
            ),
            (
                failure::<LocalNode>("read", Some("nowhere"), said(404, Some("nowhere"))),
                "there is no LocalNode named \"nowhere\"",
            ),
            (
                failure::<LocalNode>("list", None, said(404, None)),
                "this cluster does not know localnodes: install the chart fateh-crds first, or choose another context with --context",
            ),
            (
                failure::<LocalNode>("list", None, said(401, None)),
                "the cluster does not know you: as the server says; sign in again as for kubectl",
            ),
            (
                failure::<LocalNode>("list", None, said(500, None)),
                "the cluster refused to list localnodes: as the server says",
            ),
        ];
        for (failure, expected) in cases {
            assert_eq!(failure.to_string(), expected);
        }
    }
}
