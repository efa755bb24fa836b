//! The platform as its engineers see it: chart, containers and pods.

use fateh_tests::variable;

use crate::backbone::{kubectl, run};

/// The text of a file of the project.
pub fn file(path: &str) -> String {
    let path = format!("{}/{path}", root());
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The project's own folder.
pub fn root() -> String {
    format!("{}/../..", variable("FATEH_CLUSTER"))
}

pub async fn helm(arguments: &[&str]) -> String {
    run("helm", arguments).await.unwrap_or_else(|error| panic!("helm {arguments:?}: {error}"))
}

/// Upgrades the platform, with these settings in the place of what it had.
pub async fn upgrade(settings: &[String]) {
    let chart = format!("{}/charts/fateh", root());
    let mut arguments = vec!["upgrade", "fateh", &chart, "--namespace=fateh-system", "--reuse-values"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    helm(&arguments).await;
}

/// Waits until operator and hub run as they were last told to.
pub async fn rolled_out() {
    for deployment in ["fateh-operator", "fateh-hub"] {
        kubectl(&["rollout", "status", &format!("deployment/{deployment}"), "-n", "fateh-system", "--timeout=120s"])
            .await;
    }
}

/// containerd's own client, at the local cluster's socket.
pub async fn ctr(arguments: &[&str]) -> String {
    let socket = format!("{}/containerd.sock", variable("FATEH_RUN"));
    let all = [&["--address", &socket, "--namespace", "k8s.io"], arguments].concat();
    run("ctr", &all).await.unwrap_or_else(|error| panic!("ctr {arguments:?}: {error}"))
}

/// The process of a container, as the machine knows it, by the identifier that the pod's status has.
pub async fn process(container: &str) -> String {
    let id = container.rsplit('/').next().unwrap();
    let tasks = ctr(&["tasks", "list"]).await;
    tasks.lines().find(|line| line.starts_with(id)).unwrap().split_whitespace().nth(1).unwrap().to_owned()
}

/// The pods of a node and how often their containers were restarted.
pub async fn pods(node: &str) -> String {
    let columns = "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
    kubectl(&["get", "pods", "-n", &format!("fateh-node-{node}"), "-o", columns]).await
}
