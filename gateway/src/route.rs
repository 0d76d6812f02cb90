//! Which path is what. Pure.

use crate::agents::JWKS_PATH;

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Modules,
    Module(&'a str),
    Agents,
    Agent(&'a str),
    Versions(&'a str),
    Active(&'a str),
    Limits(&'a str),
    Config(&'a str),
    Logs(&'a str),
    /// A task of any agent.
    AnyTask(&'a str),
    Tokens,
    Token(&'a str),
    Filters,
    Filter(&'a str),
    FilterHealth(&'a str),
    Metrics,
    Healthz,
    Readyz,
    RootCard,
    Jwks,
    AiCatalog,
    A2a {
        base: Base<'a>,
        what: A2aPath<'a>,
    },
    /// A method of the gRPC service.
    Grpc(&'a str),
    Unknown,
}

/// The part of an A2A base URL that names the agent: `{name}` or `{name}/versions/{N}`. It is also
/// the key of the agent cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Base<'a> {
    pub(crate) key: &'a str,
    pub(crate) name: &'a str,
    /// `None` means the active version.
    pub(crate) version: Option<u32>,
}

/// A path below an A2A base URL (A2A 1.0 §11.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum A2aPath<'a> {
    JsonRpc,
    Card,
    Send,
    Stream,
    Tasks,
    Task(&'a str),
    Cancel(&'a str),
    Subscribe(&'a str),
    PushConfigs(&'a str),
    PushConfig { task: &'a str, id: &'a str },
    ExtendedCard,
    Unknown,
}

const GRPC: &str = "/lf.a2a.v1.A2AService/";
const CARD: &str = "/.well-known/agent-card.json";

pub(crate) fn route(path: &str) -> Route<'_> {
    if let Some(rest) = path.strip_prefix("/agents/") {
        return a2a(rest);
    }
    if let Some(method) = path.strip_prefix(GRPC) {
        return Route::Grpc(method);
    }
    match path {
        "/v1/modules" => Route::Modules,
        "/v1/agents" => Route::Agents,
        "/v1/tokens" => Route::Tokens,
        "/v1/filters" => Route::Filters,
        "/metrics" => Route::Metrics,
        "/healthz" => Route::Healthz,
        "/readyz" => Route::Readyz,
        CARD => Route::RootCard,
        JWKS_PATH => Route::Jwks,
        "/.well-known/ai-catalog.json" => Route::AiCatalog,
        _ if path.starts_with("/v1/") => platform(path),
        _ => of_tenant(path),
    }
}

/// HTTP+JSON with the tenant in front, as a2a.proto binds each method a second time. A tenant is what it
/// is to gRPC; JSON-RPC and the card are at the agent's URL only.
fn of_tenant(path: &str) -> Route<'_> {
    match path.strip_prefix('/').map(a2a) {
        None
        | Some(Route::A2a {
            what: A2aPath::JsonRpc | A2aPath::Card | A2aPath::Unknown,
            ..
        }) => Route::Unknown,
        Some(route) => route,
    }
}

/// What filters are shown of a request: an agent has one path, however it was spelled, and the query is as it came. Of the
/// decoded path only what would be read as something else is escaped.
pub(crate) fn shown(route: &Route<'_>, path: &str, query: Option<&str>) -> String {
    let mut shown = String::with_capacity(path.len() + 8);
    if matches!(route, Route::A2a { .. }) && !path.starts_with("/agents/") {
        shown.push_str("/agents");
    }
    for letter in path.chars() {
        match letter {
            '%' | '?' | '#' | '\0'..=' ' | '\x7f' => {
                shown.push_str(&format!("%{:02X}", letter as u32))
            }
            letter => shown.push(letter),
        }
    }
    if let Some(query) = query {
        shown.push('?');
        shown.push_str(query);
    }
    shown
}

fn platform(path: &str) -> Route<'_> {
    if let Some(digest) = path.strip_prefix("/v1/modules/") {
        return if digest.contains('/') {
            Route::Unknown
        } else {
            Route::Module(digest)
        };
    }
    if let Some(id) = path.strip_prefix("/v1/tasks/") {
        return Route::AnyTask(id);
    }
    if let Some(name) = path.strip_prefix("/v1/tokens/") {
        return Route::Token(name);
    }
    if let Some(name) = path.strip_prefix("/v1/filters/") {
        return match name.strip_suffix("/health") {
            Some(name) => Route::FilterHealth(name),
            None => Route::Filter(name),
        };
    }
    let Some(rest) = path.strip_prefix("/v1/agents/") else {
        return Route::Unknown;
    };
    match rest.split_once('/') {
        None if !rest.is_empty() => Route::Agent(rest),
        Some((name, "versions")) => Route::Versions(name),
        Some((name, "active")) => Route::Active(name),
        Some((name, "limits")) => Route::Limits(name),
        Some((name, "config")) => Route::Config(name),
        Some((name, "logs")) => Route::Logs(name),
        _ => Route::Unknown,
    }
}

fn a2a(rest: &str) -> Route<'_> {
    let name = rest.split('/').next().unwrap_or_default();
    if name.is_empty() {
        return Route::Unknown;
    }
    let mut base = Base {
        key: name,
        name,
        version: None,
    };
    let mut below = &rest[name.len()..];
    if let Some(pinned) = below.strip_prefix("/versions/") {
        let digits = pinned.split('/').next().unwrap_or_default();
        let Some(version) = number(digits) else {
            return Route::Unknown;
        };
        below = &pinned[digits.len()..];
        base.key = &rest[..rest.len() - below.len()];
        base.version = Some(version);
    }
    Route::A2a {
        base,
        what: operation(below),
    }
}

/// The agent that gRPC's `tenant` names, in the words of [`Base`].
pub(crate) fn tenant(tenant: &str) -> Option<Base<'_>> {
    match a2a(tenant) {
        Route::A2a { base, .. } if base.key == tenant => Some(base),
        _ => None,
    }
}

fn operation(below: &str) -> A2aPath<'_> {
    match below {
        "" | "/" => A2aPath::JsonRpc,
        CARD => A2aPath::Card,
        "/message:send" => A2aPath::Send,
        "/message:stream" => A2aPath::Stream,
        "/tasks" => A2aPath::Tasks,
        "/extendedAgentCard" => A2aPath::ExtendedCard,
        _ => below.strip_prefix("/tasks/").map_or(A2aPath::Unknown, task),
    }
}

fn task(rest: &str) -> A2aPath<'_> {
    if let Some((task, below)) = rest.split_once('/') {
        return match below.strip_prefix("pushNotificationConfigs") {
            _ if task.is_empty() => A2aPath::Unknown,
            // With a slash at the end: some clients' list, and nobody's configuration.
            Some("" | "/") => A2aPath::PushConfigs(task),
            Some(config) => match config.strip_prefix('/') {
                Some(id) if !id.contains('/') => A2aPath::PushConfig { task, id },
                _ => A2aPath::Unknown,
            },
            None => A2aPath::Unknown,
        };
    }
    match rest.rsplit_once(':') {
        Some((id, "cancel")) => A2aPath::Cancel(id),
        Some((id, "subscribe")) => A2aPath::Subscribe(id),
        Some(_) => A2aPath::Unknown,
        None if rest.is_empty() => A2aPath::Unknown,
        None => A2aPath::Task(rest),
    }
}

/// A version number in its one spelling, so that one version has one URL.
fn number(digits: &str) -> Option<u32> {
    let number: u32 = digits.parse().ok()?;
    let canonical = digits.bytes().all(|digit| digit.is_ascii_digit()) && !digits.starts_with('0');
    canonical.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants() {
        let name = |tenant| self::tenant(tenant).map(|base| (base.name, base.version));
        assert_eq!(name("calc"), Some(("calc", None)));
        assert_eq!(name("calc/versions/2"), Some(("calc", Some(2))));
        for none in [
            "",
            "/",
            "calc/",
            "/calc",
            "calc/versions/0",
            "calc/versions/2/",
            "calc/tasks",
        ] {
            assert_eq!(name(none), None, "{none:?}");
        }
    }

    #[test]
    fn filters_see_one_path_of_an_agent_however_it_is_spelled() {
        for (path, query, expected) in [
            ("/agents/calc", None, "/agents/calc"),
            ("/agents/%63alc", Some("a=%20"), "/agents/calc?a=%20"),
            ("/%61gents/calc/tasks", None, "/agents/calc/tasks"),
            ("/calc/message:send", Some(""), "/agents/calc/message:send?"),
            (
                "/c%61lc/versions/2/tasks",
                None,
                "/agents/calc/versions/2/tasks",
            ),
            (
                "/agents/calc/tasks/a%3Fb%2541%0A",
                None,
                "/agents/calc/tasks/a%3Fb%2541%0A",
            ),
            (CARD, None, CARD),
            (
                "/lf.a2a.v1.A2AService/Get%54ask",
                None,
                "/lf.a2a.v1.A2AService/GetTask",
            ),
        ] {
            let path = crate::uri::decode(path);
            assert_eq!(shown(&route(&path), &path, query), expected, "{path}");
        }
    }

    #[test]
    fn platform_paths() {
        for (path, expected) in [
            ("/v1/modules", Route::Modules),
            ("/v1/modules/blake3:00", Route::Module("blake3:00")),
            ("/v1/modules/a/b", Route::Unknown),
            ("/v1/agents", Route::Agents),
            ("/v1/agents/", Route::Unknown),
            ("/v1/agents/calc", Route::Agent("calc")),
            ("/v1/agents/calc/versions", Route::Versions("calc")),
            ("/v1/agents/calc/active", Route::Active("calc")),
            ("/v1/agents/calc/limits", Route::Limits("calc")),
            ("/v1/agents/calc/config", Route::Config("calc")),
            ("/v1/agents/calc/logs", Route::Logs("calc")),
            ("/v1/tasks/7", Route::AnyTask("7")),
            ("/v1/agents/calc/other", Route::Unknown),
            ("/v1/tokens", Route::Tokens),
            ("/v1/filters", Route::Filters),
            ("/v1/filters/jwt", Route::Filter("jwt")),
            ("/v1/filters/jwt/health", Route::FilterHealth("jwt")),
            ("/v1/filters/health", Route::Filter("health")),
            (
                "/v1/tokens/ann@example.com",
                Route::Token("ann@example.com"),
            ),
            ("/metrics", Route::Metrics),
            ("/.well-known/agent-card.json", Route::RootCard),
            ("/.well-known/jwks.json", Route::Jwks),
            ("/", Route::Unknown),
            ("/lf.a2a.v1.A2AService/GetTask", Route::Grpc("GetTask")),
            ("/lf.a2a.v2.A2AService/GetTask", Route::Unknown),
            ("/agents", Route::Unknown),
            ("/agents/", Route::Unknown),
            ("/calc", Route::Unknown),
            ("/calc/", Route::Unknown),
            ("/calc/.well-known/agent-card.json", Route::Unknown),
            ("/calc/other", Route::Unknown),
            ("//tasks", Route::Unknown),
            ("/v1/tasks", Route::Unknown),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn paths_under_a_tenant() {
        for below in [
            "message:send",
            "message:stream",
            "tasks",
            "tasks/7",
            "tasks/7:cancel",
            "tasks/7:subscribe",
            "tasks/7/pushNotificationConfigs",
            "tasks/7/pushNotificationConfigs/1",
            "extendedAgentCard",
        ] {
            for tenant in ["calc", "calc/versions/12"] {
                let of_agent = format!("/agents/{tenant}/{below}");
                let path = format!("/{tenant}/{below}");
                assert_eq!(route(&path), route(&of_agent), "{path}");
            }
        }
    }

    #[test]
    fn a2a_paths() {
        for (below, expected) in [
            ("", A2aPath::JsonRpc),
            ("/", A2aPath::JsonRpc),
            ("/.well-known/agent-card.json", A2aPath::Card),
            ("/message:send", A2aPath::Send),
            ("/message:stream", A2aPath::Stream),
            ("/tasks", A2aPath::Tasks),
            ("/tasks/", A2aPath::Unknown),
            ("/tasks/7", A2aPath::Task("7")),
            ("/tasks/7:cancel", A2aPath::Cancel("7")),
            ("/tasks/7:subscribe", A2aPath::Subscribe("7")),
            ("/tasks/7:other", A2aPath::Unknown),
            (
                "/tasks/7/pushNotificationConfigs",
                A2aPath::PushConfigs("7"),
            ),
            (
                "/tasks/7/pushNotificationConfigs/1",
                A2aPath::PushConfig { task: "7", id: "1" },
            ),
            ("/tasks//pushNotificationConfigs/1", A2aPath::Unknown),
            ("/tasks/7/pushNotificationConfigs1", A2aPath::Unknown),
            ("/tasks/7/pushNotificationConfigs/1/2", A2aPath::Unknown),
            ("/extendedAgentCard", A2aPath::ExtendedCard),
            ("/other", A2aPath::Unknown),
        ] {
            let path = format!("/agents/calc{below}");
            let base = Base {
                key: "calc",
                name: "calc",
                version: None,
            };
            assert_eq!(
                route(&path),
                Route::A2a {
                    base,
                    what: expected
                },
                "{path}"
            );
            let path = format!("/agents/calc/versions/12{below}");
            let base = Base {
                key: "calc/versions/12",
                name: "calc",
                version: Some(12),
            };
            assert_eq!(
                route(&path),
                Route::A2a {
                    base,
                    what: expected
                },
                "{path}"
            );
        }
        for path in [
            "/agents/calc/versions/01",
            "/agents/calc/versions/+1",
            "/agents/calc/versions/",
        ] {
            assert_eq!(route(path), Route::Unknown, "{path}");
        }
    }
}
