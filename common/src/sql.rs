//! What every program asks of sqlx alike.

use jiff::Timestamp;
use time::OffsetDateTime;

/// A time as sqlx takes it: microseconds, like PostgreSQL.
#[must_use]
pub fn to_sql(time: Timestamp) -> OffsetDateTime {
    let nanoseconds = i128::from(time.as_microsecond()) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A time as sqlx gives it.
#[must_use]
pub fn from_sql(time: OffsetDateTime) -> Timestamp {
    Timestamp::from_nanosecond(time.unix_timestamp_nanos()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// An identifier of version 7, so that they sort by the time of their making.
#[must_use]
pub fn new_id(now: Timestamp) -> uuid::Uuid {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds))
}
