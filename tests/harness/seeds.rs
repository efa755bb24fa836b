//! Many users and revenues at once, straight into a node's database.

use sqlx::PgConnection;

/// Makes `person1`, `person2`, … with the password of the user who is there already: hashing thousands takes minutes.
pub async fn seed_people(database: &mut PgConnection, count: u32) {
    let made = sqlx::query(
        "INSERT INTO local_node.local_users
             (id, username, username_key, email, email_key, password_hash, role, status, profile, created_at, updated_at)
         SELECT gen_random_uuid(), 'person' || n, 'person' || n, 'person' || n || '@example.com',
                'person' || n || '@example.com', u.password_hash, 'student', 'active', '{}', u.created_at, u.updated_at
         FROM (SELECT * FROM local_node.local_users LIMIT 1) u, generate_series(1, $1) n",
    )
    .bind(i64::from(count))
    .execute(database)
    .await;
    assert!(made.is_ok(), "make people: {made:?}");
}

/// Puts so many revenues of the last hundred days into a node's database, a tenth of them given back in part, and opens
/// the days again that were closed without them.
///
/// # Panics
/// When a statement fails.
pub async fn seed_revenues(database: &mut PgConnection, revenues: i32) {
    let made = sqlx::query(
        "INSERT INTO local_node.local_revenues (id, type, amount_minor, currency, fee_minor, net_minor, transaction_date, metadata, synced_to_global, created_at)
         SELECT gen_random_uuid(), 'course', 1000 + n, 'SAR', 100, 900 + n, t, '{}', true, t
         FROM generate_series(1, $1) n, LATERAL (SELECT now() - interval '1 minute' * (n % 144000) AS t) AS time",
    );
    let made = made.bind(revenues).execute(&mut *database).await;
    assert!(made.is_ok(), "{made:?}");
    for statement in [
        "INSERT INTO local_node.local_refunds (id, revenue_id, amount_minor, fee_minor, net_minor, caller, idempotency_key, request_hash, synced_to_global, created_at)
         SELECT gen_random_uuid(), id, 10, 1, 9, 'x', id::text, '', true, created_at FROM local_node.local_revenues WHERE amount_minor % 10 = 0",
        // Nothing is recorded in a day that was closed before; here it was.
        "DELETE FROM local_node.revenue_days",
        "UPDATE local_node.closed_days SET until = 'epoch'",
        "ANALYZE",
    ] {
        let done = sqlx::query(statement).execute(&mut *database).await;
        assert!(done.is_ok(), "{statement}: {done:?}");
    }
}

/// Waits until a process of the node that started anew has closed the days that have ended.
pub async fn days_are_closed(database: &mut PgConnection) {
    crate::eventually("the days are closed", 60, async || {
        let days = sqlx::query_scalar("SELECT count(*) FROM local_node.revenue_days").fetch_one(&mut *database).await;
        match days {
            Ok(99_i64..) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
