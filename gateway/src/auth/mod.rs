//! Who is asking, and what they may do. Pure but for the clock: a table in memory, swapped as a whole
//! when tokens change, so that a request waits for no lock and no disk.

mod api;
mod scope;
mod site;
pub mod tokens;

pub(crate) use api::answer;
pub(crate) use scope::{Need, needed};

use crate::config::{GatewayConfig, WithoutTokens};
use crate::handle::Face;
use arc_swap::ArcSwap;
use dormouse_services::TaskScope;
use dormouse_store::{Digest, StoreError, TokenRecord, TokenStore};
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Uri};
use site::Site;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use tokens::{Scope, Scopes};

/// Who owns the tasks of a request without authentication.
const ANONYMOUS: &str = "anonymous";
/// Longer credentials are none of ours and are not even hashed.
const MAX_SECRET_BYTES: usize = 256;

/// Whether requests need a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    Locked,
}

/// The sender of a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Arc<str>,
    scopes: Scopes,
    /// What the caller came through: a locked door means that the principal is known.
    pub(crate) door: Door,
    /// Where the request came from; `None` for one of an agent.
    address: Option<IpAddr>,
}

/// Whom places are counted for that must not all be one client's: a principal, or of those without a token an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) principal: &'a str,
    pub(crate) address: Option<IpAddr>,
}

impl Client<'_> {
    /// Differs for different clients. Of IPv6 the first 64 bits count, because whoever has one address has all of that
    /// network (RFC 4291 §2.5.4).
    pub(crate) fn key(self) -> String {
        match self.address.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(address)) if self.principal == ANONYMOUS => {
                format!("at {}", Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
            }
            Some(IpAddr::V4(address)) if self.principal == ANONYMOUS => format!("at {address}"),
            _ => self.principal.to_owned(),
        }
    }
}

impl Caller {
    /// An agent that calls another for a principal who was let in. It may nothing but call.
    pub(crate) fn inside(principal: &str) -> Self {
        Self {
            principal: principal.into(),
            scopes: Scopes::of(&[Scope::Invoke]),
            door: Door::Open,
            address: None,
        }
    }

    pub(crate) fn at(mut self, address: Option<IpAddr>) -> Self {
        self.address = address;
        self
    }

