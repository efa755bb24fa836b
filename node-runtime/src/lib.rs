//! The node runtime: what runs in the pods of one local node.
//!
//! It works when the hub, the operator and the API server are all down; of these it only ever
//! writes to the API server, to report.

mod backoff;
pub mod centre;
pub mod config;
pub mod content;
pub mod distribution;
mod hub_client;
pub mod metrics;
pub mod permissions;
pub mod report;
pub mod routes;
mod run;
pub mod signed_in;
pub mod state;
pub mod storage;
pub mod sync;

use axum::http::StatusCode;
pub use config::Arguments;
use fateh_common::{identity::Tables, service::words::Words};
pub use run::{RunError, run};

/// Where the node keeps its people.
const PEOPLE: Tables = Tables { schema: "local_node", users: "local_users", other_logins: &["username_key"] };

/// What the node says.
static WORDS: Words = Words {
    arabic: include_str!("../locales/ar.ftl"),
    english: include_str!("../locales/en.ftl"),
    constraints: &[
        ("local_users_username_unique", StatusCode::CONFLICT, "username-taken"),
        ("local_users_email_unique", StatusCode::CONFLICT, "email-taken"),
        ("local_revenues_user_id_fkey", StatusCode::UNPROCESSABLE_ENTITY, "unknown-user"),
    ],
};

#[cfg(test)]
mod tests {
    use fateh_common::service::words;

    #[test]
    fn both_languages_are_well_formed_and_have_the_same_keys() {
        assert_eq!(words::flaws(super::WORDS.arabic, super::WORDS.english), Vec::<String>::new());
    }
}
