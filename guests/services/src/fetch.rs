//! HTTP requests as a client orders them.

use dormouse_sdk::join_all;
use dormouse_sdk::prelude::*;
use serde::Deserialize;

/// One request. Those of a message are sent at once.
#[derive(Deserialize)]
struct Order {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    /// A body of so many bytes instead.
    #[serde(default)]
    bytes: usize,
    /// Go where a redirect leads.
    #[serde(default)]
    follow: bool,
}

fn get() -> String {
    "GET".to_owned()
}

#[skill(
    id = "fetch",
    name = "Fetch",
    description = "Sends HTTP requests, all at once, and says what came back."
)]
pub(crate) struct Fetch;

impl SkillHandler for Fetch {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let orders: Vec<Order> = content.data()?.unwrap_or_default();
        let fetched = join_all(orders.into_iter().map(|order| fetch(runtime, order))).await;
        let said: Vec<String> = fetched
            .into_iter()
            .map(|fetched| match fetched {
                Ok(text) => text,
                Err(AgentError::Denied(text)) => format!("denied: {text}"),
                Err(AgentError::Limit(text)) => format!("limit: {text}"),
                Err(error) => format!("error: {error}"),
            })
            .collect();
        Ok(OnRequestResult::Message {
            message: said.join("\n").into(),
        })
    }
}

async fn fetch(runtime: &Runtime, order: Order) -> Result<String, AgentError> {
    let mut request = runtime.http().request(order.method, order.url);
    for (name, value) in order.headers {
        request = request.header(name, value);
    }
    let body = if order.bytes > 0 {
        vec![b'x'; order.bytes]
    } else {
        order.body.into_bytes()
    };
    let mut answer = request.body(body).send().await?;
    if order.follow
        && let Some(location) = answer.header("location")
    {
        answer = runtime.http().get(location).send().await?;
    }
    let text = match answer.body.len() {
        0..=1_000 => answer.text(),
        bytes => format!("{bytes} bytes"),
    };
    Ok(format!("{} {text}", answer.status))
}
