//! One request and its whole answer, over a connection of its own.

use super::client::{CONNECT_TIMEOUT, HttpClient, NetError};
use super::dial::Target;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Body as _;
use hyper::header::HOST;
use hyper::{HeaderMap, Method, Request, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl HttpClient {
    /// Sends once and reads all of the answer, which may be a redirect: it is not followed. The answer timeout is for
    /// all of it.
    ///
    /// # Errors
    /// TooLarge if the answer has more than `max_bytes`.
    pub async fn exchange(
        &self,
        method: Method,
        target: &Target,
        headers: &HeaderMap,
        body: Bytes,
        max_bytes: usize,
    ) -> Result<Answer, NetError> {
        let mut request = Request::builder()
            .method(method)
            .uri(target.path())
            .header(HOST, target.host_field())
            .body(Full::new(body))
            .map_err(NetError::Unwritable)?;
        request.headers_mut().extend(headers.clone());
        let mut connection = timeout(CONNECT_TIMEOUT, self.connect(target))
            .await
            .map_err(|_elapsed| NetError::ConnectTimeout)??;
        let deadline = Instant::now() + self.answer_timeout;
        let sender = &mut connection.sender;
        let answering = async {
            sender.ready().await.map_err(NetError::Broken)?;
            let answer = sender.send_request(request).await;
            let (head, mut body) = answer.map_err(NetError::Broken)?.into_parts();
            if body.size_hint().lower() > max_bytes as u64 {
                return Err(NetError::TooLarge(max_bytes));
            }
            let mut bytes = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(NetError::Broken)?;
                let data = frame.data_ref().map_or(&[][..], |data| data);
                if bytes.len() + data.len() > max_bytes {
                    return Err(NetError::TooLarge(max_bytes));
                }
                bytes.extend_from_slice(data);
            }
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: bytes.freeze(),
            })
        };
        timeout_at(deadline, connection.driver.drive(answering))
            .await
            .map_err(|_elapsed| NetError::AnswerTimeout)?
    }
}
