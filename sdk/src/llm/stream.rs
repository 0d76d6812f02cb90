use std::rc::Rc;

use super::{Llm, LlmRequest, LlmResponse};
use crate::AgentError;

/// A part of an answer.
///
/// ```
/// use dormouse_sdk::{LlmPiece, LlmResponse};
///
/// let pieces = [LlmPiece::Text("It ".to_owned()), LlmPiece::Done(LlmResponse::text("It rains."))];
/// assert_ne!(pieces[0], pieces[1]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum LlmPiece {
    /// More of its text.
    Text(String),
    /// All of it. Nothing follows.
    Done(LlmResponse),
}

/// An answer that is being written; from [`Llm::stream`]. Dropping it stops it, and so does the end of the call. It costs
/// what [`Llm::generate`] costs; dropped, what the longest answer would have.
///
/// ```
/// # use dormouse_sdk::{LlmResponse, OnRequestResult, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// let mut story = runtime.llm().stream("A long story, please").await?;
/// let mut lines = 0;
/// while let Some(words) = story.next().await? {
///     lines += words.matches('\n').count();
///     if lines == 2 {
///         break; // enough: dropped here, it is not written any further
///     }
/// }
/// # Ok(OnRequestResult::completed("ok")) }).with_llm(|_| Ok(LlmResponse::text("One.\nTwo.\nThree.\n")));
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
pub struct LlmStream {
    #[cfg(target_family = "wasm")]
    answer: crate::wasm::bindings::dormouse::agent::llm::Answer,
    #[cfg(not(target_family = "wasm"))]
    pieces: std::vec::IntoIter<LlmPiece>,
    response: Option<LlmResponse>,
}

impl Llm {
    /// Has the model answer, and returns when it begins to.
    ///
    /// ```
    /// # use dormouse_sdk::prelude::*;
    /// # use dormouse_sdk::{LlmResponse, testing::Conversation};
    /// # #[skill(id = "tell", name = "Tell", description = "Tells a story.")]
    /// # struct Tell;
    /// # impl SkillHandler for Tell {
    /// #     async fn on_request(&self, _: &mut State, progress: &ProgressSender, runtime: &Runtime, content: Content)
    /// #         -> Result<OnRequestResult, AgentError> {
    /// let mut story = runtime.llm().stream(content.text()).await?;
    /// while let Some(words) = story.next().await? {
    ///     progress.send_update(words).await?;
    /// }
    /// # Ok(OnRequestResult::completed(story.finish().await?.text)) } }
    /// # let mut told = Conversation::new(Tell).with_llm(|_| Ok(LlmResponse::text("Once upon a time")));
    /// # let answer = told.send("A story!");
    /// # assert_eq!(answer.updates(), ["Once ", "upon ", "a ", "time"]);
    /// # assert_eq!(answer.text(), "Once upon a time");
    /// ```
    ///
    /// # Errors
    /// Those of [`generate`](Self::generate).
    pub fn stream<R: Into<LlmRequest>>(
        &self,
        request: R,
    ) -> impl Future<Output = Result<LlmStream, AgentError>> + use<R> {
        let request = self.request(request);
        let host = Rc::clone(&self.host);
        async move {
            // Not behind the trait object on the platform: a module that streams nothing does not import this.
            #[cfg(target_family = "wasm")]
            let answer = crate::wasm::stream(host.handle(), request).await?;
            #[cfg(not(target_family = "wasm"))]
            let pieces = host.stream(request).await?.into_iter();
            Ok(LlmStream {
                #[cfg(target_family = "wasm")]
                answer,
                #[cfg(not(target_family = "wasm"))]
                pieces,
                response: None,
            })
        }
    }
}

impl LlmStream {
    /// More of the text; none when the answer has ended. With a schema the text is JSON, in pieces.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmResponse, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let mut answer = runtime.llm().stream("Two words, please").await?;
    /// assert_eq!(answer.next().await?.as_deref(), Some("Once "));
    /// assert_eq!(answer.next().await?.as_deref(), Some("upon"));
    /// assert_eq!(answer.next().await?, None);
    /// # Ok(OnRequestResult::completed("ok")) }).with_llm(|_| Ok(LlmResponse::text("Once upon")));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    ///
    /// # Errors
    /// [`AgentError::Unavailable`] if the answer broke off, [`AgentError::InvalidInput`] after that.
    pub async fn next(&mut self) -> Result<Option<String>, AgentError> {
        if self.response.is_some() {
            return Ok(None);
        }
        #[cfg(target_family = "wasm")]
        let piece = crate::wasm::next(&self.answer).await?;
        #[cfg(not(target_family = "wasm"))]
        let piece = self.pieces.next().ok_or_else(|| {
            AgentError::InvalidInput("this answer has ended: nothing follows".to_owned())
        })?;
        Ok(match piece {
            LlmPiece::Text(text) => Some(text),
            LlmPiece::Done(response) => {
                self.response = Some(response);
                None
            }
        })
    }

    /// The whole answer. Reads what has not been read yet.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmResponse, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let mut answer = runtime.llm().stream("A long story, please").await?;
    /// while let Some(words) = answer.next().await? {
    ///     progress.send_update(words).await?;
    /// }
    /// let whole = answer.finish().await?;
    /// assert_eq!((&*whole.text, whole.usage.output), ("Once upon a time", 0));
    /// # Ok(OnRequestResult::completed("ok")) }).with_llm(|_| Ok(LlmResponse::text("Once upon a time")));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    ///
    /// # Errors
    /// Those of [`next`](Self::next).
    pub async fn finish(mut self) -> Result<LlmResponse, AgentError> {
        loop {
            if let Some(response) = self.response.take() {
                return Ok(response);
            }
            self.next().await?;
        }
    }
}
