//! Tells what a model says, word by word.

use dormouse_sdk::LlmStream;
use dormouse_sdk::prelude::*;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::task::Poll;

thread_local! {
    /// Answers that are kept from call to call.
    static HELD: RefCell<Vec<LlmStream>> = const { RefCell::new(Vec::new()) };
}

#[skill(
    id = "tell",
    name = "Tell",
    description = "Each word of the answer is an update. `first: ` stops after the first, `hold: ` keeps the rest, \
                   `held` goes on with what was kept, and `leave: ` asks and ends the call without the answer."
)]
pub struct Tell;

impl SkillHandler for Tell {
    async fn on_request(
        &self,
        _state: &mut State,
        progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let text = content.text();
        if text == "held" {
            let mut held = HELD.take().pop().ok_or(AgentError::failed("nothing"))?;
            return Ok(message(match held.next().await {
                Ok(words) => format!("heard {words:?}"),
                Err(error) => format!("error: {error}"),
            }));
        }
        let (order, question) = text.split_once(": ").unwrap_or(("all", &text));
        if order == "leave" {
            let question = question.to_owned();
            let mut asking = Box::pin(async move { runtime.llm().generate(&*question).await });
            let begun = poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx).is_pending())).await;
            // Dropped it would be cancelled.
            std::mem::forget(asking);
            return Ok(message(if begun { "left" } else { "answered" }));
        }
        let mut answer = match runtime.llm().stream(question).await {
            Ok(answer) => answer,
            Err(error) => return Ok(message(format!("not begun: {error}"))),
        };
        loop {
            match answer.next().await {
                Ok(Some(words)) => progress.send_update(words).await?,
                Ok(None) => break,
                Err(error) => return Ok(message(format!("error: {error}"))),
            }
            match order {
                "first" => return Ok(message("enough")),
                "hold" => {
                    HELD.with_borrow_mut(|held| held.push(answer));
                    return Ok(message("kept"));
                }
                _ => {}
            }
        }
        let answer = answer.finish().await?;
        let usage = answer.usage;
        let said = format!("{} ({}+{})", answer.text, usage.input, usage.output);
        Ok(message(said))
    }
}

fn message(text: impl Into<String>) -> OnRequestResult {
    OnRequestResult::Message {
        message: text.into().into(),
    }
}
