//! Access tokens: Ed25519 JWTs (RFC 9068), their keys and the JWKS that publishes them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{
    SigningKey as Ed25519Key,
    pkcs8::{DecodePrivateKey, EncodePrivateKey},
};
use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
    jwk::{
        AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, OctetKeyPairParameters,
        OctetKeyPairType, ThumbprintHash,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// `typ` of an access token (RFC 9068).
const ACCESS_TOKEN_TYPE: &str = "at+jwt";
/// No honest token is longer; longer ones are not even decoded.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// How far clocks may be apart.
const LEEWAY_SECONDS: u64 = 5;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not an Ed25519 private key in PKCS #8 PEM.
    #[error("the signing key is not an ed25519 private key in PKCS #8 PEM")]
    Malformed,
    /// The key could not be turned into a JWK.
    #[error("describe the public key")]
    Describe(#[source] jsonwebtoken::errors::Error),
}

/// Why a token was refused. Says nothing of the token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not an access token that one of our keys signed for this audience.
    #[error("the token is not valid here")]
    Invalid,
    /// It was valid once.
    #[error("the token has expired")]
    Expired,
}

/// Claims of an access token, with those of the service in `extra`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims<T> {
    /// Issuer.
    pub iss: String,
    /// Subject: the user's id.
    pub sub: String,
    /// The one audience.
    pub aud: String,
    /// Expiry, seconds since 1970.
    pub exp: i64,
    /// Time of issue, seconds since 1970.
    pub iat: i64,
    /// What the service adds.
    #[serde(flatten)]
    pub extra: T,
}

/// A private key that signs access tokens.
pub struct SigningKey {
    key: EncodingKey,
    public: Jwk,
    kid: String,
}

impl SigningKey {
    /// Reads a PKCS #8 PEM. The key's id is the thumbprint of its public part (RFC 7638).
    ///
    /// # Errors
    /// [`KeyError`] when it is not an Ed25519 key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = Ed25519Key::from_pkcs8_pem(pem).map_err(|_| KeyError::Malformed)?;
        let der = key.to_pkcs8_der().map_err(|_| KeyError::Malformed)?;
        let parameters = OctetKeyPairParameters {
            key_type: OctetKeyPairType::OctetKeyPair,
            curve: EllipticCurve::Ed25519,
            x: URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
        };
        let mut public = Jwk {
            common: CommonParameters { key_algorithm: Some(KeyAlgorithm::EdDSA), ..CommonParameters::default() },
            algorithm: AlgorithmParameters::OctetKeyPair(parameters),
        };
        let kid = public.thumbprint(ThumbprintHash::SHA256).map_err(KeyError::Describe)?;
        public.common.key_id = Some(kid.clone());
        Ok(Self { key: EncodingKey::from_ed_der(der.as_bytes()), public, kid })
    }

    /// The public part, for a JWKS.
    #[must_use]
    pub fn public(&self) -> &Jwk {
        &self.public
    }

    /// Signs an access token.
    ///
    /// # Errors
    /// When the claims cannot be written as JSON.
    pub fn sign<T: Serialize>(&self, claims: &Claims<T>) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(ACCESS_TOKEN_TYPE.to_owned());
        header.kid = Some(self.kid.clone());
        encode(&header, claims, &self.key)
    }
}

/// Checks access tokens of one issuer for one audience.
pub struct Verifier {
    keys: JwkSet,
    validation: Validation,
}

