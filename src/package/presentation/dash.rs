//! The DASH manifest (ISO/IEC 23009-1), from the list alone.
//!
//! Times in it are milliseconds since 1970, whatever the timescale of the media, so that the time of a
//! segment is its address.

use super::hls::codec_name;
use super::{Entry, Presentation};
use crate::kvs::MediaKind;
use crate::package::TrackSettings;
use std::fmt::Write;

/// What of the manifest the session's parameters select (docs/KVS.md 5.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DashOptions {
    /// `kvs:ts`: the producer's time of each fragment, in milliseconds since 1970.
    pub timestamps: bool,
    /// `kvs:fn`: the number of each fragment.
    pub numbers: bool,
}

/// Bytes of a row, for the first allocation.
const ROW: usize = 40;

impl Presentation {
    /// The manifest.
    #[must_use]
    pub fn manifest(&self, options: DashOptions) -> String {
        let entries: Vec<Entry<'_>> = self.entries().collect();
        let ends = entries.last().map_or(self.begins, |last| last.time + last.duration);
        let kvs = if options.timestamps || options.numbers { KVS_NAMESPACE } else { "" };
        let mut text = String::with_capacity(2048 + 2 * ROW * entries.len());
        _ = writeln!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"{kvs} \
             profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" type=\"static\" \
             mediaPresentationDuration=\"PT{}S\" maxSegmentDuration=\"PT{}S\" minBufferTime=\"PT{}S\">",
            seconds(ends - self.begins),
            self.target(),
            self.target(),
        );
        let rates = self.rates();
        for (number, group) in self.groups.iter().enumerate() {
            let next = self.groups.get(number + 1);
            let in_group = &entries[group.first..next.map_or(entries.len(), |next| next.first)];
            let starts = self.time(group.first);
            let ends = next.map_or(ends, |next| self.time(next.first));
            _ = writeln!(
                text,
                "<Period id=\"{number}\" start=\"PT{}S\" duration=\"PT{}S\">",
                seconds(starts - self.begins),
                seconds(ends - starts),
            );
            let sound = group.audio_rate * 8;
            if let Some(video) = &group.video {
                adaptation_set(&mut text, MediaKind::Video, starts);
                self.timeline(&mut text, in_group, options);
                _ = write!(text, "<Representation id=\"v1\" codecs=\"{}\"", codec_name(video));
                if video.width > 0 && video.height > 0 {
                    _ = write!(text, " width=\"{}\" height=\"{}\"", video.width, video.height);
                }
                let (frame, bandwidth) = (group.frame, rates.peak.saturating_sub(sound).max(1));
                _ = writeln!(
                    text,
                    " frameRate=\"1000/{frame}\" bandwidth=\"{bandwidth}\"/>\n</AdaptationSet>"
                );
            }
            if let Some(audio) = &group.audio {
                adaptation_set(&mut text, MediaKind::Audio, starts);
                self.timeline(&mut text, in_group, options);
                sound_representation(
                    &mut text,
                    audio,
                    if group.video.is_some() { sound } else { rates.peak },
                );
            }
            text.push_str("</Period>\n");
        }
        text.push_str("</MPD>\n");
        text
    }

    fn timeline(&self, text: &mut String, entries: &[Entry<'_>], options: DashOptions) {
        text.push_str("<SegmentTimeline>\n");
        let mut rest = entries;
        let mut follows = None;
        while let Some((entry, later)) = rest.split_first() {
            text.push_str("<S");
            if follows != Some(entry.time) {
                _ = write!(text, " t=\"{}\"", entry.time);
            }
            _ = write!(text, " d=\"{}\"", entry.duration);
            let mut repeats = 0;
            if options.timestamps || options.numbers {
                let row = &self.rows[entry.index];
                if options.timestamps {
                    _ = write!(text, " kvs:ts=\"{}\"", row.producer.millis());
                }
                if options.numbers {
                    _ = write!(text, " kvs:fn=\"{}\"", row.number);
                }
            } else {
                repeats = repeats_of(entry, later);
            }
            if repeats > 0 {
                _ = write!(text, " r=\"{repeats}\"");
            }
            text.push_str("/>\n");
            follows = Some(entry.time + entry.duration * (repeats as u64 + 1));
            rest = &later[repeats..];
        }
        text.push_str("</SegmentTimeline>\n</SegmentTemplate>\n");
    }
}

/// The namespace is our own: AWS does not publish its.
const KVS_NAMESPACE: &str = " xmlns:kvs=\"urn:kvs-edge:fragment\"";

/// How many segments follow without a gap that are as long as this one.
fn repeats_of(entry: &Entry<'_>, later: &[Entry<'_>]) -> usize {
    let mut time = entry.time;
    later
        .iter()
        .take_while(|next| {
            time += entry.duration;
            next.time == time && next.duration == entry.duration
        })
        .count()
}

fn adaptation_set(text: &mut String, kind: MediaKind, starts: u64) {
    let (id, content, letter) = match kind {
        MediaKind::Video => (0, "video", 'v'),
        MediaKind::Audio => (1, "audio", 'a'),
    };
    _ = writeln!(
        text,
        "<AdaptationSet id=\"{id}\" contentType=\"{content}\" mimeType=\"{content}/mp4\" \
         segmentAlignment=\"true\" startWithSAP=\"1\">\n\
         <SegmentTemplate timescale=\"1000\" presentationTimeOffset=\"{starts}\" \
         initialization=\"{letter}1-{starts}.mp4\" media=\"{letter}1-$Time$.m4s\">",
    );
}

fn sound_representation(text: &mut String, audio: &TrackSettings, bandwidth: u64) {
    _ = writeln!(
        text,
        "<Representation id=\"a1\" codecs=\"{}\" audioSamplingRate=\"{}\" bandwidth=\"{}\">\n\
         <AudioChannelConfiguration schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" \
         value=\"{}\"/>\n</Representation>\n</AdaptationSet>",
        codec_name(audio),
        audio.timescale,
        bandwidth.max(1),
        audio.channels,
    );
}

/// Milliseconds as seconds with three decimals.
fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}
