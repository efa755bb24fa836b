//! `kubectl fateh logs`: what the pods of a node say.

use std::io::Write;

use fateh_crds::{CHILD_NAME, LocalNode, namespace_of};
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::LogParams};

use crate::cluster::{Cluster, Failure, failure};

/// Prints the logs of all pods of a node, each line after its pod's name.
pub async fn print(cluster: &Cluster, name: &str, follow: bool, tail: i64, previous: bool) -> Result<(), Failure> {
    let node: LocalNode = cluster.get(name).await?;
    let api = Api::<Pod>::namespaced(cluster.client.clone(), &namespace_of(name));
    let pods = cluster.list(&api, None).await?;
    if pods.is_empty() {
        let phase = node.status.unwrap_or_default().phase;
        return Err(Failure::Unfit(format!("{name} has no pods; it is {phase:?}")));
    }
    let parameters = LogParams {
        container: Some(CHILD_NAME.to_owned()),
        follow,
        tail_lines: Some(tail),
        previous,
        ..LogParams::default()
    };
    let streams = pods.iter().map(|pod| {
        let (api, parameters, pod) = (&api, &parameters, pod.name_any());
        async move {
            let log = api.log_stream(&pod, parameters).await;
            let log = log.map_err(|error| failure::<Pod>("read the logs of", Some(&pod), error))?;
            let what = format!("read the logs of {pod}");
            let lines = log.lines().map_err(move |error| Failure::Request(what.clone(), error.to_string()));
            Ok::<_, Failure>((pod, lines))
        }
    });
    let opened: Vec<_> = stream::iter(streams).buffered(8).collect().await;
    let mut lines = stream::SelectAll::new();
    for opened in opened {
        match opened {
            Ok((pod, log)) => lines.push(log.map_ok(move |line| format!("[{pod}] {line}\n")).boxed_local()),
            // One pod that does not start yet keeps nobody from what the others say.
            Err(failure) if pods.len() > 1 => eprintln!("{failure}"),
            Err(failure) => return Err(failure),
        }
    }
    while let Some(line) = lines.try_next().await? {
        std::io::stdout().write_all(line.as_bytes())?;
    }
    Ok(())
}
