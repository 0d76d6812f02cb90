//! Skills that take from the host what they never give back. The SDK offers nothing of the kind, so they ask
//! WASI themselves.

use crate::skill;
use dormouse_sdk::OnRequestResult;

/// More than any instance may hold.
#[cfg(target_family = "wasm")]
const MANY: usize = 10_000;
#[cfg(target_family = "wasm")]
const HOUR: u64 = 60 * 60 * 1_000_000_000;

#[cfg(target_family = "wasm")]
mod clocks {
    wit_bindgen::generate!({
        inline: "
            package test:hostile;

            world hoards {
                import wasi:clocks/monotonic-clock@0.2.0;
                import wasi:clocks/monotonic-clock@0.3.0;
            }

            package wasi:io@0.2.0 {
                interface poll {
                    resource pollable;
                }
            }

            package wasi:clocks@0.2.0 {
                interface monotonic-clock {
                    use wasi:io/poll@0.2.0.{pollable};
                    type duration = u64;
                    subscribe-duration: func(when: duration) -> pollable;
                }
            }

            package wasi:clocks@0.3.0 {
                interface types {
                    type duration = u64;
                }

                interface monotonic-clock {
                    use types.{duration};
                    wait-for: async func(how-long: duration);
                }
            }
        ",
        world: "hoards",
        generate_all,
    });
}

skill!(
    "handle-leak",
    HandleLeak,
    "Takes ten thousand handles and keeps them.",
    |_state, _progress, _content| {
        #[cfg(target_family = "wasm")]
        for _ in 0..MANY {
            let handle = clocks::wasi::clocks0_2_0::monotonic_clock::subscribe_duration(HOUR);
            std::mem::forget(handle);
        }
        Ok(OnRequestResult::completed("kept"))
    }
);

skill!(
    "many-waits",
    ManyWaits,
    "Waits ten thousand times at once.",
    |_state, _progress, _content| {
        #[cfg(target_family = "wasm")]
        {
            let wait = || clocks::wasi::clocks0_3_0::monotonic_clock::wait_for(HOUR);
            let mut waits: Vec<_> = (0..MANY).map(|_| Box::pin(wait())).collect();
            std::future::poll_fn(|cx| {
                waits.retain_mut(|wait| wait.as_mut().poll(cx).is_pending());
                match waits.is_empty() {
                    true => std::task::Poll::Ready(()),
                    false => std::task::Poll::Pending,
                }
            })
            .await;
        }
        Ok(OnRequestResult::completed("good morning"))
    }
);
