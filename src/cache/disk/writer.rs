//! The thread that writes the disk tier's files.
//!
//! It claims the folder with a lock file, so that two processes never evict each other's objects. It reads
//! the header of every file that the last run left. Then it writes the entries it is sent and deletes the
//! files that the index has evicted. Before each write it deletes, so that the folder stays within its
//! bound at every moment. A purge deletes files too, on another thread.

use super::file::{self, Header};
use super::index::{DiskState, IndexEntry};
use crate::base::clock;
use crate::cache::entry::Entry;
use crate::cache::sync::lock;
use crate::kvs::Timestamp;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// An entry to write, whose place in the index is taken.
pub(super) struct WriteOrder {
    pub(super) entry: Arc<Entry>,
    pub(super) expires: Timestamp,
    pub(super) indexed: Arc<IndexEntry>,
}

/// Starts the writer. It ends soon after the tier is dropped.
pub(super) fn start(state: &Arc<DiskState>) -> Sender<WriteOrder> {
    let (orders, inbox) = mpsc::channel();
    let weak = Arc::downgrade(state);
    let started = std::thread::Builder::new().name("cache-disk".into()).spawn(move || run(&weak, &inbox));
    if let Err(error) = started {
        tracing::warn!(%error, "the disk tier has no thread and stays off");
    }
    orders
}

fn run(weak: &Weak<DiskState>, inbox: &Receiver<WriteOrder>) {
    let Some(_claim) = claim(weak, inbox) else { return };
    if let Some(state) = weak.upgrade() {
        search(&state);
        state.tidy();
        delete(&state);
        state.open.store(true, Ordering::Release);
        tracing::info!(entries = state.index.entry_count(), "the disk tier is open");
    }
    loop {
        let order = inbox.recv_timeout(TICK);
        let Some(state) = weak.upgrade() else { return };
        match order {
            Ok(WriteOrder { entry, expires, indexed }) => {
                store(&state, &entry, expires, &indexed);
                state.queued.fetch_sub(entry.length(), Ordering::Release);
            }
            Err(RecvTimeoutError::Timeout) => {
                state.tidy();
                delete(&state);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// How often the index is made to expire what is due.
const TICK: Duration = Duration::from_secs(1);

/// Claims the folder for this process. Another process may hold it that is about to end, so this is tried
/// again until it succeeds.
fn claim(weak: &Weak<DiskState>, inbox: &Receiver<WriteOrder>) -> Option<File> {
    loop {
        let state = weak.upgrade()?;
        match try_claim(&state.root) {
            Ok(claim) => {
                state.note_claim(None);
                return Some(claim);
            }
            Err(error) => {
                state.note_claim(Some(&error));
                if let Some(silenced) = state.writes.may_warn() {
                    let folder = state.root.display();
                    let message = "the disk tier cannot use its folder and stays off";
                    tracing::warn!(%folder, %error, silenced, "{message}");
                }
            }
        }
        drop(state);
        if let Err(RecvTimeoutError::Disconnected) = inbox.recv_timeout(TICK) {
            return None;
        }
    }
}

fn try_claim(root: &Path) -> io::Result<File> {
    fs::create_dir_all(root)?;
    let claim = File::options().create(true).truncate(false).write(true).open(root.join("lock"))?;
    claim.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other("another process uses it"),
        TryLockError::Error(error) => error,
    })?;
    Ok(claim)
}

/// Takes in what the last run left, in the order in which it was written, and deletes what is torn or
/// expired.
fn search(state: &DiskState) {
    let mut found = Vec::new();
    for part in 0..=u8::MAX {
        let folder = state.root.join(format!("{part:02x}"));
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            match (number(name), name.strip_suffix(DRAFT).and_then(number)) {
                (Some(id), _) => found.push(id),
                // A write that was interrupted.
                (None, Some(_)) => drop(fs::remove_file(entry.path())),
                // Not ours.
                (None, None) => {}
            }
        }
    }
    found.sort_unstable();
    state.next.store(found.last().map_or(0, |last| last + 1), Ordering::Relaxed);
    for (count, id) in found.into_iter().enumerate() {
        add_file(state, id);
        if count % 256 == 255 {
            state.tidy();
            delete(state);
        }
    }
}

/// Sixteen hexadecimal digits.
fn number(name: &str) -> Option<u64> {
    let ours = name.len() == 16 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    ours.then(|| u64::from_str_radix(name, 16).ok())?
}

fn add_file(state: &DiskState, id: u64) {
    let path = state.path(id);
    let header = File::open(&path).and_then(|file| Header::read(&file));
    match header {
        Ok(header) if header.expires > Timestamp::from(clock::now()) => {
            let indexed = IndexEntry::new(id, header.size(), header.expires, true);
            state.index.insert(header.key, indexed);
        }
        Ok(_) => drop(fs::remove_file(&path)),
        Err(error) => {
            tracing::debug!(%error, path = %path.display(), "a file of the disk tier is of no use");
            let _ = fs::remove_file(&path);
        }
    }
}

fn store(state: &DiskState, entry: &Arc<Entry>, expires: Timestamp, indexed: &Arc<IndexEntry>) {
    // Its place was taken when it was ordered; now the index makes room, and what goes is deleted first.
    state.tidy();
    delete(state);
    let current = || state.index.get(&entry.key).is_some_and(|known| Arc::ptr_eq(&known, indexed));
    if !current() {
        return;
    }
    match write(state, entry, expires, indexed.id) {
        Ok(stamp) => {
            state.writes.healthy();
            *lock(&indexed.checked) = Some(stamp);
            indexed.ready.store(true, Ordering::Release);
            if !current() {
                // Purged or evicted while it was written, when there was no file to delete yet.
                lock(&state.to_delete).push(indexed.id);
                delete(state);
            }
        }
        Err(error) => {
            // One is enough: a full or read-only disk will not do better with the next object.
            state.writes.pause();
            state.metrics.trouble.error.inc();
            state.index.invalidate(&entry.key);
            if let Some(silenced) = state.writes.may_warn() {
                let folder = state.root.display();
                tracing::warn!(%folder, %error, silenced, "the disk tier could not write an object");
            }
        }
    }
}

fn write(state: &DiskState, entry: &Entry, expires: Timestamp, id: u64) -> io::Result<file::Stamp> {
    let path = state.path(id);
    let draft = path.with_extension(&DRAFT[1..]);
    match file::write(entry, expires, &draft, &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(&state.root))?;
            file::write(entry, expires, &draft, &path)
        }
        written => written,
    }
}

const DRAFT: &str = ".tmp";

/// Deletes the files that were evicted or purged. One that was never written is absent, which is fine. Safe
/// to call from several threads: each takes the files it deletes from the list first.
pub(super) fn delete(state: &DiskState) {
    let to_delete = std::mem::take(&mut *lock(&state.to_delete));
    for id in to_delete {
        match fs::remove_file(state.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                if let Some(silenced) = state.writes.may_warn() {
                    tracing::warn!(%error, silenced, "the disk tier could not delete an object");
                }
            }
            _ => {}
        }
    }
}
