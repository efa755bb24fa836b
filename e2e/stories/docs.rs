//! What the documentation tells its reader to type, typed.

use crate::{
    backbone::{kubectl, run, wait_ready},
    platform::{file, root},
};

/// The commands of a page: the lines of its fences that are marked `sh`.
fn commands(page: &str) -> Vec<String> {
    let text = file(page);
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => found.push(line.split("   #").next().unwrap().trim().to_owned()),
            _ => {}
        }
    }
    found
}

#[tokio::test]
async fn every_command_of_the_documentation_does_what_it_is_there_for() {
    let root = root();
    let samples = ["riyadh", "cairo", "jakarta"];
    kubectl(&["apply", "-f", &format!("{root}/manifests/samples/")]).await;
    for node in samples {
        wait_ready(node).await;
        kubectl(&["wait", "--for=condition=Reporting", "--timeout=60s", &format!("localnode/{node}")]).await;
    }
    let mut failed = Vec::new();
    let mut typed = 0;
    for page in ["README.md", "docs/content.md", "docs/kubectl.md", "docs/operations.md", "docs/platform.md"] {
        for command in commands(page) {
            // What goes on until it is stopped is stopped.
            let endless = command.contains("--follow");
            let limit = if endless { "5" } else { "120" };
            let ended = if endless { "; [ $? = 124 ]" } else { "" };
            let shell = format!("cd '{root}' && timeout {limit} bash -o pipefail -c \"$1\"{ended}");
            typed += 1;
            if let Err(error) = run("bash", &["-c", &shell, "-", &command]).await {
                failed.push(format!("{page}: {command}: {error}"));
            }
        }
    }
    assert!(typed > 20 && failed.is_empty(), "{} of {typed}: {failed:#?}", failed.len());
    kubectl(&["delete", "cdist", "algebra-1", "--timeout=60s"]).await;
    kubectl(&["delete", "localnode", "riyadh", "cairo", "jakarta", "--timeout=120s"]).await;
}
