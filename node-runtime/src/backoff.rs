//! How long is waited after failures in a row. Pure.

use std::time::Duration;

/// The wait after the first failure, and the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure; each further one doubles it.
    pub first: Duration,
    /// No wait is longer, but for the spread.
    pub longest: Duration,
}

impl Backoff {
    /// How long to wait when there were so many failures before, somewhat more or less.
    #[must_use]
    pub fn wait(&self, before: u32, random: u16) -> Duration {
        jittered(self.first.saturating_mul(2_u32.saturating_pow(before.min(16))).min(self.longest), random)
    }
}

/// Between 80 % and 120 % of a time, so that a thousand nodes do not come back at once.
#[must_use]
pub fn jittered(time: Duration, random: u16) -> Duration {
    time.mul_f64(0.8 + 0.4 * f64::from(random) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(300) };

    #[test]
    fn waits_grow_up_to_five_minutes() {
        assert_eq!(BACKOFF.wait(0, u16::MAX / 2).as_secs(), 1);
        let mut before = Duration::ZERO;
        for attempts in 0..8 {
            let wait = BACKOFF.wait(attempts, 0);
            assert!(wait > before, "{attempts}");
            before = wait;
        }
        for random in [0, u16::MAX] {
            let longest = BACKOFF.wait(u32::MAX, random);
            assert!(longest >= BACKOFF.longest.mul_f64(0.8) && longest <= BACKOFF.longest.mul_f64(1.2));
        }
    }
}
