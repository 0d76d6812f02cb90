//! Which request needs what. Pure.

use super::tokens::Scope;
use crate::route::{A2aPath, Route};
use hyper::Method;

/// What a request needs when authentication is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// A token, whatever its scopes.
    Token,
    Scope(Scope),
}

/// Whatever is not named here needs a token: a new path is closed until somebody opens it.
pub(crate) fn needed(route: &Route<'_>, method: &Method) -> Need {
    let reads = method == Method::GET || method == Method::HEAD;
    match route {
        Route::Healthz | Route::Readyz | Route::RootCard | Route::Jwks => Need::Nothing,
        Route::A2a { what, .. } if *what == A2aPath::Card => Need::Nothing,
        Route::A2a { .. } | Route::Grpc(_) | Route::AnyTask(_) => Need::Scope(Scope::Invoke),
        // Who may call agents may also look for them.
        Route::AiCatalog => Need::Token,
        Route::Agents | Route::Agent(_) | Route::Versions(_) | Route::Limits(_) if reads => {
            Need::Token
        }
        Route::Modules
        | Route::Module(_)
        | Route::Agents
        | Route::Agent(_)
        | Route::Versions(_)
        | Route::Active(_)
        | Route::Limits(_)
        | Route::Config(_)
        // They may hold what anybody has said to the agent.
        | Route::Logs(_)
        | Route::Metrics => Need::Scope(Scope::Deploy),
        // Whoever changes them opens what they keep shut.
        Route::Tokens
        | Route::Token(_)
        | Route::Filters
        | Route::Filter(_)
        | Route::FilterHealth(_) => Need::Scope(Scope::Admin),
        Route::Unknown => Need::Token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::route;

    #[test]
    fn every_path_has_its_need() {
        let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
        let put = Method::PUT;
        for (method, path, expected) in [
            (&get, "/healthz", Need::Nothing),
            (&get, "/readyz", Need::Nothing),
            (&get, "/.well-known/agent-card.json", Need::Nothing),
            (&get, "/.well-known/jwks.json", Need::Nothing),
            (&get, "/agents/a/.well-known/agent-card.json", Need::Nothing),
            (&post, "/agents/a", Need::Scope(Scope::Invoke)),
            (
                &post,
                "/agents/a/versions/1/message:send",
                Need::Scope(Scope::Invoke),
            ),
            (&get, "/agents/a/tasks/7", Need::Scope(Scope::Invoke)),
            (
                &get,
                "/agents/a/extendedAgentCard",
                Need::Scope(Scope::Invoke),
            ),
            (&get, "/agents/a/nothing", Need::Scope(Scope::Invoke)),
            (&post, "/a/message:send", Need::Scope(Scope::Invoke)),
            (&post, "/a", Need::Token),
            (&get, "/.well-known/ai-catalog.json", Need::Token),
            (&get, "/v1/agents", Need::Token),
            (&get, "/v1/agents/a", Need::Token),
            (&delete, "/v1/agents/a", Need::Scope(Scope::Deploy)),
            (&put, "/v1/agents/a", Need::Scope(Scope::Deploy)),
            (&post, "/v1/agents/a/active", Need::Scope(Scope::Deploy)),
            (&get, "/v1/agents/a/limits", Need::Token),
            (&delete, "/v1/agents/a/limits", Need::Scope(Scope::Deploy)),
            (&get, "/v1/agents/a/config", Need::Scope(Scope::Deploy)),
            (&get, "/v1/agents/a/logs", Need::Scope(Scope::Deploy)),
            (&get, "/v1/tasks/7", Need::Scope(Scope::Invoke)),
            (&post, "/v1/modules", Need::Scope(Scope::Deploy)),
            (&get, "/v1/modules/blake3:0", Need::Scope(Scope::Deploy)),
            (&get, "/metrics", Need::Scope(Scope::Deploy)),
            (&get, "/v1/tokens", Need::Scope(Scope::Admin)),
            (&delete, "/v1/tokens/a", Need::Scope(Scope::Admin)),
            (&get, "/v1/filters", Need::Scope(Scope::Admin)),
            (&put, "/v1/filters/a", Need::Scope(Scope::Admin)),
            (&get, "/", Need::Token),
        ] {
            assert_eq!(needed(&route(path), method), expected, "{method} {path}");
        }
    }
}
