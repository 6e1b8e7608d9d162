//! Free ports that stay free for this process.

use std::fs::File;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range that the system takes the ports of outgoing connections from, so that a stopped
/// server finds its port free again.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// The lock files of the ports given out. Held until the process ends: another test process that
/// runs at the same time takes other ports, also while a server is stopped.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port on which nothing listens, and that no other test process takes while this one runs.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let locks = std::env::temp_dir().join("lagline-test-ports");
    std::fs::create_dir_all(&locks).expect("the temporary directory can be written");
    // Processes begin at different places, so that they rarely meet.
    let begin = u16::try_from(std::process::id() % 400).unwrap() * 30;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + begin.wrapping_add(step) % COUNT;
        let lock = File::create(locks.join(port.to_string())).expect("a lock file can be made");
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            HELD.lock().unwrap().push(lock);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
