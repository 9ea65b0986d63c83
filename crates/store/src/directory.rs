//! The folder of a store: its format file, and the right to use it.
//!
//! ```text
//! millrace-store 2
//! log 5f0c1a...            the log and changelog of the rows; left out where the log has no identity
//! checksum 8d1f...         XXH3 of the lines above, 16 hexadecimal digits
//! ```
//!
//! Format 1 was the first line alone. Such a folder is assumed to belong to the log that it is
//! opened with, and gets the other lines.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::StoreError;

/// The newest layout this version reads, and the one it writes.
pub const FORMAT: u32 = 2;

const NAME: &str = "FORMAT";
const LABEL: &str = "millrace-store";
const FORMAT_ONE: &str = "millrace-store 1\n";
const DATABASE: &str = "db";

/// The content of a format file.
enum Said {
    FormatOne,
    /// The log.
    Ours(Option<String>),
    Newer(u32),
}

/// Makes the folder if it is missing, checks its format and its origin, and returns the database's
/// folder inside it. `origin` is one line, or `None` where the log has no identity.
///
/// # Errors
/// Where the folder is another's, another log's, newer, or cannot be used.
pub fn prepare(path: &Path, origin: Option<&str>) -> Result<PathBuf, StoreError> {
    let failed = |source| StoreError::Directory {
        path: path.to_path_buf(),
        source,
    };
    if path.is_file() {
        return Err(StoreError::NotAStore { path: path.to_path_buf() });
    }
    fs::create_dir_all(path).map_err(failed)?;
    match read(path)? {
        None => write_format(path, origin).map_err(failed)?,
        Some(Said::FormatOne) => write_format(path, origin).map_err(failed)?,
        Some(Said::Ours(found)) => match (found, origin) {
            (Some(found), Some(expected)) if found != expected => {
                return Err(StoreError::OtherLog {
                    path: path.to_path_buf(),
                    found,
                    expected: expected.to_owned(),
                });
            }
            (None, Some(_)) => write_format(path, origin).map_err(failed)?,
            _ => {}
        },
        Some(Said::Newer(found)) => {
            return Err(StoreError::NewerFormat {
                path: path.to_path_buf(),
                found,
                supported: FORMAT,
            });
        }
    }
    Ok(database(path))
}

/// The database's folder.
pub fn database(path: &Path) -> PathBuf {
    path.join(DATABASE)
}

/// The log of the store in the folder; `None` where there is no store, or where the format file
/// does not name it.
///
/// # Errors
/// Where the folder cannot be read, or its format file is damaged.
pub fn origin_of(path: &Path) -> Result<Option<String>, StoreError> {
    match read(path)? {
        Some(Said::Ours(origin)) => Ok(origin),
        None | Some(Said::FormatOne | Said::Newer(_)) => Ok(None),
    }
}

/// The format file of a folder; `None` where the folder is missing or empty.
fn read(path: &Path) -> Result<Option<Said>, StoreError> {
    let failed = |source| StoreError::Directory {
        path: path.to_path_buf(),
        source,
    };
    let text = match fs::read(path.join(NAME)) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    if text.is_none() && (!path.exists() || only(path, &[]).map_err(failed)?) {
        return Ok(None);
    }
    if let Some(said) = text.and_then(|text| parse(&String::from_utf8(text).ok()?)) {
        return Ok(Some(said));
    }
    // Other contents of the folder are not ours to rename.
    if path.join(DATABASE).is_dir() && only(path, &[NAME, DATABASE]).map_err(failed)? {
        return Err(StoreError::DamagedFormat { path: path.join(NAME) });
    }
    Err(StoreError::NotAStore { path: path.to_path_buf() })
}

fn parse(text: &str) -> Option<Said> {
    if text == FORMAT_ONE {
        return Some(Said::FormatOne);
    }
    let (lines, checksum) = text.split_at_checked(text.trim_end().rfind('\n')? + 1)?;
    if checksum != checksum_of(lines) {
        return None;
    }
    let mut lines = lines.lines();
    let format: u32 = lines.next()?.strip_prefix(LABEL)?.trim_start().parse().ok()?;
    match format {
        FORMAT => Some(Said::Ours(lines.next().and_then(|line| line.strip_prefix("log ")).map(str::to_owned))),
        newer if newer > FORMAT => Some(Said::Newer(newer)),
        _ => None,
    }
}

fn checksum_of(lines: &str) -> String {
    format!("checksum {:016x}\n", xxh3_64(lines.as_bytes()))
}

/// Whether the folder holds only these. A crash while the format was written leaves its temporary
/// file, which does not count.
fn only(path: &Path, names: &[&str]) -> std::io::Result<bool> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if name != temporary() && !names.iter().any(|known| name == *known) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn temporary() -> std::ffi::OsString {
    format!("{NAME}.new").into()
}

/// The format is on disk before the database is begun: a database without it would be set aside.
fn write_format(path: &Path, origin: Option<&str>) -> std::io::Result<()> {
    let log = origin.map_or(String::new(), |origin| format!("log {origin}\n"));
    let lines = format!("{LABEL} {FORMAT}\n{log}");
    let new = path.join(temporary());
    let mut file = fs::File::create(&new)?;
    file.write_all(lines.as_bytes())?;
    file.write_all(checksum_of(&lines).as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path.join(NAME))?;
    fs::File::open(path)?.sync_all()
}

