use std::fmt;
#[cfg(not(target_family = "wasm"))]
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::AgentError;
#[cfg(not(target_family = "wasm"))]
use crate::host::CallHost;

/// HTTP requests to destinations that the agent was granted; see [`Runtime::http`](crate::Runtime::http).
///
/// A redirect is an answer like others: its target needs a grant of its own. Secrets belong to the host: its operator
/// says which header of which destination gets one (`[secret.NAME]`), and what an agent sets there does not count.
///
/// ```
/// use dormouse_sdk::prelude::*;
/// use dormouse_sdk::{HttpResponse, testing::Conversation};
///
/// #[skill(id = "rate", name = "Rate", description = "Says what a euro costs.")]
/// struct Rate;
///
/// impl SkillHandler for Rate {
///     async fn on_request(
///         &self, _: &mut State, _: &ProgressSender, runtime: &Runtime, _: Content,
///     ) -> Result<OnRequestResult, AgentError> {
///         let answer = runtime.http().get("https://rates.example.com/eur").send().await?;
///         let rate: f64 = answer.successful()?.json()?;
///         Ok(OnRequestResult::completed(format!("{rate} dollars")))
///     }
/// }
///
/// let mut conversation = Conversation::new(Rate).with_http(|request| {
///     assert_eq!(request.url(), "https://rates.example.com/eur");
///     Ok(HttpResponse::new(200, "1.17"))
/// });
/// assert_eq!(conversation.send("?").text(), "1.17 dollars");
/// ```
pub struct Http {
    #[cfg(not(target_family = "wasm"))]
    pub(crate) host: Rc<dyn CallHost>,
}

impl Http {
    /// A GET.
    pub fn get(&self, url: impl Into<String>) -> HttpRequest {
        self.request("GET", url)
    }

    /// A POST.
    pub fn post(&self, url: impl Into<String>) -> HttpRequest {
        self.request("POST", url)
    }

    /// A request with any method but CONNECT and TRACE.
    pub fn request(&self, method: impl Into<String>, url: impl Into<String>) -> HttpRequest {
        HttpRequest {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            wrong: None,
            #[cfg(not(target_family = "wasm"))]
            host: Rc::clone(&self.host),
        }
    }
}

/// A request that is being made.
pub struct HttpRequest {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    wrong: Option<serde_json::Error>,
    #[cfg(not(target_family = "wasm"))]
    host: Rc<dyn CallHost>,
}

impl HttpRequest {
    /// Adds a header. Those of the connection (`host`, `connection`, `transfer-encoding` and their kind) are the host's.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to JSON, and says so.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => self.header("content-type", "application/json").body(json),
            Err(error) => Self {
                wrong: Some(error),
                ..self
            },
        }
    }

    /// Sends it and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// Denied without a grant for the destination, or if it leads where agents must not go. Limit if there are too
    /// many requests at a time, or too much in one. Unavailable without an answer.
    pub async fn send(mut self) -> Result<HttpResponse, AgentError> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong.into());
        }
        #[cfg(target_family = "wasm")]
        return crate::wasm::http::send(self).await;
        #[cfg(not(target_family = "wasm"))]
        Rc::clone(&self.host).http(self).await
    }

    /// The method in upper case.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Where to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The headers in the order in which they were added.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The body so far.
    pub fn content(&self) -> &[u8] {
        &self.body
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Names in lower case, with their values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// An answer for a test.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// The answer itself if its status is 200 to 299.
    ///
    /// # Errors
    /// Unavailable, which names the status.
    pub fn successful(self) -> Result<Self, AgentError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let status = self.status;
        Err(AgentError::Unavailable(format!(
            "the server answered with status {status}"
        )))
    }

    /// The first value of a header, if it is text. Case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter();
        let (_, value) = named.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// If it is not that.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, AgentError> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}
