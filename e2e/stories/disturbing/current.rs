//! `make demo CLUSTER=current`, as one who has a cluster, a registry and a database server of their own.

use std::process::Stdio;

use fateh_tests::{eventually, variable};
use tokio::process::{Child, Command};

use crate::{
    backbone::{PASSWORD, kubectl, run},
    hub,
    platform::root,
};

/// A registry in memory, on loopback.
async fn registry() -> (Child, String) {
    let tools = format!("{}/tools.sh", variable("FATEH_CLUSTER"));
    let crane = run(&tools, &["crane"]).await.unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let serving = Command::new(crane.trim())
        .args(["registry", "serve", "--address", &address])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually("the registry", 10, async || run("curl", &["-sf", &format!("http://{address}/v2/")]).await).await;
    (serving, address)
}

/// Runs the demo with these settings; what it said.
async fn demo(settings: &[String], input: Stdio) -> Result<String, String> {
    let output = Command::new("make")
        .args(["--no-print-directory", "-C", &root(), "demo", "CLUSTER=current"])
        .args(settings)
        .stdin(input)
        .output()
        .await
        .unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[tokio::test]
async fn the_demo_runs_on_a_cluster_of_one_s_own_with_images_from_a_registry() {
    // Stories before this one have made the first platform admin.
    hub::admin().await;
    let made = ["delete", "localnodes", "riyadh", "cairo", "jakarta", "amman", "--ignore-not-found", "--timeout=60s"];
    kubectl(&made).await;
    let cluster = kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"]).await;
    let kept = format!("{}/.dev/clusters/{cluster}", root());
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::write(format!("{kept}/admin-password"), PASSWORD).unwrap();

    let (_registry, address) = registry().await;
    let settings = [format!("IMAGE_REGISTRY={address}/fateh"), "DATABASE_SERVER=default".to_owned()];
    let refused = demo(&settings, Stdio::null()).await.unwrap_err();
    assert!(refused.contains("context           fateh") && refused.contains("nothing was done"), "{refused}");
    assert!(!refused.contains("build the programs"), "{refused}");
    let missing = demo(&settings[..1], Stdio::null()).await.unwrap_err();
    assert!(missing.contains("DATABASE_SERVER="), "{missing}");

    let reached =
        ["YES=1".to_owned(), "INGRESS_ADDRESS=127.0.0.1".to_owned(), format!("CA_FILE={}", variable("FATEH_CA"))];
    let said = demo(&[&settings[..], &reached].concat(), Stdio::null()).await.unwrap_or_else(|said| panic!("{said}"));
    assert!(said.contains("amman has received 25.500 JOD"), "{said}");
    for node in ["amman", "cairo", "jakarta", "riyadh"] {
        let row: Vec<_> =
            said.lines().find(|line| line.starts_with(node)).unwrap_or_default().split_whitespace().collect();
        assert_eq!(row.get(..3), Some(&[node, "Ready", "yes"][..]), "{said}");
    }
    let image = "jsonpath={.items[0].spec.containers[0].image}";
    for (namespace, program) in [("fateh-system", "fateh-operator"), ("fateh-node-amman", "node-runtime")] {
        let label = format!("app.kubernetes.io/name={}", if program == "node-runtime" { "node" } else { program });
        let pulled = kubectl(&["get", "pods", "-n", namespace, "-l", &label, "-o", image]).await;
        assert!(pulled.starts_with(&format!("{address}/fateh/{program}@sha256:")), "{pulled}");
    }

    // The stories after this one find the platform as it was.
    kubectl(&["delete", "contentdistribution", "algebra-1", "--timeout=60s"]).await;
    kubectl(&made).await;
    std::fs::remove_dir_all(kept).unwrap();
    let deployed = run(&format!("{}/deploy.sh", variable("FATEH_CLUSTER")), &[]).await;
    deployed.unwrap_or_else(|error| panic!("{error}"));
}
