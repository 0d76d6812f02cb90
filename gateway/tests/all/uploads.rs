//! Uploads whose client does not wait for them.

use crate::support::start_on;
use dormouse_store::{Digest, ModuleStore, Put, Store, StoreError, Totals};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};

/// Modules that are looked for when the test lets them.
struct Gate {
    modules: Arc<dyn ModuleStore>,
    reached: mpsc::UnboundedSender<()>,
    /// Of whoever comes first; nobody else has to wait.
    opened: Mutex<Option<oneshot::Receiver<()>>>,
}

impl ModuleStore for Gate {
    fn put(&self, bytes: &[u8]) -> Result<Put, StoreError> {
        self.modules.put(bytes)
    }

    fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.modules.get(digest)
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let opened = self.opened.lock().unwrap().take();
        if let Some(opened) = opened {
            self.reached.send(()).unwrap();
            opened.blocking_recv().unwrap();
        }
        self.modules.size(digest)
    }

    fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.modules.remove(digest)
    }

    fn totals(&self) -> Totals {
        self.modules.totals()
    }
}

#[tokio::test]
async fn work_on_a_module_has_its_place_until_it_is_done_whoever_waits_for_it() {
    let (reached, mut has_reached) = mpsc::unbounded_channel();
    let (open, opened) = oneshot::channel();
    let mut store = Store::in_memory();
    store.modules = Arc::new(Gate {
        modules: Arc::clone(&store.modules),
        reached,
        opened: Mutex::new(Some(opened)),
    });
    let change = |config: &mut dormouse_gateway::GatewayConfig| {
        config.max_uploads = 1;
        config.body_timeout = Duration::from_secs(1);
        // So that the next request is served when the server has noticed that the first client has left.
        config.max_connections = 1;
    };
    let server = start_on(store, change, |_scheduler| {}).await;
    let mut leaves = server.connect().await;
    let body = json!({"digest": Digest::of(b"none")}).to_string();
    let head = "PUT /v1/agents/named HTTP/1.1\r\nhost: localhost\r\ncontent-length";
    let request = format!("{head}: {}\r\n\r\n{body}", body.len());
    leaves.write_all(request.as_bytes()).await.unwrap();
    has_reached.recv().await.unwrap();
    drop(leaves);
    assert_eq!(server.ask("POST /v1/modules", b"x").await.status, 503);
    open.send(()).unwrap();
    assert_eq!(server.ask("POST /v1/modules", b"x").await.status, 422);
}
