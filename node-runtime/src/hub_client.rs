//! The way from a node to the hub. The node always opens it, and does without it when it must.

use std::{path::PathBuf, time::Duration};

use fateh_common::{
    catalogue::{CONTENT_PATH, Digest, MAX_BODY},
    hub::{IDENTITY_PATH, IdentityAnswer, IdentityRequest, JWKS_PATH, SYNC_PATH, SyncAnswer, SyncBatch},
    service::error::ApiError,
    telemetry::traces,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode, header::RANGE};
use serde::{Serialize, de::DeserializeOwned};

/// The centre does not answer.
pub const HUB_AWAY: ApiError = ApiError::Later(StatusCode::SERVICE_UNAVAILABLE, "hub-away", Duration::from_secs(30));

/// Longer than any answer that helps.
const DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// No honest set of keys is larger.
const MAX_JWKS: usize = 64 * 1024;

/// A download goes on after so many breaks at most.
const RESUMPTIONS: u32 = 5;

/// Why the hub did not do its part.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The node knows no hub.
    #[error("no hub is configured")]
    None,
    /// The node's own token cannot be read.
    #[error("read the token for the hub: {0}")]
    Token(#[from] std::io::Error),
    /// It cannot be reached, or did not answer in time, or not in its words.
    #[error("ask the hub: {0}")]
    Request(#[from] reqwest::Error),
    /// It answered something else than was asked for.
    #[error("the hub answered {0}")]
    Status(StatusCode),
    /// It answered more than can be meant.
    #[error("the hub's answer is no text of at most {MAX_JWKS} bytes")]
    Unreadable,
    /// Content is larger than any can be.
    #[error("the hub sends more than {MAX_BODY} bytes")]
    TooLarge,
    /// Content is not what its digest names.
    #[error("the bytes that the hub sends for {0} are not what that digest names")]
    Forged(Digest),
}

/// The hub, as a node sees it.
pub struct Hub {
    way: Option<Way>,
}

struct Way {
    url: String,
    token: PathBuf,
    client: Client,
}

impl Hub {
    /// The hub at `url`, signed in by the token in a file, which is read anew for each request: it is short-lived.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn new(url: Option<String>, token: PathBuf) -> Result<Self, HubError> {
        // Without a hub no authorities are read, and nothing is kept in memory for it.
        let Some(url) = url else { return Ok(Self { way: None }) };
        let client = Client::builder()
            // The hub is reached within the cluster, over HTTP; an image has no file of authorities to look for.
            .tls_certs_only([])
            .timeout(DEADLINE)
            .connect_timeout(CONNECT_DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { way: Some(Way { url: url.trim_end_matches('/').to_owned(), token, client }) })
    }

    /// Whether the node knows a hub.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.way.is_some()
    }

    /// Sends what happened.
    ///
    /// # Errors
    /// When there is no answer for the batch; it may have taken effect all the same.
    pub async fn sync(&self, batch: &SyncBatch) -> Result<SyncAnswer, HubError> {
        self.post(SYNC_PATH, batch).await
    }

    /// Asks for the token that a user of this node takes to the centre.
    ///
    /// # Errors
    /// When the hub gives none.
    pub async fn identity(&self, request: &IdentityRequest) -> Result<IdentityAnswer, HubError> {
        self.post(IDENTITY_PATH, request).await
    }

    /// The keys of the hub's tokens, as it publishes them.
    ///
    /// # Errors
    /// When they cannot be had.
    pub async fn jwks(&self) -> Result<String, HubError> {
        let Way { url, client, .. } = self.way.as_ref().ok_or(HubError::None)?;
        let response = successful(client.get(format!("{url}{JWKS_PATH}")).headers(traces::headers()).send().await?)?;
        let mut bytes = Vec::new();
        append(response, &mut bytes, MAX_JWKS, HubError::Unreadable).await?;
        String::from_utf8(bytes).map_err(|_| HubError::Unreadable)
    }

    /// Content by its digest, verified. What was received before a connection broke is not sent again.
    ///
    /// # Errors
    /// When it cannot be had, is larger than content may be, or is not what the digest names.
    pub async fn content(&self, digest: &Digest) -> Result<Vec<u8>, HubError> {
        let Way { url, client, .. } = self.way.as_ref().ok_or(HubError::None)?;
        let address = format!("{url}{}", CONTENT_PATH.replace("{digest}", &digest.to_string()));
        let mut bytes = Vec::new();
        let mut broken = 0;
        loop {
            let request = client.get(&address).headers(traces::headers());
            let request =
                if bytes.is_empty() { request } else { request.header(RANGE, format!("bytes={}-", bytes.len())) };
            match receive(request, &mut bytes).await {
                Ok(()) => break,
                Err(HubError::Request(_)) if broken < RESUMPTIONS && !bytes.is_empty() => broken += 1,
                Err(error) => return Err(error),
            }
        }
        if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(HubError::Forged(*digest)) }
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, HubError> {
        let Way { url, token, client } = self.way.as_ref().ok_or(HubError::None)?;
        let token = tokio::fs::read_to_string(token).await?;
        let request =
            client.post(format!("{url}{path}")).headers(traces::headers()).bearer_auth(token.trim()).json(body);
        Ok(successful(request.send().await?)?.json().await?)
    }
}

/// Goes on with what is there already, or begins anew where the hub sends all of it.
async fn receive(request: RequestBuilder, bytes: &mut Vec<u8>) -> Result<(), HubError> {
    let response = successful(request.send().await?)?;
    if response.status() != StatusCode::PARTIAL_CONTENT {
        bytes.clear();
    }
    append(response, bytes, MAX_BODY, HubError::TooLarge).await
}

/// Appends a body, as long as the whole is no longer than it may be.
async fn append(mut response: Response, bytes: &mut Vec<u8>, most: usize, beyond: HubError) -> Result<(), HubError> {
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > most {
            return Err(beyond);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(())
}

fn successful(response: Response) -> Result<Response, HubError> {
    if response.status().is_success() { Ok(response) } else { Err(HubError::Status(response.status())) }
}
