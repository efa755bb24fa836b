//! What to do next about a rotation of the password or the signing key. Pure: needs no client.
//!
//! A rotation is a chain of states that lie in the Secret, so a new operator goes on where another ended. No step
//! is taken before every pod knows what it needs: pods of the template before are gone, not only replaced.

use jiff::Timestamp;

use crate::secrets::{Keys, LAST_TOKENS};

/// The next step of a password's rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordStep {
    /// Nothing is asked for, or something is awaited.
    Rest,
    /// The Secret gets a next password beside the current one; pods that know both are rolled out.
    Begin,
    /// The role is given the next password.
    Alter,
    /// The Secret's next password becomes the only one.
    Finish,
}

/// What the Secret holds of passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passwords {
    /// The current one.
    One,
    /// The next one beside it.
    Two {
        /// Whether the role has the next one already.
        altered: bool,
    },
}

/// Plans a password's rotation. `rolled_out`: every pod has what the Secret holds.
#[must_use]
pub const fn plan_password(asked: bool, passwords: Passwords, rolled_out: bool) -> PasswordStep {
    match passwords {
        Passwords::One if asked => PasswordStep::Begin,
        Passwords::Two { altered: true } => PasswordStep::Finish,
        Passwords::Two { altered: false } if rolled_out => PasswordStep::Alter,
        Passwords::One | Passwords::Two { .. } => PasswordStep::Rest,
    }
}

/// The next step of a signing key's rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStep {
    /// Nothing is asked for, or something is awaited.
    Rest,
    /// The Secret gets a next key; pods that publish both are rolled out.
    Publish,
    /// The next key signs, the one before is still accepted; pods are rolled out again.
    Use,
    /// No pod signs with the key before any more: it is accepted until this time.
    Expire(Timestamp),
    /// The key before is removed.
    Remove,
}

/// Plans a signing key's rotation. `rolled_out`: every pod has what the Secret holds.
#[must_use]
pub fn plan_key(asked: bool, keys: Keys, rolled_out: bool, now: Timestamp) -> KeyStep {
    match keys {
        Keys::One if asked => KeyStep::Publish,
        Keys::Next if rolled_out => KeyStep::Use,
        Keys::Previous { until: None } if rolled_out => {
            // Whole seconds, so that it reads back as it was written.
            let until = now.saturating_add(LAST_TOKENS).unwrap_or(now);
            KeyStep::Expire(Timestamp::from_second(until.as_second()).unwrap_or(until))
        }
        Keys::Previous { until: Some(until) } if until <= now => KeyStep::Remove,
        Keys::One | Keys::Next | Keys::Previous { .. } => KeyStep::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_altered_only_when_every_pod_knows_both_passwords() {
        let two = |altered| Passwords::Two { altered };
        for (asked, passwords, rolled_out, expected) in [
            (false, Passwords::One, true, PasswordStep::Rest),
            (true, Passwords::One, true, PasswordStep::Begin),
            (true, two(false), false, PasswordStep::Rest),
            (false, two(false), false, PasswordStep::Rest),
            (false, two(false), true, PasswordStep::Alter),
            (false, two(true), true, PasswordStep::Finish),
            // Altered, and killed before the Secret said so.
            (true, two(true), false, PasswordStep::Finish),
        ] {
            assert_eq!(plan_password(asked, passwords, rolled_out), expected);
        }
    }

    #[test]
    fn a_key_is_published_before_it_is_used_and_accepted_until_its_last_token_ends() {
        let now = Timestamp::from_second(1000).unwrap();
        let later = Timestamp::from_second(1660).unwrap();
        let previous = |until| Keys::Previous { until };
        for (asked, keys, rolled_out, expected) in [
            (false, Keys::One, true, KeyStep::Rest),
            (true, Keys::One, true, KeyStep::Publish),
            (true, Keys::Next, false, KeyStep::Rest),
            (false, Keys::Next, true, KeyStep::Use),
            (true, previous(None), false, KeyStep::Rest),
            (true, previous(None), true, KeyStep::Expire(later)),
            (true, previous(Some(later)), true, KeyStep::Rest),
            (true, previous(Some(now)), false, KeyStep::Remove),
        ] {
            assert_eq!(plan_key(asked, keys, rolled_out, now), expected);
        }
    }
}
