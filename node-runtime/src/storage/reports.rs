//! The figures that the node reports, and whose turn it is to report them.

use fateh_crds::{ContentStatistics, RevenueStatistics, Statistics, UserStatistics, UsersByRole};
use jiff::{SignedDuration, Timestamp};
use sqlx::{FromRow, PgConnection};

use super::to_sql;

const ACTIVE_DAYS: i64 = 30;

/// Takes the turn to report, unless another replica took it since `earliest`.
///
/// # Errors
/// When the statement fails.
pub async fn take_turn(
    connection: &mut PgConnection,
    now: Timestamp,
    earliest: Timestamp,
) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query("UPDATE local_node.report_turn SET taken_at = $1 WHERE taken_at <= $2")
        .bind(to_sql(now))
        .bind(to_sql(earliest))
        .execute(connection)
        .await?;
    Ok(taken.rows_affected() == 1)
}

#[derive(FromRow)]
struct Users {
    total: i64,
    active: i64,
    students: i64,
    instructors: i64,
    admins: i64,
}

/// Counts everything that is reported.
///
/// # Errors
/// When a statement fails.
pub async fn statistics(connection: &mut PgConnection, now: Timestamp) -> Result<Statistics, sqlx::Error> {
    let since = now.checked_sub(SignedDuration::from_hours(24 * ACTIVE_DAYS)).unwrap_or(Timestamp::UNIX_EPOCH);
    let users: Users = sqlx::query_as(
        "SELECT count(*) AS total,
                count(*) FILTER (WHERE last_sign_in > $1) AS active,
                count(*) FILTER (WHERE role = 'student') AS students,
                count(*) FILTER (WHERE role = 'instructor') AS instructors,
                count(*) FILTER (WHERE role = 'admin') AS admins
         FROM local_node.local_users WHERE status <> 'deleted'",
    )
    .bind(to_sql(since))
    .fetch_one(&mut *connection)
    .await?;
    let (published, customised): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE status = 'published'), count(*) FILTER (WHERE is_customized)
         FROM local_node.local_content",
    )
    .fetch_one(&mut *connection)
    .await?;
    let revenue: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "SELECT currency, sum(amount_minor)::bigint, sum(fee_minor)::bigint, sum(net_minor)::bigint
         FROM local_node.local_revenues GROUP BY currency ORDER BY currency LIMIT 8",
    )
    .fetch_all(connection)
    .await?;
    Ok(Statistics {
        users: UserStatistics {
            total: users.total,
            active30d: users.active,
            by_role: UsersByRole { student: users.students, instructor: users.instructors, admin: users.admins },
        },
        content: ContentStatistics { published, customised },
        revenue: revenue
            .into_iter()
            .map(|(currency, gross, fee, net)| RevenueStatistics { currency, gross, fee, net, refunds: 0 })
            .collect(),
    })
}
