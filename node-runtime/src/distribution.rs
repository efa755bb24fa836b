//! What the centre tells the node to hold: watched in the node's NodeContent, fetched from the hub by digest, verified,
//! merged with the node's own edits and switched over in one transaction. Without API server or hub the node serves what
//! it has, and catches up.

use std::{collections::BTreeMap, time::Duration};

use fateh_common::{
    catalogue::{Digest, Manifest},
    service::validation::is_storable,
    sql::new_id,
};
use fateh_crds::{CHILD_NAME, ContentAcknowledgement, ContentItem, ContentPlan, ContentState, NodeContent, Removal};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    content::receive::{self, Received},
    hub_client::HubError,
    report::FIELD_MANAGER,
    state::AppState,
    storage::{
        contents,
        distributions::{self, Known},
        replaced,
        turns::{self, Turn},
    },
};

/// Longer than one item takes. A replica that dies keeps the others waiting for no longer.
const LEASE: Duration = Duration::from_secs(120);
/// How often is looked without an event: conflicts that were settled are told then.
const SWEEP: Duration = Duration::from_secs(60);
/// How soon after an edit the centre is told.
const COALESCE: Duration = Duration::from_secs(1);
/// When another replica is at it.
const NOT_OURS: Duration = Duration::from_secs(5);
/// After failures in a row.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
/// A thousand nodes that are told at once do not ask at once.
const SPREAD: Duration = Duration::from_millis(300);
/// Bodies that are fetched at once.
const FETCHES: usize = 4;
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// As the schema has it.
const MAX_MESSAGE: usize = 256;
const MAX_PATHS: usize = 8;

/// Why something could not be carried out for now.
#[derive(Debug, thiserror::Error)]
enum Delay {
    #[error("keep content: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Hub(HubError),
    #[error("write the NodeContent's status: {0}")]
    Kubernetes(#[from] kube::Error),
    #[error("the API server did not answer in time")]
    Deadline,
}

/// Why something was not carried out: it passes by itself, or is said to the centre.
enum Refused {
    Later(Delay),
    Failed(String),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Later(error.into())
    }
}

impl From<HubError> for Refused {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Forged(_) | HubError::TooLarge => Self::Failed(error.to_string()),
            HubError::Status(status) if status == reqwest::StatusCode::NOT_FOUND => {
                Self::Failed("the hub does not have this content".to_owned())
            }
            other => Self::Later(Delay::Hub(other)),
        }
    }
}

/// Carries out what the node is told until `stop`.
pub async fn run(state: AppState, client: Client, stop: CancellationToken) {
    if !state.hub.is_known() {
        return;
    }
    let api = Api::<NodeContent>::namespaced(client, &state.node.namespace);
    let mut changes = watcher::watch_object(api.clone(), CHILD_NAME).default_backoff().boxed();
    let mut told: Option<NodeContent> = None;
    let (mut pause, mut failures) = (SWEEP, 0_u32);
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(content)) => told = content,
                Some(Err(error)) => {
                    tracing::warn!(%error, "the watch of the NodeContent failed");
                    continue;
                }
                None => return,
            },
            () = state.edited.notified(), if told.is_some() => tokio::time::sleep(COALESCE).await,
            () = tokio::time::sleep(pause), if told.is_some() => {}
            () = stop.cancelled() => return,
        }
        let Some(content) = &told else { continue };
        match round(&state, &api, content).await {
            Ok(true) => (pause, failures) = (SWEEP, 0),
            Ok(false) => pause = NOT_OURS,
            Err(error) => {
                tracing::warn!(%error, "what the centre sends could not be carried out yet");
                pause = BACKOFF.wait(failures, rand::random());
                failures = failures.saturating_add(1);
            }
        }
    }
}

/// Everything that is to be done now, and what came of it. False when it is another replica's turn.
async fn round(state: &AppState, api: &Api<NodeContent>, content: &NodeContent) -> Result<bool, Delay> {
    if !is_our_turn(state).await? {
        return Ok(false);
    }
    let known = distributions::all(&mut *state.database.acquire().await?).await?;
    let mut delayed = None;
    // What goes makes room for what comes: another distribution may bring the same content.
    let (removals, rest): (Vec<_>, Vec<_>) = content.spec.items.iter().partition(|item| item.removal.is_some());
    for item in removals.into_iter().chain(rest) {
        let before = known.iter().find(|known| known.said.is_about(item));
        if before.is_some_and(|known| known.said.is_of(item)) {
            continue;
        }
        // What went before may have taken its time.
        if !is_our_turn(state).await? {
            return Ok(false);
        }
        if let Err(delay) = carry_out(state, item, before).await {
            tracing::warn!(distribution = item.distribution, error = %delay, "an item waits");
            delayed = Some(delay);
        }
    }
    let said = settle(state, content).await?;
    let before = content.status.as_ref().map(|status| &*status.items).unwrap_or_default();
    if before != said {
        tell(api, content, &said).await?;
    }
    delayed.map_or(Ok(true), Err)
}

