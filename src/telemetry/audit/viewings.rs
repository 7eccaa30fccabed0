//! Viewings: turns the many requests of a player into a start, an entry per minute and an end.
//!
//! A viewing is one capability at one address. What it showed are the fragments that were sent: their bytes,
//! and their times where they are known.

use super::event::{Event, Playback};
use crate::caller::Caller;
use crate::kvs::{PlaybackMode, StreamName, Timestamp};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// All viewings of this process.
#[derive(Default)]
pub struct Viewings {
    open: Mutex<OpenViewings>,
    /// When a refusal last had an entry.
    refused: Mutex<HashMap<PlaybackRefusal, Timestamp>>,
}

/// What a player is refused repeatedly.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PlaybackRefusal {
    /// The viewing.
    pub viewing: Arc<str>,
    /// The client's address.
    pub source_ip: IpAddr,
    /// The reason, in one word.
    pub reason: &'static str,
}

/// What is the same throughout a viewing.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// Distinguishes this viewing from others, such as a hash of the capability.
    pub viewing: Arc<str>,
    /// The caller.
    pub caller: Arc<Caller>,
    /// The client's address.
    pub source_ip: IpAddr,
    /// `hls` or `dash`.
    pub protocol: &'static str,
    /// Which stream.
    pub stream: StreamName,
    /// Live or archive.
    pub mode: PlaybackMode,
    /// The policies in force when it started.
    pub policy_version: Arc<str>,
}

/// By viewing and address; looked up several times for each request of a player.
type OpenViewings = HashMap<(Arc<str>, IpAddr), OpenViewing, foldhash::fast::RandomState>;

struct OpenViewing {
    viewer: Viewer,
    started: Timestamp,
    seen: Timestamp,
    told: Timestamp,
    /// Responses that are being sent to it.
    under_way: u32,
    /// What was shown since the last entry, and in all.
    minute: Shown,
    all: Shown,
}

/// What was shown.
#[derive(Clone, Copy, Default)]
struct Shown {
    footage: Option<(Timestamp, Timestamp)>,
    bytes: u64,
}

const MINUTE: Duration = Duration::from_secs(60);
/// After a pause of this length a viewing has ended; players load their playlists more often.
const GONE: Duration = Duration::from_secs(90);

