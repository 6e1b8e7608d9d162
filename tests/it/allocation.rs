//! What must not allocate: counted by the allocator itself, per thread, so that other tests do not disturb.

#![allow(unsafe_code, reason = "an allocator cannot be replaced otherwise")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use lagline::clock::Timestamp;
use lagline::kafka::decode::decode;
use lagline::kafka::encode::{commit_key, commit_value};
use lagline::lag::ids::TopicId;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    fn count() {
        // A thread that is ending has no counter any more.
        let _is_counted = ALLOCATIONS
            .try_with(|count| count.set(count.get() + 1))
            .is_ok();
    }
}

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above; `at` came from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn decode_allocates_nothing() {
    assert!(allocations(|| drop(vec![1_u8])) > 0, "it counts");
    let key = commit_key("group", "topic", 3);
    let at = Timestamp::from_ms(1_700_000_000_000);
    for topic_id in [None, Some(TopicId([7; 16]))] {
        let value = commit_value(42, at, topic_id);
        for value in [Some(value.as_slice()), Some(&value[..9]), None] {
            let count = allocations(|| {
                for _ in 0..100 {
                    drop(std::hint::black_box(decode(Some(&key), value)));
                }
            });
            assert_eq!(count, 0, "{value:?}");
        }
    }
}
