//! Many users at once.

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
