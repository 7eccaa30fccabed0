//! What lines are appended to: a stream such as standard output, or a file that is followed when it is moved
//! away. A write that fails reports how far it came, so that the next one continues there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often it is checked whether the file still has its name: logrotate moves it away.
const CHECK: Duration = Duration::from_secs(1);

/// Something that lines are appended to.
pub trait Output: Send {
    /// Writes `line` from `written` on, and moves `written` on by what was written.
    ///
    /// # Errors
    /// The rest cannot be written now.
    fn append(&mut self, line: &[u8], written: &mut usize) -> io::Result<()>;
}

fn push(to: &mut impl Write, line: &[u8], written: &mut usize) -> io::Result<()> {
    while *written < line.len() {
        match to.write(&line[*written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => *written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    to.flush()
}

/// Standard output, or any other stream.
pub struct StreamOutput<W>(pub W);

impl<W: Write + Send> Output for StreamOutput<W> {
    fn append(&mut self, line: &[u8], written: &mut usize) -> io::Result<()> {
        push(&mut self.0, line, written)
    }
}

/// A file that is opened again when it no longer has its name.
pub struct AppendedFile {
    path: PathBuf,
    file: File,
    checked: Instant,
}

impl AppendedFile {
    /// Opens the file for appending, and makes it if there is none.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Self::file(path)?, checked: Instant::now() })
    }

    fn file(path: &Path) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o640).open(path)
    }

    fn moved(&self) -> bool {
        match (std::fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(ours)) => (there.dev(), there.ino()) != (ours.dev(), ours.ino()),
            _ => true,
        }
    }
}

impl Output for AppendedFile {
    fn append(&mut self, line: &[u8], written: &mut usize) -> io::Result<()> {
        if self.checked.elapsed() >= CHECK {
            if self.moved() {
                // If this fails, the next attempt checks again: what is written to a file without a name is
                // lost.
                self.file = Self::file(&self.path)?;
                // A new file gets the whole line.
                *written = 0;
            }
            self.checked = Instant::now();
        }
        push(&mut self.file, line, written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_file_that_cannot_be_made_again_is_trouble_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("logs");
        std::fs::create_dir(&place).unwrap();
        let path = place.join("audit.log");
        let mut output = AppendedFile::open(&path).unwrap();
        std::fs::remove_dir_all(&place).unwrap();
        output.checked = Instant::now().checked_sub(CHECK).unwrap();
        let mut written = 0;
        for _ in 0..3 {
            assert!(output.append(b"a line\n", &mut written).is_err());
        }
        std::fs::create_dir(&place).unwrap();
        output.append(b"a line\n", &mut written).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a line\n");
    }
}
