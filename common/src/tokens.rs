//! Access tokens: Ed25519 JWTs (RFC 9068), their keys and the JWKS that publishes them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{
    SigningKey as Ed25519Key, VerifyingKey,
    pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey},
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
/// Keys of one issuer at most.
const MAX_KEYS: usize = 16;
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
    /// It names a key that is not known here.
    #[error("the token's key is not known")]
    UnknownKey,
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
    /// Identifier of this token.
    pub jti: String,
    /// What the service adds.
    #[serde(flatten)]
    pub extra: T,
}

/// Claims, with a time that is checked when a token bears it.
#[derive(Deserialize)]
struct Timed<T> {
    nbf: Option<i64>,
    #[serde(flatten)]
    claims: Claims<T>,
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
        let (public, kid) = describe(&key.verifying_key())?;
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

/// Reads a public key, SPKI PEM.
///
/// # Errors
/// [`KeyError`] when it is not an Ed25519 key.
pub fn public_key_from_pem(pem: &str) -> Result<Jwk, KeyError> {
    let key = VerifyingKey::from_public_key_pem(pem).map_err(|_| KeyError::Malformed)?;
    describe(&key).map(|(public, _)| public)
}

/// The Ed25519 keys of a JWKS that have an id; whatever else is in it is passed over (RFC 7517, section 5).
#[must_use]
pub fn keys_from_jwks(text: &str) -> Vec<AcceptedKey> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let Ok(set) = serde_json::from_str::<Set>(text) else { return Vec::new() };
    let usable = |jwk: &Jwk| {
        let AlgorithmParameters::OctetKeyPair(key) = &jwk.algorithm else { return false };
        // A point of another length would end the one who checks with it.
        let point = URL_SAFE_NO_PAD.decode(&key.x).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        key.curve == EllipticCurve::Ed25519
            && point.is_some_and(|point| VerifyingKey::from_bytes(&point).is_ok())
            && jwk.common.key_id.is_some()
    };
    let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    keys.filter(usable).take(MAX_KEYS).map(AcceptedKey::from).collect()
}

/// The key as a JWK, and its id.
fn describe(key: &VerifyingKey) -> Result<(Jwk, String), KeyError> {
    let parameters = OctetKeyPairParameters {
        key_type: OctetKeyPairType::OctetKeyPair,
        curve: EllipticCurve::Ed25519,
        x: URL_SAFE_NO_PAD.encode(key.as_bytes()),
    };
    let mut public = Jwk {
        common: CommonParameters { key_algorithm: Some(KeyAlgorithm::EdDSA), ..CommonParameters::default() },
        algorithm: AlgorithmParameters::OctetKeyPair(parameters),
    };
    let kid = public.thumbprint(ThumbprintHash::SHA256).map_err(KeyError::Describe)?;
    public.common.key_id = Some(kid.clone());
    Ok((public, kid))
}

/// A public key that tokens are checked with.
#[derive(Clone)]
pub struct AcceptedKey {
    /// The key.
    pub public: Jwk,
    /// Until when it is accepted; none: as long as it is published.
    pub until: Option<Timestamp>,
}

impl From<Jwk> for AcceptedKey {
    fn from(public: Jwk) -> Self {
        Self { public, until: None }
    }
}

/// Checks access tokens of one issuer for one audience.
pub struct Verifier {
    keys: Vec<AcceptedKey>,
    validation: Validation,
}

