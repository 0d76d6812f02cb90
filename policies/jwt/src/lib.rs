//! Lets in who has a JSON Web Token (RFC 7519) of a known issuer. The algorithm is that of the key in the
//! configuration, never that of the token; the time is the request's; the network is not needed.

mod rsa;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dormouse_filter_sdk::{Answer, Filter, Request, filter, is_header_name};
use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::signature::Verifier;
use serde::Deserialize;
use sha2::Sha256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    keys: Vec<KeyConfig>,
    issuer: String,
    audience: String,
    /// Seconds by which clocks may differ.
    #[serde(default)]
    leeway: u64,
    /// Where the token is.
    #[serde(default = "authorization")]
    header: String,
}

/// The header in which a token must be called one (RFC 6750 §2.1).
const AUTHORIZATION: &str = "authorization";

fn authorization() -> String {
    AUTHORIZATION.to_owned()
}

/// A key, as in a JSON Web Key (RFC 7517): numbers are base64url.
#[derive(Deserialize)]
#[serde(tag = "alg", deny_unknown_fields)]
enum KeyConfig {
    HS256 {
        kid: Option<String>,
        k: String,
    },
    ES256 {
        kid: Option<String>,
        x: String,
        y: String,
    },
    RS256 {
        kid: Option<String>,
        n: String,
        e: String,
    },
}

struct Key {
    id: Option<String>,
    algorithm: &'static str,
    secret: Secret,
}

enum Secret {
    Shared(Vec<u8>),
    Curve(p256::ecdsa::VerifyingKey),
    Rsa(rsa::PublicKey),
}

/// A shared secret has at least as many bytes as the hash (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;
/// Seconds. Clocks that differ by more are wrong, and tokens would hold for long after they have expired.
const MAX_LEEWAY: u64 = 3_600;
/// Longer tokens are not looked at.
const MAX_TOKEN: usize = 16 << 10;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood (RFC 7515 §4.1.11): none is.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

impl Key {
    fn new(config: KeyConfig) -> Result<Self, String> {
        let bytes = |name: &str, text: &str| {
            decode(text).ok_or_else(|| format!("{name:?} of a key is not base64url"))
        };
        let (id, algorithm, secret) = match config {
            KeyConfig::HS256 { kid, k } => {
                let secret = bytes("k", &k)?;
                if secret.len() < MIN_SECRET {
                    return Err(format!(
                        "a secret for HS256 has at least {MIN_SECRET} bytes"
                    ));
                }
                (kid, "HS256", Secret::Shared(secret))
            }
            KeyConfig::ES256 { kid, x, y } => {
                let point = [vec![4], bytes("x", &x)?, bytes("y", &y)?].concat();
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point);
                let key = key.map_err(|_| "x and y are not on the curve P-256")?;
                (kid, "ES256", Secret::Curve(key))
            }
            KeyConfig::RS256 { kid, n, e } => {
                let key = rsa::PublicKey::new(&bytes("n", &n)?, &bytes("e", &e)?)?;
                (kid, "RS256", Secret::Rsa(key))
            }
        };
        Ok(Self {
            id,
            algorithm,
            secret,
        })
    }

    fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.secret {
            Secret::Shared(secret) => Hmac::<Sha256>::new_from_slice(secret)
                .is_ok_and(|mac| mac.chain_update(text).verify_slice(signature).is_ok()),
            Secret::Curve(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(text, &signature).is_ok()),
            Secret::Rsa(key) => key.has_signed(text, signature),
        }
    }

    /// `alone`: no other key may be meant by a token that names none.
    fn fits(&self, header: &Header, alone: bool) -> bool {
        let same = match (&self.id, &header.kid) {
            (Some(own), Some(other)) => own == other,
            _ => alone,
        };
        same && self.algorithm == header.alg
    }

    fn is_rsa(&self) -> bool {
        matches!(self.secret, Secret::Rsa(_))
    }
}

/// Each signature is checked with one RSA key at most, because that takes milliseconds.
fn check_names(keys: &[Key]) -> Result<(), String> {
    let rsa: Vec<_> = keys.iter().filter(|key| key.is_rsa()).collect();
    for (at, key) in rsa.iter().enumerate() {
        match &key.id {
            None if rsa.len() > 1 => {
                return Err("of several RSA keys each needs a \"kid\"".to_owned());
            }
            Some(id) if rsa[..at].iter().any(|other| other.id == key.id) => {
                return Err(format!("two RSA keys have the \"kid\" {id:?}"));
            }
            _ => {}
        }
    }
    Ok(())
}

