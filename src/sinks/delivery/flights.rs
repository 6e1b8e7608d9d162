//! Requests under way: few, so a list that is polled as a whole.

use std::future::poll_fn;
use std::task::Poll;

use crate::sinks::BoxFuture;

/// Futures that run together and end one by one.
pub(super) struct Flights<T>(Vec<BoxFuture<'static, T>>);

impl<T> Flights<T> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn launch(&mut self, flight: BoxFuture<'static, T>) {
        self.0.push(flight);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next one that ends; waits for ever while there is none. Cancel-safe.
    pub(super) async fn landed(&mut self) -> T {
        poll_fn(|context| {
            for at in 0..self.0.len() {
                if let Poll::Ready(result) = self.0[at].as_mut().poll(context) {
                    drop(self.0.remove(at));
                    return Poll::Ready(result);
                }
            }
            Poll::Pending
        })
        .await
    }
}
