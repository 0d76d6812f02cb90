//! Signed cards (A2A 1.0 §8.4): a JWS (RFC 7515) over the canonical JSON (RFC 8785) of the card, made
//! with the installation's key. ES256, because it is what the specification's examples use and what
//! verifiers have; its nonce is derived from the message (RFC 6979), so the same card has the same
//! signature.

use a2a::{AgentCard, AgentCardSignature};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Where verifiers find the public key, below the public origin.
pub(crate) const JWKS_PATH: &str = "/.well-known/jwks.json";

/// The key that the cards of an installation are signed with.
#[derive(Clone)]
pub struct CardKey {
    key: SigningKey,
    /// The public key as a JWK (RFC 7517), without its id.
    jwk: Value,
    /// The JWK's thumbprint (RFC 7638).
    kid: String,
}

/// Why there is no key.
#[derive(Debug, Error)]
pub enum CardKeyError {
    #[error("cannot {what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} can be read by others; `chmod 600` it, or remove it for a new key if it may have leaked", .0.display())]
    Exposed(PathBuf),
    #[error("{} is no private JWK of the curve P-256; restore it, or remove it for a new key", .0.display())]
    Damaged(PathBuf),
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
}

impl std::fmt::Debug for CardKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CardKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl CardKey {
    /// The key in this file. Without a file a new key is made and kept in it, durable and readable by
    /// its owner only. To be called by the process that holds the data folder.
    ///
    /// # Errors
    /// If the file cannot be read or written, is no key, or can be read by others.
    pub fn open(path: &Path) -> Result<Self, CardKeyError> {
        let failed = |what| {
            move |source| CardKeyError::Io {
                what,
                path: path.to_owned(),
                source,
            }
        };
        match fs::read(path) {
            Ok(json) => {
                let metadata = fs::metadata(path).map_err(failed("look at"))?;
                if metadata.permissions().mode() & 0o077 != 0 {
                    return Err(CardKeyError::Exposed(path.to_owned()));
                }
                Self::from_json(&json).ok_or_else(|| CardKeyError::Damaged(path.to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate()?;
                write_new(path, &key.to_json()).map_err(failed("write"))?;
                Ok(key)
            }
            Err(error) => Err(failed("read")(error)),
        }
    }

    /// A key that nobody else has.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate() -> Result<Self, CardKeyError> {
        loop {
            let mut random = [0; 32];
            getrandom::fill(&mut random).map_err(CardKeyError::Random)?;
            // One in 2^32 numbers is none of the curve.
            if let Ok(key) = SigningKey::from_slice(&random) {
                return Ok(Self::new(key));
            }
        }
    }

    fn new(key: SigningKey) -> Self {
        let point = key.verifying_key().to_sec1_point(false);
        let coordinate = |bytes: Option<_>| {
            let bytes: &p256::FieldBytes = bytes.expect("a public key is no point at infinity");
            encode(bytes)
        };
        let (x, y) = (coordinate(point.x()), coordinate(point.y()));
        let jwk = json!({"crv": "P-256", "kty": "EC", "x": x, "y": y});
        // RFC 7638 §3: the required members, sorted, without white space, which is how a Value is written.
        let kid = encode(&Sha256::digest(jwk.to_string()));
        Self { key, jwk, kid }
    }

    fn from_json(json: &[u8]) -> Option<Self> {
        let jwk: Value = serde_json::from_slice(json).ok()?;
        if jwk["kty"] != "EC" || jwk["crv"] != "P-256" {
            return None;
        }
        let secret = URL_SAFE_NO_PAD.decode(jwk["d"].as_str()?).ok()?;
        SigningKey::from_slice(&secret).ok().map(Self::new)
    }

    /// The private JWK.
    fn to_json(&self) -> Vec<u8> {
        let mut jwk = self.jwk.clone();
        jwk["d"] = encode(&self.key.to_bytes()).into();
        jwk.to_string().into_bytes()
    }

    /// The JWK Set (RFC 7517 §5) that verifiers need.
    pub(crate) fn jwks(&self) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["kid"] = self.kid.clone().into();
        jwk["alg"] = "ES256".into();
        jwk["use"] = "sig".into();
        json!({"keys": [jwk]})
    }

