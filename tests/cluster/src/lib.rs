//! The deployment of a platform team, tested without a cluster and in a real one: the Helm chart,
//! its alerts and dashboards.
//!
//! What it is *not*: a test of the pipeline, which `tests/e2e` judges.

pub mod chart;
pub mod dashboards;
pub mod pipeline;
pub mod values;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The project's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs a program to its end with a text on its standard input; returns its output if it succeeded.
///
/// # Errors
/// With all its output, where it failed.
pub fn output_of(command: &mut Command, input: &str) -> anyhow::Result<String> {
    use std::io::Write;
    let name = format!("{:?}", command.get_program());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let mut stdin = child.stdin.take().context("standard input is piped")?;
    let text = input.to_owned();
    // A thread of its own: a program may write before it has read everything.
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {name}"))?;
    // A program that ends before it has read everything closes the pipe; its exit status shows the
    // reason.
    let _ = writer.join();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(out);
    }
    bail!("{name} ends with {}\n{out}{}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// Compares a text with a committed file, or writes it there where `UPDATE_EXPECT` is set.
///
/// # Errors
/// With the first line that differs.
pub fn keep(path: &Path, text: &str) -> anyhow::Result<()> {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        return std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()));
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    if kept == text {
        return Ok(());
    }
    let differs = kept.lines().zip(text.lines()).position(|(old, new)| old != new);
    let line = differs.unwrap_or_else(|| kept.lines().count().min(text.lines().count()));
    let shown = |text: &str| text.lines().nth(line).unwrap_or("(ends)").to_owned();
    bail!(
        "{}:{} is out of date; UPDATE_EXPECT=1 refreshes it\n- {}\n+ {}",
        path.display(),
        line + 1,
        shown(&kept),
        shown(text)
    )
}
