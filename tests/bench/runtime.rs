//! The program in a node's pods: from its start to its readiness, and its memory when nobody asks for anything.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use fateh_tests::{
    figures::{Figures, percentile},
    program, ready_node, secret, variable,
};
use kube::{Api, Client};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
};

/// Starts the program as a pod would, with the files that a pod mounts.
pub async fn measure(client: &Client, figures: &mut Figures) {
    let operator = program::Program::start_directly("operator-runtime", &[]).await;
    ready_node(client, "bench-runtime", json!({})).await;
    let mounts = std::env::temp_dir().join(format!("fateh-bench-{}", std::process::id()));
    for directory in ["config", "database", "signing-key"] {
        fs::create_dir_all(mounts.join(directory)).unwrap();
    }
    for key in ["host", "port", "database", "username", "password", "sslmode"] {
        fs::write(mounts.join("database").join(key), secret(client, "bench-runtime", "node-database", key).await)
            .unwrap();
    }
    fs::write(mounts.join("signing-key/key.pem"), secret(client, "bench-runtime", "node-signing-key", "key.pem").await)
        .unwrap();
    let maps = Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(client.clone(), "fateh-node-bench-runtime");
    fs::write(mounts.join("config/node.json"), &maps.get("node").await.unwrap().data.unwrap()["node.json"]).unwrap();

    let mut starts = Vec::new();
    let mut idle = [0; 2];
    for last in (0..20).map(|index| index == 19) {
        let (port, management) = (free_port().await, free_port().await);
        let started = Instant::now();
        let mut child = Command::new(PathBuf::from(variable("FATEH_PROGRAMS")).join("node-runtime"))
            .env("FATEH_MOUNTS", &mounts)
            .env_remove("KUBECONFIG")
            .arg(format!("--http-address=127.0.0.1:{port}"))
            .arg(format!("--management-address=127.0.0.1:{management}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        while !is_ready(management).await {
            assert!(started.elapsed() < Duration::from_secs(10), "the runtime is not ready");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        starts.push(started.elapsed().as_secs_f64() * 1000.0);
        if last {
            tokio::time::sleep(Duration::from_secs(10)).await;
            idle = ["VmRSS:", "RssAnon:"].map(|line| program::memory(child.id().unwrap(), line));
        }
        child.kill().await.unwrap();
    }
    fs::remove_dir_all(mounts).unwrap();
    crate::fleet::remove(client, &["bench-runtime".to_owned()]).await;
    operator.stop().await;
    figures.add("node-runtime: start to /readyz 200, p50 of 20", percentile(&starts, 50), "ms", "50");
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let [resident, own] = idle.map(|memory| memory as f64 / 1000.0);
    figures.add("node-runtime: resident memory, idle", resident, "MB", "10");
    figures.add("... of it its own; the rest is the program's text, once for all nodes of a machine", own, "MB", "");
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

async fn is_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return false };
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: runtime\r\nconnection: close\r\n\r\n").await;
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).await.is_ok() && answer.starts_with("HTTP/1.1 200")
}
