//! Text that becomes part of a statement. Identifiers and literals are quoted here and nowhere else.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use sqlx::{AssertSqlSafe, PgConnection};

/// Quotes an identifier.
///
/// PostgreSQL ends a statement at a NUL byte, so there must be none; every name that the operator
/// quotes is made of a validated slug.
#[must_use]
pub fn identifier(name: &str) -> String {
    escape_identifier(&name.replace('\0', ""))
}

/// Quotes a string literal, for statements that take no parameters.
#[must_use]
pub fn literal(text: &str) -> String {
    // A literal with backslashes comes back as ` E'…'`, with a space in front.
    escape_literal(&text.replace('\0', "")).trim_start().to_owned()
}

/// A statement whose every part has gone through [`identifier`] or [`literal`].
#[must_use]
pub fn statement(text: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(text)
}

/// Carries a statement out, see [`statement`], that no second one is like: it is not kept prepared.
///
/// # Errors
/// When the server refuses it, or cannot be reached.
pub async fn execute(connection: &mut PgConnection, text: String) -> Result<(), sqlx::Error> {
    sqlx::query(statement(text)).persistent(false).execute(connection).await.map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]

        #[test]
        fn no_text_escapes_from_an_identifier(name in "\\PC*|[\"'\\\\;$\n\u{202e}a-z]{0,40}") {
            let quoted = identifier(&name);
            let inner = &quoted[1..quoted.len() - 1];
            prop_assert!(quoted.starts_with('"') && quoted.ends_with('"'));
            prop_assert!(!inner.replace("\"\"", "").contains('"'));
        }

        #[test]
        fn no_text_escapes_from_a_literal(text in "\\PC*|[\"'\\\\;$\n\u{202e}a-z]{0,40}") {
            let quoted = literal(&text);
            let body = quoted.strip_prefix('E').unwrap_or(&quoted);
            prop_assert!(body.starts_with('\'') && body.ends_with('\'') && body.len() >= 2);
            prop_assert!(!body[1..body.len() - 1].replace("''", "").contains('\''));
            prop_assert!(!text.contains('\\') || quoted.starts_with('E'));
        }
    }
}
