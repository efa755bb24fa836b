//! Why a reconcile did not reach its goal, in terms of who can act on it.

/// Whether a failure passes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is tried again by itself; `Reconciling=True`.
    Recovers,
    /// A person must act; `Stalled=True`.
    NeedsAPerson,
}

/// A failure, with the one word that log, metric label, condition and event use.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A request to the API server failed.
    #[error("{act} in Kubernetes: {source}")]
    Kubernetes {
        /// What was being done.
        act: &'static str,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// The node's namespace is still being taken away.
    #[error("namespace {0} is still being deleted; the node is made again when it is gone")]
    NamespaceTerminating(String),
    /// The database server could not be asked.
    #[error("database server {server} cannot be used: {source}")]
    DatabaseUnreachable {
        /// Name of the DatabaseServer.
        server: String,
        /// Why.
        source: sqlx::Error,
    },
    /// A statement failed on a server that answers.
    #[error("{act} on database server {server}: {source}")]
    Database {
        /// What was being done.
        act: &'static str,
        /// Name of the DatabaseServer.
        server: String,
        /// Why it failed.
        source: sqlx::Error,
    },
    /// The schema could not be migrated.
    #[error("migrate the schema on database server {server}: {source}")]
    Migrate {
        /// Name of the DatabaseServer.
        server: String,
        /// Why it failed.
        source: sqlx::migrate::MigrateError,
    },
    /// Another operator may be leading.
    #[error("{0}: this operator's lease may have ended; the leader goes on")]
    NotLeading(&'static str),
    /// The reconcile took too long.
    #[error("the reconcile was not done after {0} s; it goes on from where it was")]
    Deadline(u64),
    /// The hub did not do its part.
    #[error("the hub cannot be used: {0}")]
    Hub(String),
    /// A secret could not be made.
    #[error("generate a signing key: {0}")]
    Generate(String),
    /// A person must act: reason, and what to do.
    #[error("{message}")]
    Stalled {
        /// One word for programs.
        reason: &'static str,
        /// What is wrong and what would be accepted.
        message: String,
    },
}

impl Failure {
    /// The failure in one word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Kubernetes { source, .. } => match source.as_ref() {
                kube::Error::Api(status) if status.code == 409 => "KubernetesConflict",
                kube::Error::Api(status) if status.code == 403 => "KubernetesForbidden",
                kube::Error::Api(status) if status.code == 422 => "KubernetesInvalid",
                kube::Error::Api(_) => "KubernetesRefused",
                _ => "KubernetesUnreachable",
            },
            Self::NamespaceTerminating(_) => "NamespaceTerminating",
            Self::DatabaseUnreachable { .. } => "DatabaseUnreachable",
            Self::Database { .. } => "DatabaseFailed",
            Self::Migrate { .. } => "MigrationFailed",
            Self::NotLeading(_) => "NotLeading",
            Self::Deadline(_) => "DeadlineExceeded",
            Self::Hub(_) => "HubUnreachable",
            Self::Generate(_) => "KeyGenerationFailed",
            Self::Stalled { reason, .. } => reason,
        }
    }

    /// Whether it passes by itself.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Stalled { .. } => Disposition::NeedsAPerson,
            // The API server will not take it however often it is sent.
            Self::Kubernetes { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == 422) => {
                Disposition::NeedsAPerson
            }
            _ => Disposition::Recovers,
        }
    }

    /// A failure that a person must mend.
    pub fn stalled(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Stalled { reason, message: message.into() }
    }
}

/// Names the act that a Kubernetes request was part of.
pub fn kubernetes(act: &'static str) -> impl FnOnce(kube::Error) -> Failure {
    move |source| Failure::Kubernetes { act, source: Box::new(source) }
}
