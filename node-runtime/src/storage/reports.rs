//! The figures that the node reports, and whose turn it is to report them.

use fateh_common::sql::to_sql;
use fateh_crds::{ContentStatistics, RevenueStatistics, Statistics, UserStatistics, UsersByRole};
use jiff::{SignedDuration, Timestamp};
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

const ACTIVE_DAYS: i64 = 30;
/// An hour is summed up when it has ended for so long.
const SETTLED: SignedDuration = SignedDuration::from_hours(1);

/// Rows whose time of recording is in a range, as parts of sums by day and currency.
macro_rules! recorded {
    ($range:literal) => {
        concat!(
            "SELECT (created_at AT TIME ZONE 'UTC')::date AS day, currency, amount_minor AS gross_minor, fee_minor,
                    net_minor, 0::bigint AS refunds_minor, 0::bigint AS pending_gross, 0::bigint AS pending_refunds
             FROM local_node.local_revenues WHERE created_at ",
            $range,
            " UNION ALL
             SELECT (f.created_at AT TIME ZONE 'UTC')::date, r.currency, 0, 0, 0, f.amount_minor, 0, 0
             FROM (SELECT * FROM local_node.local_refunds WHERE created_at ",
            $range,
            ") f JOIN local_node.local_revenues r ON r.id = f.revenue_id"
        )
    };
}

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

/// Counts everything that is reported, from what is kept counted: it takes as long at a million rows as at one.
///
/// # Errors
/// When a statement fails.
pub async fn statistics(connection: &mut PgConnection, now: Timestamp) -> Result<Statistics, sqlx::Error> {
    // All of one moment: an hour that is summed up meanwhile would be counted twice.
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let connection = &mut *transaction;
    let since = now.checked_sub(SignedDuration::from_hours(24 * ACTIVE_DAYS)).unwrap_or(Timestamp::UNIX_EPOCH);
    let roles: Vec<(String, i64)> =
        sqlx::query_as("SELECT role, users FROM local_node.user_counts").fetch_all(&mut *connection).await?;
    let count = |wanted: &str| roles.iter().find(|(role, _)| role == wanted).map_or(0, |(_, users)| *users);
    let active: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(users), 0)::bigint FROM local_node.sign_in_days WHERE day > ($1 AT TIME ZONE 'UTC')::date",
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
    // Read first, so that the planner knows how little is left to sum up.
    let until: OffsetDateTime =
        sqlx::query_scalar("SELECT until FROM local_node.closed_days").fetch_one(&mut *connection).await?;
    // What is recorded and what is pending in one statement, so that they are of one moment.
    let revenue: Vec<(String, i64, i64, i64, i64, i64, i64)> = sqlx::query_as(concat!(
        "WITH parts AS (
                  SELECT day, currency, gross_minor, fee_minor, net_minor, refunds_minor, 0::bigint AS pending_gross,
                         0::bigint AS pending_refunds
                  FROM local_node.revenue_days
                  UNION ALL ",
        recorded!("> $1"),
        " UNION ALL
                  SELECT NULL, currency, 0, 0, 0, 0, amount_minor, 0
                  FROM local_node.local_revenues WHERE NOT synced_to_global
                  UNION ALL
                  SELECT NULL, r.currency, 0, 0, 0, 0, 0, f.amount_minor
                  FROM local_node.local_refunds f JOIN local_node.local_revenues r ON r.id = f.revenue_id
                  WHERE NOT f.synced_to_global)
         SELECT currency, sum(gross_minor)::bigint, sum(fee_minor)::bigint, sum(net_minor)::bigint,
                sum(refunds_minor)::bigint, sum(pending_gross)::bigint, sum(pending_refunds)::bigint
         FROM parts GROUP BY currency ORDER BY currency LIMIT 8"
    ))
    .bind(until)
    .fetch_all(connection)
    .await?;
    transaction.commit().await?;
    Ok(Statistics {
        users: UserStatistics {
            total: roles.iter().map(|(_, users)| users).sum(),
            active30d: active,
            by_role: UsersByRole { student: count("student"), instructor: count("instructor"), admin: count("admin") },
        },
        content: ContentStatistics { published, customised },
        revenue: revenue
            .into_iter()
            .map(|(currency, gross, fee, net, refunds, pending_gross, pending_refunds)| RevenueStatistics {
                currency,
                gross,
                fee,
                net,
                refunds,
                pending_gross,
                pending_refunds,
            })
            .collect(),
    })
}

/// Adds the hours that have ended since the last time to the sums of their days, each once: of several replicas one
/// does it, in one statement.
///
/// # Errors
/// When the statement fails.
pub async fn close_hours(connection: &mut PgConnection, now: Timestamp) -> Result<(), sqlx::Error> {
    // No transaction lasts so long, and no clock of a replica is so late.
    let latest = now.saturating_sub(SETTLED).unwrap_or(now);
    sqlx::query(concat!(
        "WITH before AS (SELECT until FROM local_node.closed_days FOR UPDATE),
              closed AS (
                  UPDATE local_node.closed_days c SET until = date_trunc('hour', $1, 'UTC') - interval '1 microsecond'
                  FROM before WHERE c.until = before.until AND c.until < date_trunc('hour', $1, 'UTC') - interval '1 microsecond'
                  RETURNING c.until AS until, before.until AS since),
              parts AS (",
        recorded!("> (SELECT since FROM closed) AND created_at <= (SELECT until FROM closed)"),
        ")
         INSERT INTO local_node.revenue_days AS d
         SELECT day, currency, sum(gross_minor), sum(fee_minor), sum(net_minor), sum(refunds_minor)
         FROM parts GROUP BY day, currency
         ON CONFLICT (day, currency) DO UPDATE SET
             gross_minor = d.gross_minor + excluded.gross_minor, fee_minor = d.fee_minor + excluded.fee_minor,
             net_minor = d.net_minor + excluded.net_minor, refunds_minor = d.refunds_minor + excluded.refunds_minor"
    ))
    .bind(to_sql(latest))
    .execute(connection)
    .await
    .map(drop)
}
