//! Takes over a database that bears our mark with another UID: a retired one, or one of a rebuilt cluster.

use sqlx::Connection;

use super::{
    Mark,
    mark::is_marked,
    schema::Family,
    server::Server,
    sql::{execute, identifier, literal},
};
use crate::failure::Failure;

impl Server {
    /// Makes the database `from` the one of this `name` and `mark`, unless there is one already.
    ///
    /// Only a retired database (`deleted_…`) or one of the node's own name is taken: any other may be
    /// a living node's.
    ///
    /// # Errors
    /// `AdoptionRefused` when there is no such database, or it does not bear our mark.
    pub async fn adopt_database(&self, family: &Family, name: &str, mark: &Mark, from: &str) -> Result<(), Failure> {
        let own = self.catalog(name, family).await?;
        if own.database_exists && mark.is_on(own.database_comment.as_deref()) {
            return Ok(());
        }
        if from != name && !from.starts_with("deleted_") {
            return Err(refused(
                from,
                &self.name,
                "only a retired database, or one of the node's own name, can be taken over",
            ));
        }
        if from != name && own.database_exists {
            return Err(refused(from, &self.name, &format!("a database {name} exists; rename or drop it first")));
        }
        let found = self.catalog(from, family).await?;
        if !found.database_exists {
            return Err(refused(from, &self.name, "there is no such database"));
        }
        if !found.database_ours || !is_marked(found.database_comment.as_deref()) {
            return Err(refused(from, &self.name, "it does not bear the platform's mark"));
        }
        self.may_act("take the database over")?;
        let failed = self.failed("take the database over");
        let quoted = identifier(name);
        let mut connection = self.pool.acquire().await.map_err(&failed)?;
        let mut transaction = connection.begin().await.map_err(&failed)?;
        if from != name {
            execute(&mut transaction, format!("ALTER DATABASE {} RENAME TO {quoted}", identifier(from)))
                .await
                .map_err(&failed)?;
        }
        let mut statements = vec![
            format!("ALTER DATABASE {quoted} CONNECTION LIMIT -1"),
            format!("COMMENT ON DATABASE {quoted} IS {}", literal(&mark.comment())),
        ];
        if own.role_exists && is_marked(own.role_comment.as_deref()) {
            // Without a fingerprint, so that the role is given the password of the node's Secret next.
            statements.push(format!("COMMENT ON ROLE {quoted} IS {}", literal(&mark.comment())));
        }
        for text in statements {
            execute(&mut transaction, text).await.map_err(&failed)?;
        }
        transaction.commit().await.map_err(&failed)?;
        tracing::info!(server = self.name, database = from, name, "took a database over");
        Ok(())
    }
}

fn refused(database: &str, server: &str, why: &str) -> Failure {
    Failure::stalled(
        "AdoptionRefused",
        format!(
            "annotation {}: {database} on server {server} cannot be taken over: {why}",
            fateh_crds::ADOPT_ANNOTATION
        ),
    )
}
