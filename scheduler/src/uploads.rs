//! Uploads of one module at a time: code that one of them was the first to need is not to go with it when it is refused,
//! while another is at it or has been accepted.

use dormouse_store::Digest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Modules that are uploaded now.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashMap<Digest, Same>>);

/// Uploads of the same module, from the first of them until none is left.
#[derive(Default)]
struct Same {
    count: usize,
    /// There was no code before.
    made_code: bool,
    accepted: bool,
}

/// One upload. It ends when it is dropped.
pub(crate) struct Upload {
    uploads: Arc<Uploads>,
    digest: Digest,
}

impl Uploads {
    pub(crate) fn begin(self: &Arc<Self>, digest: Digest) -> Upload {
        self.lock().entry(digest).or_default().count += 1;
        let uploads = Arc::clone(self);
        Upload { uploads, digest }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Same>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    fn change<T>(&self, change: impl FnOnce(&mut Same) -> T) -> T {
        let mut all = self.uploads.lock();
        change(all.entry(self.digest).or_default())
    }

    /// It was compiled for this one.
    pub(crate) fn made_code(&self) {
        self.change(|same| same.made_code = true);
    }

    pub(crate) fn accepted(self) {
        self.change(|same| same.accepted = true);
    }

    /// Whether the code is nobody's now.
    pub(crate) fn refused(self) -> bool {
        self.change(|same| same.count == 1 && same.made_code && !same.accepted)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut all = self.uploads.lock();
        if let Some(same) = all.get_mut(&self.digest) {
            same.count -= 1;
            if same.count == 0 {
                all.remove(&self.digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_that_is_refused_takes_the_code_along() {
        let uploads = Arc::new(Uploads::default());
        let digest = Digest::of(b"module");
        let [one, other] = [(); 2].map(|()| uploads.begin(digest));
        let third = uploads.begin(Digest::of(b"another"));
        one.made_code();
        third.made_code();
        assert!(!one.refused(), "the other is at it");
        assert!(other.refused());
        assert!(third.refused());
        assert!(uploads.lock().is_empty());
        // It was there before.
        assert!(!uploads.begin(digest).refused());
    }

    #[test]
    fn the_code_of_one_that_was_accepted_stays() {
        let uploads = Arc::new(Uploads::default());
        let digest = Digest::of(b"module");
        let [one, other, left] = [(); 3].map(|()| uploads.begin(digest));
        one.made_code();
        other.made_code();
        one.accepted();
        // Its client has gone away.
        drop(left);
        assert!(!other.refused());
        assert!(uploads.lock().is_empty());
    }
}
