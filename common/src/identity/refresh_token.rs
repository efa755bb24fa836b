//! Refresh tokens: what a client holds, what the database keeps of it, and how a lost successor is found again. Pure.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How long a sign-in lives on by refreshing.
pub const SESSION_VALIDITY: SignedDuration = SignedDuration::from_hours(24 * 30);
/// How long the token before is answered with its successor: an answer may have been lost on the way.
pub const GRACE: SignedDuration = SignedDuration::from_secs(10);

/// A refresh token: the session that it belongs to, and 256 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    /// The session.
    pub session: Uuid,
    secret: [u8; 32],
}

impl RefreshToken {
    /// A token of random bits.
    #[must_use]
    pub const fn new(session: Uuid, secret: [u8; 32]) -> Self {
        Self { session, secret }
    }

    /// Reads what a client sent; none when it is no token of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // 48 bytes are 64 characters.
        let bytes = (text.len() == 64).then(|| URL_SAFE_NO_PAD.decode(text).ok())??;
        let (session, secret) = bytes.split_at_checked(16)?;
        Some(Self { session: Uuid::from_slice(session).ok()?, secret: secret.try_into().ok()? })
    }

    /// What the client is given.
    #[must_use]
    pub fn text(&self) -> String {
        let mut bytes = self.session.as_bytes().to_vec();
        bytes.extend_from_slice(&self.secret);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What the database keeps.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// The successor, so that only the holder of this token can read it.
    #[must_use]
    pub fn seal(&self, successor: &Self) -> [u8; 32] {
        xor(&self.pad(), &successor.secret)
    }

    /// The successor that was sealed with this token.
    #[must_use]
    pub fn unseal(&self, sealed: &[u8; 32]) -> Self {
        Self { session: self.session, secret: xor(&self.pad(), sealed) }
    }

    /// Used once: a token has one successor.
    fn pad(&self) -> [u8; 32] {
        Sha256::new_with_prefix(b"successor")
            .chain_update(self.session.as_bytes())
            .chain_update(self.secret)
            .finalize()
            .into()
    }
}

fn xor(one: &[u8; 32], other: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|index| one[index] ^ other[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_given() {
        let token = RefreshToken::new(Uuid::from_u128(7), [9; 32]);
        assert!(RefreshToken::parse(&token.text()).is_some_and(|read| read == token));
        let text = token.text();
        for bad in ["", "a", &text[1..], &format!("{text}A"), &"%".repeat(64), &"é".repeat(32)] {
            assert!(RefreshToken::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_the_token_before_finds_its_successor() {
        let session = Uuid::from_u128(7);
        let (before, after) = (RefreshToken::new(session, [1; 32]), RefreshToken::new(session, [2; 32]));
        let sealed = before.seal(&after);
        assert!(before.unseal(&sealed) == after);
        assert!(RefreshToken::new(session, [3; 32]).unseal(&sealed) != after);
        assert!(RefreshToken::new(Uuid::from_u128(8), [1; 32]).unseal(&sealed).hash() != after.hash());
        assert_ne!(sealed, after.hash());
    }
}
