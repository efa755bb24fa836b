//! The node runtime's binary, run as a pod would run it, against the database that the operator made for it.

use std::{fs, path::PathBuf, process::Stdio, sync::Arc};

use fateh_tests::{Http, Postgres, eventually, kubernetes, ready_node, secret, variable};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

pub const PASSWORD: &str = "a long enough password";

/// A running node, its files, and its two ports.
pub struct Running {
    pub name: String,
    pub users: Http,
    pub management: Http,
    pub invitation: String,
    pub child: Child,
    log: PathBuf,
    mounts: Arc<Mounts>,
}

/// What a pod would mount.
struct Mounts(PathBuf);

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub async fn free_port() -> u16 {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// Makes the node by the operator, and runs its pod's program with the files that a pod would mount.
pub async fn run(name: &str, server: Postgres) -> Running {
    prepare(name, server, None).await
}

/// The same, for a node that knows a hub.
pub async fn run_with_hub(name: &str, server: Postgres, hub: &str) -> Running {
    prepare(name, server, Some(hub)).await
}

async fn prepare(name: &str, server: Postgres, hub: Option<&str>) -> Running {
    let client = kubernetes().await;
    ready_node(&client, name, json!({"region": server.name(), "currency": "SAR"})).await;
    let mounts = std::env::temp_dir().join(format!("fateh-{name}-{}", std::process::id()));
    for directory in ["config", "database", "signing-key", "hub-token"] {
        fs::create_dir_all(mounts.join(directory)).unwrap();
    }
    for key in ["host", "port", "database", "username", "password", "sslmode"] {
        fs::write(mounts.join("database").join(key), secret(&client, name, "node-database", key).await).unwrap();
    }
    fs::write(mounts.join("signing-key/key.pem"), secret(&client, name, "node-signing-key", "key.pem").await).unwrap();
    let config =
        kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(client.clone(), &format!("fateh-node-{name}"));
    let text = config.get("node").await.unwrap().data.unwrap()["node.json"].clone();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    // The tests stand where the ingress controller does.
    config["trustedProxies"] = json!(["127.0.0.1/32"]);
    config["hubUrl"] = json!(hub);
    config["hubIssuer"] = json!(hub.map(|_| "https://hub.fateh-platform.com"));
    fs::write(mounts.join("config/node.json"), config.to_string()).unwrap();
    fs::write(mounts.join("hub-token/token"), format!("{}\n", crate::peer::TOKEN)).unwrap();
    let invitation = secret(&client, name, "node-invitation", "token").await;
    start(name, invitation, Arc::new(Mounts(mounts))).await
}

async fn start(name: &str, invitation: String, mounts: Arc<Mounts>) -> Running {
    let (port, management) = (free_port().await, free_port().await);
    let log = PathBuf::from(variable("FATEH_LOGS")).join(format!("{name}-{port}.log"));
    let child = Command::new(PathBuf::from(variable("FATEH_PROGRAMS")).join("node-runtime"))
        .env("FATEH_MOUNTS", &mounts.0)
        .arg(format!("--http-address=127.0.0.1:{port}"))
        .arg(format!("--management-address=127.0.0.1:{management}"))
        .stdout(fs::File::create(&log).unwrap())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let at = |port| Http::at(format!("http://127.0.0.1:{port}"));
    let running =
        Running { name: name.to_owned(), users: at(port), management: at(management), invitation, child, log, mounts };
    eventually("readiness", 20, async || {
        let answer = running.management.get("/readyz", None).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    running
}

impl Running {
    /// Another replica of the same node.
    pub async fn replica(&self) -> Self {
        start(&self.name, self.invitation.clone(), Arc::clone(&self.mounts)).await
    }

    /// What its program has written.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// One of the files that a pod mounts.
    pub fn file(&self, name: &str) -> PathBuf {
        self.mounts.0.join(name)
    }

    /// Carries out a statement with the rights of the node's own role.
    pub async fn as_runtime(&self, server: Postgres, statement: &'static str) -> Result<(), sqlx::Error> {
        let read = |key: &str| fs::read_to_string(self.file(&format!("database/{key}"))).unwrap();
        let mut connection = server.connect(&read("username"), &read("password"), &read("database")).await?;
        sqlx::query(statement).execute(&mut connection).await.map(drop)
    }

    /// The node's database, with the operator's rights.
    pub async fn database(&self, server: Postgres) -> sqlx::PgConnection {
        server.operator(&format!("node_{}", self.name.replace('-', "_"))).await
    }
}

pub async fn become_admin(node: &Running) -> String {
    let body = json!({"token": node.invitation, "username": "سارة", "password": PASSWORD});
    let data = node.users.post("/api/local/auth/invitation", None, &body).await.data(201);
    assert_eq!(
        (data["user"]["role"].as_str(), data["user"]["email"].as_str()),
        (Some("admin"), Some("admin@example.com"))
    );
    data["accessToken"].as_str().unwrap().to_owned()
}

pub fn user(name: &str, role: &str) -> Value {
    json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD, "role": role})
}

/// Makes a user; the identifier.
pub async fn make(http: &Http, admin: &str, name: &str, role: &str) -> String {
    let made = http.post("/api/local/users", Some(admin), &user(name, role)).await.data(201);
    made["id"].as_str().unwrap().to_owned()
}

/// Signs in; the session.
pub async fn sign_in(http: &Http, login: &str) -> Value {
    http.post("/api/local/auth/login", None, &json!({"login": login, "password": PASSWORD})).await.data(200)
}

/// A text of an answer's data.
pub fn text(data: &Value, field: &str) -> String {
    data[field].as_str().unwrap_or_else(|| panic!("{field} is no text: {data}")).to_owned()
}
