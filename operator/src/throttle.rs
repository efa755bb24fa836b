//! Lets something happen at most once an interval, per object.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::news::hash;

/// When each object, by the hash of its name, last had its turn.
#[derive(Debug)]
pub struct Throttle {
    interval: Duration,
    turns: Mutex<HashMap<u64, Instant>>,
}

impl Throttle {
    /// At most one turn in `interval`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, turns: Mutex::default() }
    }

    /// Whether `object` may take a turn at `now`.
    pub fn allows(&self, object: &str, now: Instant) -> bool {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.get(&hash(&object)).is_none_or(|last| now.duration_since(*last) >= self.interval)
    }

    /// Notes that `object` took a turn at `now`, and forgets turns that no longer matter.
    pub fn took(&self, object: &str, now: Instant) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, last| now.duration_since(*last) < self.interval);
        turns.insert(hash(&object), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_allowed_once_an_interval_and_per_object() {
        let throttle = Throttle::new(Duration::from_secs(600));
        let start = Instant::now();
        assert!(throttle.allows("a", start));
        throttle.took("a", start);
        assert!(!throttle.allows("a", start + Duration::from_secs(599)));
        assert!(throttle.allows("b", start));
        assert!(throttle.allows("a", start + Duration::from_secs(600)));
    }
}