/// Whether this replica is the one that carries out what the node is told, from now on for [`LEASE`].
async fn is_our_turn(state: &AppState) -> Result<bool, sqlx::Error> {
    let mut connection = state.database.acquire().await?;
    turns::take(&mut connection, Turn::Distribution, state.replica, LEASE, state.clock.now()).await
}

/// Forgets what is spoken of no more, and says how the rest stands now.
async fn settle(state: &AppState, content: &NodeContent) -> Result<Vec<ContentAcknowledgement>, sqlx::Error> {
    let mut connection = state.database.acquire().await?;
    // An edit, or a decision, since it was received.
    let standings = distributions::standings(&mut connection, None).await?;
    let mut said = Vec::new();
    for mut known in distributions::all(&mut connection).await? {
        if !content.spec.items.iter().any(|item| known.said.is_about(item)) {
            distributions::forget(&mut connection, &known.said.distribution, known.said.dry_run).await?;
            continue;
        }
        let held = known.said.state.is_held() && !known.said.dry_run;
        if let Some(id) = known.content_id.as_deref().filter(|_| held) {
            known.said.state = standings.get(id).copied().unwrap_or(ContentState::Applied);
        }
        said.push(known.said);
    }
    Ok(said)
}

async fn tell(api: &Api<NodeContent>, content: &NodeContent, said: &[ContentAcknowledgement]) -> Result<(), Delay> {
    let part = json!({
        "apiVersion": NodeContent::api_version(&()), "kind": "NodeContent",
        "metadata": {"uid": content.uid()}, "status": {"items": said},
    });
    let (parameters, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&part));
    let write = api.patch_status(CHILD_NAME, &parameters, &patch);
    tokio::time::timeout(WRITE_DEADLINE, write).await.map_err(|_| Delay::Deadline)??;
    Ok(())
}

/// Carries one item out, and notes what came of it.
#[tracing::instrument(level = "debug", name = "content", skip_all, fields(item.distribution, item.revision))]
async fn carry_out(state: &AppState, item: &ContentItem, before: Option<&Known>) -> Result<(), Delay> {
    let outcome = match item.removal {
        Some(how) => remove(state, item, how, before).await,
        None => receive(state, item).await,
    };
    let message = match outcome {
        Ok(()) => return Ok(()),
        Err(Refused::Later(delay)) => return Err(delay),
        Err(Refused::Failed(message)) => message,
    };
    tracing::error!(distribution = item.distribution, revision = item.revision, message, "content was not taken");
    let message = message.chars().take(MAX_MESSAGE).collect();
    let known = Known {
        said: ContentAcknowledgement { message: Some(message), ..said(item, ContentState::Failed) },
        content_id: before.and_then(|known| known.content_id.clone()),
        locked_fields: before.map(|known| known.locked_fields.clone()).unwrap_or_default(),
    };
    let mut connection = state.database.acquire().await?;
    Ok(distributions::note(&mut connection, &known, state.clock.now()).await?)
}

fn said(item: &ContentItem, state: ContentState) -> ContentAcknowledgement {
    ContentAcknowledgement {
        distribution: item.distribution.clone(),
        revision: item.revision.clone(),
        attempt: item.attempt,
        state,
        active_digest: (state.is_held() && !item.dry_run).then(|| item.digest.clone()),
        message: None,
        dry_run: item.dry_run,
        plan: None,
    }
}

async fn remove(state: &AppState, item: &ContentItem, how: Removal, before: Option<&Known>) -> Result<(), Refused> {
    let now = state.clock.now();
    let mut connection = state.database.acquire().await?;
    let mut transaction = connection.begin().await?;
    let content_id = before.and_then(|known| known.content_id.clone());
    if let Some(content_id) = &content_id {
        distributions::remove(&mut transaction, &item.distribution, content_id, how, now).await?;
    }
    let known = Known { said: said(item, ContentState::Removed), content_id, locked_fields: Vec::new() };
    distributions::note(&mut transaction, &known, now).await?;
    Ok(transaction.commit().await?)
}

