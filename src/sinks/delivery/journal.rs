//! Delivery on the real store.

use super::{CursorStore, FrameSource};
use crate::store::frame::{Cursor, Hole, Next};
use crate::store::{FrameReader, Store};

impl FrameSource for FrameReader {
    async fn next(&mut self) -> Next {
        FrameReader::next(self).await
    }
}

impl CursorStore for Store {
    fn stage(&self, sink: &str, cursor: Cursor) {
        self.stage_cursor(sink, cursor);
    }

    fn note_hole(&self, sink: &str, hole: &Hole) {
        self.stage_hole(sink, hole);
    }
}
