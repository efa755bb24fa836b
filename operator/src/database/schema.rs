//! The schemas that databases are brought to: the nodes' and the hub's, each a list of migrations of two kinds.
//! Pure: needs no connection.
//!
//! What only adds ("expand") is carried out before the pods of a release start; what takes away
//! ("contract") after the last pod of the release before has gone, so that both can work at any time.

use std::{collections::HashSet, sync::Arc};

use sha2::{Digest, Sha256};
use sqlx::migrate::{Migration, Migrator};

static NODE_MIGRATIONS: Migrator = sqlx::migrate!("../node-runtime/migrations");
static HUB_MIGRATIONS: Migrator = sqlx::migrate!("../hub/migrations");

/// A migration whose description begins so takes something away.
const CONTRACT: &str = "contract";

/// What the databases of one schema have in common.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Name of the schema, in which the table of applied migrations lies too.
    pub schema: &'static str,
    /// The shared role that holds the rights on tables.
    pub runtime_role: &'static str,
    /// How the names of its templates begin.
    pub templates: &'static str,
}

const NODES: Family = Family { schema: "local_node", runtime_role: "fateh_runtime", templates: "fateh_t" };
const HUB: Family = Family { schema: "global_platform", runtime_role: "fateh_hub_runtime", templates: "fateh_hub_t" };

impl Family {
    /// Where the login role of a database finds names.
    #[must_use]
    pub fn search_path(&self) -> String {
        format!("{}, pg_catalog", self.schema)
    }
}

/// The migrations that this operator carries out.
#[derive(Clone, Debug)]
pub struct Schema {
    /// What it is the schema of.
    pub family: &'static Family,
    all: Arc<Migrator>,
    expanding: Arc<Migrator>,
}

impl Schema {
    /// The nodes' schema that this operator was built with.
    #[must_use]
    pub fn of_nodes() -> Self {
        Self::new(&NODES, NODE_MIGRATIONS.iter().cloned().collect())
    }

    /// The hub's schema that this operator was built with.
    #[must_use]
    pub fn of_the_hub() -> Self {
        Self::new(&HUB, HUB_MIGRATIONS.iter().cloned().collect())
    }

    /// A schema of these migrations.
    #[must_use]
    pub fn new(family: &'static Family, migrations: Vec<Migration>) -> Self {
        let expanding = migrations.iter().filter(|migration| !contracts(migration)).cloned().collect();
        let mut expanding = Migrator::with_migrations(expanding);
        let mut all = Migrator::with_migrations(migrations);
        // What a database has beside: contractions of releases before, or what a later one added that was rolled back.
        expanding.set_ignore_missing(true);
        all.set_ignore_missing(true);
        Self { family, all: Arc::new(all), expanding: Arc::new(expanding) }
    }

    /// Number of the newest migration.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.all.iter().map(|migration| migration.version).max().unwrap_or(0)
    }

    /// `<how templates begin><version>_<first 8 hex digits of the digest of all migrations>`.
    #[must_use]
    pub fn template_name(&self) -> String {
        let mut digest = Sha256::new();
        for migration in self.all.iter() {
            digest.update(migration.version.to_be_bytes());
            digest.update(&migration.checksum);
        }
        format!("{}{:04}_{}", self.family.templates, self.version(), &hex::encode(digest.finalize())[..8])
    }

    /// The version up to which every migration is among those `applied`.
    #[must_use]
    pub fn reached(&self, applied: &HashSet<i64>) -> i64 {
        let reached = self.all.iter().take_while(|migration| applied.contains(&migration.version));
        reached.last().map_or(0, |migration| migration.version)
    }

    /// Whether something is still to be added.
    #[must_use]
    pub fn is_to_expand(&self, applied: &HashSet<i64>) -> bool {
        self.expanding.iter().any(|migration| !applied.contains(&migration.version))
    }

    /// Whether something is still to be taken away.
    #[must_use]
    pub fn is_to_contract(&self, applied: &HashSet<i64>) -> bool {
        self.all.iter().any(|migration| contracts(migration) && !applied.contains(&migration.version))
    }

    /// All migrations, in their order: for a new database, and for contracting.
    pub(super) fn all(&self) -> &Migrator {
        &self.all
    }

    /// Only those that add.
    pub(super) fn expanding(&self) -> &Migrator {
        &self.expanding
    }
}

fn contracts(migration: &Migration) -> bool {
    migration.description.starts_with(CONTRACT)
}

#[cfg(test)]
mod tests {
    use sqlx::{SqlSafeStr, migrate::MigrationType};

    use super::*;

    fn migration(version: i64, description: &'static str) -> Migration {
        Migration::new(version, description.into(), MigrationType::Simple, "SELECT 1".into_sql_str(), false)
    }

    #[test]
    fn contractions_wait_and_expansions_do_not_wait_for_them() {
        let schema = Schema::new(
            &NODES,
            vec![
                migration(1, "node"),
                migration(2, "expand names"),
                migration(3, "contract names"),
                migration(4, "expand more"),
            ],
        );
        let set = |applied: &[i64]| applied.iter().copied().collect::<HashSet<_>>();
        for (applied, reached, expand, contract) in [
            (set(&[]), 0, true, true),
            (set(&[1]), 1, true, true),
            (set(&[1, 2, 4]), 2, false, true),
            (set(&[1, 2, 3, 4]), 4, false, false),
            (set(&[1, 2, 3, 4, 5]), 4, false, false),
        ] {
            assert_eq!(schema.reached(&applied), reached, "{applied:?}");
            assert_eq!(schema.is_to_expand(&applied), expand, "{applied:?}");
            assert_eq!(schema.is_to_contract(&applied), contract, "{applied:?}");
        }
        assert_eq!(schema.version(), 4);
    }

    #[test]
    fn the_template_is_named_by_version_and_digest() {
        let schema = Schema::of_nodes();
        let name = schema.template_name();
        assert!(name.starts_with(&format!("fateh_t{:04}_", schema.version())), "{name}");
        assert_eq!(name.len(), "fateh_t0001_ab12cd34".len());
        assert_ne!(name, Schema::new(&NODES, vec![migration(1, "node")]).template_name());
        assert!(Schema::of_the_hub().template_name().starts_with("fateh_hub_t0"));
    }

    /// Pods of the release before still run while a migration of this one is carried out.
    #[test]
    fn a_migration_that_takes_something_away_says_so_in_its_name() {
        let all = [Schema::of_nodes(), Schema::of_the_hub()];
        for migration in all.iter().flat_map(|schema| schema.all().iter()).filter(|migration| !contracts(migration)) {
            let sql = migration.sql.as_str().to_uppercase();
            for taking in ["DROP ", "RENAME ", "ALTER COLUMN", "REVOKE ", "TRUNCATE "] {
                assert!(
                    !sql.contains(taking),
                    "migration {} has {taking:?}: name it <number>_contract_<what>.sql, or take it out",
                    migration.version
                );
            }
        }
    }
}