/// A manifest and the bodies that the node chooses of it, all of them verified.
struct Fetched {
    manifest: Manifest,
    bodies: BTreeMap<String, Value>,
}

async fn receive(state: &AppState, item: &ContentItem) -> Result<(), Refused> {
    tokio::time::sleep(SPREAD.mul_f64(rand::random())).await;
    let Fetched { manifest, bodies } = fetch(state, &item.digest).await?;
    let mut connection = state.database.acquire().await?;
    let mut transaction = connection.begin().await?;
    let languages: Vec<_> = bodies.keys().cloned().collect();
    distributions::show(&mut transaction, &manifest.content_id, &languages).await?;
    let received = merge(state, &mut transaction, &manifest, bodies).await?;
    let now = state.clock.now();
    let mut known = Known {
        said: said(item, ContentState::Applied),
        content_id: Some(manifest.content_id.clone()),
        locked_fields: manifest.locked_fields.clone(),
    };
    if item.dry_run {
        // What was merged is not kept: it was only asked.
        transaction.rollback().await?;
        known.said.plan = Some(answer(&received));
        known.locked_fields.clear();
        return Ok(distributions::note(&mut connection, &known, now).await?);
    }
    for received in received.values() {
        distributions::put(&mut transaction, &received.piece).await?;
        if let Some(document) = &received.replaced {
            let (id, language) = (&manifest.content_id, &received.piece.language);
            replaced::keep(&mut transaction, id, language, document, now).await?;
        }
    }
    distributions::hide_all_but(&mut transaction, &manifest.content_id, &languages, now).await?;
    known.said.state = distributions::standing(&mut transaction, &manifest.content_id).await?;
    distributions::note(&mut transaction, &known, now).await?;
    transaction.commit().await?;
    tracing::info!(distribution = item.distribution, revision = item.revision, state = ?known.said.state, "content was received");
    Ok(())
}

async fn fetch(state: &AppState, digest: &str) -> Result<Fetched, Refused> {
    let failed = |message: String| Refused::Failed(message);
    let digest: Digest = digest.parse().map_err(|_| failed("the item's digest is none".to_owned()))?;
    let bytes = state.hub.content(&digest).await?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| failed(format!("this release of the node cannot read the manifest: {error}")))?;
    let chosen = receive::languages(&manifest, &state.node.language).map_err(failed)?;
    let fetching = chosen.into_iter().map(|(language, digest)| async move {
        let bytes = state.hub.content(&digest).await?;
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if !body.is_object() || !is_storable(&body) {
            return Err(Refused::Failed(format!("the content in {language} is no JSON object that can be stored")));
        }
        Ok((language, body))
    });
    let bodies = stream::iter(fetching).buffer_unordered(FETCHES).try_collect().await?;
    Ok(Fetched { manifest, bodies })
}

/// What becomes of each piece, by language.
async fn merge(
    state: &AppState,
    connection: &mut PgConnection,
    manifest: &Manifest,
    bodies: BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Received>, sqlx::Error> {
    let now = state.clock.now();
    let held = contents::of_content(connection, &manifest.content_id).await?;
    let mut held: BTreeMap<_, _> = held.into_iter().map(|piece| (piece.language.clone(), piece)).collect();
    let received = bodies.into_iter().map(|(language, body)| {
        let received = match held.remove(&language) {
            Some(piece) => receive::next(piece, manifest, &body, now),
            None => receive::first(new_id(now), manifest, &language, &body, now),
        };
        (language, received)
    });
    Ok(received.collect())
}

/// What would happen.
fn answer(received: &BTreeMap<String, Received>) -> ContentPlan {
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let locked = received.values().flat_map(|received| &received.locked);
    let conflicts =
        received.values().flat_map(|received| received.piece.conflicts.iter().map(|conflict| &conflict.path));
    let paths = locked.clone().chain(conflicts.clone()).take(MAX_PATHS);
    ContentPlan {
        changes: received.values().any(|received| received.changes),
        conflicts: count(conflicts.count()),
        locked_edits: count(locked.count()),
        paths: paths.map(|path| path.to_string().chars().take(MAX_MESSAGE).collect()).collect(),
    }
}
