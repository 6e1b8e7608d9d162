//! Names and their numbers, in memory; the file has all of them.
//!
//! In memory stay the names that the tail's frames use, and those that are not in the history yet.
//! Others are forgotten from time to time and read from the file again when they come up, so the
//! memory does not grow with every member id that was ever seen.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::frame::Seq;

/// Names that are kept without looking whether they are used.
const SLACK: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Numbered {
    id: u32,
    /// The newest frame that uses the name.
    used: Seq,
}

/// Names and numbers.
#[derive(Debug)]
pub(super) struct Dictionary {
    by_name: FxHashMap<Arc<str>, Numbered>,
    by_id: FxHashMap<u32, Arc<str>>,
    /// The next number to give.
    next: u32,
    /// Numbers that are not in the file yet; unused without a file.
    unsaved: Option<Vec<u32>>,
    /// How many names stayed when they were last looked through.
    stayed: usize,
}

impl Dictionary {
    /// An empty dictionary that gives numbers from `next`. With `has_file` it remembers which
    /// names still have to be written there.
    pub(super) fn new(next: u32, has_file: bool) -> Self {
        Self {
            by_name: FxHashMap::default(),
            by_id: FxHashMap::default(),
            next,
            unsaved: has_file.then(Vec::new),
            stayed: 0,
        }
    }

    /// The number of a name that is in memory, now used by frame `seq`.
    pub(super) fn id(&mut self, name: &str, seq: Seq) -> Option<u32> {
        let known = self.by_name.get_mut(name)?;
        known.used = known.used.max(seq);
        Some(known.id)
    }

    /// The number of a name that is in memory.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).map(|known| known.id)
    }

    /// Notes a name that was read for its number. It is not taken for writing: it may go from the
    /// file at this moment.
    pub(super) fn remember(&mut self, id: u32, name: &Arc<str>) {
        self.by_id.insert(id, Arc::clone(name));
    }

    /// Notes a name that is in the file, used by frame `seq`. Only for the thread that writes.
    pub(super) fn insert(&mut self, id: u32, name: &Arc<str>, seq: Seq) {
        self.by_id.insert(id, Arc::clone(name));
        let used = Numbered { id, used: seq };
        self.by_name.entry(Arc::clone(name)).or_insert(used);
    }

    /// Gives a new name its number.
    pub(super) fn assign(&mut self, name: &Arc<str>, seq: Seq) -> u32 {
        assert!(self.next < u32::MAX, "fewer than four billion names");
        let id = self.next;
        self.next += 1;
        self.insert(id, name, seq);
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.push(id);
        }
        id
    }

    /// The name with this number, when it is in memory.
    pub(super) fn name(&self, id: u32) -> Option<Arc<str>> {
        self.by_id.get(&id).cloned()
    }

    /// What has to be written into the file.
    pub(super) fn unsaved(&self) -> Vec<(u32, Arc<str>)> {
        let unsaved = self.unsaved.iter().flatten();
        unsaved
            .filter_map(|id| Some((*id, self.name(*id)?)))
            .collect()
    }

    /// Notes that everything up to number `id` is in the file.
    pub(super) fn saved(&mut self, through: u32) {
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.retain(|id| *id > through);
        }
    }

    /// How many names are in memory.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Forgets a name that shall go from the file. False, and nothing is forgotten, when a frame
    /// from `oldest` on uses it.
    pub(super) fn release(&mut self, id: u32, name: &str, oldest: Seq) -> bool {
        if let Some(known) = self.by_name.get(name)
            && known.id == id
        {
            if known.used >= oldest {
                return false;
            }
            self.by_name.remove(name);
        }
        self.by_id.remove(&id);
        true
    }

    /// Forgets names that no frame from `oldest` on uses, once enough have come together.
    pub(super) fn prune(&mut self, oldest: Seq) {
        if self.by_id.len() <= self.stayed + self.stayed / 2 + SLACK {
            return;
        }
        let by_name = &mut self.by_name;
        self.by_id.retain(|id, name| {
            let stays = by_name
                .get(name)
                .is_some_and(|known| known.id == *id && known.used >= oldest);
            if !stays && by_name.get(name).is_some_and(|known| known.id == *id) {
                by_name.remove(name);
            }
            stays
        });
        let by_id = &self.by_id;
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.retain(|id| by_id.contains_key(id));
        }
        self.stayed = self.by_id.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_no_frame_needs_go_and_what_readers_read_is_not_written() {
        let mut dictionary = Dictionary::new(10, true);
        let names: [Arc<str>; 3] = ["a", "b", "c"].map(Arc::from);
        dictionary.insert(1, &names[0], Seq(5));
        dictionary.insert(2, &names[1], Seq(4));
        dictionary.remember(3, &names[2]);
        assert_eq!(dictionary.id("c", Seq(9)), None, "only read");
        let released = |dictionary: &mut Dictionary, id, name| dictionary.release(id, name, Seq(5));
        assert!(!released(&mut dictionary, 1, "a"), "used");
        assert!(
            released(&mut dictionary, 7, "a"),
            "a second number of the same name"
        );
        assert_eq!(dictionary.id("a", Seq(6)), Some(1));
        assert!(released(&mut dictionary, 2, "b"), "not used any more");
        assert_eq!(
            (dictionary.id("b", Seq(6)), dictionary.name(2)),
            (None, None)
        );
        assert!(released(&mut dictionary, 3, "c"), "never used");
    }

    #[test]
    fn forgets_names_that_no_kept_frame_uses_and_never_gives_a_number_twice() {
        let mut dictionary = Dictionary::new(1, true);
        let old: Vec<Arc<str>> = (0..5000).map(|n| Arc::from(format!("old-{n}"))).collect();
        for name in &old {
            dictionary.assign(name, Seq(1));
        }
        let kept: Arc<str> = Arc::from("kept");
        let id = dictionary.assign(&kept, Seq(1));
        assert_eq!(dictionary.id("kept", Seq(7)), Some(id));
        dictionary.prune(Seq(7));
        assert_eq!(
            (dictionary.by_id.len(), dictionary.name(id)),
            (1, Some(kept))
        );
        assert_eq!(dictionary.id("old-1", Seq(8)), None);
        assert!(dictionary.assign(&old[1], Seq(8)) > id);
        assert_eq!(dictionary.unsaved().len(), 2);
        dictionary.saved(id);
        assert_eq!(dictionary.unsaved().len(), 1);
    }
}
