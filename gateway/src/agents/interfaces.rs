//! Where an agent is reached: its URL, and the interfaces that its card lists.

use a2a::{
    AgentInterface, TRANSPORT_PROTOCOL_GRPC, TRANSPORT_PROTOCOL_HTTP_JSON,
    TRANSPORT_PROTOCOL_JSONRPC,
};
use hyper::Uri;

pub(super) struct Interfaces {
    public_url: String,
    /// `host:port`, the form that gRPC clients dial. `None` if the public URL has no host.
    grpc_address: Option<String>,
}

impl Interfaces {
    pub(super) fn new(public_url: String) -> Self {
        Self {
            grpc_address: grpc_address(&public_url),
            public_url,
        }
    }

    /// `key` is [`crate::route::Base::key`].
    pub(super) fn url(&self, key: &str) -> String {
        format!("{}/agents/{key}", self.public_url)
    }

    /// All agents have one gRPC address; the tenant says which of them is meant.
    pub(super) fn all(&self, key: &str) -> Vec<AgentInterface> {
        let url = self.url(key);
        let mut interfaces = vec![
            AgentInterface::new(&url, TRANSPORT_PROTOCOL_JSONRPC),
            AgentInterface::new(&url, TRANSPORT_PROTOCOL_HTTP_JSON),
        ];
        interfaces.extend(self.grpc_address.as_ref().map(|address| AgentInterface {
            tenant: Some(key.to_owned()),
            ..AgentInterface::new(address, TRANSPORT_PROTOCOL_GRPC)
        }));
        interfaces
    }
}

/// The comment on `AgentInterface.url` in a2a.proto (after 1.0.1) asks for it: "hostname:port".
fn grpc_address(public_url: &str) -> Option<String> {
    let url: Uri = public_url.parse().ok()?;
    let authority = url.authority()?;
    // Without the user's name and password, which nobody should have put there.
    let host = authority.host();
    let port = match (authority.port_u16(), url.scheme_str()) {
        (Some(port), _) => port,
        (None, Some("http")) => 80,
        (None, _) => 443,
    };
    Some(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_dialled_by_host_and_port() {
        for (url, address) in [
            ("https://agents.example.com", Some("agents.example.com:443")),
            ("http://agents.example.com", Some("agents.example.com:80")),
            ("http://127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("https://u:p@[::1]:8443/below", Some("[::1]:8443")),
            ("/below", None),
        ] {
            assert_eq!(grpc_address(url).as_deref(), address, "{url}");
        }
    }
}
