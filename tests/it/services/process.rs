//! A server's process.
//!
//! It dies with the test process, however that ends: `setpriv` sets the parent-death signal before
//! it becomes the server. The kernel sends that signal when the *thread* that started the child
//! ends, and every test has a thread of its own, so one thread that lives as long as the process
//! starts them all.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use super::wait;

/// How long a server may take to end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A command that runs `program` with the parent-death signal set. Add its arguments as usual.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A running server, killed when dropped. Its output goes to the end of a log file.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts what [`command`] built.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let output = OpenOptions::new().create(true).append(true).open(log);
        let output = output.expect("the log file can be written");
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let child =
            start_on_lasting_thread(command).unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        }
    }

    /// Waits until `attempt` succeeds.
    ///
    /// # Panics
    /// When the process ends before, or after `limit`: with the end of its log.
    pub fn wait_ready<T>(
        &mut self,
        limit: Duration,
        mut attempt: impl FnMut() -> Result<T, String>,
    ) -> T {
        let what = format!("{} is ready (log: {})", self.name, self.log.display());
        wait::until_ok(&what, limit, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended with {status}:\n{}", self.name, self.log_end());
            }
            attempt()
        })
    }

    /// Its process number.
    #[allow(dead_code, reason = "for benchmarks, which share this file")]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, for example `STOP` and `CONT`.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(
            status.unwrap().success(),
            "cannot send {name} to {}",
            self.name
        );
    }

    /// Ends it in order: SIGTERM, then waits for the end.
    pub fn stop(mut self) {
        self.signal("TERM");
        wait::until(&format!("{} ends", self.name), STOP_LIMIT, || {
            self.child.try_wait().unwrap().is_some()
        });
    }

    /// SIGKILL: no chance to write anything.
    pub fn kill(self) {
        drop(self);
    }

    fn log_end(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start_on_lasting_thread(command: Command) -> io::Result<Child> {
    type Order = (Command, SyncSender<io::Result<Child>>);
    static STARTER: OnceLock<SyncSender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, inbox) = sync_channel::<Order>(8);
        std::thread::Builder::new()
            .name("starter".to_owned())
            .spawn(move || {
                for (mut command, reply) in inbox {
                    // The one who asked may have panicked; then nobody listens.
                    drop(reply.send(command.spawn()));
                }
            })
            .expect("a thread can be started");
        orders
    });
    let (reply, answer) = sync_channel(1);
    starter.send((command, reply)).expect("the starter lives");
    answer.recv().expect("the starter answers")
}
