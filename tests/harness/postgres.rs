//! Connections to the PostgreSQL servers of the integration environment.

use std::path::PathBuf;

use sqlx::{
    ConnectOptions, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};

use crate::variable;

/// A server of the integration environment, which is also the name of its DatabaseServer and region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Postgres {
    /// PostgreSQL 15.
    V15,
    /// PostgreSQL 18.
    V18,
}

impl Postgres {
    /// Name of the DatabaseServer, and the region that is placed on it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V15 => "pg15",
            Self::V18 => "pg18",
        }
    }

    /// Port on 127.0.0.1.
    #[must_use]
    pub fn port(self) -> u16 {
        let name = match self {
            Self::V15 => "FATEH_PG15_PORT",
            Self::V18 => "FATEH_PG18_PORT",
        };
        variable(name).parse().unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A connection.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn connect(self, user: &str, password: &str, database: &str) -> Result<PgConnection, sqlx::Error> {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port())
            .username(user)
            .password(password)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
            .connect()
            .await
    }

    /// A connection with the operator's own rights.
    pub async fn operator(self, database: &str) -> PgConnection {
        let password = variable("FATEH_OPERATOR_PASSWORD");
        let connected = self.connect("fateh_operator", &password, database).await;
        connected.unwrap_or_else(|error| panic!("connect as the operator: {error}"))
    }

    /// How its administrator enters, which only this machine's own socket allows.
    #[must_use]
    pub fn superuser(self, database: &str) -> PgConnectOptions {
        let socket = match self {
            Self::V15 => "postgres-15.socket",
            Self::V18 => "postgres-18.socket",
        };
        PgConnectOptions::new_without_pgpass()
            .socket(PathBuf::from(variable("FATEH_STATE")).join(socket))
            .port(self.port())
            .username("postgres")
            .database(database)
    }

    /// Takes a database away from under whoever uses it, as its administrator: only that one may end an autovacuum.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn drop_database(self, name: &str) {
        let mut admin = self.superuser("postgres").connect().await.unwrap_or_else(|error| panic!("connect: {error}"));
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        let dropped = sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&mut admin).await;
        assert!(dropped.is_ok(), "drop {name}: {dropped:?}");
    }

    /// Names of the databases that begin with `prefix`.
    pub async fn databases(self, prefix: &str) -> Vec<String> {
        let found =
            sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE starts_with(datname::text, $1) ORDER BY 1")
                .bind(prefix)
                .fetch_all(&mut self.operator("postgres").await)
                .await;
        found.unwrap_or_else(|error| panic!("list databases: {error}"))
    }
}
