//! The disk tier's promises: what it gives is right or it gives nothing, it never fails a request, it stays
//! within its bound, and it survives restarts and `kill -9`. Time is real here, because the writer is a
//! thread.

use crate::base::clock;
use crate::cache::key::tests_support::key;
use crate::cache::store::Store as _;
use crate::cache::tests::{Bench, Origin, bench, pattern};
use crate::cache::{DiskConfig, Found, Keep, Key, Outcome, Tier};
use crate::kvs::Timestamp;
use crate::setting::{ByteSize, Span};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

fn with_disk(folder: &Path, memory: u64, size: u64) -> Bench {
    let disk = DiskConfig {
        path: folder.to_owned(),
        size: ByteSize(size),
        timeout: Span::seconds(30), // what is slow here is the machine that tests
    };
    let bench = bench(|config| {
        config.memory = ByteSize(memory);
        config.disk = Some(disk);
    });
    bench.clock.store(Timestamp::from(clock::now()).millis(), Ordering::Relaxed);
    bench
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn open(folder: &Path, memory: u64, size: u64) -> Bench {
    let bench = with_disk(folder, memory, size);
    until(|| bench.cache.0.disk.as_ref().unwrap().is_open()).await;
    bench
}

/// Closes the tier and waits until its folder is free.
async fn close(bench: Bench) {
    let folder = bench.cache.0.config.disk.clone().unwrap().path;
    drop(bench);
    let lock = fs::File::options().write(true).open(folder.join("lock")).unwrap();
    until(|| lock.try_lock().is_ok()).await;
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let parts = fs::read_dir(folder).unwrap().flatten().filter(|part| part.path().is_dir());
    parts.flat_map(|part| fs::read_dir(part.path()).unwrap().flatten()).map(|file| file.path()).collect()
}

fn used(folder: &Path) -> u64 {
    files(folder).iter().filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
}

async fn read(found: Found, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let mut reader = found.entry.body(range);
    let mut all = Vec::new();
    while let Some(chunk) = reader.next().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    all
}

async fn fill(bench: &Bench, key: Key, body: &[u8]) {
    let origin = Origin::new(bench, Keep::For(DAY));
    origin.whole(body.to_vec());
    read(bench.cache.get_or_fill(key, origin.fetch()).await.unwrap(), None).await;
}

async fn ask(bench: &Bench, key: Key) -> Found {
    let origin = Origin::new(bench, Keep::For(DAY));
    origin.whole("from upstream");
    bench.cache.get_or_fill(key, origin.fetch()).await.unwrap()
}

fn body(number: u64, size: usize) -> Vec<u8> {
    let mut body = pattern(size);
    body.iter_mut().for_each(|byte| *byte ^= number as u8);
    body
}

#[tokio::test]
async fn an_object_survives_a_restart_with_everything_that_is_known_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 64 << 20, 64 << 20).await;
    fill(&bench, key(1), &body(1, 300_000)).await;
    until(|| files(folder.path()).len() == 1).await;
    let before = ask(&bench, key(1)).await;
    assert_eq!(before.outcome, Outcome::Hit(Tier::Memory));
    let (head, etag) = (before.entry.head().clone(), before.entry.etag().unwrap().to_owned());
    close(bench).await;

    let bench = open(folder.path(), 64 << 20, 64 << 20).await;
    let found = ask(&bench, key(1)).await;
    assert_eq!(found.outcome, Outcome::Hit(Tier::Disk));
    assert_eq!((found.entry.head(), found.entry.etag()), (&head, Some(&*etag)));
    assert!(read(found, Some(1000..200_000)).await == body(1, 300_000)[1000..200_000]);
    assert_eq!(ask(&bench, key(1)).await.outcome, Outcome::Hit(Tier::Memory));
    assert_eq!(bench.counted("kvs_edge_cache_requests_total", &["disk", "hit"]), 1.0);
}

#[tokio::test]
async fn a_large_object_is_served_by_range_without_being_loaded_and_promoted_when_it_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let whole = body(1, 6 << 20);
    let bench = open(folder.path(), 64 << 20, 64 << 20).await;
    fill(&bench, key(1), &whole).await;
    until(|| files(folder.path()).len() == 1).await;
    close(bench).await;

    let bench = open(folder.path(), 64 << 20, 64 << 20).await;
    let found = ask(&bench, key(1)).await;
    assert!(found.entry.whole_bytes().is_none() && found.outcome == Outcome::Hit(Tier::Disk));
    assert_eq!(found.entry.length(), Some(6 << 20));
    let range = 3_000_001..3_700_007_usize;
    assert!(read(found, Some(range.start as u64..range.end as u64)).await == whole[range]);
    assert!(bench.cache.get(&key(1)).is_none());
    let again = ask(&bench, key(1)).await;
    assert!(again.entry.whole_bytes().is_some() && again.outcome == Outcome::Hit(Tier::Disk));
    assert!(read(again, None).await == whole);
    assert_eq!(ask(&bench, key(1)).await.outcome, Outcome::Hit(Tier::Memory));
}

