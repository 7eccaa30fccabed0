//! A camera and the sessions of KVS that list its fragments, for tests of the timeline.

use crate::kvs::{FragmentNumber, Resource, Timestamp};
use crate::playback::hls::MediaPlaylist;
use crate::sessions::numbering::{Generation, tests::fragment};

/// A camera's archive and the playlists that KVS makes of it.
#[derive(Clone)]
pub(super) struct Camera {
    /// Number and start of each fragment; 2 s each.
    pub(super) made: Vec<(FragmentNumber, u64)>,
    pub(super) counter: u64,
    pub(super) clock: u64,
}

pub(super) const START: u64 = 1_767_225_600_000;

impl Camera {
    pub(super) fn new() -> Self {
        Self { made: Vec::new(), counter: 4_000, clock: START }
    }

    pub(super) fn record(&mut self, fragments: u64) {
        for _ in 0..fragments {
            self.made.push((fragment(self.counter, self.clock, 77), self.clock));
            self.counter += 1;
            self.clock += 2_000;
        }
    }

    /// Silence for a while; the counter jumps, as between producer runs.
    pub(super) fn pause(&mut self, seconds: u64) {
        self.clock += seconds * 1000;
        self.counter += 1 + seconds % 7;
    }
}

/// One upstream session: lists the newest `n` of what is there since a bit before it opened.
pub(super) struct FakeSession {
    pub(super) generation: Generation,
    /// Index of the first fragment it ever lists.
    pub(super) from: usize,
    pub(super) n: usize,
}

pub(super) struct Shown {
    pub(super) dates: bool,
    pub(super) always: bool,
    pub(super) global: bool,
}

impl FakeSession {
    pub(super) fn open(generation: Generation, camera: &Camera, n: usize) -> Self {
        Self { generation, from: camera.made.len().saturating_sub(n), n }
    }

    pub(super) fn playlist(&self, camera: &Camera, track: u8, shown: &Shown) -> MediaPlaylist {
        let first = self.from.max(camera.made.len().saturating_sub(self.n));
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{}\n",
            first - self.from
        );
        for (at, (number, start)) in camera.made.iter().enumerate().skip(first) {
            if shown.always {
                text += "#EXT-X-DISCONTINUITY\n";
            }
            if at == first {
                text += &format!(
                    "#EXT-X-MAP:URI=\"getMP4InitFragment.mp4?TrackNumber={track}&SequenceNumber=0\"\n"
                );
            }
            if shown.dates {
                text += &format!("#EXT-X-PROGRAM-DATE-TIME:{}\n", Timestamp::from_millis(*start));
            }
            let number = if shown.global { number.to_string() } else { (at - self.from).to_string() };
            text += &format!(
                "#EXTINF:2.0,\ngetMP4MediaFragment.mp4?FragmentNumber={number}&TrackNumber={track}\n"
            );
        }
        MediaPlaylist::parse(&text).unwrap()
    }
}

pub(super) fn numbers(playlist: &MediaPlaylist) -> Vec<String> {
    playlist
        .segments
        .iter()
        .map(|segment| match &segment.resource {
            Resource::Mp4Fragment { number, .. } => number.to_string(),
            other => panic!("{other}"),
        })
        .collect()
}
