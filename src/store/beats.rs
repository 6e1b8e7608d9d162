//! Which beats may be journaled: of one cluster, each newer than the one before.
//!
//! A clock that stepped back gives beats that are already there. They are left out, but not for
//! ever: after five minutes of beats that are newer only among themselves the step is accepted.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::lag::ids::ClusterName;

/// For how long beats of a stepped-back clock are left out.
const PATIENCE: Duration = Duration::from_secs(300);

/// What to do with a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Journal,
    /// The first beat that is left out since one was journaled: worth saying.
    SkipFirst {
        /// How far behind the last journaled beat it is.
        behind: Duration,
    },
    Skip,
    /// Older than what is journaled, but so for five minutes: journaled, worth saying.
    AcceptStep {
        behind: Duration,
    },
}

#[derive(Clone, Copy, Debug)]
struct Last {
    beat: Timestamp,
    /// The first beat that was left out since.
    skipped_since: Option<Timestamp>,
}

/// The last journaled beat of each cluster; `None` stands for the sinks' own frames.
#[derive(Debug, Default)]
pub(super) struct Beats(HashMap<Option<ClusterName>, Last>);

impl Beats {
    /// Notes a beat that is in the journal.
    pub(super) fn journaled(&mut self, of: Option<ClusterName>, beat: Timestamp) {
        let last = Last {
            beat,
            skipped_since: None,
        };
        self.0.insert(of, last);
    }

    /// Decides about a beat, and notes it.
    pub(super) fn judge(&mut self, of: Option<&ClusterName>, beat: Timestamp) -> Verdict {
        let of = of.cloned();
        let Some(last) = self.0.get_mut(&of) else {
            self.journaled(of, beat);
            return Verdict::Journal;
        };
        if beat > last.beat {
            self.journaled(of, beat);
            return Verdict::Journal;
        }
        let behind = between(beat, last.beat);
        // A second step back starts the waiting again.
        match last.skipped_since.filter(|since| *since <= beat) {
            None => {
                let is_first = last.skipped_since.is_none();
                last.skipped_since = Some(beat);
                match is_first {
                    true => Verdict::SkipFirst { behind },
                    false => Verdict::Skip,
                }
            }
            Some(since) if between(since, beat) < PATIENCE => Verdict::Skip,
            Some(_) => {
                self.journaled(of, beat);
                Verdict::AcceptStep { behind }
            }
        }
    }
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(later.ms_since(earlier)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beats in seconds, and what becomes of each: `j`ournal, skip first (`S`), `s`kip, `a`ccept.
    #[track_caller]
    fn check(beats: &[i64], expected: &str) {
        let mut state = Beats::default();
        let cluster = ClusterName::new("c");
        let verdicts: String = beats
            .iter()
            .map(
                |beat| match state.judge(Some(&cluster), Timestamp::from_secs(*beat)) {
                    Verdict::Journal => 'j',
                    Verdict::SkipFirst { .. } => 'S',
                    Verdict::Skip => 's',
                    Verdict::AcceptStep { .. } => 'a',
                },
            )
            .collect();
        assert_eq!(verdicts, expected, "{beats:?}");
    }

    #[test]
    fn a_beat_is_journaled_once_and_a_step_back_is_accepted_after_five_minutes() {
        check(&[10, 20, 30], "jjj");
        check(&[10, 10, 10, 20], "jSsj");
        check(&[3600, 10, 309, 310, 320], "jSsaj");
        check(&[3600, 10, 300, 3610, 300, 590, 599, 600], "jSsjSssa");
        // A second step back, while the first is still not accepted, waits anew.
        check(&[3600, 1000, 1290, 10, 300, 310, 320], "jSsssaj");
        // The same beat again and again is no clock that goes on.
        check(&[10, 10, 10, 10, 10], "jSsss");
    }

    #[test]
    fn clusters_do_not_touch_each_other() {
        let mut state = Beats::default();
        let (a, b) = (ClusterName::new("a"), ClusterName::new("b"));
        let at = Timestamp::from_secs(10);
        assert_eq!(state.judge(Some(&a), at), Verdict::Journal);
        assert_eq!(state.judge(Some(&b), at), Verdict::Journal);
        assert_eq!(state.judge(None, at), Verdict::Journal);
    }
}