    pub(crate) fn client(&self) -> Client<'_> {
        Client {
            principal: &self.principal,
            address: self.address,
        }
    }

    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.include(scope)
    }

    /// Whose tasks of this agent the caller sees.
    pub(crate) fn scope(&self, agent: &str) -> TaskScope {
        TaskScope {
            agent: agent.to_owned(),
            principal: (*self.principal).to_owned(),
        }
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It has no credentials.
    Missing,
    /// Its credentials are not one bearer token, or one that is unknown, revoked or expired.
    Invalid,
    /// Its token lacks this scope.
    Lacks(Scope),
    /// No token is needed, and this has sent it.
    Foreign(&'static str),
}

impl Denied {
    pub(crate) fn sentence(self) -> String {
        match self {
            Self::Missing => {
                "this server needs a token: send it as `Authorization: Bearer TOKEN`".to_owned()
            }
            Self::Invalid => {
                "the token is not valid here: it is unknown, revoked or expired".to_owned()
            }
            Self::Lacks(scope) => format!("the token lacks the scope {scope}"),
            Self::Foreign(whose) => format!(
                "this server has no tokens, and this request is from {whose}: \
                 create a token (`dormouse token create NAME --scope admin`), or start the server with --public-url \
                 if that is its name"
            ),
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750 §3), if a token helps.
    pub(crate) fn challenge(self) -> Option<String> {
        let realm = r#"Bearer realm="dormouse""#;
        Some(match self {
            Self::Foreign(_) => return None,
            Self::Missing => realm.to_owned(),
            Self::Invalid => format!(r#"{realm}, error="invalid_token""#),
            Self::Lacks(scope) => {
                format!(r#"{realm}, error="insufficient_scope", scope="{scope}""#)
            }
        })
    }
}

/// Answers who a request is from.
pub(crate) struct Auth {
    table: ArcSwap<Table>,
    without_tokens: WithoutTokens,
    anybody: Caller,
    pub(crate) site: Site,
}

struct Table {
    /// By the hash of the secret: finding one compares hashes only, so the time it takes says nothing
    /// about a secret.
    known: HashMap<Digest, Known>,
}

struct Known {
    caller: Caller,
    expires_ms: Option<u64>,
}

impl Auth {
    pub(crate) fn new(config: &GatewayConfig, store: &dyn TokenStore) -> Result<Self, StoreError> {
        Ok(Self {
            site: Site::new(&config.public_url),
            table: ArcSwap::from_pointee(Table::read(store)?),
            without_tokens: config.without_tokens,
            anybody: Caller {
                principal: ANONYMOUS.into(),
                scopes: Scopes::all(),
                door: Door::Open,
                address: None,
            },
        })
    }

    /// Takes the tokens as they are now. To be called after every change, one at a time.
    pub(crate) fn reload(&self, store: &dyn TokenStore) -> Result<(), StoreError> {
        self.table.store(Arc::new(Table::read(store)?));
        Ok(())
    }

    /// Locked as soon as there is a token, or from the start.
    pub(crate) fn door(&self) -> Door {
        self.door_of(&self.table.load())
    }

    fn door_of(&self, table: &Table) -> Door {
        if table.known.is_empty() && self.without_tokens == WithoutTokens::Open {
            Door::Open
        } else {
            Door::Locked
        }
    }

    /// Lets a request in, or says why not.
    pub(crate) fn admit(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        need: Need,
    ) -> Result<Caller, Denied> {
        if need == Need::Nothing {
            return Ok(self.anybody.clone());
        }
        let table = self.table.load();
        if self.door_of(&table) == Door::Open {
            self.site.check(uri, headers)?;
            return Ok(self.anybody.clone());
        }
        let caller = table.caller(headers)?;
        match need {
            Need::Scope(scope) if !caller.may(scope) => Err(Denied::Lacks(scope)),
            _ => Ok(caller.clone()),
        }
    }
}

impl Table {
    fn read(store: &dyn TokenStore) -> Result<Self, StoreError> {
        let known = |token: TokenRecord| {
            let caller = Caller {
                principal: token.name.into(),
                scopes: Scopes::from_bits(token.scopes),
                door: Door::Locked,
                address: None,
            };
            let expires_ms = token.expires_ms;
            (token.hash, Known { caller, expires_ms })
        };
        let known = store.tokens()?.into_iter().map(known).collect();
        Ok(Self { known })
    }

    fn caller(&self, headers: &HeaderMap) -> Result<&Caller, Denied> {
        let secret = bearer(headers)?;
        let known = self.known.get(&tokens::hash(secret));
        let known = known.ok_or(Denied::Invalid)?;
        match known.expires_ms {
            Some(end) if end <= tokens::now_ms() => Err(Denied::Invalid),
            _ => Ok(&known.caller),
        }
    }
}

/// The one bearer token of a request (RFC 6750 §2.1). The scheme's case does not matter, the
/// secret's does.
fn bearer(headers: &HeaderMap) -> Result<&[u8], Denied> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let value = given.next().ok_or(Denied::Missing)?.as_bytes();
    if given.next().is_some() {
        return Err(Denied::Invalid);
    }
    let (scheme, secret) = value.split_at_checked(7).ok_or(Denied::Invalid)?;
    let secret = secret.trim_ascii();
    let is_one =
        scheme.eq_ignore_ascii_case(b"bearer ") && (1..=MAX_SECRET_BYTES).contains(&secret.len());
    if is_one {
        Ok(secret)
    } else {
        Err(Denied::Invalid)
    }
}

/// What a request needs before anything else is looked at.
pub(crate) fn need(face: Face, route: &crate::route::Route<'_>, method: &hyper::Method) -> Need {
    match face {
        Face::Metrics => Need::Nothing,
        Face::Public => needed(route, method),
    }
}
