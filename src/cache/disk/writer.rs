//! The one thread that changes the disk tier's folder.
//!
//! It claims the folder with a lock file, so that two processes never evict each other's objects; it reads the header
//! of every file that the last run left; then it writes what it is given and deletes what the index has let go.
//! Before each write it deletes first, so that the folder stays within its bound at every moment.

use super::file::{self, Header};
use super::index::{Record, Shared};
use crate::cache::entry::{Entry, Life};
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
pub(super) struct Order {
    pub(super) entry: Arc<Entry>,
    pub(super) life: Life,
    pub(super) record: Arc<Record>,
}

/// Starts the keeper. It ends soon after the tier is dropped.
pub(super) fn start(shared: &Arc<Shared>) -> Sender<Order> {
    let (orders, inbox) = mpsc::channel();
    let keeper = Arc::downgrade(shared);
    let started = std::thread::Builder::new().name("cache-disk".into()).spawn(move || run(&keeper, &inbox));
    if let Err(error) = started {
        tracing::warn!(%error, "the disk tier has no thread and stays off");
    }
    orders
}

fn run(keeper: &Weak<Shared>, inbox: &Receiver<Order>) {
    let Some(_claim) = claim(keeper, inbox) else { return };
    if let Some(shared) = keeper.upgrade() {
        search(&shared);
        shared.tidy();
        delete(&shared);
        shared.open.store(true, Ordering::Release);
        tracing::info!(entries = shared.index.entry_count(), "the disk tier is open");
    }
    loop {
        let order = inbox.recv_timeout(TICK);
        let Some(shared) = keeper.upgrade() else { return };
        match order {
            Ok(Order { entry, life, record }) => {
                store(&shared, &entry, life, &record);
                shared.queued.fetch_sub(entry.length(), Ordering::Release);
            }
            Err(RecvTimeoutError::Timeout) => {
                shared.tidy();
                delete(&shared);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// How often the index is made to expire what is due.
const TICK: Duration = Duration::from_secs(1);

/// Takes the folder for this process. Whoever holds it now may be an older process that is about to end, so this is
/// tried for as long as it takes.
fn claim(keeper: &Weak<Shared>, inbox: &Receiver<Order>) -> Option<File> {
    loop {
        let shared = keeper.upgrade()?;
        match try_claim(&shared.root) {
            Ok(claim) => return Some(claim),
            Err(error) => {
                if let Some(silenced) = shared.writes.may_complain() {
                    let folder = shared.root.display();
                    tracing::warn!(%folder, %error, silenced, "the disk tier cannot use its folder and stays off");
                }
            }
        }
        drop(shared);
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

/// Takes in what the last run left, in the order in which it was written, and deletes what is torn or expired.
fn search(shared: &Shared) {
    let mut found = Vec::new();
    for part in 0..=u8::MAX {
        let folder = shared.root.join(format!("{part:02x}"));
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
    shared.next.store(found.last().map_or(0, |last| last + 1), Ordering::Relaxed);
    for (count, id) in found.into_iter().enumerate() {
        take_in(shared, id);
        if count % 256 == 255 {
            shared.tidy();
            delete(shared);
        }
    }
}

/// Sixteen hexadecimal digits.
fn number(name: &str) -> Option<u64> {
    let ours = name.len() == 16 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    ours.then(|| u64::from_str_radix(name, 16).ok())?
}

fn take_in(shared: &Shared, id: u64) {
    let path = shared.path(id);
    let header = File::open(&path).and_then(|file| Header::read(&file));
    match header {
        Ok(header) if header.life.expires > Timestamp::now() => {
            let record = Record::new(id, header.size(), header.life.expires, true);
            shared.index.insert(header.key, record);
        }
        Ok(_) => drop(fs::remove_file(&path)),
        Err(error) => {
            tracing::debug!(%error, path = %path.display(), "a file of the disk tier is of no use");
            let _ = fs::remove_file(&path);
        }
    }
}

fn store(shared: &Shared, entry: &Arc<Entry>, life: Life, record: &Arc<Record>) {
    // Its place was taken when it was ordered; now the index makes room, and what goes is deleted first.
    shared.tidy();
    delete(shared);
    let current = || shared.index.get(&entry.key).is_some_and(|known| Arc::ptr_eq(&known, record));
    if !current() {
        return;
    }
    match write(shared, entry, life, record.id) {
        Ok(stamp) => {
            shared.writes.well();
            *lock(&record.checked) = Some(stamp);
            record.ready.store(true, Ordering::Release);
            if !current() {
                // Purged or evicted while it was written, when there was no file to delete yet.
                lock(&shared.doomed).push(record.id);
                delete(shared);
            }
        }
        Err(error) => {
            // One is enough: a full or read-only disk will not do better with the next object.
            shared.writes.give_up();
            shared.metrics.trouble.error.inc();
            shared.index.invalidate(&entry.key);
            if let Some(silenced) = shared.writes.may_complain() {
                let folder = shared.root.display();
                tracing::warn!(%folder, %error, silenced, "the disk tier could not write an object");
            }
        }
    }
}

fn write(shared: &Shared, entry: &Entry, life: Life, id: u64) -> io::Result<file::Stamp> {
    let path = shared.path(id);
    let draft = path.with_extension(&DRAFT[1..]);
    match file::write(entry, life, &draft, &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(&shared.root))?;
            file::write(entry, life, &draft, &path)
        }
        written => written,
    }
}

const DRAFT: &str = ".tmp";

/// Deletes the files that were let go. One that was never written is not there, which is fine.
pub(super) fn delete(shared: &Shared) {
    let doomed = std::mem::take(&mut *lock(&shared.doomed));
    for id in doomed {
        match fs::remove_file(shared.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                if let Some(silenced) = shared.writes.may_complain() {
                    tracing::warn!(%error, silenced, "the disk tier could not delete an object");
                }
            }
            _ => {}
        }
    }
}
