//! The way to the hub's catalogue: bodies are put and manifests released there before any node is told of them.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use fateh_common::{
    catalogue::{Digest, Manifest, VERSION_PATH},
    telemetry::traces,
};
use fateh_crds::ContentDistributionSpec;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;

use super::revision;
use crate::failure::Failure;

const DEADLINE: Duration = Duration::from_secs(20);
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// The hub's catalogue, as the operator sees it.
#[derive(Clone)]
pub struct Catalogue {
    url: String,
    token: PathBuf,
    client: Client,
}

/// What of the hub's envelope says why it refuses.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Catalogue {
    /// The catalogue of the hub at `url`, signed in by the token in a file, which is read anew for each request.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn new(url: &str, token: PathBuf) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            // Within the cluster, over HTTP; an image has no file of authorities to look for.
            .tls_certs_only([])
            .timeout(DEADLINE)
            .connect_timeout(CONNECT_DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), token, client })
    }

    /// Publishes the revision that a spec makes; the digest of its manifest. Again it changes nothing.
    ///
    /// # Errors
    /// A person must act where the version was published with other bodies, or is not in the catalogue.
    pub async fn publish(&self, spec: &ContentDistributionSpec) -> Result<Digest, Failure> {
        let languages = match revision::bodies(spec)? {
            Some(bodies) => {
                let mut languages = BTreeMap::new();
                for (language, body) in bodies {
                    let digest = Digest::of(&body);
                    self.put(&digest, body).await?;
                    languages.insert(language, digest);
                }
                languages
            }
            None => self.released(&spec.content.id, &spec.content.version).await?.languages,
        };
        let manifest = revision::manifest(spec, languages).canonical();
        let digest = Digest::of(&manifest);
        let request = self.client.post(format!("{}{}", self.url, fateh_common::catalogue::MANIFEST_PATH));
        let answer = self.send(request.body(manifest)).await?;
        if answer.status().is_success() {
            return Ok(digest);
        }
        match code(answer).await.as_str() {
            "version-taken" => {
                let message = format!(
                    "version {} of {} was published with other content; give this content another spec.content.version",
                    spec.content.version, spec.content.id
                );
                Err(Failure::stalled("VersionTaken", message))
            }
            code => Err(Failure::Hub(format!("it did not take the manifest: {code}"))),
        }
    }

    async fn put(&self, digest: &Digest, body: Vec<u8>) -> Result<(), Failure> {
        let path = fateh_common::catalogue::CONTENT_PATH.replace("{digest}", &digest.to_string());
        let answer = self.send(self.client.put(format!("{}{path}", self.url)).body(body)).await?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(Failure::Hub(format!("it answered {}", answer.status())))
        }
    }

    /// The manifest of a released version of the catalogue.
    async fn released(&self, id: &str, version: &str) -> Result<Manifest, Failure> {
        let path = VERSION_PATH.replace("{id}", id).replace("{version}", version);
        let answer = self.send(self.client.get(format!("{}{path}", self.url))).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            let message = format!(
                "the hub's catalogue has no released version {version} of {id} that may be distributed; release it there, or correct spec.content"
            );
            return Err(Failure::stalled("NotInCatalogue", message));
        }
        answer.json().await.map_err(away)
    }

    /// Sends a request; answers that say something about the content are the caller's to read.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
        let token = tokio::fs::read_to_string(&self.token)
            .await
            .map_err(|error| Failure::Hub(format!("read the token for the hub: {error}")))?;
        let answer = request
            .headers(traces::headers())
            .bearer_auth(token.trim())
            .header("content-type", "application/json")
            .send()
            .await
            .map_err(away)?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::CONFLICT | StatusCode::NOT_FOUND => Ok(answer),
            StatusCode::UNPROCESSABLE_ENTITY => {
                let message = answer.text().await.unwrap_or_default();
                Err(Failure::stalled("ContentInvalid", format!("the hub does not take it: {message}")))
            }
            status => Err(Failure::Hub(format!("it answered {status}"))),
        }
    }
}

async fn code(answer: Response) -> String {
    answer.json::<Refusal>().await.map(|refusal| refusal.error).unwrap_or_default()
}

fn away(error: reqwest::Error) -> Failure {
    // Without the address, which says nothing that a reader of status can use; with what lies under it, which does.
    let error = error.without_url();
    let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    Failure::Hub(chain.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}
