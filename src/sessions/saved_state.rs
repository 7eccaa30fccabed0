//! What the next process needs to continue live streams where this one is: a small file, or memory alone.
//!
//! Players continue after a restart by themselves, except for two things that a new process cannot know: how
//! many discontinuities they have counted, and which DASH period they are in. Both are written every few
//! seconds and at the end of a drain, under a digest of what is watched: the file names no stream and holds
//! no secret of KVS. It is never required: what is missing, old or damaged counts as not written.

use super::key::SessionKey;
use super::{dash, hls};
use crate::base::hex;
use crate::kvs::Timestamp;
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One stream as its players see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedStream {
    /// The time of the last request.
    pub(super) at: Timestamp,
    #[serde(rename = "timeline")]
    pub(super) hls: Option<hls::SavedTimeline>,
    #[serde(rename = "periods")]
    pub(super) dash: Option<dash::SavedTimeline>,
}

/// All saved streams, by the digest of their key.
pub(super) struct SavedStreams {
    path: Option<PathBuf>,
    most: usize,
    streams: BTreeMap<String, SavedStream>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    version: u32,
    streams: BTreeMap<String, SavedStream>,
}

const VERSION: u32 = 1;
/// No player waits longer for its stream to come back.
const LONGEST: Duration = Duration::from_secs(3600);
/// Ten thousand streams take some 20 MB.
const LARGEST: u64 = 64 << 20;

impl SavedStreams {
    /// What the file holds; nothing without a file. At most `most` streams are held.
    pub(super) fn open(path: Option<&Path>, most: usize, now: Timestamp) -> Self {
        let mut saved = Self { path: path.map(Path::to_owned), most, streams: BTreeMap::new() };
        let Some(path) = path else { return saved };
        match read(path) {
            Ok(streams) => saved.streams = streams,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), "what was kept of playback sessions is not used: {error}");
            }
        }
        saved.prune(now);
        saved
    }

    /// Where it is written, if anywhere.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(super) fn get(&self, key: &SessionKey, now: Timestamp) -> Option<SavedStream> {
        self.streams.get(&name(key)).filter(|stream| stream.at.age(now) <= LONGEST).cloned()
    }

    /// Holds a stream. [`SavedStreams::prune`] must follow, with or without a file.
    pub(super) fn put(&mut self, key: &SessionKey, stream: SavedStream) {
        self.streams.insert(name(key), stream);
    }

    /// Drops old streams, and the oldest if there are too many.
    pub(super) fn prune(&mut self, now: Timestamp) {
        self.streams.retain(|_, stream| stream.at.age(now) <= LONGEST);
        if self.streams.len() > self.most {
            let mut times: Vec<_> = self.streams.values().map(|stream| stream.at).collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            let oldest = times[self.most];
            self.streams.retain(|_, stream| stream.at > oldest);
        }
    }

    /// How many streams are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    /// The content of the file.
    pub(super) fn text(&self) -> String {
        // Maps with text keys, and numbers: JSON can hold all of it.
        serde_json::to_string(&StateFile { version: VERSION, streams: self.streams.clone() })
            .unwrap_or_default()
    }
}

/// Replaces the file in one step, so that the old content stays until all of the new one is written.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = std::fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

fn read(path: &Path) -> io::Result<BTreeMap<String, SavedStream>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("it is too large"));
    }
    let file: StateFile = serde_json::from_slice(&text)?;
    if file.version != VERSION {
        return Err(io::Error::other(format!("it is of version {}, not {VERSION}", file.version)));
    }
    Ok(file.streams)
}

/// The digest of a key, which distinguishes one shared session from another.
fn name(key: &SessionKey) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    // Plain values: JSON can hold all of them.
    let parameters = serde_json::to_string(&key.parameters).unwrap_or_default();
    let begun = key.began.map_or(0, Timestamp::millis).to_string();
    for part in [&*key.entry, key.stream_text(), &parameters, &begun] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    hex::encode(&context.finish().as_ref()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::{PlaybackMode, Protocol};
    use crate::sessions::key::tests::key;

    fn saved(at: u64) -> SavedStream {
        SavedStream { at: Timestamp::from_millis(at), hls: None, dash: None }
    }

    #[test]
    fn what_is_written_is_read_and_what_is_old_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions.json");
        let (hls, dash) = (key(PlaybackMode::Live, Protocol::Hls), key(PlaybackMode::Live, Protocol::Dash));
        let now = Timestamp::from_millis(10_000_000);
        let mut streams = SavedStreams::open(Some(&path), 9, now);
        assert_eq!(streams.get(&hls, now), None);
        streams.put(&hls, saved(9_000_000));
        streams.put(&dash, saved(1));
        write(&path, &streams.text()).unwrap();
        let again = SavedStreams::open(Some(&path), 9, now);
        assert_eq!(again.get(&hls, now), Some(saved(9_000_000)));
        assert_eq!(again.get(&dash, now), None);
        let much_later = Timestamp::from_millis(100_000_000);
        assert_eq!(SavedStreams::open(Some(&path), 9, much_later).get(&hls, much_later), None);
        assert!(!std::fs::read_to_string(&path).unwrap().contains("cam-1"));
    }

    #[test]
    fn what_is_damaged_is_as_if_it_were_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions.json");
        let hls = key(PlaybackMode::Live, Protocol::Hls);
        let now = Timestamp::from_millis(10_000_000);
        let mut streams = SavedStreams::open(None, 9, now);
        streams.put(&hls, saved(9_000_000));
        let text = streams.text();
        for damaged in ["", "{", &text[..text.len() / 2], &text.replace("\"version\":1", "\"version\":2")] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(SavedStreams::open(Some(&path), 9, now).get(&hls, now), None, "{damaged}");
        }
    }

    #[test]
    fn there_is_never_more_than_allowed() {
        let mut streams = SavedStreams::open(None, 2, Timestamp::from_millis(0));
        for at in 1..=9 {
            let mut key = key(PlaybackMode::LiveReplay, Protocol::Hls);
            key.began = Some(Timestamp::from_millis(at));
            streams.put(&key, saved(at));
        }
        streams.prune(Timestamp::from_millis(9));
        assert_eq!(streams.len(), 2);
    }
}
