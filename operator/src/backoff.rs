//! How long an object waits before it is tried again: longer with each failure in a row, and per object.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use crate::news::hash;

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
        let delay = spread(delay(*count), object, *count);
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

/// Between 80 % and 120 % of the delay, other for each object: what failed together is not tried again together.
fn spread(delay: Duration, object: &str, failures: u32) -> Duration {
    let thousandths = 800 + u32::try_from(hash(&(object, failures)) % 401).unwrap_or(0);
    delay * thousandths / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_doubles_the_wait_up_to_a_minute() {
        let backoff = Backoff::default();
        let near = |wait: Duration, seconds: f64| (0.8..=1.2).contains(&(wait.as_secs_f64() / seconds));
        for seconds in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let wait = backoff.failed("a");
            assert!(near(wait, seconds), "{wait:?} for {seconds} s");
        }
        assert!(near(backoff.failed("b"), 0.5));
        backoff.succeeded("a");
        assert!(near(backoff.failed("a"), 0.5));
    }

    #[test]
    fn objects_that_failed_together_are_not_tried_again_together() {
        let waits: std::collections::HashSet<_> =
            (0..100).map(|index| spread(LONGEST, &format!("node-{index}"), 7)).collect();
        assert!(waits.len() > 50, "{} different waits", waits.len());
    }
}
