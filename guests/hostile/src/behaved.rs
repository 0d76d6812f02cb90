//! Skills that do what they should.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use dormouse_sdk::OnRequestResult;
use serde::Deserialize;

use crate::skill;

skill!(
    "echo",
    Echo,
    "Answers with the text, without a task.",
    |_state, _progress, content| {
        let message = content.text().into();
        Ok(OnRequestResult::Message { message })
    }
);

skill!(
    "echo-task",
    EchoTask,
    "Completes a task with the text.",
    |_state, _progress, content| { Ok(OnRequestResult::completed(content.text())) }
);

static CALLS: AtomicU64 = AtomicU64::new(0);

skill!(
    "counter",
    Counter,
    "Answers how often this skill was called in its instance.",
    |_state, _progress, _content| {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let message = calls.to_string().into();
        Ok(OnRequestResult::Message { message })
    }
);

#[derive(Deserialize)]
struct Pause {
    ms: u64,
}

skill!(
    "slow",
    Slow,
    "Sends an update, sleeps for `ms`, completes.",
    |_state, progress, content| {
        let pause: Option<Pause> = content.data()?;
        let ms = pause.map_or(100, |pause| pause.ms);
        progress.send_update(format!("sleeping {ms} ms")).await?;
        thread::sleep(Duration::from_millis(ms));
        Ok(OnRequestResult::completed("awake"))
    }
);