    /// Adds a signature to a card that has none. `origin` is where the key is published.
    pub(crate) fn sign(&self, card: &mut AgentCard, origin: &str) {
        let header = json!({
            "alg": "ES256",
            "jku": format!("{origin}{JWKS_PATH}"),
            "kid": self.kid,
            "typ": "JOSE",
        });
        let protected = encode(header.to_string().as_bytes());
        let payload = encode(&canonical(card));
        let signature: Signature = self.key.sign(format!("{protected}.{payload}").as_bytes());
        card.signatures = Some(vec![AgentCardSignature {
            protected,
            signature: encode(&signature.to_bytes()),
            header: None,
        }]);
    }
}

/// RFC 8785, and A2A 1.0 §8.4.1: what a card leaves out is left out by its type, and no REQUIRED
/// member of ours is empty (see `card.rs`), so that the rule for those, which verifiers read in two
/// ways, does not matter.
fn canonical(card: &AgentCard) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(card).expect("a card has string keys and finite numbers only")
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Written beside it, fsynced and renamed: a key is there as a whole or not at all.
fn write_new(path: &Path, json: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(json)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use a2a::{AgentCapabilities, AgentInterface};
    use p256::ecdsa::signature::Verifier as _;

    fn card() -> AgentCard {
        AgentCard {
            name: "dörmaus".to_owned(),
            description: "Sleeps\n\u{1}".to_owned(),
            version: "1".to_owned(),
            supported_interfaces: vec![AgentInterface::new("https://x", "JSONRPC")],
            capabilities: AgentCapabilities::default(),
            default_input_modes: vec!["text/plain".to_owned()],
            default_output_modes: vec!["text/plain".to_owned()],
            skills: Vec::new(),
            provider: None,
            documentation_url: None,
            icon_url: None,
            security_schemes: None,
            security_requirements: None,
            signatures: None,
        }
    }

    #[test]
    fn a_signature_fits_its_card_and_no_other() {
        let key = CardKey::generate().unwrap();
        let (mut signed, mut again) = (card(), card());
        key.sign(&mut signed, "https://x");
        key.sign(&mut again, "https://x");
        assert_eq!(
            signed.signatures, again.signatures,
            "the same bytes every time"
        );
        let one = signed.signatures.take().unwrap().remove(0);
        let signature = URL_SAFE_NO_PAD.decode(&one.signature).unwrap();
        let signature = Signature::from_slice(&signature).unwrap();
        let verify = |card: &AgentCard| {
            let input = format!("{}.{}", one.protected, encode(&canonical(card)));
            key.key.verifying_key().verify(input.as_bytes(), &signature)
        };
        verify(&signed).unwrap();
        signed.name.push('x');
        verify(&signed).unwrap_err();
        let header: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&one.protected).unwrap()).unwrap();
        assert_eq!(header["kid"], key.jwks()["keys"][0]["kid"]);
        assert_eq!(header["jku"], "https://x/.well-known/jwks.json");
    }

    #[test]
    fn the_canonical_form_is_that_of_rfc_8785() {
        let canonical = String::from_utf8(canonical(&card())).unwrap();
        assert!(
            canonical.starts_with(r#"{"capabilities":{},"defaultInputModes":["text/plain"]"#),
            "{canonical}"
        );
        assert!(
            canonical.contains(r#""description":"Sleeps\n\u0001""#),
            "{canonical}"
        );
        assert!(canonical.contains(r#""name":"dörmaus""#), "{canonical}");
    }

    #[test]
    fn a_key_is_kept_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("card-key.json");
        let made = CardKey::open(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(CardKey::open(&path).unwrap().kid, made.kid);
        assert!(
            !made.jwks().to_string().contains("\"d\""),
            "the public half only"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            CardKey::open(&path),
            Err(CardKeyError::Exposed(_))
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "{}").unwrap();
        assert!(matches!(
            CardKey::open(&path),
            Err(CardKeyError::Damaged(_))
        ));
    }

    /// RFC 7638 §3.1 has an RSA example; this is the thumbprint of the P-256 key of RFC 7517 §A.1,
    /// computed with another implementation.
    #[test]
    fn ids_are_thumbprints() {
        let jwk = json!({"kty": "EC", "crv": "P-256", "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"});
        let key = CardKey::from_json(jwk.to_string().as_bytes()).unwrap();
        assert_eq!(key.jwk["x"], "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4");
        assert_eq!(key.kid, "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s");
    }
}
