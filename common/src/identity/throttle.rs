//! How often an account or an address may try to sign in: buckets that fill again, so that nobody is locked out for
//! good. Each process counts for itself first, which costs nothing; what passes is counted in PostgreSQL, for all
//! replicas together.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Accounts and addresses that one process remembers.
const REMEMBERED: usize = 20_000;

/// A hash of an account or an address: nothing of either can be read from it.
pub type Key = [u8; 16];

/// How much a bucket holds, and how quickly it fills.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Attempts at once.
    pub burst: f64,
    /// Attempts that come back each second.
    pub per_second: f64,
}

/// Attempts at one account.
pub const ACCOUNT: Limit = Limit { burst: 10.0, per_second: 0.2 };
/// Attempts from one address, behind which many people may be.
pub const ADDRESS: Limit = Limit { burst: 40.0, per_second: 2.0 };

/// The two buckets that an attempt is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The account that is tried, whether it exists or not.
    pub account: Key,
    /// Where from; none when it is not known.
    pub address: Option<Key>,
}

impl Attempt {
    /// An attempt at the account with this key from this address. Of an IPv6 address the network counts:
    /// who has one has billions.
    #[must_use]
    pub fn new(account: &str, address: Option<IpAddr>) -> Self {
        let network = address.map(|address| match address.to_canonical() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets()[..8].to_vec(),
        });
        Self { account: key(b"account", account.as_bytes()), address: network.map(|network| key(b"address", &network)) }
    }

    /// An attempt of a user who is signed in at the password in use; nobody else can take from this bucket.
    #[must_use]
    pub fn own(user: Uuid) -> Self {
        Self { account: key(b"own", user.as_bytes()), address: None }
    }

    /// Both buckets with their limits, in one order for all, so that two attempts never wait for each other.
    #[must_use]
    pub fn buckets(&self) -> Vec<(Key, Limit)> {
        let mut buckets = vec![(self.account, ACCOUNT)];
        buckets.extend(self.address.map(|address| (address, ADDRESS)));
        buckets.sort_by_key(|(key, _)| *key);
        buckets
    }
}

fn key(kind: &[u8], value: &[u8]) -> Key {
    let digest: [u8; 32] = Sha256::new_with_prefix(kind).chain_update([0]).chain_update(value).finalize().into();
    std::array::from_fn(|index| digest[index])
}

impl Limit {
    /// What a bucket holds that held `level` so long ago.
    #[must_use]
    pub fn refilled(&self, level: f64, since: Duration) -> f64 {
        (level + since.as_secs_f64() * self.per_second).min(self.burst)
    }

    /// How long until an empty bucket holds an attempt again.
    #[must_use]
    pub fn wait(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.per_second)
    }
}

/// The attempts that one process has seen.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<Key, (f64, Timestamp, Limit)>>);

impl Seen {
    /// Takes an attempt from both buckets.
    ///
    /// # Errors
    /// How long to wait when one of them is empty.
    pub fn take(&self, attempt: &Attempt, now: Timestamp) -> Result<(), Duration> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |then: Timestamp| Duration::try_from(now.duration_since(then)).unwrap_or_default();
        if seen.len() >= REMEMBERED {
            seen.retain(|_, (level, then, limit)| limit.refilled(*level, since(*then)) < limit.burst);
        }
        if seen.len() >= REMEMBERED {
            // Under such a flood the shared count alone decides.
            return Ok(());
        }
        let buckets = attempt.buckets();
        let level = |seen: &HashMap<_, (f64, Timestamp, Limit)>, key: &Key, limit: &Limit| {
            seen.get(key).map_or(limit.burst, |(level, then, _)| limit.refilled(*level, since(*then)))
        };
        if let Some((_, limit)) = buckets.iter().find(|(key, limit)| level(&seen, key, limit) < 1.0) {
            return Err(limit.wait());
        }
        for (key, limit) in buckets {
            let left = level(&seen, &key, &limit) - 1.0;
            seen.insert(key, (left, now, limit));
        }
        Ok(())
    }

    /// Gives an attempt back that was no guess: a school signs in from one address every morning. One right password
    /// pays for itself alone, and not for the wrong ones before it.
    pub fn give_back(&self, attempt: &Attempt) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, limit) in attempt.buckets() {
            if let Some((level, ..)) = seen.get_mut(&key) {
                *level = (*level + 1.0).min(limit.burst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1000 + seconds).unwrap()
    }

    fn from(account: &str, address: &str) -> Attempt {
        Attempt::new(account, Some(address.parse().unwrap()))
    }

    #[test]
    fn an_account_is_tried_ten_times_and_then_once_in_five_seconds() {
        let seen = Seen::default();
        let attempt = |number: u8| from("sara", &format!("192.0.2.{number}"));
        for number in 0..10 {
            assert_eq!(seen.take(&attempt(number), at(0)), Ok(()));
        }
        assert_eq!(seen.take(&attempt(99), at(0)), Err(Duration::from_secs(5)), "wherever it comes from");
        assert_eq!(seen.take(&from("omar", "192.0.2.1"), at(0)), Ok(()), "others are not concerned");
        assert_eq!(seen.take(&attempt(99), at(5)), Ok(()), "never for good");
        assert!(seen.take(&attempt(99), at(5)).is_err());
        seen.give_back(&attempt(99));
        assert_eq!(seen.take(&attempt(99), at(5)), Ok(()));
    }

    #[test]
    fn an_address_tries_forty_accounts_and_then_two_a_second() {
        let seen = Seen::default();
        let attempt = |account: u32| from(&format!("user{account}"), "2001:db8::1");
        for account in 0..40 {
            assert_eq!(seen.take(&attempt(account), at(0)), Ok(()));
        }
        let neighbour = from("another", "2001:db8::ffff:2");
        assert!(seen.take(&neighbour, at(0)).is_err(), "of an IPv6 address the network counts");
        assert_eq!(seen.take(&Attempt::new("another", None), at(0)), Ok(()));
        assert_eq!(seen.take(&neighbour, at(1)), Ok(()));
    }

    #[test]
    fn those_who_know_their_password_are_not_slowed() {
        let seen = Seen::default();
        for account in 0..200 {
            let attempt = from(&format!("pupil{account}"), "192.0.2.1");
            assert_eq!(seen.take(&attempt, at(0)), Ok(()));
            seen.give_back(&attempt);
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_full_again_is_forgotten() {
        let seen = Seen::default();
        for account in 0..REMEMBERED {
            assert_eq!(seen.take(&Attempt::new(&account.to_string(), None), at(0)), Ok(()));
        }
        assert_eq!(seen.take(&Attempt::new("one more", None), at(0)), Ok(()));
        assert_eq!(seen.0.lock().unwrap().len(), REMEMBERED);
        assert_eq!(seen.take(&Attempt::new("one more", None), at(100)), Ok(()));
        assert_eq!(seen.0.lock().unwrap().len(), 1);
    }
}
