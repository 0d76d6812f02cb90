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
    ///
    /// ```
    /// # use dormouse_sdk::{HttpResponse, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let page = runtime.http().get("https://example.com/rates").send().await?;
    /// assert_eq!(page.text(), "1.17");
    /// # Ok(OnRequestResult::completed("ok")) }).with_http(|request| {
    /// #     assert_eq!(request.method(), "GET");
    /// #     Ok(HttpResponse::new(200, "1.17"))
    /// # });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn get(&self, url: impl Into<String>) -> HttpRequest {
        self.request("GET", url)
    }

    /// A POST.
    ///
    /// ```
    /// # use dormouse_sdk::{HttpResponse, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let answer = runtime.http().post("https://example.com/notes").body("tulips").send().await?;
    /// assert_eq!(answer.status, 201);
    /// # Ok(OnRequestResult::completed("ok")) }).with_http(|request| {
    /// #     assert_eq!((request.method(), request.content()), ("POST", &b"tulips"[..]));
    /// #     Ok(HttpResponse::new(201, ""))
    /// # });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn post(&self, url: impl Into<String>) -> HttpRequest {
        self.request("POST", url)
    }

    /// A request with any method but CONNECT and TRACE.
    ///
    /// ```
    /// # use dormouse_sdk::{HttpResponse, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let answer = runtime.http().request("DELETE", "https://example.com/notes/7").send().await?;
    /// assert_eq!(answer.status, 204);
    /// # Ok(OnRequestResult::completed("ok")) }).with_http(|request| {
    /// #     assert_eq!(request.method(), "DELETE");
    /// #     Ok(HttpResponse::new(204, ""))
    /// # });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
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
///
/// ```
/// # use dormouse_sdk::{HttpResponse, OnRequestResult, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// let request = runtime.http().post("https://example.com/notes");
/// let request = request.header("accept-language", "nl").json(&["tulips"]);
/// let saved = request.send().await?.successful()?;
/// # Ok(OnRequestResult::completed("ok")) }).with_http(|request| {
/// #     assert_eq!(request.headers().len(), 2);
/// #     Ok(HttpResponse::new(200, ""))
/// # });
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
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
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let request = runtime.http().get("https://example.com/rates").header("accept", "text/csv");
    /// assert_eq!(request.headers(), [("accept".to_owned(), "text/csv".to_owned())]);
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let request = runtime.http().post("https://example.com/logo").header("content-type", "image/png");
    /// let request = request.body([0x89, 0x50]);
    /// assert_eq!(request.content(), [0x89, 0x50]);
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to JSON, and says so.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let request = runtime.http().post("https://example.com/notes").json(&["tulips"]);
    /// assert_eq!(request.content(), br#"["tulips"]"#);
    /// assert_eq!(request.headers()[0].1, "application/json");
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
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
    /// ```
    /// # use dormouse_sdk::{AgentError, HttpResponse, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// match runtime.http().get("https://example.com/rates").send().await {
    ///     Ok(answer) => assert_eq!(answer.status, 503), // an answer like others
    ///     Err(AgentError::Denied(what_to_do)) => return Err(AgentError::Denied(what_to_do)),
    ///     Err(_) => progress.send_update("Going on without rates").await?,
    /// }
    /// # Ok(OnRequestResult::completed("ok")) }).with_http(|request| {
    /// #     assert_eq!(request.url(), "https://example.com/rates");
    /// #     Ok(HttpResponse::new(503, ""))
    /// # });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
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
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let request = runtime.http().request("PUT", "https://example.com/notes/7");
    /// assert_eq!(request.method(), "PUT");
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Where to.
    ///
    /// ```
    /// # use dormouse_sdk::{HttpResponse, OnRequestResult, testing::Conversation};
    /// // The servers of a test tell requests apart.
    /// let talk = Conversation::with_function(async |_, _, runtime, _| {
    ///     let rate = runtime.http().get("https://example.com/rates/eur").send().await?;
    ///     Ok(OnRequestResult::completed(rate.text()))
    /// });
    /// let mut talk = talk.with_http(|request| match request.url().rsplit_once('/') {
    ///     Some((_, "eur")) => Ok(HttpResponse::new(200, "1.17")),
    ///     _ => Ok(HttpResponse::new(404, "")),
    /// });
    /// assert_eq!(talk.send("?").text(), "1.17");
    /// ```
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The headers in the order in which they were added.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let request = runtime.http().get("https://example.com").header("accept", "a/b").header("accept", "c/d");
    /// let values: Vec<&str> = request.headers().iter().map(|(_, value)| value.as_str()).collect();
    /// assert_eq!(values, ["a/b", "c/d"]);
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The body so far.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let request = runtime.http().post("https://example.com/notes").body("tulips");
    /// assert_eq!(request.content(), b"tulips");
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
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
///
/// ```
/// use dormouse_sdk::HttpResponse;
///
/// // What a server under test answers, with a header.
/// let moved = HttpResponse {
///     headers: vec![("location".to_owned(), b"https://example.com/new".to_vec())],
///     ..HttpResponse::new(301, "")
/// };
/// assert_eq!(moved.header("Location"), Some("https://example.com/new"));
/// ```
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
    ///
    /// ```
    /// # use dormouse_sdk::HttpResponse;
    /// let answer = HttpResponse::new(200, "[1, 2]");
    /// assert_eq!(answer.json::<Vec<u8>>()?, [1, 2]);
    /// # Ok::<(), dormouse_sdk::AgentError>(())
    /// ```
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// The answer itself if its status is 200 to 299.
    ///
    /// ```
    /// # use dormouse_sdk::HttpResponse;
    /// assert!(HttpResponse::new(204, "").successful().is_ok());
    /// let error = HttpResponse::new(503, "busy").successful().unwrap_err();
    /// assert!(error.to_string().ends_with("the server answered with status 503"));
    /// ```
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
    ///
    /// ```
    /// # use dormouse_sdk::HttpResponse;
    /// let mut answer = HttpResponse::new(200, "a,b\n");
    /// answer.headers.push(("content-type".to_owned(), b"text/csv".to_vec()));
    /// assert_eq!(answer.header("Content-Type"), Some("text/csv"));
    /// assert_eq!(answer.header("etag"), None);
    /// ```
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter();
        let (_, value) = named.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// The body as text; what is not UTF-8 is replaced.
    ///
    /// ```
    /// # use dormouse_sdk::HttpResponse;
    /// assert_eq!(HttpResponse::new(200, "caf\u{e9}").text(), "caf\u{e9}");
    /// assert_eq!(HttpResponse::new(200, [b'c', 0xe9]).text(), "c\u{fffd}");
    /// ```
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// ```
    /// # use dormouse_sdk::HttpResponse;
    /// #[derive(serde::Deserialize)]
    /// struct Rate { dollars: f64 }
    ///
    /// let rate: Rate = HttpResponse::new(200, r#"{"dollars": 1.17}"#).json()?;
    /// assert_eq!(rate.dollars, 1.17);
    /// assert!(HttpResponse::new(200, "<html>").json::<Rate>().is_err());
    /// # Ok::<(), dormouse_sdk::AgentError>(())
    /// ```
    ///
    /// # Errors
    /// If it is not that.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, AgentError> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}