impl Verifier {
    /// Accepts tokens that one of `keys` signed, from `issuer`, for `audience`.
    #[must_use]
    pub fn new(keys: Vec<AcceptedKey>, issuer: &str, audience: &str) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The clock is ours: see `verify`.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.leeway = LEEWAY_SECONDS;
        Self { keys, validation }
    }

    /// The public keys that are accepted at `now`, to be published.
    #[must_use]
    pub fn jwks(&self, now: Timestamp) -> JwkSet {
        JwkSet { keys: self.accepted(now).cloned().collect() }
    }

    fn accepted(&self, now: Timestamp) -> impl Iterator<Item = &Jwk> {
        let holds = move |key: &&AcceptedKey| key.until.is_none_or(|until| now < until);
        self.keys.iter().filter(holds).map(|key| &key.public)
    }

    /// Checks type, key, signature, issuer, audience and times, and returns the claims.
    ///
    /// # Errors
    /// [`TokenError`] without a word on which check failed, expiry and a key that is not known excepted.
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
        let ours = |jwk: &&Jwk| jwk.common.key_id.as_deref() == Some(&kid);
        let jwk = self.accepted(now).find(ours).ok_or(TokenError::UnknownKey)?;
        let key = DecodingKey::from_jwk(jwk).map_err(|_| TokenError::Invalid)?;
        let Timed { nbf, claims } =
            decode::<Timed<T>>(token, &key, &self.validation).map_err(|_| TokenError::Invalid)?.claims;
        let leeway = i64::try_from(LEEWAY_SECONDS).unwrap_or(0);
        if claims.exp.saturating_add(leeway) <= now.as_second() {
            return Err(TokenError::Expired);
        }
        let latest = now.as_second().saturating_add(leeway);
        if claims.iat > latest || nbf.is_some_and(|nbf| nbf > latest) {
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
            jti: "t1".into(),
            extra: Role { role: "admin".into() },
        }
    }
    fn verifier() -> Verifier {
        Verifier::new(vec![key(1).public().clone().into()], "https://a.test", "node-a")
    }
    fn refused(token: &str) {
        let verified = verifier().verify::<Role>(token, now());
        // Which key it names is not secret, and not yet checked.
        assert!(matches!(verified, Err(TokenError::Invalid | TokenError::UnknownKey)), "{token}: {verified:?}");
    }

    #[test]
    fn a_token_of_ours_is_accepted_with_its_claims() {
        let token = key(1).sign(&claims()).unwrap();
        assert_eq!(verifier().verify::<Role>(&token, now()).unwrap(), claims());
    }

    #[test]
    fn a_key_that_is_not_known_is_told_apart_so_that_it_can_be_asked_for() {
        let token = key(2).sign(&claims()).unwrap();
        assert_eq!(verifier().verify::<Role>(&token, now()), Err(TokenError::UnknownKey));
        let published = serde_json::to_string(&JwkSet { keys: vec![key(2).public().clone()] }).unwrap();
        let keys = keys_from_jwks(&published);
        assert!(Verifier::new(keys, "https://a.test", "node-a").verify::<Role>(&token, now()).is_ok());
    }

    #[test]
    fn of_a_published_set_only_our_kind_of_keys_is_taken() {
        let ours = serde_json::to_value(key(1).public()).unwrap();
        let without = |field: &str| {
            let mut key = ours.clone();
            key.as_object_mut().unwrap().remove(field);
            key
        };
        let mut other = ours.clone();
        other["crv"] = "Ed448".into();
        let mut short = ours.clone();
        short["x"] = "AAAA".into();
        let symmetric = serde_json::json!({"kty": "oct", "kid": "a", "k": "AAAA"});
        let set = serde_json::json!({"keys": [other, without("kid"), without("x"), short, symmetric, 7, null, ours]});
        assert_eq!(keys_from_jwks(&set.to_string()).len(), 1);
        for text in ["", "[]", "null", "{}", r#"{"keys": {}}"#] {
            assert!(keys_from_jwks(text).is_empty(), "{text}");
        }
        let many = serde_json::json!({"keys": vec![ours; 100]});
        assert_eq!(keys_from_jwks(&many.to_string()).len(), MAX_KEYS);
    }

    #[test]
    fn an_expired_token_is_told_apart() {
        let token = key(1).sign(&claims()).unwrap();
        let later = Timestamp::from_second(claims().exp + 6).unwrap();
        assert_eq!(verifier().verify::<Role>(&token, later), Err(TokenError::Expired));
    }

    /// A token of any header and payload, signed by the key of this seed.
    fn forge(seed: u8, header: &str, payload: &str) -> String {
        use ed25519_dalek::Signer;
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = Ed25519Key::from_bytes(&[seed; 32]).sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    fn header(changes: &serde_json::Value) -> String {
        changed(&serde_json::json!({"alg": "EdDSA", "typ": "at+jwt", "kid": key(1).kid}), changes)
    }

    fn payload(changes: &serde_json::Value) -> String {
        changed(&serde_json::to_value(claims()).unwrap(), changes)
    }

    /// JSON with some fields put in, and those that are null taken out.
    fn changed(object: &serde_json::Value, changes: &serde_json::Value) -> String {
        let mut object = object.as_object().unwrap().clone();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                object.remove(name)
            } else {
                object.insert(name.clone(), value.clone())
            };
        }
        serde_json::to_string(&object).unwrap()
    }

    #[test]
    fn a_forged_header_is_refused() {
        use serde_json::json;
        let honest = json!({});
        assert!(verifier().verify::<Role>(&forge(1, &header(&honest), &payload(&honest)), now()).is_ok());
        let jwk = serde_json::to_value(key(2).public()).unwrap();
        for change in [
            json!({"alg": "none"}),
            json!({"alg": "None"}),
            json!({"alg": "HS256"}),
            json!({"alg": "HS512"}),
            json!({"alg": "RS256"}),
            json!({"alg": "PS256"}),
            json!({"alg": "ES256"}),
            json!({"alg": ""}),
            json!({"alg": null}),
            json!({"alg": ["EdDSA"]}),
            json!({"typ": null}),
            json!({"typ": "JWT"}),
            json!({"typ": "at+JWT"}),
            json!({"typ": "application/at+jwt"}),
            json!({"typ": "rt+jwt"}),
            json!({"kid": null}),
            json!({"kid": ""}),
            json!({"kid": "../../keys/1"}),
            json!({"kid": key(2).kid}),
            json!({"kid": "' OR 1=1 --"}),
            json!({"kid": 7}),
            json!({"jku": "https://evil.test/jwks.json"}),
            json!({"jwk": jwk}),
            json!({"x5u": "https://evil.test"}),
            json!({"crit": ["exp"]}),
        ] {
            refused(&forge(1, &header(&change), &payload(&honest)));
        }
        refused(&forge(1, "[]", &payload(&honest)));
        refused(&forge(1, &header(&honest).replacen('{', r#"{"alg":"none","#, 1), &payload(&honest)));
        // The attacker's own key, beside its description in the header.
        refused(&forge(2, &header(&json!({"jwk": jwk, "kid": key(2).kid})), &payload(&honest)));
    }

    #[test]
    fn a_forged_payload_is_refused_though_our_key_signed_it() {
        use serde_json::json;
        let iat = claims().iat;
        for change in [
            json!({"iss": null}),
            json!({"iss": ""}),
            json!({"iss": "https://b.test"}),
            json!({"iss": "https://a.test/"}),
            json!({"iss": ["https://b.test"]}),
            json!({"aud": null}),
            json!({"aud": "node-b"}),
            json!({"aud": ""}),
            json!({"aud": ["node-a", "node-b"]}),
            json!({"sub": null}),
            json!({"sub": 1}),
            json!({"exp": null}),
            json!({"exp": (iat + 600).to_string()}),
            json!({"exp": 1e300}),
            json!({"exp": -1.5}),
            json!({"iat": null}),
            json!({"iat": iat + 3600}),
            json!({"nbf": iat + 3600}),
            json!({"nbf": "soon"}),
            json!({"jti": null}),
            json!({"role": null}),
        ] {
            let token = forge(1, &header(&json!({})), &payload(&change));
            refused(&token);
        }
        refused(&forge(1, &header(&json!({})), "[]"));
        refused(&forge(1, &header(&json!({})), "null"));
        refused(&forge(1, &header(&json!({})), &payload(&json!({})).replacen('{', r#"{"sub":"u2","#, 1)));
    }

    #[test]
    fn a_token_that_is_not_what_was_signed_is_refused() {
        let genuine = key(1).sign(&claims()).unwrap();
        let other = key(1).sign(&Claims { sub: "u2".into(), ..claims() }).unwrap();
        let parts: Vec<_> = genuine.split('.').collect();
        let others: Vec<_> = other.split('.').collect();
        let nested = forge(1, &header(&serde_json::json!({"cty": "JWT"})), &genuine);
        for token in [
            String::new(),
            "a.b.c".to_owned(),
            "a".repeat(MAX_TOKEN_BYTES + 1),
            key(2).sign(&claims()).unwrap(),
            [parts[0], others[1], parts[2]].join("."),
            [parts[0], parts[1], ""].join("."),
            [parts[0], parts[1]].join("."),
            [parts[0], parts[1], parts[2], ""].join("."),
            format!("{genuine}="),
            format!(" {genuine}"),
            format!("{genuine}\0"),
            genuine.replace('.', ".."),
            [parts[0], parts[1], &parts[2].chars().rev().collect::<String>()].join("."),
            nested,
        ] {
            refused(&token);
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        assert!(matches!(
            SigningKey::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            Err(KeyError::Malformed)
        ));
    }

    #[test]
    fn a_key_that_no_longer_signs_is_accepted_until_its_time_and_not_after() {
        use ed25519_dalek::pkcs8::EncodePublicKey;

        let pem = Ed25519Key::from_bytes(&[1; 32]).verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
        let token = key(1).sign(&claims()).unwrap();
        let retired = |until: i64| AcceptedKey {
            public: public_key_from_pem(&pem).unwrap(),
            until: Some(Timestamp::from_second(now().as_second() + until).unwrap()),
        };
        for (until, accepted) in [(1, true), (0, false), (-600, false)] {
            let keys = vec![key(2).public().clone().into(), retired(until)];
            let verifier = Verifier::new(keys, "https://a.test", "node-a");
            assert_eq!(verifier.verify::<Role>(&token, now()).is_ok(), accepted, "{until}");
            assert_eq!(verifier.jwks(now()).keys.len(), if accepted { 2 } else { 1 });
        }
    }
}
