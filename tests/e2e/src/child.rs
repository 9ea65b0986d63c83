//! A process that a test starts.

use std::process::{Child, Command, ExitStatus};

/// A child that does not outlive its owner.
pub struct Running(pub(crate) Child);

impl Running {
    /// # Panics
    /// Where the command cannot be run.
    pub fn start(command: &mut Command) -> Running {
        Running(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// How it ended.
    ///
    /// # Errors
    /// That it has not.
    pub fn ended(&mut self) -> Result<ExitStatus, String> {
        self.0.try_wait().map_err(|error| error.to_string())?.ok_or_else(|| "it still runs".to_owned())
    }

    /// Sends a signal by name. The shell's own `kill` is there everywhere.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid])
            .status()
            .expect("there is a shell");
        assert!(status.success(), "kill -s {name} {pid}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
