//! `/v1/tokens`: the platform API's part about tokens.

use super::tokens::{self, LastAdmin, NewToken, TokenError};
use crate::body;
use crate::errors::ApiError;
use crate::handle::{Shared, method_not_allowed};
use crate::platform::{MAX_BODY_BYTES, blocking};
use crate::respond::{self, Reply};
use crate::route::Route;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::json;
use std::sync::Arc;
use tracing::info;

pub(crate) async fn answer(
    shared: &Arc<Shared>,
    route: Route<'_>,
    parts: &Parts,
    body: Incoming,
) -> Result<Reply, ApiError> {
    match (route, &parts.method) {
        (Route::Tokens, &Method::POST) => create(shared, body).await,
        (Route::Tokens, &Method::GET | &Method::HEAD) => list(shared).await,
        (Route::Token(name), &Method::DELETE) => revoke(shared, name).await,
        (Route::Token(_), _) => Ok(method_not_allowed("DELETE")),
        _ => Ok(method_not_allowed("GET, HEAD, POST")),
    }
}

async fn create(shared: &Arc<Shared>, body: Incoming) -> Result<Reply, ApiError> {
    let body = body::read(body, &shared.config, MAX_BODY_BYTES).await?;
    let new: NewToken = serde_json::from_slice(&body).map_err(|error| {
        let sentence = format!(
            "the body must be {{\"name\": …, \"scopes\": [\"deploy\"|\"invoke\"|\"admin\"…], \"expires_in\": seconds}}: {error}"
        );
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", sentence)
    })?;
    let created = changed(shared, move |store| tokens::create(store, new)).await?;
    info!(token = created.info.name, scopes = ?created.info.scopes, "token created");
    let mut reply = respond::json(StatusCode::CREATED, &created);
    // Nobody on the way may keep the secret.
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(reply)
}

async fn list(shared: &Arc<Shared>) -> Result<Reply, ApiError> {
    let store = Arc::clone(&shared.tokens);
    let tokens = blocking(move || Ok(tokens::list(&*store)?)).await?;
    Ok(respond::json(StatusCode::OK, &json!({"tokens": tokens})))
}

async fn revoke(shared: &Arc<Shared>, name: &str) -> Result<Reply, ApiError> {
    let owned = name.to_owned();
    changed(shared, move |store| {
        tokens::revoke(store, &owned, LastAdmin::Stays)
    })
    .await?;
    info!(token = name, "token revoked");
    Ok(respond::json(StatusCode::OK, &json!({"revoked": name})))
}

/// Changes the store, then what requests are checked against, before anybody is told. One change at
/// a time, and to its end even when the client leaves.
async fn changed<T: Send + 'static>(
    shared: &Arc<Shared>,
    change: impl FnOnce(&dyn dormouse_store::TokenStore) -> Result<T, TokenError> + Send + 'static,
) -> Result<T, ApiError> {
    let changing = Arc::clone(&shared.token_changes).lock_owned().await;
    let shared = Arc::clone(shared);
    blocking(move || {
        let _changing = changing;
        let result = change(&*shared.tokens);
        // Also after a failure: a failed write may have reached the disk.
        shared.auth.reload(&*shared.tokens)?;
        Ok(result?)
    })
    .await
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        let (status, code) = match &error {
            TokenError::Name => (StatusCode::BAD_REQUEST, "invalid_name"),
            TokenError::Scope | TokenError::NoScope => (StatusCode::BAD_REQUEST, "invalid_scope"),
            TokenError::Expiry => (StatusCode::BAD_REQUEST, "invalid_expiry"),
            TokenError::Taken(_) => (StatusCode::CONFLICT, "token_exists"),
            TokenError::FirstMustBeAdmin => (StatusCode::CONFLICT, "first_token_must_be_admin"),
            TokenError::LastAdmin(_) => (StatusCode::CONFLICT, "last_admin_token"),
            TokenError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_token"),
            TokenError::Random(_) => return Self::internal("no token could be made", &error),
            TokenError::Store(_) => {
                let TokenError::Store(error) = error else {
                    return Self::internal("the store could not do this", &error);
                };
                return error.into();
            }
        };
        Self::new(status, code, error.to_string())
    }
}
