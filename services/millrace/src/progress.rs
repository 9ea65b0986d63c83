//! How far a command is that takes long: on standard error, from the second second on.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks on a terminal, where the line is written over, and elsewhere, where every look is a line.
const ON_TERMINAL: Duration = Duration::from_secs(1);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Work under way. Says how far it is until it is dropped, or `end` is called.
pub struct Progress {
    ended: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// `what` is asked at each look, on a thread of its own.
    pub fn begin(what: impl Fn() -> String + Send + 'static) -> Progress {
        let (ended, end) = mpsc::channel();
        let terminal = std::io::stderr().is_terminal();
        let begun = Instant::now();
        // Where there is no thread, nothing is said of progress.
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

    /// Leaves the line to what comes next.
    pub fn end(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.ended.take());
        if let Some(thread) = self.thread.take() {
            // A look that panicked has nothing to say.
            let _ = thread.join();
        }
    }
}
