//! A hub that runs: its database, its files, and its process.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use ed25519_dalek::pkcs8::{EncodePrivateKey, spki::der::pem::LineEnding};
use fateh_tests::{Http, Postgres, eventually, kubernetes, service_account_token, variable};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, migrate::Migrator};
use tokio::process::{Child, Command};

use crate::running::{Running, free_port, run_with_hub};

pub const PASSWORD: &str = "a long enough password";
/// Issuer and audience of the hub's tokens.
pub const HUB: &str = "https://hub.fateh-platform.com";
const INVITATION: &str = "an invitation's token, as the Secret would hold it";

static MIGRATIONS: Migrator = sqlx::migrate!("../hub/migrations");

/// A running hub.
pub struct Hub {
    pub http: Http,
    pub name: String,
    pub child: Child,
    mounts: Arc<Mounts>,
    ports: [u16; 2],
}

/// What a pod would mount.
struct Mounts(PathBuf);

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A node that knows the hub, and signs in there as its pods would.
pub async fn node_of(hub: &Hub, name: &str) -> Running {
    let node = run_with_hub(name, Postgres::V18, &hub.http.base).await;
    let client = kubernetes().await;
    let token = service_account_token(&client, &format!("fateh-node-{name}"), "node", Some(HUB)).await;
    std::fs::write(node.file("hub-token/token"), token).unwrap();
    node
}

/// The database `name` with the hub's schema, and a role that has the hub's rights in it.
async fn database(name: &str) {
    let mut admin = Postgres::V18.operator("postgres").await;
    // Another test may be making it at this moment.
    let _ = sqlx::query("CREATE ROLE fateh_hub_runtime NOLOGIN").execute(&mut admin).await;
    for statement in [
        format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' IN ROLE fateh_hub_runtime"),
        format!("CREATE DATABASE {name}"),
        format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC"),
        format!("GRANT CONNECT ON DATABASE {name} TO {name}"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut admin).await.unwrap();
    }
    let mut inside = Postgres::V18.operator(name).await;
    for statement in ["CREATE SCHEMA global_platform".to_owned(), "SET search_path = global_platform".to_owned()] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut inside).await.unwrap();
    }
    MIGRATIONS.run_direct(None, &mut inside, false).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("GRANT USAGE ON SCHEMA global_platform TO {name}")))
        .execute(&mut inside)
        .await
        .unwrap();
    sqlx::query("INSERT INTO global_platform.first_admin_invitation (singleton, email, token_hash, expires_at) VALUES (true, 'root@example.com', $1, now() + interval '1 hour')")
        .bind(Sha256::digest(INVITATION).to_vec())
        .execute(&mut inside)
        .await
        .unwrap();
    inside.close().await.unwrap();
}

/// Starts a hub with a database of its own.
pub async fn start(name: &str) -> Hub {
    let client = kubernetes().await;
    let name = format!("hub_{name}");
    database(&name).await;
    let mounts = std::env::temp_dir().join(format!("fateh-{name}-{}", std::process::id()));
    for directory in ["database", "signing-key"] {
        fs::create_dir_all(mounts.join(directory)).unwrap();
    }
    let port = Postgres::V18.port().to_string();
    for (file, text) in [
        ("host", "127.0.0.1"),
        ("port", &port),
        ("database", &name),
        ("username", &name),
        ("password", PASSWORD),
        ("sslmode", "disable"),
    ] {
        fs::write(mounts.join("database").join(file), text).unwrap();
    }
    let key = ed25519_dalek::SigningKey::from_bytes(&rand::random()).to_pkcs8_pem(LineEnding::LF).unwrap();
    fs::write(mounts.join("signing-key/key.pem"), key.as_bytes()).unwrap();
    // The same API server as the tests', by the token of the hub's own ServiceAccount.
    let token = service_account_token(&client, "fateh-system", "fateh-hub", None).await;
    let admin = fs::read_to_string(variable("KUBECONFIG")).unwrap();
    let (before, rest) = admin.split_once("token: \"").unwrap();
    let kubeconfig = format!("{before}token: \"{token}{}", &rest[rest.find('"').unwrap()..]);
    fs::write(mounts.join("kubeconfig"), kubeconfig).unwrap();

    Hub::on(name, Arc::new(Mounts(mounts))).await
}

/// Runs the program on files that are there, until it is ready.
async fn run(name: &str, mounts: &Path, [port, management]: [u16; 2]) -> Child {
    let log = PathBuf::from(variable("FATEH_LOGS")).join(format!("{name}.log"));
    let child = Command::new(PathBuf::from(variable("FATEH_PROGRAMS")).join("fateh-hub"))
        .env("FATEH_MOUNTS", mounts)
        .env("KUBECONFIG", mounts.join("kubeconfig"))
        .arg(format!("--http-address=127.0.0.1:{port}"))
        .arg(format!("--management-address=127.0.0.1:{management}"))
        .arg("--trusted-proxies=127.0.0.1/32")
        .stdout(fs::OpenOptions::new().create(true).append(true).open(log).unwrap())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let management = Http::at(format!("http://127.0.0.1:{management}"));
    eventually("readiness of the hub", 20, async || {
        let answer = management.get("/readyz", None).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    child
}

impl Hub {
    async fn on(name: String, mounts: Arc<Mounts>) -> Self {
        let ports = [free_port().await, free_port().await];
        let child = run(&name, &mounts.0, ports).await;
        Self { http: Http::at(format!("http://127.0.0.1:{}", ports[0])), name, child, mounts, ports }
    }

    /// Another replica of the same hub.
    pub async fn replica(&self) -> Self {
        Self::on(self.name.clone(), Arc::clone(&self.mounts)).await
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Starts it again, with another way to the API server.
    pub async fn lead_through(&mut self, api: &str) {
        let config = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: t, cluster: {{server: \"{api}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\ncontexts: [{{name: t, context: {{cluster: t, user: u}}}}]\ncurrent-context: t\n"
        );
        fs::write(self.mounts.0.join("kubeconfig"), config).unwrap();
        self.kill_and_start_again().await;
    }

    /// SIGKILL, and another at the same address.
    pub async fn kill_and_start_again(&mut self) {
        self.child.kill().await.unwrap();
        self.child = run(&self.name, &self.mounts.0, self.ports).await;
    }

    /// Becomes the first platform admin; the access token.
    pub async fn admin(&self) -> String {
        let body = json!({"token": INVITATION, "displayName": "ليلى", "password": PASSWORD});
        let session = self.http.post("/api/global/auth/invitation", None, &body).await.data(201);
        assert_eq!(session["user"]["role"], "platform-admin");
        let again = self.http.post("/api/global/auth/invitation", None, &body).await;
        assert_eq!(again.error(403), "invitation-invalid", "it works once");
        session["accessToken"].as_str().unwrap().to_owned()
    }

    /// Makes an account, signs in with it; the access token.
    pub async fn account(&self, admin: &str, email: &str, role: Value) -> String {
        let body = json!({"displayName": "x", "email": email, "password": PASSWORD, "role": role});
        self.http.post("/api/global/users", Some(admin), &body).await.data(201);
        let login = json!({"email": email, "password": PASSWORD});
        let session = self.http.post("/api/global/auth/login", None, &login).await.data(200);
        session["accessToken"].as_str().unwrap().to_owned()
    }

    /// The hub's database, with the operator's rights.
    pub async fn database(&self) -> sqlx::PgConnection {
        Postgres::V18.operator(&self.name).await
    }
}
