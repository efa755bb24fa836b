//! How long an object waits before it is tried again: longer with each failure in a row, and per object.

use std::{collections::HashMap, sync::Mutex, time::Duration};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// Failures in a row, by object.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// Counts a failure of `object` and says how long to wait.
    pub fn failed(&self, object: &str) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = failures.entry(object.to_owned()).or_default();
        let delay = delay(*count);
        *count = count.saturating_add(1);
        delay
    }

    /// Forgets the failures of `object`.
    pub fn succeeded(&self, object: &str) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(object);
    }
}

fn delay(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_doubles_the_wait_up_to_a_minute() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..9).map(|_| backoff.failed("a").as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
        assert_eq!(backoff.failed("b").as_millis(), 500);
        backoff.succeeded("a");
        assert_eq!(backoff.failed("a").as_millis(), 500);
    }
}