#[tokio::test]
async fn a_damaged_object_is_a_miss_whatever_its_size() {
    for size in [50_000, 5 << 20] {
        let folder = tempfile::tempdir().unwrap();
        let bench = open(folder.path(), 64 << 20, 64 << 20).await;
        fill(&bench, key(1), &body(1, size)).await;
        until(|| files(folder.path()).len() == 1).await;
        close(bench).await;
        let bench = open(folder.path(), 64 << 20, 64 << 20).await;
        // After the search at the start, so that only reading can find out.
        let file = files(folder.path()).remove(0);
        let mut bytes = fs::read(&file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&file, bytes).unwrap();
        let found = ask(&bench, key(1)).await;
        assert_eq!((found.outcome, read(found, None).await), (Outcome::Miss, b"from upstream".to_vec()));
        assert_eq!(bench.counted("kvs_edge_cache_requests_total", &["disk", "damaged"]), 1.0);
        until(|| !file.exists()).await;
    }
}

#[tokio::test]
async fn an_object_that_vanished_is_a_miss() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 64 << 20, 64 << 20).await;
    fill(&bench, key(1), b"x").await;
    until(|| files(folder.path()).len() == 1).await;
    close(bench).await;
    let bench = open(folder.path(), 64 << 20, 64 << 20).await;
    files(folder.path()).iter().for_each(|file| fs::remove_file(file).unwrap());
    assert_eq!(ask(&bench, key(1)).await.outcome, Outcome::Miss);
}

#[tokio::test]
async fn a_disk_that_hangs_is_a_miss_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 64 << 20, 64 << 20).await;
    fill(&bench, key(1), b"x").await;
    until(|| files(folder.path()).len() == 1).await;
    close(bench).await;
    let bench = open(folder.path(), 64 << 20, 64 << 20).await;
    let hanging = bench.cache.0.disk.as_ref().unwrap().hang();
    assert_eq!(ask(&bench, key(1)).await.outcome, Outcome::Miss);
    assert_eq!(bench.counted("kvs_edge_cache_requests_total", &["disk", "skipped"]), 1.0);
    drop(hanging);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_costs_nothing_but_the_tier() {
    let folder = tempfile::tempdir().unwrap();
    let not_a_folder = folder.path().join("file");
    fs::write(&not_a_folder, "x").unwrap();
    let bench = with_disk(&not_a_folder, 64 << 20, 64 << 20);
    fill(&bench, key(1), b"body").await;
    assert_eq!(read(ask(&bench, key(1)).await, None).await, b"body");
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_is_left_alone_and_nobody_notices() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 64 << 20, 64 << 20).await;
    // Root may write anywhere, so the parts' folders are replaced by files.
    (0..=255).for_each(|part| fs::write(folder.path().join(format!("{part:02x}")), "").unwrap());
    let counted = |result| bench.counted("kvs_edge_cache_requests_total", &["disk", result]);
    fill(&bench, key(1), b"one").await;
    until(|| counted("error") == 1.0).await;
    fill(&bench, key(2), b"two").await;
    assert_eq!(counted("skipped"), 1.0);
    assert_eq!(read(ask(&bench, key(1)).await, None).await, b"one");
}

#[tokio::test]
async fn the_folder_never_holds_more_than_its_size_and_shrinks_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 64 << 20, 16 << 20).await;
    for number in 0..60 {
        fill(&bench, key(number), &body(number, 1 << 20)).await;
        assert!(used(folder.path()) <= 16 << 20);
    }
    until(|| bench.cache.0.disk.as_ref().unwrap().idle()).await;
    assert!((8 << 20..=16 << 20).contains(&used(folder.path())));
    assert!(bench.counted("kvs_edge_cache_evictions_total", &["disk", "size"]) > 0.0);
    close(bench).await;
    let _bench = open(folder.path(), 64 << 20, 4 << 20).await;
    assert!(used(folder.path()) <= 4 << 20);
}

#[tokio::test]
async fn a_purge_reaches_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 64 << 20, 64 << 20).await;
    fill(&bench, key(1), b"old").await;
    until(|| files(folder.path()).len() == 1).await;
    assert_eq!(bench.cache.purge("another").await, 0);
    assert_eq!(bench.cache.purge("cam").await, 2);
    assert_eq!(ask(&bench, key(1)).await.outcome, Outcome::Miss);
    until(|| used(folder.path()) < 400).await;
    close(bench).await;
    let bench = open(folder.path(), 64 << 20, 64 << 20).await;
    assert_ne!(read(ask(&bench, key(1)).await, None).await, b"old");
}

