//! The backbone: `kubectl apply` a LocalNode, and a node answers at its host.

use std::{collections::BTreeSet, path::PathBuf, process::Stdio};

use fateh_tests::{Http, eventually, variable};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::platform::{ctr, process};

pub const PASSWORD: &str = "a long enough password";

/// Runs a program; its standard output, or what it complained about.
pub async fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

pub async fn kubectl(arguments: &[&str]) -> String {
    run("kubectl", arguments).await.unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
}

pub async fn kubectl_json(arguments: &[&str]) -> Value {
    serde_json::from_str(&kubectl(&[arguments, &["-o", "json"]].concat()).await).unwrap()
}

/// Applies manifests, in YAML or JSON.
pub async fn apply_text(manifests: &str) {
    let mut kubectl = Command::new("kubectl")
        .args(["apply", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    kubectl.stdin.take().unwrap().write_all(manifests.as_bytes()).await.unwrap();
    let output = kubectl.wait_with_output().await.unwrap();
    assert!(output.status.success(), "apply {manifests}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A LocalNode, with `more` lines of its spec.
pub fn manifest(name: &str, display_name: &str, more: &str) -> String {
    format!(
        "apiVersion: fateh-platform.com/v1alpha1\nkind: LocalNode\nmetadata: {{name: {name}}}\nspec:\n  displayName: {display_name}\n  region: mena\n  adminEmail: admin@example.com\n{more}"
    )
}

pub async fn apply(name: &str, more: &str) {
    apply_text(&manifest(name, "مدرسة", more)).await;
}

pub async fn wait_ready(name: &str) {
    kubectl(&["wait", "--for=condition=Ready", "--timeout=120s", &format!("localnode/{name}")]).await;
}

/// The node's host as the world sees it, through the ingress controller and its certificate.
pub fn host(name: &str) -> Http {
    let host = format!("{name}.fateh-platform.com:8443");
    Http {
        base: format!("https://{host}"),
        ca: Some(PathBuf::from(variable("FATEH_CA"))),
        resolve: Some(format!("{host}:127.0.0.1")),
        headers: Vec::new(),
    }
}

/// The route is applied before the ingress controller has heard of it.
pub async fn answers(http: &Http) -> Value {
    eventually("an answer at the host", 30, async || {
        let answer = http.get("/api/local/node", None).await;
        if answer.status == 200 { Ok(answer.json["data"].clone()) } else { Err(answer) }
    })
    .await
}

pub async fn invitation(name: &str) -> String {
    let namespace = format!("fateh-node-{name}");
    let encoded = kubectl(&[
        "get",
        "secret",
        "node-invitation",
        "-n",
        &namespace,
        "-o",
        "go-template={{.data.token | base64decode}}",
    ])
    .await;
    encoded.trim().to_owned()
}

pub async fn become_admin(http: &Http, token: &str) -> String {
    let body = json!({"token": token, "username": "sara", "password": PASSWORD});
    let session = http.post("/api/local/auth/invitation", None, &body).await.data(201);
    session["accessToken"].as_str().unwrap().to_owned()
}

/// What PostgreSQL's own administrator sees.
pub async fn sql(statement: &str) -> String {
    let (socket, psql) =
        (format!("{}/postgres", variable("FATEH_RUN")), format!("{}/psql", variable("FATEH_POSTGRES_BIN")));
    run(&psql, &["-h", &socket, "-U", "postgres", "-d", "postgres", "-Atc", statement]).await.unwrap().trim().to_owned()
}

#[tokio::test]
async fn three_lines_become_a_node_that_answers_at_its_host() {
    apply("amman", "").await;
    wait_ready("amman").await;
    let http = host("amman");
    assert_eq!(answers(&http).await["displayName"], "مدرسة");

    let token = become_admin(&http, &invitation("amman").await).await;
    let user = json!({"username": "omar", "email": "omar@example.com", "password": PASSWORD, "role": "student"});
    http.post("/api/local/users", Some(&token), &user).await.data(201);
    // Two report intervals of 5 s, and the time that polling takes.
    eventually("the new count", 12, async || {
        let count = kubectl(&["get", "localnode", "amman", "-o", "jsonpath={.status.statistics.users.total}"]).await;
        if count == "2" { Ok(()) } else { Err(count) }
    })
    .await;

    let columns = kubectl(&["get", "ln", "amman"]).await;
    assert_eq!(
        columns.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["NAME", "READY", "PHASE", "USERS", "CONTENT", "REPORTS", "AGE"]
    );
    let row: Vec<_> = columns.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..6], ["amman", "True", "Ready", "2", "0/0", "True"]);
    let wide = kubectl(&["get", "ln", "amman", "-o", "wide"]).await;
    for column in ["REGION", "URL", "REVENUE", "MESSAGE", "https://amman.fateh-platform.com:8443"] {
        assert!(wide.contains(column), "{wide}");
    }
    let story = kubectl(&["describe", "localnode", "amman"]).await;
    for reason in ["Provisioned", "Deploying", "Invited", "Serving", "Active"] {
        assert!(story.split("Events:").nth(1).unwrap().contains(reason), "{reason}: {story}");
    }
    let explained = kubectl(&["explain", "localnode.spec.adminEmail"]).await;
    assert!(explained.contains("E-mail of the first admin"), "{explained}");
    // The same by the plugin, as kubectl finds it.
    let fleet = kubectl(&["fateh", "status"]).await;
    assert!(fleet.lines().any(|line| line.starts_with("amman ") && line.contains("Ready")), "{fleet}");
    let tree = kubectl(&["fateh", "tree", "amman"]).await;
    for part in ["Deployment node", "1/1 ready", "Pod node-", "Running, ready", "Secret node-database"] {
        assert!(tree.contains(part), "{part}: {tree}");
    }
    let logs = kubectl(&["fateh", "logs", "amman"]).await;
    assert!(logs.starts_with("[node-") && logs.contains("the node serves"), "{logs}");
    let completed = kubectl(&["__complete", "fateh", "tree", "amm"]).await;
    assert_eq!(completed, "amman\n:4\n");
    eventually("the used invitation is removed", 30, async || {
        run("kubectl", &["get", "secret", "node-invitation", "-n", "fateh-node-amman"]).await.err().ok_or("still there")
    })
    .await;
}

#[tokio::test]
async fn pods_run_confined() {
    apply("doha", "").await;
    wait_ready("doha").await;
    let namespace = kubectl_json(&["get", "namespace", "fateh-node-doha"]).await;
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let pods = kubectl_json(&["get", "pods", "-n", "fateh-node-doha"]).await;
    let pod = &pods["items"][0];
    let container = &pod["spec"]["containers"][0]["securityContext"];
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));

    // What the kernel says of the running process, not only what was asked for.
    let pid = process(pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap()).await;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(field("Uid:").split_whitespace().next(), Some("65532"));
    assert_eq!(field("CapEff:"), "0000000000000000");
    assert_eq!(field("CapBnd:"), "0000000000000000");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
}

