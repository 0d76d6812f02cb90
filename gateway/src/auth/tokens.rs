//! Making, listing and revoking API tokens, for the platform API and for the command line.

use crate::platform::time;
use dormouse_store::{Digest, StoreError, TokenRecord, TokenStore};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// What makes a token of ours recognisable, to people and to scanners for leaked secrets.
const PREFIX: &str = "dormouse_";
/// 256 bits: nobody guesses one, however often they try.
const SECRET_BYTES: usize = 32;
const MAX_NAME_BYTES: usize = 64;

/// What a token may be used for. `admin` includes the others: who makes tokens can make any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Modules, agents and versions; metrics.
    Deploy,
    /// The A2A operations.
    Invoke,
    /// Tokens, and everything else.
    Admin,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Deploy, Self::Invoke, Self::Admin];

    fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Invoke => "invoke",
            Self::Admin => "admin",
        }
    }

    /// Stored, so the numbers stay.
    fn bit(self) -> u8 {
        match self {
            Self::Deploy => 1,
            Self::Invoke => 2,
            Self::Admin => 4,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let known = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        known.ok_or(TokenError::Scope)
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scopes(u8);

impl Scopes {
    pub(crate) fn all() -> Self {
        Self::of(&Scope::ALL)
    }

    pub(crate) fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(super) fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, scope| bits | scope.bit()))
    }

    pub(crate) fn include(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }

    fn list(self) -> Vec<Scope> {
        let named = |scope: &Scope| self.0 & scope.bit() != 0;
        Scope::ALL.into_iter().filter(named).collect()
    }
}

/// Why a token was not made or revoked.
#[derive(Debug, Error)]
pub enum TokenError {
    #[error(
        "a token's name is its principal: 1 to {MAX_NAME_BYTES} letters, digits and `.`, `_`, `-`, `@`, and not `anonymous`"
    )]
    Name,
    #[error("a scope is one of deploy, invoke and admin")]
    Scope,
    #[error("a token needs at least one of the scopes deploy, invoke and admin")]
    NoScope,
    #[error("there is a token {0:?} already: revoke it first, or choose another name")]
    Taken(String),
    #[error(
        "the first token must have the scope admin and no expiry: from now on the server asks for tokens, and \
         nobody could make another"
    )]
    FirstMustBeAdmin,
    #[error("there is no token {0:?}")]
    Unknown(String),
    #[error(
        "{0:?} is the last token with the scope admin that does not expire: make another first, or stop the \
         server and use --data-dir"
    )]
    LastAdmin(String),
    #[error("that is too far in the future")]
    Expiry,
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A token to be made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Also the principal who owns the tasks of its requests.
    pub name: String,
    pub scopes: Vec<Scope>,
    /// Seconds; without it the token does not expire.
    #[serde(default)]
    pub expires_in: Option<u64>,
}

/// What is told of a token.
#[derive(Debug, Serialize)]
pub struct TokenInfo {
    pub name: String,
    pub scopes: Vec<Scope>,
    /// RFC 3339, in UTC.
    pub created: String,
    pub expires: Option<String>,
    pub expired: bool,
}

/// A token that was just made: the only time its secret is seen.
#[derive(Serialize)]
pub struct Created {
    pub token: String,
    #[serde(flatten)]
    pub info: TokenInfo,
}

/// Makes a token and keeps its hash.
///
/// # Errors
/// If it is named or scoped wrongly, if its name is taken, or if the store fails.
pub fn create(store: &dyn TokenStore, new: NewToken) -> Result<Created, TokenError> {
    check_name(&new.name)?;
    let scopes = Scopes::of(&new.scopes);
    if scopes.0 == 0 {
        return Err(TokenError::NoScope);
    }
    let now = now_ms();
    let expires_ms = new.expires_in.map(|seconds| expiry(now, seconds));
    let lasting_admin = scopes.include(Scope::Admin) && expires_ms.is_none();
    if !lasting_admin && store.tokens()?.is_empty() {
        return Err(TokenError::FirstMustBeAdmin);
    }
    let secret = secret()?;
    let record = TokenRecord {
        name: new.name,
        hash: hash(secret.as_bytes()),
        scopes: scopes.0,
        created_ms: now,
        expires_ms: expires_ms.transpose()?,
    };
    if !store.add(&record)? {
        return Err(TokenError::Taken(record.name));
    }
    Ok(Created {
        token: secret,
        info: info(record, now),
    })
}

/// Every token, by name. Without its secret, which nobody has kept.
///
/// # Errors
/// If the store fails.
pub fn list(store: &dyn TokenStore) -> Result<Vec<TokenInfo>, TokenError> {
    let (tokens, now) = (store.tokens()?, now_ms());
    Ok(tokens.into_iter().map(|token| info(token, now)).collect())
}

/// Whether the last way in may be closed, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastAdmin {
    /// It is refused: nobody could make a token over the network any more.
    Stays,
    /// Whoever has the data folder can make another.
    MayGo,
}

