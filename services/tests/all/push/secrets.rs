//! What a client gives to authenticate with is shown to its receiver and to nobody else.

use super::receiver::{Receiver, Reply};
use super::{Pusher, followed, quick, to};
use crate::support::{World, ann, done, finish};
use dormouse_services::push::PushConfig;
use std::io;
use std::sync::{Arc, Mutex};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_has_them_at_any_level() {
    let lines = Lines::default();
    let writer = lines.clone();
    let _default = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .set_default();
    let world = World::new().await;
    let receiver = Receiver::start().await;
    receiver.script([Reply::Status(500), Reply::Status(500), Reply::Status(500)]);
    let pusher = Pusher::start(&world.engine, to(&receiver), quick(2));
    let config = PushConfig::new(
        Some("shown".to_owned()),
        receiver.url("/hidden-path?hidden-query"),
        Some("hidden-token".to_owned()),
        Some(("Bearer".to_owned(), Some("hidden-credentials".to_owned()))),
    );
    let call = followed(&world.engine, config.unwrap());
    call.update(crate::support::says("one")).await.unwrap();
    finish(&call, done()).await;
    pusher.until_counted("delivered", 1).await;
    let id = call.task_id();
    let kept = world.engine.get_push(&ann(), &id, "shown").await.unwrap();
    tracing::info!(?kept, "debug output");
    pusher.stop().await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(
        text.contains("given up") && text.contains("shown"),
        "{text}"
    );
    assert!(text.contains("will be tried again"), "{text}");
    assert!(!text.contains("hidden"), "{text}");
    let posts = receiver.posts(4).await;
    assert_eq!(posts[3].field("authorization"), "Bearer hidden-credentials");
}