/// Renames the folder, which must not be open, so that a new store can take its place. Returns its
/// new name.
///
/// # Errors
/// Where it cannot be renamed.
pub fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let free = |number: &u32| !named(path, *number).exists();
    let aside = named(path, (1..u32::MAX).find(free).unwrap_or(u32::MAX));
    fs::rename(path, &aside).map_err(|source| StoreError::Directory {
        path: path.to_path_buf(),
        source,
    })?;
    Ok(aside)
}

fn named(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare_with(files: &[(&str, &str)], origin: Option<&str>) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard-0");
        fs::create_dir(&path).unwrap();
        for (name, text) in files {
            match *name {
                DATABASE => fs::create_dir(path.join(name)).unwrap(),
                _ => fs::write(path.join(name), text).unwrap(),
            }
        }
        let prepared = prepare(&path, origin);
        let text = || fs::read_to_string(path.join(NAME)).unwrap();
        let shown = |error: StoreError| error.to_string().replace(&path.display().to_string(), "PATH");
        prepared.map(|_| text()).map_err(shown)
    }

    fn format_of(lines: &str) -> String {
        format!("{lines}{}", checksum_of(lines))
    }

    #[test]
    fn an_empty_folder_becomes_a_store_and_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        for _ in 0..2 {
            assert_eq!(prepare(&path, Some("one")).unwrap(), path.join("db"));
            assert_eq!(fs::read_to_string(path.join("FORMAT")).unwrap(), format_of("millrace-store 2\nlog one\n"));
        }
        assert_eq!(origin_of(&path).unwrap().as_deref(), Some("one"));
        assert_eq!(origin_of(&folder.path().join("nowhere")).unwrap(), None);
    }

    #[test]
    fn a_half_written_format_is_written_again() {
        assert!(prepare_with(&[("FORMAT.new", "millr")], None).is_ok());
    }

    #[test]
    fn a_folder_of_format_one_is_taken_for_one_of_this_log() {
        let files = [("FORMAT", FORMAT_ONE), ("db", "")];
        assert_eq!(prepare_with(&files, Some("one")), Ok(format_of("millrace-store 2\nlog one\n")));
    }

    /// What it is about, the files of the folder, and the error; none where it is empty.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

    const NOT_OURS: &str = "PATH is not empty and is not a store; move it away: the state is built anew in its place";

    #[test]
    fn what_a_folder_may_say() {
        let (ours, nobodys, newer) = (
            format_of("millrace-store 2\nlog one\n"),
            format_of("millrace-store 2\n"),
            format_of("millrace-store 3\n"),
        );
        let table: [Case<'_>; 9] = [
            ("of this log", &[("FORMAT", &ours), ("db", "")], ""),
            ("of a log that did not say", &[("FORMAT", &nobodys), ("db", "")], ""),
            ("foreign files", &[("notes.txt", "hello")], NOT_OURS),
            ("a foreign format", &[("FORMAT", "something else")], NOT_OURS),
            ("no format among foreign files", &[("db", ""), ("notes.txt", "hello")], NOT_OURS),
            ("no format", &[("db", "")], "PATH/FORMAT is missing or damaged"),
            ("an empty format", &[("FORMAT", ""), ("db", "")], "PATH/FORMAT is missing or damaged"),
            ("a cut format", &[("FORMAT", &ours[..30]), ("db", "")], "PATH/FORMAT is missing or damaged"),
            (
                "newer",
                &[("FORMAT", &newer), ("db", "")],
                "store PATH has format 3, newer than 2, the newest this version reads",
            ),
        ];
        for (case, files, expected) in table {
            let refusal = prepare_with(files, Some("one")).err().unwrap_or_default();
            assert_eq!(refusal, expected, "{case}");
        }
        let refusal = prepare_with(&[("FORMAT", &ours), ("db", "")], Some("two")).unwrap_err();
        assert!(
            refusal.starts_with("the state in PATH was built from another log: from one, and this one is two."),
            "{refusal}"
        );
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard-3");
        fs::write(&path, "hello").unwrap();
        assert!(matches!(prepare(&path, Some("one")), Err(StoreError::NotAStore { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"hello");
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let ours = format_of("millrace-store 2\nlog one\n");
        for place in 0..ours.len() * 8 {
            let mut bytes = ours.clone().into_bytes();
            bytes[place / 8] ^= 1 << (place % 8);
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("db")).unwrap();
            fs::write(folder.path().join("FORMAT"), bytes).unwrap();
            let refusal = prepare(folder.path(), Some("one")).unwrap_err();
            assert!(matches!(refusal, StoreError::DamagedFormat { .. }), "bit {place}: {refusal}");
        }
    }

    #[test]
    fn a_folder_is_set_aside_under_a_name_that_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard-0");
        for number in 1..3 {
            fs::create_dir(&path).unwrap();
            assert_eq!(set_aside(&path).unwrap(), folder.path().join(format!("shard-0.damaged-{number}")));
        }
    }
}
