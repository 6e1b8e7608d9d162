//! Lists in pages: sorted by a key, cut at a limit, continued behind a cursor.
//!
//! The list may change between two pages. A cursor is the key of the last row, so that the next page
//! goes on behind where that row stood; a row whose key changed meanwhile may come twice or not.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::params::Bad;

/// The place of a row in a list. What is absent comes last, whatever the direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) first: Option<f64>,
    pub(super) second: Option<f64>,
    pub(super) cluster: String,
    pub(super) name: String,
}

/// Which way a list goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// The greatest number first. Rows with equal numbers are in the order of their names.
    pub(super) numbers_fall: bool,
    /// Names from Z to A.
    pub(super) names_fall: bool,
}

impl Key {
    fn compare(&self, other: &Key, order: Order) -> Ordering {
        let number = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) if order.numbers_fall => b.total_cmp(&a),
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        let names = || {
            let names = (&self.cluster, &self.name).cmp(&(&other.cluster, &other.name));
            if order.names_fall {
                names.reverse()
            } else {
                names
            }
        };
        number(self.first, other.first)
            .then_with(|| number(self.second, other.second))
            .then_with(names)
    }
}

/// One page of `rows`: sorted, behind `cursor`, at most `limit`; and the cursor of the next page.
pub(super) fn page<T>(
    rows: Vec<(Key, T)>,
    order: Order,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<T>, Option<String>), Bad> {
    let mut rows = rows;
    rows.sort_by(|a, b| a.0.compare(&b.0, order));
    let begin = match cursor {
        None => 0,
        Some(cursor) => {
            let last: Key = serde_json::from_str(cursor)
                .map_err(|_| Bad::new("cursor", "expected the \"next\" of an earlier answer"))?;
            rows.partition_point(|row| row.0.compare(&last, order) != Ordering::Greater)
        }
    };
    let end = rows.len().min(begin.saturating_add(limit));
    let next = match end < rows.len() && end > begin {
        true => serde_json::to_string(&rows[end - 1].0).ok(),
        false => None,
    };
    rows.truncate(end);
    Ok((rows.drain(begin..).map(|row| row.1).collect(), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: Option<f64>, name: &str) -> Key {
        Key {
            first,
            second: None,
            cluster: "c".to_owned(),
            name: name.to_owned(),
        }
    }

    const FALL: Order = Order {
        numbers_fall: true,
        names_fall: false,
    };
    const RISE: Order = Order {
        numbers_fall: false,
        names_fall: false,
    };
    const NAMES_FALL: Order = Order {
        numbers_fall: false,
        names_fall: true,
    };

    /// All pages of `limit` rows, one after the other.
    fn pages(rows: &[(Option<f64>, &str)], order: Order, limit: usize) -> Vec<String> {
        let mut shown = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let list = rows.iter().map(|(first, name)| (key(*first, name), *name));
            let (rows, next) = page(list.collect(), order, cursor.as_deref(), limit).unwrap();
            shown.push(rows.join(""));
            cursor = next;
            if cursor.is_none() {
                return shown;
            }
        }
    }

    #[test]
    fn pages_are_the_list_in_order() {
        let rows = [
            (Some(2.0), "b"),
            (None, "x"),
            (Some(9.0), "a"),
            (Some(2.0), "a"),
            (None, "y"),
        ];
        for limit in 1..=6 {
            assert_eq!(pages(&rows, FALL, limit).concat(), "aabxy", "{limit}");
            assert_eq!(pages(&rows, RISE, limit).concat(), "abaxy", "{limit}");
        }
        assert_eq!(pages(&rows, FALL, 2), ["aa", "bx", "y"]);
        assert_eq!(pages(&[], FALL, 2), [""]);
        let by_name = [(None, "a"), (None, "b"), (None, "c")];
        assert_eq!(pages(&by_name, RISE, 2), ["ab", "c"]);
        assert_eq!(pages(&by_name, NAMES_FALL, 2), ["cb", "a"]);
    }

    #[test]
    fn a_cursor_that_is_none_is_refused() {
        let refused = page::<()>(Vec::new(), FALL, Some("7"), 1).unwrap_err();
        assert_eq!(refused.parameter, "cursor");
    }
}
