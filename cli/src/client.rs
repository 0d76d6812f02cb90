//! How every command reaches a server, and how a server's refusals are told.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use reqwest::blocking::{Body, RequestBuilder, Response};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Certificate, Method, StatusCode, Url};
use serde_json::{Value, json};

use tokio_rustls::rustls::{self, crypto::ring};

use crate::Usage;
use crate::args::{DEFAULT_SERVER, ServerArgs};

/// A server is there within this time or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that is read as a whole.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

pub(crate) struct Client {
    http: reqwest::blocking::Client,
    server: Url,
    token: Option<String>,
}

/// What TLS has against the server.
fn distrust<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // The source of such an error is the source of what is in it.
    let inside = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    let next = inside.map(|inside| inside as &(dyn std::error::Error + 'static));
    distrust(next.or_else(|| error.source())?)
}

/// What a user trusts besides the system's certificates.
fn trusted(file: Option<&Path>) -> anyhow::Result<Vec<Certificate>> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let pem = std::fs::read(file);
    let pem = pem.with_context(|| format!("cannot read the certificates in {}", file.display()))?;
    let found = Certificate::from_pem_bundle(&pem).ok();
    let found = found.filter(|found| !found.is_empty());
    found.with_context(|| format!("{} has no certificate in PEM", file.display()))
}

impl Client {
    /// Does not connect yet.
    pub(crate) fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        let server: Url = args.server.parse().map_err(|error| {
            Usage::error(format!(
                "the server {:?} is no address ({error}); write for example {DEFAULT_SERVER}",
                args.server
            ))
        })?;
        let http = reqwest::blocking::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // Agents think for as long as the server lets them; its call timeout is the limit.
            .timeout(None);
        let http = match server.scheme() {
            // Without this the system's certificates would be read for nothing.
            "http" => http.tls_certs_only([]),
            "https" => http.tls_certs_merge(trusted(args.ca.as_deref())?),
            _ => {
                let sentence =
                    format!("{server}: the server's address begins with http:// or https://");
                return Err(Usage::error(sentence));
            }
        };
        // There is one already when a command makes two clients.
        let _ = ring::default_provider().install_default();
        let http = http.build().context("cannot make an HTTP client")?;
        Ok(Self {
            http,
            server,
            token: args.token.clone(),
        })
    }

    pub(crate) fn get(&self, path: &[&str]) -> anyhow::Result<Value> {
        read_json(self.send(self.request(Method::GET, path)?)?)
    }

    /// The same, with parameters.
    pub(crate) fn get_with(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        read_json(self.send(self.authorized(self.http.get(url)))?)
    }

    /// The bytes of a stored module.
    pub(crate) fn module(&self, digest: &str) -> anyhow::Result<Vec<u8>> {
        let response = self.send(self.request(Method::GET, &["v1", "modules", digest])?)?;
        let mut bytes = Vec::new();
        response
            .take(MAX_ANSWER_BYTES)
            .read_to_end(&mut bytes)
            .context("the connection broke in the middle of the module")?;
        Ok(bytes)
    }

    pub(crate) fn delete(&self, path: &[&str]) -> anyhow::Result<()> {
        self.send(self.request(Method::DELETE, path)?)?;
        Ok(())
    }

    pub(crate) fn post(&self, path: &[&str], body: &Value) -> anyhow::Result<Value> {
        read_json(self.send(self.request(Method::POST, path)?.json(body))?)
    }

    pub(crate) fn put(&self, path: &[&str], body: &Value) -> anyhow::Result<Value> {
        read_json(self.send(self.request(Method::PUT, path)?.json(body))?)
    }

    /// Uploads a module; its one agent is called `name`, if that is given, and its agents get these limits.
    pub(crate) fn upload(&self, bytes: Body, deployment: &Deployment) -> anyhow::Result<Value> {
        let Deployment {
            name,
            limits,
            probe,
        } = deployment;
        let mut url = self.url(&["v1", "modules"])?;
        if let Some(name) = name {
            url.query_pairs_mut().append_pair("name", name);
        }
        let mut request = self.authorized(self.http.post(url));
        if let Some(limits) = limits {
            request = request.header("Dormouse-Limits", limits.to_string());
        }
        if let Some(probe) = probe {
            request = request.header("Dormouse-Probe", ascii(probe));
        }
        read_json(self.send(request.header(CONTENT_TYPE, "application/wasm").body(bytes))?)
    }

    /// Calls an A2A method and returns its result (A2A 1.0 §9, JSON-RPC).
    pub(crate) fn call(&self, agent: &str, method: &str, params: Value) -> anyhow::Result<Value> {
        let request = self.a2a(agent, method, params)?;
        result_of(read_json(self.send(request)?)?)
    }

    /// Calls an A2A method that answers with a stream of events.
    pub(crate) fn stream(
        &self,
        agent: &str,
        method: &str,
        params: Value,
    ) -> anyhow::Result<Response> {
        let request = self
            .a2a(agent, method, params)?
            .header(ACCEPT, "text/event-stream");
        let response = self.send(request)?;
        let is_stream = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("text/event-stream"));
        if is_stream {
            return Ok(response);
        }
        // What is wrong with a request is said before the stream begins, as an ordinary answer.
        result_of(read_json(response)?)?;
        bail!("the server answered {method} without a stream")
    }

    /// Whether a server is there and able to serve: its status, or why not.
    pub(crate) fn ready(&self) -> anyhow::Result<StatusCode> {
        let request = self
            .request(Method::GET, &["readyz"])?
            .timeout(CONNECT_TIMEOUT);
        Ok(request.send()?.status())
    }

    fn a2a(&self, agent: &str, method: &str, params: Value) -> anyhow::Result<RequestBuilder> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let request = self.request(Method::POST, &["agents", agent])?;
        Ok(request.header("A2A-Version", "1.0").json(&body))
    }

    fn request(&self, method: Method, path: &[&str]) -> anyhow::Result<RequestBuilder> {
        Ok(self.authorized(self.http.request(method, self.url(path)?)))
    }

    fn url(&self, path: &[&str]) -> anyhow::Result<Url> {
        let mut url = self.server.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("{} cannot have paths", self.server))?
            .pop_if_empty()
            .extend(path);
        Ok(url)
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Why there is no answer, and what to do. A body that cannot be sent hides why, which what has none shows.
    fn explain(&self, error: reqwest::Error) -> anyhow::Error {
        let server = &self.server;
        let again = || {
            self.http
                .get(server.clone())
                .timeout(CONNECT_TIMEOUT)
                .send()
        };
        let error = if error.is_body() {
            again().err().unwrap_or(error)
        } else {
            error
        };
        if let Some(why) = distrust(&error) {
            return anyhow!(
                "{server} cannot be trusted: {why}; if you know its certificate, name it with --ca or DORMOUSE_CA"
            );
        }
        if error.is_connect() {
            return anyhow!(
                "no server answers at {server}: start one with `dormouse serve`, or name another with --server or DORMOUSE_SERVER"
            );
        }
        anyhow::Error::new(error).context("the connection to the server broke")
    }

    /// Sends; an answer that is a refusal becomes an error with its code and sentence.
    fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().map_err(|error| self.explain(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = read_json(response).unwrap_or_default();
        match refusal(&body) {
            Some(sentence) => bail!(sentence),
            None => bail!("the server answered {status}"),
        }
    }
}