impl Viewings {
    /// No viewings yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a request of a viewing, which `viewer` describes if this is its first. `write` gets the entry of
    /// its start, if this is it, or of its last minute; its result is returned. If `write` fails for the
    /// start, the viewing has not started.
    ///
    /// # Errors
    /// The error of `write`.
    pub fn asked<T, E>(
        &self,
        viewing: &Arc<str>,
        source_ip: IpAddr,
        now: Timestamp,
        viewer: impl FnOnce() -> Viewer,
        write: impl FnOnce(&Event<'_>) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let key = (viewing.clone(), source_ip);
        let mut open = self.open();
        let Some(viewing) = open.get_mut(&key) else {
            let viewing = OpenViewing {
                viewer: viewer(),
                started: now,
                seen: now,
                told: now,
                under_way: 0,
                minute: Shown::default(),
                all: Shown::default(),
            };
            let written = write(&Event::PlaybackStart(viewing.playback(&viewing.all, now, now)))?;
            open.insert(key, viewing);
            return Ok(Some(written));
        };
        viewing.seen = now;
        if viewing.told.age(now) < MINUTE {
            return Ok(None);
        }
        let written = write(&Event::PlaybackMinute(viewing.playback(&viewing.minute, viewing.told, now)))?;
        viewing.minute = Shown::default();
        viewing.told = now;
        Ok(Some(written))
    }

    /// Notes bytes that were sent, and the time of the footage in them if it is known.
    pub fn shown(&self, viewing: &Arc<str>, source_ip: IpAddr, bytes: u64, footage: Option<Timestamp>) {
        if let Some(viewing) = self.open().get_mut(&(viewing.clone(), source_ip)) {
            viewing.minute.add(bytes, footage);
            viewing.all.add(bytes, footage);
        }
    }

    /// A response begins: the viewing goes on until it has been sent, however long that takes. False if there
    /// is no such viewing; then do not call [`Viewings::ends`].
    pub fn begins(&self, viewing: &Arc<str>, source_ip: IpAddr) -> bool {
        let mut open = self.open();
        let viewing = open.get_mut(&(viewing.clone(), source_ip));
        viewing.map(|viewing| viewing.under_way += 1).is_some()
    }

    /// A response has been sent, or the client has closed the connection.
    pub fn ends(&self, viewing: &Arc<str>, source_ip: IpAddr, now: Timestamp) {
        if let Some(viewing) = self.open().get_mut(&(viewing.clone(), source_ip)) {
            viewing.under_way = viewing.under_way.saturating_sub(1);
            viewing.seen = viewing.seen.max(now);
        }
    }

    /// Whether a refusal needs an entry. Players repeat refused requests, so each has one entry a minute.
    pub fn refused(&self, refusal: PlaybackRefusal, now: Timestamp) -> bool {
        let mut refused = locked(&self.refused);
        match refused.entry(refusal) {
            Entry::Occupied(told) if told.get().age(now) < MINUTE => false,
            told => {
                told.insert_entry(now);
                true
            }
        }
    }

    /// The entry of a refusal could not be written: it needs one when it happens again.
    pub fn refusal_not_written(&self, refusal: &PlaybackRefusal) {
        locked(&self.refused).remove(refusal);
    }

    /// Ends the viewings without a request for a while; call it every few seconds. It may block.
    pub fn sweep(&self, now: Timestamp, mut write: impl FnMut(&Event<'_>)) {
        locked(&self.refused).retain(|_, told| told.age(now) < MINUTE);
        let gone = |viewing: &OpenViewing| viewing.under_way == 0 && viewing.seen.age(now) >= GONE;
        // Entries are written when players are no longer held up.
        let ended: Vec<_> = self.open().extract_if(|_, viewing| gone(viewing)).collect();
        for (_, viewing) in &ended {
            write(&Event::PlaybackEnd(viewing.playback(&viewing.all, viewing.started, viewing.seen)));
        }
    }

    /// Ends all viewings, when the process stops.
    pub fn end(&self, mut write: impl FnMut(&Event<'_>)) {
        for (_, viewing) in self.open().drain() {
            write(&Event::PlaybackEnd(viewing.playback(&viewing.all, viewing.started, viewing.seen)));
        }
    }

    fn open(&self) -> MutexGuard<'_, OpenViewings> {
        locked(&self.open)
    }
}

/// Counters stay meaningful if a panic elsewhere poisoned the lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|held| held.into_inner())
}

impl OpenViewing {
    fn playback<'a>(&'a self, shown: &Shown, since: Timestamp, until: Timestamp) -> Playback<'a> {
        Playback {
            viewing: &self.viewer.viewing,
            caller: &self.viewer.caller,
            source_ip: self.viewer.source_ip,
            protocol: self.viewer.protocol,
            stream: &self.viewer.stream,
            mode: self.viewer.mode,
            footage: shown.footage,
            seconds: since.age(until).as_secs(),
            bytes: shown.bytes,
            policy_version: &self.viewer.policy_version,
        }
    }
}

