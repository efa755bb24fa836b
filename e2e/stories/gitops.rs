//! GitOps with the real Argo CD, by the Applications and health checks that the project ships: what is committed comes to
//! be, and the Application says how it is.

use std::{fs::File, path::PathBuf, process::Stdio, time::Duration};

use fateh_tests::{eventually, variable};
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    sync::OnceCell,
};

use crate::{
    backbone::{answers, apply, apply_text, host, kubectl, kubectl_json, manifest, run, sql, wait_ready},
    platform::file,
};

/// Brings Argo CD up, once for all stories.
async fn argocd() {
    static UP: OnceCell<()> = OnceCell::const_new();
    UP.get_or_init(async || {
        let script = format!("{}/argocd.sh", variable("FATEH_CLUSTER"));
        run(&script, &[]).await.unwrap_or_else(|error| panic!("Argo CD: {error}"));
    })
    .await;
}

/// A repository as an engineer keeps one: nodes and content, a file each.
struct Repository(PathBuf);

impl Repository {
    async fn of(story: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("fateh-gitops-{story}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let repository = Self(directory);
        repository.git(&["init", "--quiet", "--initial-branch=main"]).await;
        repository
    }

    async fn git(&self, arguments: &[&str]) -> String {
        let identity = ["-c", "user.name=sara", "-c", "user.email=sara@example.com", "-c", "commit.gpgsign=false"];
        let directory = ["-C", self.0.to_str().unwrap()];
        let all = [&directory[..], &identity[..], arguments].concat();
        run("git", &all).await.unwrap_or_else(|error| panic!("git {arguments:?}: {error}"))
    }

    /// Commits a file, or that there is none any more; the commit's name.
    async fn commit(&self, file: &str, text: Option<&str>) -> String {
        let path = self.0.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match text {
            Some(text) => std::fs::write(path, text).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        self.git(&["add", "--all"]).await;
        self.git(&["commit", "--quiet", "--message", file]).await;
        self.git(&["rev-parse", "HEAD"]).await.trim().to_owned()
    }

    /// Applies one of the Applications that the project ships, for this repository.
    async fn follow(&self, application: &str) {
        let text = file(&format!("manifests/argocd/{application}.yaml"));
        let shipped = "https://git.example.com/fateh/fleet.git";
        assert!(text.contains(shipped), "{text}");
        apply_text(&text.replace(shipped, &format!("file://{}", self.0.display()))).await;
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The status of an Application, once it is in step with a commit and as well as is expected.
async fn application(name: &str, revision: &str, health: &str) -> Value {
    eventually(&format!("{name} is {health} at the commit"), 120, async || {
        let found = kubectl_json(&["get", "applications.argoproj.io", name, "-n", "argocd"]).await;
        let status = &found["status"];
        let sync = &status["sync"];
        let there = sync["revision"] == revision
            && sync["status"] == "Synced"
            && status["health"]["status"] == health
            && status["operationState"]["phase"] == "Succeeded";
        if there { Ok(status.clone()) } else { Err(status.clone()) }
    })
    .await
}

/// What an Application says of a resource: how it is, and why.
fn health(status: &Value, name: &str) -> (String, String) {
    let resource = status["resources"].as_array().unwrap().iter().find(|resource| resource["name"] == name);
    let health = &resource.unwrap_or_else(|| panic!("no {name}: {status}"))["health"];
    (health["status"].as_str().unwrap().to_owned(), health["message"].as_str().unwrap_or_default().to_owned())
}

/// Everything that an Application has said of itself since, a line each: in step, how it is, at which commit.
struct Told {
    file: PathBuf,
    _watch: Child,
}

impl Told {
    fn by(application: &str) -> Self {
        let file = std::env::temp_dir().join(format!("fateh-told-{application}-{}", std::process::id()));
        let line = "{.status.sync.status} {.status.health.status} {.status.sync.revision} {.status.operationState.finishedAt}{\"\\n\"}";
        let watch = Command::new("kubectl")
            .args(["get", "applications.argoproj.io", application, "-n", "argocd", "--watch", "-o"])
            .arg(format!("jsonpath={line}"))
            .stdout(Stdio::from(File::create(&file).unwrap()))
            .kill_on_drop(true)
            .spawn();
        Self { file, _watch: watch.unwrap() }
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(&self.file).unwrap().lines().map(str::to_owned).collect()
    }

    /// At rest the Application is left alone: looked at every five seconds, in step and well each time, and nothing is
    /// applied again.
    async fn rests(&self) {
        let operation = |line: &String| line.split(' ').nth(3).unwrap_or_default().to_owned();
        let steadily = |line: &String| line.starts_with("Synced Healthy");
        // The watch tells a moment later than the Application says so.
        let before = eventually("the watch of the Application is up to date", 30, async || {
            let lines = self.lines();
            if lines.last().is_some_and(steadily) { Ok(lines) } else { Err(lines) }
        })
        .await;
        let last = operation(before.last().unwrap());
        // The time is what is tested here.
        tokio::time::sleep(Duration::from_secs(if fateh_tests::soak() { 300 } else { 20 })).await;
        let at_rest = self.lines().split_off(before.len());
        let steady = |line: &String| steadily(line) && operation(line) == last;
        assert!(!at_rest.is_empty(), "Argo CD has not looked at it");
        assert!(at_rest.iter().all(steady), "{at_rest:#?}");
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Healthy is said of the node as it is now, and of no generation before.
async fn is_of_this_generation(node: &str) {
    let found = kubectl_json(&["get", "localnode", node]).await;
    assert_eq!(found["status"]["observedGeneration"], found["metadata"]["generation"], "{found}");
}

#[tokio::test]
async fn a_commit_becomes_a_node_and_the_application_says_how_it_is() {
    argocd().await;
    let repository = Repository::of("nodes").await;
    repository.commit("nodes/jaffa.yaml", Some(&manifest("jaffa", "يافا", ""))).await;
    let first = repository.commit("nodes/galilee.yaml", Some(&manifest("galilee", "الجليل", ""))).await;
    repository.follow("nodes").await;
    let told = Told::by("fateh-nodes");

    application("fateh-nodes", &first, "Healthy").await;
    is_of_this_generation("galilee").await;
    let http = host("galilee");
    assert_eq!(answers(&http).await["displayName"], "الجليل");
    let before = told.lines();
    assert!(!before.iter().any(|line| line.contains("Degraded")), "on its way it was called Degraded: {before:#?}");

    // What is changed in git follows.
    let renamed = repository.commit("nodes/galilee.yaml", Some(&manifest("galilee", "الجليل الأعلى", ""))).await;
    application("fateh-nodes", &renamed, "Healthy").await;
    is_of_this_generation("galilee").await;
    eventually("the new name is served", 60, async || match answers(&http).await {
        named if named["displayName"] == "الجليل الأعلى" => Ok(()),
        other => Err(other),
    })
    .await;
    let changed = told.lines();
    assert!(!changed.iter().any(|line| line.contains("Degraded")), "a change was called Degraded: {changed:#?}");

    // What cannot be is said where the engineer looks, and the rest is served on.
    let broken = "  routing: {extraHosts: [learn.example.com], tlsSecretName: learn-tls}\n";
    let broken = repository.commit("nodes/galilee.yaml", Some(&manifest("galilee", "الجليل", broken))).await;
    let status = application("fateh-nodes", &broken, "Degraded").await;
    let (of_it, why) = health(&status, "galilee");
    assert!(of_it == "Degraded" && why.contains("learn-tls"), "{of_it}: {why}");
    assert_eq!(health(&status, "jaffa").0, "Healthy");
    answers(&http).await;
    let mended = repository.commit("nodes/galilee.yaml", Some(&manifest("galilee", "الجليل", ""))).await;
    application("fateh-nodes", &mended, "Healthy").await;
    is_of_this_generation("galilee").await;

    // What is edited by hand is put back.
    let edit = r#"{"spec": {"displayName": "by hand"}}"#;
    kubectl(&["patch", "localnode", "galilee", "--type=merge", "-p", edit]).await;
    eventually("the edit is healed", 60, async || {
        let name = kubectl(&["get", "localnode", "galilee", "-o", "jsonpath={.spec.displayName}"]).await;
        if name == "الجليل" { Ok(()) } else { Err(name) }
    })
    .await;
    application("fateh-nodes", &mended, "Healthy").await;
    // Suspended as git asks is well.
    let asleep = repository.commit("nodes/jaffa.yaml", Some(&manifest("jaffa", "يافا", "  state: Suspended\n"))).await;
    let status = application("fateh-nodes", &asleep, "Healthy").await;
    assert_eq!(health(&status, "jaffa").0, "Healthy");

    told.rests().await;

    // A file that goes takes its node with it, and leaves the data.
    let removed = repository.commit("nodes/galilee.yaml", None).await;
    application("fateh-nodes", &removed, "Healthy").await;
    kubectl(&["wait", "--for=delete", "localnode/galilee", "--timeout=60s"]).await;
    let retained = "SELECT count(*) FROM pg_database WHERE datname LIKE 'deleted\\_galilee\\_%'";
    assert_eq!(sql(retained).await, "1");
    kubectl(&["delete", "applications.argoproj.io", "fateh-nodes", "-n", "argocd", "--timeout=60s"]).await;
    kubectl(&["delete", "localnode", "jaffa", "--timeout=60s"]).await;
}

const COURSE: &str = "apiVersion: fateh-platform.com/v1alpha1
kind: ContentDistribution
metadata: {name: verses}
spec:
  content:
    id: verses
    type: Lesson
    version: VERSION
    title: {ar: أبيات}
    source: {inline: {ar: {text: VERSION}}}
  targets: {nodes: [haifa, acre]}
  removal: Delete
  rollout:
    stages:
    - {name: first, nodes: [haifa]}
    - {name: rest, approval: true}
";

#[tokio::test]
async fn content_waits_for_its_approval_as_suspended_and_what_is_annotated_survives_git() {
    argocd().await;
    for name in ["haifa", "acre"] {
        apply(name, "").await;
    }
    for name in ["haifa", "acre"] {
        wait_ready(name).await;
    }
    let repository = Repository::of("content").await;
    let first = repository.commit("content/verses.yaml", Some(&COURSE.replace("VERSION", "\"1\""))).await;
    repository.follow("content").await;
    let told = Told::by("fateh-content");
    application("fateh-content", &first, "Suspended").await;
    kubectl(&["fateh", "approve", "verses"]).await;
    application("fateh-content", &first, "Healthy").await;
    let annotations = async || kubectl_json(&["get", "cdist", "verses"]).await["metadata"]["annotations"].clone();
    let approval = annotations().await["fateh-platform.com/approve"].clone();
    assert!(approval.as_str().is_some_and(|said| said.ends_with("/rest")), "{approval}");

    // Git knows nothing of the approval, and another version does not take it away, nor inherit it.
    let second = repository.commit("content/verses.yaml", Some(&COURSE.replace("VERSION", "\"2\""))).await;
    let status = application("fateh-content", &second, "Suspended").await;
    assert!(!health(&status, "verses").1.is_empty(), "what it waits for is said");
    assert_eq!(annotations().await["fateh-platform.com/approve"], approval);
    kubectl(&["fateh", "approve", "verses"]).await;
    application("fateh-content", &second, "Healthy").await;
    told.rests().await;
    let told = told.lines();
    assert!(!told.iter().any(|line| line.contains("Degraded")), "{told:#?}");

    kubectl(&["delete", "applications.argoproj.io", "fateh-content", "-n", "argocd", "--timeout=60s"]).await;
    kubectl(&["delete", "cdist", "verses", "--timeout=60s"]).await;
    kubectl(&["delete", "localnode", "haifa", "acre", "--timeout=60s"]).await;
}