struct Jwt {
    keys: Vec<Key>,
    /// A token must say which of the RSA keys it means.
    many_rsa: bool,
    issuer: String,
    audience: String,
    leeway: f64,
    header: String,
}

impl Jwt {
    /// The token of a request. The platform's own may be in `authorization` while this one is in another header, in
    /// which the scheme may be left out.
    fn token<'a>(&self, request: &Request<'a>) -> Option<&'a str> {
        let value = request.header(&self.header)?.trim();
        match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
            None if self.header != AUTHORIZATION && !value.is_empty() => Some(value),
            _ => None,
        }
    }

    /// The subject of a good token.
    fn check(&self, token: &str, now: f64) -> Result<String, &'static str> {
        if token.len() > MAX_TOKEN {
            return Err("too_long");
        }
        let (signed, signature) = token.rsplit_once('.').ok_or("malformed")?;
        let (header, claims) = signed.split_once('.').ok_or("malformed")?;
        let header = decode(header).ok_or("malformed")?;
        let header: Header = serde_json::from_slice(&header).map_err(|_| "malformed")?;
        if header.crit.is_some() {
            return Err("unknown_extension");
        }
        let signature = decode(signature).ok_or("malformed")?;
        let fits = |key: &&Key| key.fits(&header, !(key.is_rsa() && self.many_rsa));
        let mut keys = self.keys.iter().filter(fits).peekable();
        keys.peek().ok_or("unknown_key")?;
        // What costs little is looked at first, and counts only if the signature is right.
        let claims = decode(claims).ok_or("malformed")?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| "malformed")?;
        let subject = self.check_claims(claims, now)?;
        if !keys.any(|key| key.has_signed(signed.as_bytes(), &signature)) {
            return Err("bad_signature");
        }
        Ok(subject)
    }

    fn check_claims(&self, claims: Claims, now: f64) -> Result<String, &'static str> {
        let until = claims.exp.ok_or("no_expiry")?;
        if now >= until + self.leeway {
            return Err("expired");
        }
        if claims.nbf.is_some_and(|from| now < from - self.leeway) {
            return Err("not_yet_valid");
        }
        if claims.iss.as_ref() != Some(&self.issuer) {
            return Err("wrong_issuer");
        }
        let is_for_us = match &claims.aud {
            Some(Audience::One(one)) => *one == self.audience,
            Some(Audience::Many(many)) => many.contains(&self.audience),
            None => false,
        };
        if !is_for_us {
            return Err("wrong_audience");
        }
        let subject = claims.sub.unwrap_or_default();
        // Such a header would be refused as this filter's failure, for everybody.
        if subject.chars().any(char::is_control) {
            return Err("malformed");
        }
        Ok(subject)
    }
}

/// The header in which later filters find the token's subject; what a client sends under this name is taken out.
const SUBJECT: &str = "x-jwt-subject";

impl Filter for Jwt {
    const NAME: &str = "jwt";
    const EVENTS: &[&str] = &["request_headers"];

    fn configure(config: &str) -> Result<Self, String> {
        let config: Config = serde_json::from_str(config).map_err(|error| error.to_string())?;
        if config.keys.is_empty() {
            return Err("there must be a key".to_owned());
        }
        // Whoever forgets them would let in, or keep out, other tokens than they think.
        if config.issuer.is_empty() || config.audience.is_empty() {
            return Err("issuer and audience must be named".to_owned());
        }
        if config.leeway > MAX_LEEWAY {
            return Err(format!("leeway is in seconds, and at most {MAX_LEEWAY}"));
        }
        let header = config.header.to_ascii_lowercase();
        if !is_header_name(&header) || header == SUBJECT {
            return Err(format!("{header:?} is no header for a token"));
        }
        let keys = config.keys.into_iter().map(Key::new);
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        check_names(&keys)?;
        Ok(Self {
            many_rsa: keys.iter().filter(|key| key.is_rsa()).count() > 1,
            keys,
            issuer: config.issuer,
            audience: config.audience,
            leeway: config.leeway as f64,
            header,
        })
    }

    fn request_headers(&mut self, request: &Request<'_>) -> Answer {
        let now = request.metadata.timestamp_ms as f64 / 1_000.0;
        let token = self.token(request).ok_or("no_token");
        match token.and_then(|token| self.check(token, now)) {
            Ok(subject) => Answer::allow().set_request(SUBJECT, &subject),
            Err(reason) => Answer::block(401, "a valid token is needed here")
                .with_header("www-authenticate", "Bearer error=\"invalid_token\"")
                .rule("jwt")
                .reason(reason),
        }
    }
}

filter!(Jwt);

#[cfg(test)]
mod tests;