/// The one thread for blocking work is taken, so a purge has to wait for it; if it deleted on the runtime,
/// it would not.
#[test]
fn purge_deletes_files_on_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    runtime.unwrap().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let bench = open(folder.path(), 64 << 20, 64 << 20).await;
        fill(&bench, key(1), b"old").await;
        until(|| files(folder.path()).len() == 1).await;
        let (release, released) = std::sync::mpsc::channel::<()>();
        let taken = tokio::task::spawn_blocking(move || released.recv().unwrap());
        let cache = bench.cache.clone();
        let purging = tokio::spawn(async move { cache.purge("cam").await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!purging.is_finished() && files(folder.path()).len() == 1);
        release.send(()).unwrap();
        taken.await.unwrap();
        assert_eq!((purging.await.unwrap(), files(folder.path()).len()), (2, 0), "in memory and on the disk");
    });
}

#[tokio::test]
async fn drafts_are_cleared_away_and_what_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("0a");
    fs::create_dir_all(&part).unwrap();
    let [draft, torn, foreign] =
        ["000000000000010a.tmp", "000000000000020a", "holiday.jpg"].map(|name| part.join(name));
    [&draft, &torn, &foreign].iter().for_each(|path| fs::write(path, "x").unwrap());
    let _bench = open(folder.path(), 64 << 20, 64 << 20).await;
    assert!(!draft.exists() && !torn.exists() && foreign.exists());
}

#[tokio::test]
async fn two_processes_never_share_a_folder_and_the_second_takes_over_when_the_first_ends() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), 64 << 20, 64 << 20).await;
    let second = with_disk(folder.path(), 64 << 20, 64 << 20);
    fill(&second, key(1), b"x").await;
    assert!(!second.cache.0.disk.as_ref().unwrap().is_open());
    drop(first);
    until(|| second.cache.0.disk.as_ref().unwrap().is_open()).await;
}

#[tokio::test]
async fn what_lives_shortly_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 64 << 20, 64 << 20).await;
    let origin = Origin::new(&bench, Keep::For(Duration::from_secs(5)));
    origin.whole("playlist");
    read(bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap(), None).await;
    fill(&bench, key(2), b"fragment").await;
    until(|| bench.cache.0.disk.as_ref().unwrap().idle()).await;
    assert_eq!(files(folder.path()).len(), 1);
}

/// The environment variable that names a child process's folder.
const CHILD: &str = "KVS_EDGE_TEST_DISK_CHILD";

/// Not a test of its own: the process that the next test kills. It writes objects for as long as it lives.
#[tokio::test]
async fn a_writer_to_be_killed() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let bench = open(Path::new(&folder), 64 << 20, 24 << 20).await;
    for number in 0.. {
        let number = number % 500;
        fill(&bench, key(number), &body(number, 1000 + 4001 * number as usize % 700_000)).await;
    }
}

/// `kill -9` at random moments under write load: after each restart every hit equals the origin's bytes. Five
/// times here; `KVS_EDGE_TEST_KILLS=200` for more.
#[tokio::test]
async fn after_kill_9_at_any_moment_every_hit_is_right() {
    if std::env::var(CHILD).is_ok() {
        return;
    }
    let kills = std::env::var("KVS_EDGE_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(5);
    let folder = tempfile::tempdir().unwrap();
    let mut hits = 0;
    for kill in 0..kills {
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cache::tests::disk::a_writer_to_be_killed"])
            .env(CHILD, folder.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let before = files(folder.path()).len();
        until(|| !files(folder.path()).is_empty() && (kill > 0 || files(folder.path()).len() != before))
            .await;
        tokio::time::sleep(Duration::from_millis(50 + kill * 37 % 200)).await;
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        let bench = open(folder.path(), 64 << 20, 24 << 20).await;
        assert!(used(folder.path()) <= 24 << 20);
        for number in 0..500 {
            let found = ask(&bench, key(number)).await;
            if found.outcome == Outcome::Hit(Tier::Disk) {
                hits += 1;
                assert!(read(found, None).await == body(number, 1000 + 4001 * number as usize % 700_000));
            }
            bench.cache.0.memory.purge(crate::cache::key::PurgeTarget::of("cam"));
        }
        assert_eq!(bench.counted("kvs_edge_cache_requests_total", &["disk", "damaged"]), 0.0);
        bench.cache.purge("cam").await;
        close(bench).await;
    }
    assert!(hits > kills, "{hits} hits in {kills} rounds");
}