#[tokio::test]
async fn images_hold_one_small_static_binary() {
    let ours = "name~=fateh-platform.com/(fateh-operator|node-runtime|fateh-hub)";
    let listed = ctr(&["images", "list", ours]).await;
    let images: Vec<_> = listed.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(images.len(), 3, "{listed}");
    for image in images {
        let size: f64 = image[3].parse().unwrap();
        let mebibytes = if image[4] == "MiB" { size } else { 0.0 };
        assert!(mebibytes > 1.0 && mebibytes * 1.048_576 <= 20.0, "at most 20 MB: {image:?}");
    }
}

#[tokio::test]
async fn deletion_retains_or_drops_and_a_new_node_starts_empty() {
    for (name, policy) in [("tunis", "Retain"), ("rabat", "Delete")] {
        let more = format!("  database: {{reclaimPolicy: {policy}}}\n");
        apply(name, &more).await;
        wait_ready(name).await;
        let http = host(name);
        answers(&http).await;
        become_admin(&http, &invitation(name).await).await;
        kubectl(&["delete", "localnode", name, "--timeout=120s"]).await;
        assert!(run("kubectl", &["get", "namespace", &format!("fateh-node-{name}")]).await.is_err());
        let retired = sql(&format!("SELECT count(*) FROM pg_database WHERE datname LIKE 'deleted\\_{name}\\_%'")).await;
        assert_eq!(retired, if policy == "Retain" { "1" } else { "0" });
        assert_eq!(sql(&format!("SELECT count(*) FROM pg_database WHERE datname = 'node_{name}'")).await, "0");
        assert_eq!(sql(&format!("SELECT count(*) FROM pg_roles WHERE rolname = 'node_{name}'")).await, "0");

        apply(name, &more).await;
        wait_ready(name).await;
        answers(&http).await;
        let token = become_admin(&http, &invitation(name).await).await;
        let users = http.get("/api/local/users", Some(&token)).await.data(200);
        assert_eq!(users["users"].as_array().unwrap().len(), 1, "only the admin who was just made");
    }
}

#[tokio::test]
async fn plain_http_is_redirected() {
    let mut http = Http::at("http://sanaa.fateh-platform.com:8080".into());
    http.resolve = Some("sanaa.fateh-platform.com:8080:127.0.0.1".into());
    let answer = http.get("/", None).await;
    assert!((301..=308).contains(&answer.status), "{answer:?}");
    assert!(answer.headers.contains("location: https://sanaa.fateh-platform.com:8443/"), "{}", answer.headers);
}

#[tokio::test]
async fn the_operator_serves_metrics_and_says_what_the_database_server_lacks() {
    wait_database_server().await;
    let server = kubectl_json(&["get", "databaseserver", "default"]).await;
    let condition = |kind: &str| {
        let conditions = server["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == kind).unwrap()["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(condition("Reachable"), "True");
    assert_eq!(condition("Isolated"), "True");
    assert_eq!(condition("Hardened"), "False", "before PostgreSQL 16");
    // Every replica answers; the leader, whichever it is, has reconciled something.
    eventually("the metrics of the leader", 30, async || {
        let pods = kubectl_json(&["get", "pods", "-n", "fateh-system"]).await;
        let mut all = String::new();
        for pod in pods["items"].as_array().unwrap() {
            let host = pod["status"]["podIP"].as_str().ok_or("a pod has no address yet")?;
            if pod["metadata"]["name"].as_str().unwrap().starts_with("fateh-hub-") {
                // Requests are counted from the first on.
                run("curl", &["-fsS", "--max-time", "5", &format!("http://{host}:8080/api/openapi.json")]).await?;
            }
            let address = format!("http://{host}:8081");
            for path in ["/livez", "/readyz", "/metrics"] {
                all += &run("curl", &["-fsS", "--max-time", "5", &format!("{address}{path}")]).await?;
            }
        }
        let reconciled = all.contains("fateh_operator_reconcile_duration_seconds");
        // What people are called by is served.
        let unserved = ["fateh_operator_", "fateh_hub_"].map(|service| fateh_tests::unserved_metrics(service, &all));
        if reconciled && unserved.iter().all(BTreeSet::is_empty) { Ok(()) } else { Err(format!("{unserved:?} {all}")) }
    })
    .await;
}

async fn wait_database_server() {
    kubectl(&["wait", "--for=condition=Reachable", "--timeout=60s", "databaseserver/default"]).await;
}
