//! One-time tokens: the user that they are for, and 256 random bits, of which only a hash is kept. Pure.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The text of a token, and what is kept of it.
#[must_use]
pub fn make(user: Uuid, secret: [u8; 32]) -> (String, [u8; 32]) {
    let mut bytes = user.as_bytes().to_vec();
    bytes.extend_from_slice(&secret);
    (URL_SAFE_NO_PAD.encode(bytes), Sha256::digest(secret).into())
}

/// The user and the hash of a token; none when it is no token of ours.
#[must_use]
pub fn parse(text: &str) -> Option<(Uuid, [u8; 32])> {
    // 48 bytes are 64 characters.
    let bytes = (text.len() == 64).then(|| URL_SAFE_NO_PAD.decode(text).ok())??;
    let (user, secret) = bytes.split_at_checked(16)?;
    Some((Uuid::from_slice(user).ok()?, Sha256::digest(secret).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_made() {
        let user = Uuid::from_u128(5);
        let (text, hash) = make(user, [3; 32]);
        assert_eq!(parse(&text), Some((user, hash)));
        for bad in ["", &text[1..], "é"] {
            assert_eq!(parse(bad), None);
        }
    }
}
