//! HTTP requests by `wasi:http` 0.3. Nothing here is behind [`CallHost`](crate::host::CallHost): a module that sends
//! none does not import it.

use super::bindings::wasi::http::client;
use super::bindings::wasi::http::types::{
    ErrorCode, Fields, HeaderError, Method, Request, Response, Scheme,
};
use super::bindings::{wit_future, wit_stream};
use crate::http::{HttpRequest, HttpResponse};
use crate::{AgentError, Service};
use wit_bindgen::StreamResult;

/// Bytes of an answer, which is held in the memory of the instance.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Bytes read at a time.
const PIECE_BYTES: usize = 64 << 10;

pub(crate) async fn send(request: HttpRequest) -> Result<HttpResponse, AgentError> {
    let url = Url::split(&request.url)?;
    let told = |error| refusal(&error, &url);
    let mut headers = request.headers;
    if !request.body.is_empty() {
        headers.push(("content-length".to_owned(), request.body.len().to_string()));
    }
    let entries: Vec<(String, Vec<u8>)> = headers
        .into_iter()
        .map(|(name, value)| (name, value.into_bytes()))
        .collect();
    let fields = Fields::from_list(&entries).map_err(wrong_header)?;
    let (mut body, contents) = wit_stream::new::<u8>();
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    let contents = (!request.body.is_empty()).then_some(contents);
    let (sent, _transmitted) = Request::new(fields, contents, no_trailers, None);
    let wrong =
        |what: &str| AgentError::InvalidInput(format!("{:?} has no valid {what}", request.url));
    sent.set_method(&method(&request.method))
        .map_err(|()| wrong("method"))?;
    sent.set_scheme(Some(&url.scheme()))
        .map_err(|()| wrong("scheme"))?;
    sent.set_authority(Some(url.authority))
        .map_err(|()| wrong("host"))?;
    sent.set_path_with_query(Some(&url.path()))
        .map_err(|()| wrong("path"))?;
    let writing = async {
        // What nobody takes any more is told by the answer.
        let _left = body.write_all(request.body).await;
        drop(body);
        let _gone = trailers.write(Ok(None)).await;
    };
    let (answer, ()) = crate::join::both(client::send(sent), writing).await;
    read(answer.map_err(told)?)
        .await
        .map_err(|error| match error {
            Broken::Code(error) => told(error),
            Broken::TooLong => AgentError::Limit(format!(
                "the answer of {url} has more than {MAX_ANSWER_BYTES} bytes"
            )),
        })
}

enum Broken {
    Code(ErrorCode),
    TooLong,
}

async fn read(answer: Response) -> Result<HttpResponse, Broken> {
    let status = answer.get_status_code();
    let headers = answer.get_headers().copy_all();
    let (_received, received) = wit_future::new(|| Ok(()));
    let (mut body, trailers) = Response::consume_body(answer, received);
    let mut bytes = Vec::new();
    loop {
        let (result, piece) = body.read(Vec::with_capacity(PIECE_BYTES)).await;
        bytes.extend_from_slice(&piece);
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err(Broken::TooLong);
        }
        if !matches!(result, StreamResult::Complete(_)) {
            break;
        }
    }
    drop(body);
    trailers.await.map_err(Broken::Code)?;
    Ok(HttpResponse {
        status,
        headers,
        body: bytes,
    })
}

/// A URL, taken apart as far as the host wants it to be.
struct Url<'a> {
    https: bool,
    authority: &'a str,
    rest: &'a str,
}

impl<'a> Url<'a> {
    fn split(text: &'a str) -> Result<Self, AgentError> {
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let https = scheme.eq_ignore_ascii_case("https");
        if !https && !scheme.eq_ignore_ascii_case("http") {
            return Err(AgentError::InvalidInput(format!(
                "{text:?} begins with neither https:// nor http://"
            )));
        }
        let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        Ok(Self {
            https,
            authority,
            rest,
        })
    }

    fn scheme(&self) -> Scheme {
        if self.https {
            Scheme::Https
        } else {
            Scheme::Http
        }
    }

    fn path(&self) -> String {
        let slash = if self.rest.starts_with('/') { "" } else { "/" };
        format!("{slash}{}", self.rest)
    }
}

/// Its origin.
impl std::fmt::Display for Url<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

fn method(word: &str) -> Method {
    match word {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn wrong_header(error: HeaderError) -> AgentError {
    match error {
        HeaderError::SizeExceeded => AgentError::Limit("the headers are too large".to_owned()),
        HeaderError::Forbidden => {
            AgentError::InvalidInput("one of the headers is the host's to set".to_owned())
        }
        _ => AgentError::InvalidInput("one of the headers is none".to_owned()),
    }
}

fn refusal(error: &ErrorCode, url: &Url<'_>) -> AgentError {
    match error {
        ErrorCode::HttpRequestDenied => AgentError::Denied(format!(
            "the agent has no grant for {url}: its definition must say that it needs it \
             (with_grant), and its operator must grant it (dormouse deploy --grant {})",
            Service::http(url.to_string())
        )),
        ErrorCode::DestinationIpProhibited => AgentError::Denied(format!(
            "{url} leads to an address that agents must not send to; its operator may let it in \
             (dormouse serve --http-allow)"
        )),
        ErrorCode::ConnectionLimitReached => {
            AgentError::Limit("too many requests are on their way".to_owned())
        }
        ErrorCode::HttpRequestBodySize(_) => {
            AgentError::Limit(format!("the request to {url} is too large"))
        }
        ErrorCode::HttpResponseBodySize(_) => {
            AgentError::Limit(format!("the answer of {url} is too large"))
        }
        ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestMethodInvalid => {
            AgentError::InvalidInput(format!("the request to {url} cannot be sent: {error:?}"))
        }
        other => AgentError::Unavailable(format!("{url} did not answer: {other:?}")),
    }
}