/// The result in a JSON-RPC answer.
pub(crate) fn result_of(mut answer: Value) -> anyhow::Result<Value> {
    if let Some(sentence) = refusal(&answer) {
        bail!(sentence);
    }
    match answer.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => bail!("the server's answer has neither a result nor an error"),
    }
}

/// `code: sentence` of an error body, be it the platform's, JSON-RPC's or google.rpc.Status.
fn refusal(body: &Value) -> Option<String> {
    let error = body.get("error")?;
    let sentence = error.get("message").and_then(Value::as_str)?;
    match &error["code"] {
        Value::String(code) => Some(format!("{code}: {sentence}")),
        Value::Number(code) => Some(format!("{code}: {sentence}")),
        _ => Some(sentence.to_owned()),
    }
}

fn read_json(response: Response) -> anyhow::Result<Value> {
    let mut body = Vec::new();
    response
        .take(MAX_ANSWER_BYTES)
        .read_to_end(&mut body)
        .context("the connection broke in the middle of the answer")?;
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body)
        .context("the server's answer is not JSON; is this a Dormouse server?")
}

/// How a module is to be deployed.
#[derive(Debug, Default)]
pub(crate) struct Deployment {
    /// Under which name, if not as it declares.
    pub(crate) name: Option<String>,
    pub(crate) limits: Option<Value>,
    /// What to call it with before.
    pub(crate) probe: Option<Value>,
}

/// JSON that fits into a header.
fn ascii(json: &Value) -> String {
    let mut text = String::new();
    let mut units = [0; 2];
    for c in json.to_string().chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_each_kind_are_told_with_code_and_sentence() {
        let platform =
            json!({"error": {"code": "not_wasm", "message": "This is not WebAssembly."}});
        let rpc = json!({"jsonrpc": "2.0", "error": {"code": -32001, "message": "No such task."}});
        assert_eq!(
            refusal(&platform).as_deref(),
            Some("not_wasm: This is not WebAssembly.")
        );
        assert_eq!(refusal(&rpc).as_deref(), Some("-32001: No such task."));
        assert_eq!(refusal(&json!({"result": {}})), None);
    }

    #[test]
    fn json_in_a_header_is_ascii_and_says_the_same() {
        let json = serde_json::json!({"text": "Grüße, 🐭\n\"!\""});
        let header = ascii(&json);
        assert!(
            header.bytes().all(|b| (b' '..=b'~').contains(&b)),
            "{header}"
        );
        assert_eq!(serde_json::from_str::<Value>(&header).ok(), Some(json));
    }
}
