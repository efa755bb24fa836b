//! What `kubectl get` shows at a glance.

use fateh_crds::ContentDistribution;
use fateh_tests::{apply_node, delete_node, eventually, kubernetes, variable};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

/// Of twenty characters.
const NAME: &str = "as-long-as-it-may-be";

async fn shown(arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(format!("{}/bin/kubectl", variable("FATEH_STATE")));
    let output = command.arg("get").args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn every_kind_fits_eighty_columns_with_names_of_twenty_characters() {
    let client = kubernetes().await;
    // No pods run here: it stays where the words are longest.
    apply_node(&client, NAME, json!({"region": "pg18"})).await.unwrap();
    let distributions = Api::<ContentDistribution>::all(client.clone());
    let distribution = json!({
        "apiVersion": "fateh-platform.com/v1alpha1", "kind": "ContentDistribution", "metadata": {"name": NAME},
        "spec": {
            "content": {"id": NAME, "type": "Lesson", "version": "1.10.2", "source": {"inline": {"ar": {"text": "x"}}}},
            "targets": {"nodes": [NAME]}, "rollout": {"stages": [{"name": "everyone", "approval": true}]},
        },
    });
    distributions.patch(NAME, &PatchParams::apply("column-tests"), &Patch::Apply(&distribution)).await.unwrap();
    eventually("both to be under way", 60, async || {
        let [nodes, rollouts] = [shown(&["ln", NAME]).await, shown(&["cdist", NAME]).await];
        let waits = nodes.contains("Unknown") && nodes.contains("Provisioning") && rollouts.contains("everyone");
        if waits { Ok(()) } else { Err((nodes, rollouts)) }
    })
    .await;
    let namespace = format!("fateh-node-{NAME}");
    let tables = [
        shown(&["localnodes", NAME]).await,
        shown(&["contentdistributions", NAME]).await,
        shown(&["databaseservers"]).await,
        shown(&["nodereports", "-n", &namespace]).await,
        shown(&["nodecontents", "-n", &namespace]).await,
    ];
    for line in tables.iter().flat_map(|table| table.lines()) {
        assert!(line.trim_end().len() <= 80, "{} columns: {line}", line.len());
    }
    distributions.delete(NAME, &DeleteParams::default()).await.unwrap();
    delete_node(&client, NAME).await;
}
