//! From SIGTERM to the end: first not ready, then drain, then a hard stop.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long a program may take from the signal to its end; less than a pod's 30 s of grace.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

/// A token that is cancelled by SIGTERM or SIGINT.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn cancelled_by_signals() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        cancelled.cancel();
    });
    Ok(token)
}

/// Waits for `work` until the drain deadline after `stop` is cancelled. True when `work` ended by itself.
pub async fn drain(stop: &CancellationToken, work: impl Future<Output = ()>) -> bool {
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_DEADLINE).await;
    };
    tokio::select! {
        () = work => true,
        () = deadline => {
            tracing::warn!(seconds = DRAIN_DEADLINE.as_secs(), "work was still under way at the drain deadline");
            false
        }
    }
}
