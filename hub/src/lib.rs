//! The hub: the centre's API, identity and ledger. It faces the internet, and holds no rights on database servers,
//! workloads or Secrets: nodes are made by writing LocalNodes, which the operator carries out.

mod audit;
pub mod config;
mod fleet;
mod holding_page;
mod kubernetes;
mod metrics;
mod node_caller;
mod permissions;
mod publisher;
mod reconciliation;
mod released_bodies;
pub mod routes;
mod run;
mod scope;
mod shares;
mod signed_in;
mod state;
mod storage;
mod totals;

use axum::http::StatusCode;
pub use config::Arguments;
use fateh_common::{identity::Tables, service::words::Words};
pub use run::{RunError, run};

/// Where the hub keeps its people.
const PEOPLE: Tables = Tables { schema: "global_platform", users: "global_users", other_logins: &[] };

/// What the hub says.
static WORDS: Words = Words {
    arabic: include_str!("../locales/ar.ftl"),
    english: include_str!("../locales/en.ftl"),
    constraints: &[
        ("global_users_email_unique", StatusCode::CONFLICT, "email-taken"),
        ("global_partners_email_unique", StatusCode::CONFLICT, "email-taken"),
        ("global_partners_global_user_fkey", StatusCode::CONFLICT, "no-such-account"),
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
