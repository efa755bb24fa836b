//! Reads what a pass needs to know before it acts. Needs a client; writes nothing.

use std::sync::Arc;

use fateh_crds::{DatabaseServer, NODE_LABEL, Slug, UID_ANNOTATION};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{Api, ResourceExt};

use super::{
    build::{DATABASE_SECRET, INVITATION_SECRET, SIGNING_KEY_SECRET},
    validate::ValidNode,
};
use crate::{
    context::Context,
    database::{AdminCredentials, Server},
    failure::{Failure, kubernetes},
    secrets::{SecretVersion, SigningKeys, signing_keys, text},
};

/// A database server and how to use it.
pub struct Placement {
    /// The resource.
    pub resource: Arc<DatabaseServer>,
    /// Connections to it.
    pub server: Arc<Server>,
    /// Its authority, for the pods.
    pub ca: Option<String>,
}

/// The node's Secrets, as far as they exist.
#[derive(Default)]
pub struct Secrets {
    /// The Secrets with the passwords and with the signing keys, as they were read.
    pub versions: [SecretVersion; 2],
    /// Password of the login role.
    pub password: Option<String>,
    /// Password that it is about to be given.
    pub next_password: Option<String>,
    /// Signing keys.
    pub signing_keys: Option<SigningKeys>,
    /// The invitation, as an object.
    pub invitation: Option<Secret>,
}

/// Reads the credentials of a server and gets the connections to it.
///
/// # Errors
/// Stalled when a Secret or a key in it is missing.
pub async fn connect(context: &Context, resource: Arc<DatabaseServer>) -> Result<Placement, Failure> {
    let admin = own_secret(context, &resource, &resource.spec.admin_secret_ref.name).await?;
    let ca = match &resource.spec.tls.ca_secret_ref {
        Some(secret) => Some(own_secret(context, &resource, &secret.name).await?.text("ca.crt")?),
        None => None,
    };
    let credentials = AdminCredentials {
        username: admin.text("username")?,
        password: admin.text("password")?.trim_end().to_owned(),
        ca: ca.clone(),
    };
    let server = context.servers.get(&resource.name_any(), &resource.spec, &credentials);
    Ok(Placement { resource, server, ca })
}

/// A Secret in the operator's namespace, and what to say when it lacks a key.
struct OwnSecret {
    secret: Option<Secret>,
    description: String,
}

impl OwnSecret {
    fn text(&self, key: &str) -> Result<String, Failure> {
        let found = self.secret.as_ref().and_then(|secret| text(secret, key));
        found.ok_or_else(|| {
            Failure::stalled("DatabaseSecretMissing", format!("{} with the key {key}", self.description))
        })
    }
}

async fn own_secret(context: &Context, server: &DatabaseServer, name: &str) -> Result<OwnSecret, Failure> {
    let namespace = &context.settings.namespace;
    let api = Api::<Secret>::namespaced(context.client.clone(), namespace);
    let secret = api.get_opt(name).await.map_err(kubernetes("read the database server's Secret"))?;
    let description = format!("DatabaseServer {} needs the Secret {name} in namespace {namespace}", server.name_any());
    Ok(OwnSecret { secret, description })
}

/// Whether the namespace bears the mark of this node: its name and its UID.
pub fn is_namespace_of(namespace: &Namespace, slug: &Slug, uid: &str) -> bool {
    namespace.labels().get(NODE_LABEL).map(String::as_str) == Some(slug.as_str())
        && namespace.annotations().get(UID_ANNOTATION).map(String::as_str) == Some(uid)
}

/// Reads the node's Secrets.
///
/// # Errors
/// When the API server refuses; a missing Secret is no error.
pub async fn secrets(context: &Context, node: &ValidNode) -> Result<Secrets, Failure> {
    let api = Api::<Secret>::namespaced(context.client.clone(), &node.slug.namespace());
    let reads = futures::try_join!(
        api.get_opt(DATABASE_SECRET),
        api.get_opt(SIGNING_KEY_SECRET),
        api.get_opt(INVITATION_SECRET)
    );
    let (database, signing_key, invitation) = reads.map_err(kubernetes("read the node's Secrets"))?;
    let versions = [&database, &signing_key].map(|it| it.as_ref().map(SecretVersion::of).unwrap_or_default());
    let database = |key| database.as_ref().and_then(|secret| text(secret, key));
    Ok(Secrets {
        versions,
        password: database("password"),
        next_password: database("nextPassword"),
        signing_keys: signing_key.as_ref().and_then(signing_keys),
        invitation,
    })
}

/// Whether the Secret that is to hold the certificate of the extra hosts exists; none while the right to look is on
/// its way. Its contents are not read.
///
/// # Errors
/// When the API server does not answer.
pub async fn tls_secret_exists(context: &Context, node: &ValidNode, name: &str) -> Result<Option<bool>, Failure> {
    let api = Api::<Secret>::namespaced(context.client.clone(), &node.slug.namespace());
    match api.get_metadata_opt(name).await {
        Ok(found) => Ok(Some(found.is_some())),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(kubernetes("look for the certificate's Secret")(error)),
    }
}
