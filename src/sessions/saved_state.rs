//! What is kept of live streams over a restart: a small file, or only memory.
//!
//! Players go on over a restart of ours by themselves, but for two things that a new process cannot know: how many
//! discontinuities they have counted, and which DASH period they are in. Those are written every few seconds and at the
//! end of a drain, under a digest of what is watched: the file names no stream, and no secret of KVS comes near it. It
//! is never needed: what is missing, old or damaged is as if it had not been written.

use super::{SessionKey, dash, hls};
use crate::kvs::{StreamRef, Timestamp};
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is kept of one stream as its players see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// When somebody watched it last.
    pub at: Timestamp,
    pub timeline: Option<hls::Kept>,
    pub periods: Option<dash::Kept>,
}

/// Everything that is kept.
pub(super) struct Store {
    path: Option<PathBuf>,
    most: usize,
    kept: BTreeMap<String, Kept>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    streams: BTreeMap<String, Kept>,
}

const VERSION: u32 = 1;
/// No player waits longer for its stream to come back.
const LONGEST: Duration = Duration::from_secs(3600);
/// Ten thousand streams take some 20 MB.
const LARGEST: u64 = 64 << 20;

impl Store {
    /// What the file says; nothing without one. At most `most` streams are kept.
    pub(super) fn open(path: Option<&Path>, most: usize, now: Timestamp) -> Self {
        let mut store = Self { path: path.map(Path::to_owned), most, kept: BTreeMap::new() };
        let Some(path) = path else { return store };
        match read(path) {
            Ok(streams) => store.kept = streams,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), "what was kept of playback sessions is not used: {error}");
            }
        }
        store.forget(now);
        store
    }

    /// Where it is written, if anywhere.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(super) fn get(&self, key: &SessionKey, now: Timestamp) -> Option<Kept> {
        self.kept.get(&name(key)).filter(|kept| kept.at.age(now) <= LONGEST).cloned()
    }

    pub(super) fn put(&mut self, key: &SessionKey, kept: Kept) {
        self.kept.insert(name(key), kept);
    }

    /// Drops what is old, and the oldest if there is too much.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.kept.retain(|_, kept| kept.at.age(now) <= LONGEST);
        if self.kept.len() > self.most {
            let mut ages: Vec<_> = self.kept.values().map(|kept| kept.at).collect();
            ages.sort_unstable_by(|a, b| b.cmp(a));
            let oldest = ages[self.most];
            self.kept.retain(|_, kept| kept.at > oldest);
        }
    }

    /// The file's content.
    pub(super) fn text(&self) -> String {
        // Maps with text for keys, and numbers: nothing that JSON cannot say.
        serde_json::to_string(&File { version: VERSION, streams: self.kept.clone() }).unwrap_or_default()
    }
}

/// Writes a file anew: what was there before stays until all of it is written.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = std::fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

fn read(path: &Path) -> io::Result<BTreeMap<String, Kept>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("it is too large"));
    }
    let file: File = serde_json::from_slice(&text)?;
    if file.version != VERSION {
        return Err(io::Error::other(format!("it is of version {}, not {VERSION}", file.version)));
    }
    Ok(file.streams)
}

/// What tells one shared session from another, as text of fixed length.
fn name(key: &SessionKey) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    let stream = match &key.stream {
        StreamRef::Name(name) => name.as_str(),
        StreamRef::Arn(arn) => arn.as_str(),
    };
    // Plain values: nothing that JSON cannot say.
    let parameters = serde_json::to_string(&key.parameters).unwrap_or_default();
    let born = key.born.map_or(0, Timestamp::millis).to_string();
    for part in [&*key.entry, stream, &parameters, &born] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::key;
    use super::*;
    use crate::kvs::{PlaybackMode, Protocol};

    fn kept(at: u64) -> Kept {
        Kept { at: Timestamp::from_millis(at), timeline: None, periods: None }
    }

    #[test]
    fn what_is_written_is_read_and_what_is_old_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions.json");
        let (hls, dash) = (key(PlaybackMode::Live, Protocol::Hls), key(PlaybackMode::Live, Protocol::Dash));
        let now = Timestamp::from_millis(10_000_000);
        let mut store = Store::open(Some(&path), 9, now);
        assert_eq!(store.get(&hls, now), None);
        store.put(&hls, kept(9_000_000));
        store.put(&dash, kept(1));
        write(&path, &store.text()).unwrap();
        let again = Store::open(Some(&path), 9, now);
        assert_eq!(again.get(&hls, now), Some(kept(9_000_000)));
        assert_eq!(again.get(&dash, now), None);
        let much_later = Timestamp::from_millis(100_000_000);
        assert_eq!(Store::open(Some(&path), 9, much_later).get(&hls, much_later), None);
        assert!(!std::fs::read_to_string(&path).unwrap().contains("cam-1"));
    }

    #[test]
    fn what_is_damaged_is_as_if_it_were_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions.json");
        let hls = key(PlaybackMode::Live, Protocol::Hls);
        let now = Timestamp::from_millis(10_000_000);
        let mut store = Store::open(None, 9, now);
        store.put(&hls, kept(9_000_000));
        let text = store.text();
        for damaged in ["", "{", &text[..text.len() / 2], &text.replace("\"version\":1", "\"version\":2")] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(Store::open(Some(&path), 9, now).get(&hls, now), None, "{damaged}");
        }
    }

    #[test]
    fn there_is_never_more_than_allowed() {
        let mut store = Store::open(None, 2, Timestamp::from_millis(0));
        for at in 1..=9 {
            let mut key = key(PlaybackMode::LiveReplay, Protocol::Hls);
            key.born = Some(Timestamp::from_millis(at));
            store.put(&key, kept(at));
        }
        store.forget(Timestamp::from_millis(9));
        assert_eq!(store.kept.len(), 2);
    }
}
