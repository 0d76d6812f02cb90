//! Skills that never come back by themselves.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use dormouse_sdk::OnRequestResult;

use crate::skill;

skill!(
    "loop",
    Loop,
    "Computes for ever.",
    |_state, _progress, _content| {
        loop {
            black_box(());
        }
    }
);

skill!(
    "pending",
    Pending,
    "Awaits what never comes.",
    |_state, progress, _content| {
        progress.send_update("waiting").await?;
        std::future::pending::<()>().await;
        Ok(OnRequestResult::completed("it came"))
    }
);

skill!(
    "sleep",
    Sleep,
    "Sleeps in the host for an hour.",
    |_state, _progress, _content| {
        thread::sleep(Duration::from_secs(60 * 60));
        Ok(OnRequestResult::completed("good morning"))
    }
);