impl Shown {
    fn add(&mut self, bytes: u64, footage: Option<Timestamp>) {
        self.bytes += bytes;
        if let Some(time) = footage {
            let (from, to) = self.footage.unwrap_or((time, time));
            self.footage = Some((from.min(time), to.max(time)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_767_225_600_000 + seconds * 1000)
    }

    fn viewer() -> Viewer {
        let caller = Caller {
            issuer: "https://login.example.com/".into(),
            subject: "alice".into(),
            token_id: None,
            groups: Default::default(),
            groups_withheld: false,
            attributes: Default::default(),
            expires: at(3600),
        };
        Viewer {
            viewing: "v-1".into(),
            caller: caller.into(),
            source_ip: "10.0.0.1".parse().unwrap(),
            protocol: "hls",
            stream: StreamName::parse("cam-1").unwrap(),
            mode: PlaybackMode::Live,
            policy_version: "0".into(),
        }
    }

    fn asked<T, E>(
        watch: &Viewings,
        viewer: &Viewer,
        now: Timestamp,
        write: impl FnOnce(&Event<'_>) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        watch.asked(&viewer.viewing, viewer.source_ip, now, || viewer.clone(), write)
    }

    #[test]
    fn a_player_leaves_a_start_a_line_a_minute_and_an_end() {
        let (watch, viewer) = (Viewings::new(), viewer());
        let mut lines: Vec<serde_json::Value> = Vec::new();
        let mut tell = |event: &Event<'_>| {
            lines.push(serde_json::from_str(&event.line(at(0))).unwrap());
            Ok::<(), Infallible>(())
        };
        for second in (0..=130).step_by(2) {
            asked(&watch, &viewer, at(second), &mut tell).unwrap();
            watch.shown(&viewer.viewing, viewer.source_ip, 100, Some(at(second)));
        }
        watch.sweep(at(219), |event| tell(event).unwrap());
        watch.sweep(at(220), |event| tell(event).unwrap());
        watch.sweep(at(400), |event| tell(event).unwrap());
        asked(&watch, &viewer, at(500), &mut tell).unwrap();
        watch.end(|event| tell(event).unwrap());
        let told: Vec<_> = lines
            .iter()
            .map(|line| {
                let number = |key: &str| line[key].as_u64().unwrap();
                let minute = |key: &str| line[key].as_str().map_or("", |time| &time[14..19]).to_owned();
                (
                    line["event"].as_str().unwrap(),
                    number("seconds"),
                    number("bytes"),
                    minute("from"),
                    minute("to"),
                )
            })
            .collect();
        let line = |event, seconds, bytes, from: &str, to: &str| {
            (event, seconds, bytes, from.to_owned(), to.to_owned())
        };
        assert_eq!(
            told,
            [
                line("playback_start", 0, 0, "", ""),
                line("playback", 60, 3000, "00:00", "00:58"),
                line("playback", 60, 3000, "01:00", "01:58"),
                line("playback_end", 130, 6600, "00:00", "02:10"),
                line("playback_start", 0, 0, "", ""),
                line("playback_end", 0, 0, "", ""),
            ]
        );
    }

    #[test]
    fn what_takes_longer_than_a_pause_is_still_watched_and_counted() {
        let (watch, viewer) = (Viewings::new(), viewer());
        let (viewing, ip) = (&viewer.viewing, viewer.source_ip);
        asked(&watch, &viewer, at(0), |_| Ok::<(), ()>(())).unwrap();
        assert!(watch.begins(viewing, ip));
        watch.sweep(at(300), |event| panic!("{event:?}"));
        watch.shown(viewing, ip, 20_000_000, Some(at(0)));
        watch.ends(viewing, ip, at(301));
        watch.sweep(at(390), |event| panic!("{event:?}"));
        let mut told = Vec::new();
        watch.sweep(at(391), |event| told.push(event.line(at(391))));
        assert!(told.len() == 1 && told[0].contains("\"bytes\":20000000"), "{told:?}");
        assert!(told[0].contains("\"seconds\":301"), "{told:?}");
    }

    #[test]
    fn refusals_of_a_viewing_are_news_once_a_minute() {
        let (watch, viewer) = (Viewings::new(), viewer());
        let refusal = |ip: &str, reason| PlaybackRefusal {
            viewing: viewer.viewing.clone(),
            source_ip: ip.parse().unwrap(),
            reason,
        };
        let news = |ip: &str, second| watch.refused(refusal(ip, "no_permit"), at(second));
        let told: Vec<bool> = [0, 1, 59, 60, 61].map(|second| news("10.0.0.1", second)).into();
        assert_eq!(told, [true, false, false, true, false]);
        assert!(news("10.0.0.2", 61));
        assert!(watch.refused(refusal("10.0.0.1", "forbidden"), at(61)), "another reason is other news");
        assert!(!news("10.0.0.2", 62));
        watch.refusal_not_written(&refusal("10.0.0.2", "no_permit"));
        assert!(news("10.0.0.2", 63), "it was not written");
        watch.sweep(at(200), |_| {});
        assert!(watch.refused.lock().unwrap().is_empty());
    }

    #[test]
    fn a_start_that_cannot_be_written_is_asked_for_again() {
        let (watch, viewer) = (Viewings::new(), viewer());
        assert_eq!(asked(&watch, &viewer, at(0), |_| Err::<(), _>("full")), Err("full"));
        let mut events = 0;
        let start = |event: &Event<'_>| {
            events += 1;
            assert_eq!(event.name(), "playback_start");
            Ok::<(), ()>(())
        };
        asked(&watch, &viewer, at(1), start).unwrap();
        let repeated = |_: &Event<'_>| {
            events += 1;
            Ok::<(), ()>(())
        };
        asked(&watch, &viewer, at(2), repeated).unwrap();
        assert_eq!(events, 1);
    }
}
