//! The folder of a store: its format file, and who may use it.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::StoreError;

/// The newest layout this version reads, and the one it writes.
pub const FORMAT: u32 = 1;

const NAME: &str = "FORMAT";
const LABEL: &str = "millrace-store";

/// Makes the folder where it is missing, checks its format, and returns the database's folder inside it.
///
/// # Errors
/// Where the folder is another's, newer, or cannot be used.
pub fn prepare(path: &Path) -> Result<PathBuf, StoreError> {
    let failed = |source| StoreError::Directory {
        path: path.to_path_buf(),
        source,
    };
    fs::create_dir_all(path).map_err(failed)?;
    match fs::read_to_string(path.join(NAME)) {
        Ok(text) => check(path, &text)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if !empty(path).map_err(failed)? {
                return Err(StoreError::NotAStore { path: path.to_path_buf() });
            }
            write_format(path).map_err(failed)?;
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => return Err(StoreError::NotAStore { path: path.to_path_buf() }),
        Err(error) => return Err(failed(error)),
    }
    Ok(path.join("db"))
}

fn check(path: &Path, text: &str) -> Result<(), StoreError> {
    let found = text.trim_end().strip_prefix(LABEL).and_then(|rest| rest.trim_start().parse::<u32>().ok());
    match found {
        None | Some(0) => Err(StoreError::NotAStore { path: path.to_path_buf() }),
        Some(found) if found > FORMAT => Err(StoreError::NewerFormat {
            path: path.to_path_buf(),
            found,
            supported: FORMAT,
        }),
        Some(_) => Ok(()),
    }
}

/// A crash while the format was written leaves only its temporary file, so that a folder with nothing else counts as empty.
fn empty(path: &Path) -> std::io::Result<bool> {
    for entry in fs::read_dir(path)? {
        if entry?.file_name() != temporary() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn temporary() -> std::ffi::OsString {
    format!("{NAME}.new").into()
}

/// The format is on disk before the database is begun: a database without it would be refused.
fn write_format(path: &Path) -> std::io::Result<()> {
    let new = path.join(temporary());
    let mut file = fs::File::create(&new)?;
    file.write_all(format!("{LABEL} {FORMAT}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path.join(NAME))?;
    fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare_with(files: &[(&str, &str)]) -> Result<PathBuf, StoreError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        prepare(folder.path())
    }

    #[test]
    fn an_empty_folder_becomes_a_store_and_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert_eq!(prepare(&path).unwrap(), path.join("db"));
        assert_eq!(fs::read_to_string(path.join("FORMAT")).unwrap(), "millrace-store 1\n");
        assert_eq!(prepare(&path).unwrap(), path.join("db"));
    }

    #[test]
    fn a_half_written_format_is_written_again() {
        assert!(prepare_with(&[("FORMAT.new", "millr")]).is_ok());
    }

    #[test]
    fn foreign_and_newer_folders_are_refused() {
        for (files, expected) in [
            (vec![("notes.txt", "hello")], "is not empty and is not a store"),
            (vec![("FORMAT", "something else")], "is not empty and is not a store"),
            (vec![("FORMAT", "millrace-store x\n")], "is not empty and is not a store"),
            (
                vec![("FORMAT", "millrace-store 2\n")],
                "has format 2, newer than 1, the newest this version reads",
            ),
        ] {
            let error = prepare_with(&files).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{files:?}: {error}");
        }
    }
}
