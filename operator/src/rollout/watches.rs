//! What rollouts are planned from, and what wakes their controller.

use std::{pin::Pin, sync::Arc};

use fateh_crds::{CHILD_NAME, ContentDistribution, NodeContent};
use futures::{StreamExt, future};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::{
    catalogue::Catalogue,
    content::Content,
    controller::{self, Caches, Dirty},
    signals::Signals,
};
use crate::{cache::Cache, context::Context, local_node, settings::Settings, watch};

/// The controller of ContentDistributions, before it runs: its caches fill from the start.
pub struct Rollouts {
    /// Takes what the watch of LocalNodes sees.
    pub signals: Signals,
    caches: Caches,
    catalogue: Option<Catalogue>,
    dirty: UnboundedReceiver<Dirty>,
    /// Names of nodes whose content changed.
    counted: UnboundedReceiver<String>,
    /// Fill the caches, and never end.
    watches: Pin<Box<dyn Future<Output = ()> + Send>>,
    distributions_filled: CancellationToken,
    contents_filled: CancellationToken,
}

impl Rollouts {
    /// Watches ContentDistributions and NodeContents.
    ///
    /// # Errors
    /// When the way to the hub cannot be prepared.
    pub fn new(client: &Client, settings: &Settings) -> Result<Self, reqwest::Error> {
        let runtime = &settings.runtime;
        let catalogue =
            runtime.hub_url.as_deref().map(|url| Catalogue::new(url, runtime.hub_token.clone())).transpose()?;
        let (to, dirty) = unbounded_channel();
        let (count, counted) = unbounded_channel();
        let signals = Signals::new(to, count);
        let (distributions, contents) = (Cache::default(), Cache::default());
        let (distributions_filled, contents_filled) = (CancellationToken::new(), CancellationToken::new());
        let resync = settings.resync_interval;

        let all = watch::events(Api::<ContentDistribution>::all(client.clone()), watcher::Config::default(), resync);
        let kept = distributions.fill(all.modify(watch::forget));
        let of_distributions = signals.clone();
        let watched_distributions = watch::note_filled(kept, &distributions_filled).for_each(move |event| {
            match &event {
                Ok(Event::Apply(it) | Event::InitApply(it)) => of_distributions.distribution(it),
                Ok(Event::Delete(it)) => of_distributions.distribution_is_gone(&it.name_any()),
                Ok(Event::Init | Event::InitDone) => {}
                Err(error) => tracing::warn!(kind = "ContentDistribution", %error, "a watch failed"),
            }
            future::ready(())
        });

        let named = watcher::Config::default().fields(&format!("metadata.name={CHILD_NAME}"));
        let all = watch::reduced(watch::events(Api::<NodeContent>::all(client.clone()), named, resync));
        let kept = contents.fill(all);
        let of_contents = signals.clone();
        let watched_contents = watch::note_filled(kept, &contents_filled).for_each(move |event| {
            match &event {
                Ok(Event::Apply(it)) => of_contents.content(it),
                // What a watch has missed.
                Ok(Event::InitDone | Event::Delete(_)) => of_contents.everything(),
                Ok(Event::Init | Event::InitApply(_)) => {}
                Err(error) => tracing::warn!(kind = "NodeContent", %error, "a watch failed"),
            }
            future::ready(())
        });
        let watches = Box::pin(async move {
            futures::join!(watched_distributions, watched_contents);
        });
        let caches = Caches { distributions, contents };
        Ok(Self { signals, caches, catalogue, dirty, counted, watches, distributions_filled, contents_filled })
    }

    /// ContentDistributions, as watched.
    #[must_use]
    pub fn distributions(&self) -> Cache<ContentDistribution> {
        self.caches.distributions.clone()
    }

    /// What nodes are told to hold and say that they hold, as watched.
    #[must_use]
    pub fn contents(&self) -> Cache<Content> {
        self.caches.contents.clone()
    }

    /// Runs the controller until `stop`, when it finishes the pass that it has begun.
    pub async fn run(self, context: Arc<Context>, stop: CancellationToken) {
        let Self { caches, catalogue, dirty, counted, watches, distributions_filled, contents_filled, .. } = self;
        let nodes_filled = context.nodes_filled.clone();
        let filled = async {
            futures::join!(distributions_filled.cancelled(), contents_filled.cancelled(), nodes_filled.cancelled());
        };
        let work = async {
            // From half a fleet nothing is planned.
            tokio::select! {
                () = filled => {
                    let planning = controller::run(Arc::clone(&context), caches, catalogue, dirty, stop.clone());
                    futures::join!(planning, local_node::count(context, counted, stop.clone()));
                }
                () = stop.cancelled() => {}
            }
        };
        tokio::select! {
            () = work => {}
            () = watches => {}
        }
    }
}
