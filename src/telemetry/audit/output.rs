//! What audit lines are appended to: standard output, or a file that is followed when it is moved away. A write that fails says
//! how far it came, so that the next try goes on from there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the file is looked for under its name: logrotate moves it away.
const LOOK: Duration = Duration::from_secs(1);

/// Something that lines are appended to.
pub(super) trait Output: Send {
    /// Writes `line` from `written` on and moves `written` along.
    fn append(&mut self, line: &[u8], written: &mut usize) -> io::Result<()>;
}

/// Writes all of it, as far as `written` does not say that it is.
pub(super) fn push(to: &mut impl Write, line: &[u8], written: &mut usize) -> io::Result<()> {
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

/// Standard output.
pub(super) struct Stdout;

impl Output for Stdout {
    fn append(&mut self, line: &[u8], written: &mut usize) -> io::Result<()> {
        push(&mut io::stdout().lock(), line, written)
    }
}

/// A file that is opened anew when its name no longer leads to it.
pub(super) struct Appended {
    path: PathBuf,
    file: File,
    looked: Instant,
}

impl Appended {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Self::file(path)?, looked: Instant::now() })
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

impl Output for Appended {
    fn append(&mut self, line: &[u8], written: &mut usize) -> io::Result<()> {
        if self.looked.elapsed() >= LOOK {
            if self.moved() {
                // If this fails, the next try looks again: what goes to a file without a name is lost.
                self.file = Self::file(&self.path)?;
                // In a new file the line begins again.
                *written = 0;
            }
            self.looked = Instant::now();
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
        let mut output = Appended::open(&path).unwrap();
        std::fs::remove_dir_all(&place).unwrap();
        output.looked = Instant::now().checked_sub(LOOK).unwrap();
        let mut written = 0;
        for _ in 0..3 {
            assert!(output.append(b"a line\n", &mut written).is_err());
        }
        std::fs::create_dir(&place).unwrap();
        output.append(b"a line\n", &mut written).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a line\n");
    }
}
