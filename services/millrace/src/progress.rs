//! Progress of a long command: on standard error, from the second second on.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The time between two reports on a terminal, where the line is overwritten, and elsewhere, where
/// every report is a line.
const ON_TERMINAL: Duration = Duration::from_secs(1);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Work in progress. Reports until it is dropped, or `end` is called.
pub struct Progress {
    ended: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Each report calls `what`, on a thread of its own.
    pub fn begin(what: impl Fn() -> String + Send + 'static) -> Progress {
        let (ended, end) = mpsc::channel();
        let terminal = std::io::stderr().is_terminal();
        let begun = Instant::now();
        // Without a thread there are no reports.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let mut said = false;
            while end.recv_timeout(if terminal { ON_TERMINAL } else { ELSEWHERE }) == Err(RecvTimeoutError::Timeout) {
                let line = format!("{}, {} s", what(), begun.elapsed().as_secs());
                let shown = if terminal { format!("\r{line}\u{1b}[K") } else { format!("{line}\n") };
                // Nobody reads it: nothing is lost.
                let _ = std::io::stderr().write_all(shown.as_bytes());
                said = true;
            }
            if said && terminal {
                let _ = std::io::stderr().write_all(b"\r\x1b[K");
            }
        });
        Progress {
            ended: Some(ended),
            thread: thread.ok(),
        }
    }

    /// Leaves the line to the next output.
    pub fn end(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.ended.take());
        if let Some(thread) = self.thread.take() {
            // A report that panicked has nothing to show.
            let _ = thread.join();
        }
    }
}
