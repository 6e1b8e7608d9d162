//! Reading on without ever beginning a read twice.

use super::FrameSource;
use crate::sinks::BoxFuture;
use crate::store::frame::Next;

/// A source whose read goes on across the worker's turns: a frame that has to be fetched and
/// decoded is fetched and decoded once, however often somebody looks whether it is there.
pub(super) struct Reading<S> {
    source: Option<S>,
    /// The read that was begun; it gives the source back.
    under_way: Option<BoxFuture<'static, (S, Next)>>,
}

impl<S: FrameSource + 'static> Reading<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source: Some(source),
            under_way: None,
        }
    }

    /// The next item; waits for it. Cancel-safe, whatever the source is.
    pub(super) async fn next(&mut self) -> Next {
        if let Some(mut source) = self.source.take() {
            self.under_way = Some(Box::pin(async move {
                let next = source.next().await;
                (source, next)
            }));
        }
        let Some(under_way) = &mut self.under_way else {
            // Only after a panic in the source.
            return std::future::pending().await;
        };
        let (source, next) = under_way.await;
        self.under_way = None;
        self.source = Some(source);
        next
    }
}
