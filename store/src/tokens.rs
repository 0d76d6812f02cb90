//! API tokens in sled, in the database of the registry.
//!
//! | key | value |
//! |---|---|
//! | `t` name | hash, scopes, creation time, expiry (0: never) |

use std::sync::Arc;

use crate::database::{Changes, Database};
use crate::keys::Key;
use crate::limits::check_token;
use crate::{Digest, StoreError, TokenRecord, TokenStore};

const TOKEN: u8 = b't';

pub(crate) struct SledTokens(Arc<Database>);

impl SledTokens {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self(database)
    }

    fn change(
        &self,
        stage: impl FnOnce(&mut Changes<'_>) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let mut changes = self.0.begin()?;
        let changed = stage(&mut changes)?;
        changes.commit()?;
        self.0.settle()?;
        Ok(changed)
    }

    fn parse(&self, key: &[u8], value: &[u8]) -> Result<TokenRecord, StoreError> {
        let damaged = || self.0.corrupt("a token");
        let name = std::str::from_utf8(&key[1..]).map_err(|_| damaged())?;
        let (hash, rest) = value.split_first_chunk::<32>().ok_or_else(damaged)?;
        let (scopes, rest) = rest.split_first().ok_or_else(damaged)?;
        let (created_ms, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let expires_ms = u64::from_be_bytes(rest.try_into().map_err(|_| damaged())?);
        Ok(TokenRecord {
            name: name.to_owned(),
            hash: Digest::from_bytes(*hash),
            scopes: *scopes,
            created_ms: u64::from_be_bytes(*created_ms),
            expires_ms: (expires_ms != 0).then_some(expires_ms),
        })
    }
}

impl TokenStore for SledTokens {
    fn add(&self, token: &TokenRecord) -> Result<bool, StoreError> {
        self.change(|changes| {
            // Read inside the change: nobody can add one in between.
            let known = self.tokens()?;
            check_token(&token.name, known.len())?;
            let taken = |one: &TokenRecord| one.name == token.name || one.hash == token.hash;
            if known.iter().any(taken) {
                return Ok(false);
            }
            changes.put(token_key(&token.name), &token_value(token))?;
            Ok(true)
        })
    }

    fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let entries = self.0.scan(&[TOKEN], None);
        entries
            .map(|entry| {
                let (key, value) = entry?;
                self.parse(&key, &value)
            })
            .collect()
    }

    fn remove(&self, name: &str) -> Result<bool, StoreError> {
        self.change(|changes| {
            let known = changes.get(&token_key(name))?.is_some();
            changes.remove(token_key(name))?;
            Ok(known)
        })
    }
}

/// Names are raw, so that tokens are scanned in their order; they are short enough for that.
fn token_key(name: &str) -> Vec<u8> {
    Key::new(TOKEN).raw(name.as_bytes()).done()
}

fn token_value(token: &TokenRecord) -> Vec<u8> {
    [
        token.hash.as_bytes().as_slice(),
        &[token.scopes],
        &token.created_ms.to_be_bytes(),
        &token.expires_ms.unwrap_or(0).to_be_bytes(),
    ]
    .concat()
}
