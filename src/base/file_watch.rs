//! Watches a set of files and reports when one of them has changed: settings, policies, secrets, keys,
//! certificates.
//!
//! What counts is the file behind the name: its length, time of modification and inode, with symbolic links
//! followed. So an edit in place, a rename over the file, and the swap of a linked folder that Kubernetes
//! does are all changes, and reading the file is none. Events of the system (inotify) make a change known at
//! once. Where there are none, such as on network file systems, the files are looked at every two seconds;
//! nothing is read for that.

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How often the files are looked at without an event.
const POLL: Duration = Duration::from_secs(2);
/// Files that belong together, such as a certificate and its key, change one after the other. A change is
/// reported when nothing has changed for this long.
const SETTLE: Duration = Duration::from_millis(250);
/// A change is reported after so many times [`SETTLE`] even if files go on changing.
const MOST_SETTLING: usize = 8;

type List = Arc<dyn Fn() -> Vec<PathBuf> + Send + Sync>;

/// Watches files from its making on, so that a change while they are first read is not missed.
pub struct FileWatch {
    list: List,
    seen: Snapshot,
    /// A folder of a watched file has seen an event.
    event: Arc<Notify>,
    /// The files of `seen`, for the watcher's thread.
    files: Arc<Mutex<BTreeSet<PathBuf>>>,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    next_look: Instant,
}

impl FileWatch {
    /// Watches the files that `list` names. It is called at every look, so it may find files by a pattern. It
    /// should only list folders, not read files.
    #[must_use]
    pub fn new(list: impl Fn() -> Vec<PathBuf> + Send + Sync + 'static) -> Self {
        let (event, files) = (Arc::new(Notify::new()), Arc::<Mutex<BTreeSet<PathBuf>>>::default());
        let (told, watched) = (event.clone(), files.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
            if event.as_ref().map_or(true, |event| may_be_a_change(event, &watched)) {
                told.notify_one();
            }
        });
        if let Err(error) = &watcher {
            tracing::debug!(%error, "no file events: files are looked at every {POLL:?}");
        }
        let mut watch = Self {
            list: Arc::new(list),
            seen: Snapshot::default(),
            event,
            files,
            watcher: watcher.ok(),
            folders: BTreeSet::new(),
            next_look: Instant::now(),
        };
        watch.accept(Snapshot::of(&watch.list));
        watch
    }

    /// Watches other files from now on. Call it before these are read.
    pub fn watch_instead(&mut self, list: impl Fn() -> Vec<PathBuf> + Send + Sync + 'static) {
        self.list = Arc::new(list);
        self.accept(Snapshot::of(&self.list));
    }

    /// Returns when a file has changed, appeared or gone since the watch began or this last returned, and
    /// none has changed for a moment after. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            // At most one look per SETTLE, however busy the folders are.
            sleep_until(self.next_look).await;
            let mut now = self.look().await;
            self.next_look = Instant::now() + SETTLE;
            if now != self.seen {
                for _ in 0..MOST_SETTLING {
                    sleep(SETTLE).await;
                    let again = self.look().await;
                    if std::mem::replace(&mut now, again) == now {
                        break;
                    }
                }
                return self.accept(now);
            }
            // Without an event in time, the next look is due anyway.
            let _ = timeout(POLL, self.event.notified()).await;
        }
    }

    async fn look(&self) -> Snapshot {
        let list = self.list.clone();
        // It only fails if `list` panics; then nothing is known to have changed.
        tokio::task::spawn_blocking(move || Snapshot::of(&list)).await.unwrap_or_else(|_| self.seen.clone())
    }

    /// Takes `now` for seen, and listens for events in the folders of its files.
    fn accept(&mut self, now: Snapshot) {
        let folders: BTreeSet<_> = now.0.keys().map(|file| folder_of(file).to_owned()).collect();
        if let Some(watcher) = &mut self.watcher {
            for gone in self.folders.difference(&folders) {
                // A folder that is gone is not watched any more.
                let _ = watcher.unwatch(gone);
            }
            for folder in folders.difference(&self.folders) {
                if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                    let folder = folder.display();
                    tracing::debug!(%error, "no events of {folder}: it is looked at every {POLL:?}");
                }
            }
        }
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = now.0.keys().cloned().collect();
        self.folders = folders;
        self.seen = now;
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reading is no change, and neither is writing to another file of the folder, such as a log.
fn may_be_a_change(event: &notify::Event, watched: &BTreeSet<PathBuf>) -> bool {
    match event.kind {
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_)) => event.paths.iter().any(|path| watched.contains(path)),
        _ => true,
    }
}

/// The files there are, and what distinguishes one content from the next.
#[derive(Clone, PartialEq, Eq, Default)]
struct Snapshot(BTreeMap<PathBuf, Option<FileIdentity>>);

#[derive(Clone, PartialEq, Eq)]
struct FileIdentity {
    length: u64,
    modified: Option<SystemTime>,
    device: u64,
    inode: u64,
}

impl Snapshot {
    fn of(list: &List) -> Self {
        let identity = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            let modified = found.modified().ok();
            Some(FileIdentity { length: found.len(), modified, device: found.dev(), inode: found.ino() })
        };
        Self(list().into_iter().map(|path| (path.clone(), identity(&path))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Long enough for any change, short enough for a test that fails.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn all_of(folder: &Path) -> FileWatch {
        let folder = folder.to_owned();
        FileWatch::new(move || {
            let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            entries.filter(|path| path.extension().is_some_and(|ext| ext == "txt")).collect()
        })
    }

    async fn is_quiet(watch: &mut FileWatch) -> bool {
        timeout(SETTLE * 3, watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn an_edit_a_rename_a_new_file_and_a_removal_are_changes_and_reading_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a.txt"), "one").unwrap();
        let mut watch = all_of(folder.path());
        fs::read(path("a.txt")).unwrap();
        fs::write(path("a.log"), "another file").unwrap();
        assert!(is_quiet(&mut watch).await);
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(path("a.txt"), "longer").unwrap(),
            &|| {
                fs::write(path("new"), "longer").unwrap();
                fs::rename(path("new"), path("a.txt")).unwrap();
            },
            &|| fs::write(path("b.txt"), "").unwrap(),
            &|| fs::remove_file(path("b.txt")).unwrap(),
        ];
        for change in changes {
            change();
            timeout(PATIENCE, watch.changed()).await.expect("a change");
            assert!(is_quiet(&mut watch).await, "it is reported once");
        }
    }

    #[tokio::test]
    async fn the_swap_of_a_linked_folder_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("a.txt"), "same").unwrap();
        }
        symlink("..1", path("..data")).unwrap();
        symlink("..data/a.txt", path("a.txt")).unwrap();
        let file = path("a.txt");
        let mut watch = FileWatch::new(move || vec![file.clone()]);
        symlink("..2", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        timeout(PATIENCE, watch.changed()).await.expect("a change");
    }

    #[tokio::test]
    async fn a_change_before_the_first_question_is_not_missed_and_other_files_can_be_watched_instead() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let list = |path: &Path| {
            let path = path.to_owned();
            move || vec![path.clone()]
        };
        let mut watch = FileWatch::new(list(&first));
        fs::write(&first, "x").unwrap();
        timeout(PATIENCE, watch.changed()).await.expect("a change");
        watch.watch_instead(list(&second));
        fs::write(&first, "other").unwrap();
        assert!(is_quiet(&mut watch).await);
        fs::write(&second, "x").unwrap();
        timeout(PATIENCE, watch.changed()).await.expect("a change");
    }
}
