//! A trial of an installation, as its user would try it: a node is made, serves, and is deleted again. It is what
//! `helm test` runs, because Helm itself does not wait for custom resources.

use std::{future::Future, time::Duration};

use fateh_crds::LocalNode;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
    runtime::wait::{Condition, await_condition, conditions::is_deleted},
};
use serde_json::json;

use crate::conditions;

/// What is tried, and how long it may take.
#[derive(Clone, Debug, clap::Args)]
pub struct Trial {
    /// Region of the node: one that a DatabaseServer takes.
    #[arg(long, default_value = "trial")]
    region: String,
    /// Seconds for the node to be ready, and again for it to be gone.
    #[arg(long, default_value_t = 180)]
    timeout: u64,
}

/// Why an installation did not pass.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Kubernetes is not reached, or refuses.
    #[error("{0}")]
    Kubernetes(&'static str, #[source] kube::Error),
    /// The watch of the node ended.
    #[error("watch the node")]
    Watch(#[from] kube::runtime::wait::Error),
    /// It took too long; what the node said last.
    #[error("the node is not {0} after {1} s; it says: {2}")]
    Late(&'static str, u64, String),
}

impl Trial {
    /// Makes the node, waits, and deletes it, also when it never served.
    ///
    /// # Errors
    /// What failed first.
    pub async fn run(&self) -> Result<(), TrialError> {
        let client = Client::try_default().await.map_err(|error| TrialError::Kubernetes("reach Kubernetes", error))?;
        let nodes = Api::<LocalNode>::all(client);
        let name = format!("trial-{:08x}", rand::random::<u32>());
        let node = json!({
            "apiVersion": "fateh-platform.com/v1alpha1", "kind": "LocalNode", "metadata": {"name": name},
            "spec": {"displayName": "trial", "region": self.region, "adminEmail": "trial@example.com",
                "database": {"reclaimPolicy": "Delete"}},
        });
        let node = serde_json::from_value(node).expect("a LocalNode, as its type says");
        let made = nodes.create(&PostParams::default(), &node).await;
        let made = made.map_err(|error| TrialError::Kubernetes("make a LocalNode", error))?;
        tracing::info!(node = name, "made");
        let served = self.within("ready", &nodes, &name, await_condition(nodes.clone(), &name, is_ready())).await;
        if served.is_ok() {
            tracing::info!(node = name, "serves");
        }
        let deleted = nodes.delete(&name, &DeleteParams::default()).await;
        deleted.map_err(|error| TrialError::Kubernetes("delete the LocalNode", error))?;
        let uid = made.uid().unwrap_or_default();
        let gone = await_condition(nodes.clone(), &name, is_deleted(&uid));
        let gone = self.within("gone", &nodes, &name, gone).await;
        served.and(gone)?;
        tracing::info!(node = name, "gone, with its data");
        Ok(())
    }

    async fn within<T>(
        &self,
        what: &'static str,
        nodes: &Api<LocalNode>,
        name: &str,
        condition: impl Future<Output = Result<T, kube::runtime::wait::Error>>,
    ) -> Result<(), TrialError> {
        match tokio::time::timeout(Duration::from_secs(self.timeout), condition).await {
            Ok(met) => Ok(met.map(drop)?),
            Err(_) => Err(TrialError::Late(what, self.timeout, last_words(nodes, name).await)),
        }
    }
}

fn is_ready() -> impl Condition<LocalNode> {
    |node: Option<&LocalNode>| {
        let status = node.and_then(|node| node.status.as_ref());
        status.is_some_and(|status| conditions::is_true(&status.conditions, "Ready"))
    }
}

/// What the node says of itself.
async fn last_words(nodes: &Api<LocalNode>, name: &str) -> String {
    let status = nodes.get_opt(name).await.ok().flatten().and_then(|node| node.status);
    let said = status.and_then(|status| {
        let ready = conditions::find(&status.conditions, "Ready")?;
        Some(format!("{}: {}", ready.reason, ready.message))
    });
    said.unwrap_or_else(|| "nothing; is the operator running?".to_owned())
}
