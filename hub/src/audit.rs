//! Notes in the audit log who did what.

use std::net::IpAddr;

use serde_json::Value;

use crate::{signed_in::SignedIn, state::AppState, storage};

/// Notes what was done. Once it is done it is done: that it cannot be noted is told loudly, and to nobody else.
pub async fn note(
    state: &AppState,
    user: &SignedIn,
    address: Option<IpAddr>,
    action: &str,
    subject: &str,
    detail: &Value,
) {
    let noted = async {
        let mut connection = state.database.acquire().await?;
        let actor = storage::audit::person(user.id);
        storage::audit::add(&mut connection, &actor, action, subject, address, detail, state.clock.now()).await
    };
    if let Err(error) = noted.await {
        tracing::error!(%error, user = %user.id, action, subject, "what was done could not be noted in the audit log");
    }
}