/// Forgets a token.
///
/// # Errors
/// If there is none of this name, if it is the last way in, or if the store fails.
pub fn revoke(store: &dyn TokenStore, name: &str, last: LastAdmin) -> Result<(), TokenError> {
    let is_way_in = |token: &&TokenRecord| {
        Scopes(token.scopes).include(Scope::Admin) && token.expires_ms.is_none()
    };
    let tokens = store.tokens()?;
    let mut ways_in = tokens.iter().filter(is_way_in);
    let only = ways_in.next().filter(|_| ways_in.next().is_none());
    if last == LastAdmin::Stays && only.is_some_and(|only| only.name == name) {
        return Err(TokenError::LastAdmin(name.to_owned()));
    }
    if store.remove(name)? {
        Ok(())
    } else {
        Err(TokenError::Unknown(name.to_owned()))
    }
}

/// What is kept of a secret. A plain hash is enough: there is nothing to guess in 256 random bits.
pub(crate) fn hash(secret: &[u8]) -> Digest {
    Digest::of(secret)
}

pub(crate) fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

fn secret() -> Result<String, TokenError> {
    use base64::Engine as _;
    let mut random = [0; SECRET_BYTES];
    getrandom::fill(&mut random).map_err(TokenError::Random)?;
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
    Ok(format!("{PREFIX}{text}"))
}

fn check_name(name: &str) -> Result<(), TokenError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    let right = (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(plain);
    if right && name != super::ANONYMOUS {
        Ok(())
    } else {
        Err(TokenError::Name)
    }
}

fn expiry(now_ms: u64, seconds: u64) -> Result<u64, TokenError> {
    let end = Duration::from_millis(now_ms).checked_add(Duration::from_secs(seconds));
    let end = end.and_then(|end| i64::try_from(end.as_millis()).ok());
    let end = end.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let end = end.ok_or(TokenError::Expiry)?;
    Ok(u64::try_from(end.as_millisecond()).unwrap_or(0))
}

fn info(token: TokenRecord, now_ms: u64) -> TokenInfo {
    TokenInfo {
        name: token.name,
        scopes: Scopes(token.scopes).list(),
        created: time(token.created_ms),
        expires: token.expires_ms.map(time),
        expired: token.expires_ms.is_some_and(|end| end <= now_ms),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use dormouse_store::Store;

    fn new(name: &str, scopes: &[Scope], expires_in: Option<u64>) -> NewToken {
        NewToken {
            name: name.to_owned(),
            scopes: scopes.to_vec(),
            expires_in,
        }
    }

    #[test]
    fn only_hashes_are_kept() {
        let store = Store::in_memory();
        let made = create(&*store.tokens, new("ann", &[Scope::Admin], None)).unwrap();
        assert_eq!(made.token.len(), PREFIX.len() + 43);
        let kept = format!("{:?}", store.tokens.tokens().unwrap());
        assert!(!kept.contains(&made.token[PREFIX.len()..]));
        let other = create(&*store.tokens, new("bob", &[Scope::Invoke], Some(60))).unwrap();
        assert_ne!(made.token, other.token);
        assert_eq!(other.info.scopes, [Scope::Invoke]);
        assert!(other.info.expires.is_some() && !other.info.expired);
    }

    #[test]
    fn nobody_is_locked_out_by_mistake() {
        let store = Store::in_memory();
        let tokens = &*store.tokens;
        for (scope, expires_in) in [(Scope::Invoke, None), (Scope::Admin, Some(60))] {
            let refused = create(tokens, new("first", &[scope], expires_in));
            assert!(matches!(refused, Err(TokenError::FirstMustBeAdmin)));
        }
        create(tokens, new("ann", &[Scope::Admin], None)).unwrap();
        create(tokens, new("brief", &[Scope::Admin], Some(60))).unwrap();
        let refused = revoke(tokens, "ann", LastAdmin::Stays);
        assert!(matches!(refused, Err(TokenError::LastAdmin(_))));
        create(tokens, new("bob", &[Scope::Admin], None)).unwrap();
        revoke(tokens, "ann", LastAdmin::Stays).unwrap();
        let unknown = revoke(tokens, "ann", LastAdmin::Stays);
        assert!(matches!(unknown, Err(TokenError::Unknown(_))));
        revoke(tokens, "bob", LastAdmin::MayGo).unwrap();
    }

    #[test]
    fn wrong_tokens_are_not_made() {
        let store = Store::in_memory();
        let long = "x".repeat(65);
        for name in ["", "anonymous", "a b", "a/b", "a\r\nb", "ä", &long] {
            let refused = create(&*store.tokens, new(name, &[Scope::Admin], None));
            assert!(matches!(refused, Err(TokenError::Name)), "{name:?}");
        }
        let refused = create(&*store.tokens, new("ann", &[], None));
        assert!(matches!(refused, Err(TokenError::NoScope)));
        create(&*store.tokens, new("ann", &[Scope::Admin], None)).unwrap();
        let again = create(&*store.tokens, new("ann", &[Scope::Invoke], None));
        assert!(matches!(again, Err(TokenError::Taken(_))));
        let far = create(&*store.tokens, new("far", &[Scope::Invoke], Some(u64::MAX)));
        assert!(matches!(far, Err(TokenError::Expiry)));
        assert!("Admin".parse::<Scope>().is_err());
    }
}