impl Verifier {
    /// Accepts tokens that one of `keys` signed, from `issuer`, for `audience`.
    #[must_use]
    pub fn new(keys: Vec<Jwk>, issuer: &str, audience: &str) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        // The clock is ours: see `verify`.
        validation.validate_exp = false;
        validation.leeway = LEEWAY_SECONDS;
        Self { keys: JwkSet { keys }, validation }
    }

    /// The public keys, to be published.
    #[must_use]
    pub const fn jwks(&self) -> &JwkSet {
        &self.keys
    }

    /// Checks type, key, signature, issuer, audience and times, and returns the claims.
    ///
    /// # Errors
    /// [`TokenError`] without a word on which check failed, expiry excepted.
    pub fn verify<T: DeserializeOwned>(&self, token: &str, now: Timestamp) -> Result<Claims<T>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        // RFC 8725: explicit type, our algorithm, and never a key that the token itself brings.
        let explicit = header.typ.as_deref() == Some(ACCESS_TOKEN_TYPE) && header.alg == Algorithm::EdDSA;
        if !explicit || header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some() || header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        let kid = header.kid.ok_or(TokenError::Invalid)?;
        let jwk = self.keys.find(&kid).ok_or(TokenError::Invalid)?;
        let key = DecodingKey::from_jwk(jwk).map_err(|_| TokenError::Invalid)?;
        let claims: Claims<T> = decode(token, &key, &self.validation).map_err(|_| TokenError::Invalid)?.claims;
        let leeway = i64::try_from(LEEWAY_SECONDS).unwrap_or(0);
        if claims.exp.saturating_add(leeway) <= now.as_second() {
            return Err(TokenError::Expired);
        }
        if claims.iat > now.as_second().saturating_add(leeway) {
            return Err(TokenError::Invalid);
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Role {
        role: String,
    }

    fn key(seed: u8) -> SigningKey {
        let pem = Ed25519Key::from_bytes(&[seed; 32]).to_pkcs8_pem(LineEnding::LF).unwrap();
        SigningKey::from_pem(&pem).unwrap()
    }
    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }
    fn claims() -> Claims<Role> {
        let iat = now().as_second();
        Claims {
            iss: "https://a.test".into(),
            sub: "u1".into(),
            aud: "node-a".into(),
            exp: iat + 600,
            iat,
            extra: Role { role: "admin".into() },
        }
    }
    fn verifier() -> Verifier {
        Verifier::new(vec![key(1).public().clone()], "https://a.test", "node-a")
    }
    fn refused(token: &str) {
        assert_eq!(verifier().verify::<Role>(token, now()), Err(TokenError::Invalid), "{token}");
    }

    #[test]
    fn a_token_of_ours_is_accepted_with_its_claims() {
        let token = key(1).sign(&claims()).unwrap();
        assert_eq!(verifier().verify::<Role>(&token, now()).unwrap(), claims());
    }

    #[test]
    fn an_expired_token_is_told_apart() {
        let token = key(1).sign(&claims()).unwrap();
        let later = Timestamp::from_second(claims().exp + 6).unwrap();
        assert_eq!(verifier().verify::<Role>(&token, later), Err(TokenError::Expired));
    }

    #[test]
    fn foreign_and_forged_tokens_are_refused() {
        refused("");
        refused("a.b.c");
        refused(&"a".repeat(MAX_TOKEN_BYTES + 1));
        refused(&key(2).sign(&claims()).unwrap());
        refused(&key(1).sign(&Claims { aud: "node-b".into(), ..claims() }).unwrap());
        refused(&key(1).sign(&Claims { iss: "https://b.test".into(), ..claims() }).unwrap());
        refused(&key(1).sign(&Claims { iat: claims().iat + 3600, ..claims() }).unwrap());
        let genuine = key(1).sign(&claims()).unwrap();
        let mut parts: Vec<_> = genuine.split('.').collect();
        let other = key(1).sign(&Claims { sub: "u2".into(), ..claims() }).unwrap();
        parts[1] = other.split('.').nth(1).unwrap();
        refused(&parts.join("."));
    }

    #[test]
    fn a_header_that_names_another_type_algorithm_or_key_is_refused() {
        let genuine = key(1).sign(&claims()).unwrap();
        let rest = genuine.split_once('.').unwrap().1;
        let kid = &key(1).kid;
        for header in [
            format!(r#"{{"alg":"none","typ":"at+jwt","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{kid}","jku":"https://evil.test"}}"#),
            r#"{"alg":"EdDSA","typ":"at+jwt"}"#.to_owned(),
        ] {
            refused(&format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header)));
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        assert!(matches!(
            SigningKey::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            Err(KeyError::Malformed)
        ));
    }
}
