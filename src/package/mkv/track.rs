//! The entries of Tracks.

use crate::kvs::ebml;
use crate::package::{Codec, Refusal, Track, TrackKind};

/// As many fit a [`crate::package::Frame`]'s index; KVS has pictures and sound.
const MOST_TRACKS: usize = 8;

const TRACK_ENTRY: u32 = 0xAE;
const TRACK_NUMBER: u32 = 0xD7;
const TRACK_TYPE: u32 = 0x83;
const CODEC_ID: u32 = 0x86;
const CODEC_PRIVATE: u32 = 0x63A2;
const DEFAULT_DURATION: u32 = 0x23_E383;
const CONTENT_ENCODINGS: u32 = 0x6D80;
const VIDEO: u32 = 0xE0;
const PIXEL_WIDTH: u32 = 0xB0;
const PIXEL_HEIGHT: u32 = 0xBA;
const AUDIO: u32 = 0xE1;
const SAMPLING_FREQUENCY: u32 = 0xB5;
const CHANNELS: u32 = 0x9F;

/// Reads the content of Tracks.
pub(super) fn read(content: &[u8]) -> Result<Vec<Track>, Refusal> {
    let mut tracks: Vec<Track> = Vec::new();
    ebml::each::<Refusal>(content, |id, content| {
        if id != TRACK_ENTRY {
            return Ok(());
        }
        if tracks.len() == MOST_TRACKS {
            return Err(Refusal::TooLarge("tracks"));
        }
        let track = entry(content)?;
        if tracks.iter().any(|other| other.number == track.number) {
            return Err(Refusal::Malformed("two tracks have one number"));
        }
        tracks.push(track);
        Ok(())
    })?;
    Ok(tracks)
}

fn entry(content: &[u8]) -> Result<Track, Refusal> {
    let mut track = Track {
        number: 0,
        kind: TrackKind::Other,
        codec: None,
        private: Vec::new(),
        size: (0, 0),
        sampling_rate: 8000.0,
        channels: 1,
        default_duration: None,
    };
    let (mut kind, mut codec_id, mut encoded) = (0, "", false);
    ebml::each::<Refusal>(content, |id, content| {
        match id {
            TRACK_NUMBER => track.number = ebml::unsigned(content)?,
            TRACK_TYPE => kind = ebml::unsigned(content)?,
            CODEC_ID => codec_id = ebml::text(content).ok_or(Refusal::Malformed("a CodecID is no text"))?,
            CODEC_PRIVATE => track.private = content.to_vec(),
            DEFAULT_DURATION => track.default_duration = Some(ebml::unsigned(content)?),
            CONTENT_ENCODINGS => encoded = true,
            VIDEO => video(&mut track, content)?,
            AUDIO => audio(&mut track, content)?,
            _ => {}
        }
        Ok(())
    })?;
    if track.number == 0 {
        return Err(Refusal::Malformed("a track has no number"));
    }
    track.kind = match kind {
        1 => TrackKind::Video,
        2 => TrackKind::Audio,
        _ => TrackKind::Other,
    };
    if track.kind == TrackKind::Other {
        // Sound must not disappear because its entry has no type.
        return match codec_id.get(..2) {
            Some("V_" | "A_") => Err(Refusal::Malformed("the type of a track does not fit its CodecID")),
            _ => Ok(track),
        };
    }
    let codec = codec(codec_id, &track.private).ok_or_else(|| unsupported(codec_id, track.kind))?;
    if codec.is_video() != (track.kind == TrackKind::Video) {
        return Err(Refusal::Malformed("the type of a track does not fit its CodecID"));
    }
    if encoded {
        return Err(Refusal::Unsupported("a track has ContentEncodings"));
    }
    track.codec = Some(codec);
    Ok(track)
}

fn video(track: &mut Track, content: &[u8]) -> Result<(), Refusal> {
    ebml::each::<Refusal>(content, |id, content| {
        match id {
            PIXEL_WIDTH => track.size.0 = small(content)?,
            PIXEL_HEIGHT => track.size.1 = small(content)?,
            _ => {}
        }
        Ok(())
    })
}

fn audio(track: &mut Track, content: &[u8]) -> Result<(), Refusal> {
    ebml::each::<Refusal>(content, |id, content| {
        match id {
            SAMPLING_FREQUENCY => track.sampling_rate = ebml::float(content)?,
            CHANNELS => track.channels = small(content)?,
            _ => {}
        }
        Ok(())
    })
}

fn small(content: &[u8]) -> Result<u32, Refusal> {
    let value = ebml::unsigned(content)?;
    u32::try_from(value).map_err(|_| Refusal::Malformed("a size of a track is beyond all measure"))
}

/// The codecs that KVS's players know (docs/KVS.md 4.4), by the names that producers give them.
fn codec(id: &str, private: &[u8]) -> Option<Codec> {
    match id {
        "V_MPEG4/ISO/AVC" | "V_MPEG/ISO/AVC" => Some(Codec::Avc),
        "V_MPEGH/ISO/HEVC" | "V_MPEG/ISO/HEVC" => Some(Codec::Hevc),
        "A_AAC" => Some(Codec::Aac),
        // The format tag of WAVEFORMATEX.
        "A_MS/ACM" => match private {
            [6, 0, ..] => Some(Codec::Alaw),
            [7, 0, ..] => Some(Codec::Ulaw),
            _ => None,
        },
        _ => None,
    }
}

/// Why a track with this CodecID is not packaged. The texts are a closed set: producers must not be able to
/// write into messages.
fn unsupported(codec_id: &str, kind: TrackKind) -> Refusal {
    macro_rules! named {
        ($($id:literal),*) => {
            match codec_id {
                $($id => Some(concat!("its CodecID ", $id, " is not packaged")),)*
                _ => None,
            }
        };
    }
    let named = named!(
        "A_OPUS",
        "A_VORBIS",
        "A_FLAC",
        "A_AC3",
        "A_EAC3",
        "A_MPEG/L2",
        "A_MPEG/L3",
        "A_PCM/INT/LIT",
        "A_PCM/INT/BIG",
        "A_PCM/FLOAT/IEEE",
        "A_MS/ACM",
        "A_AAC/MPEG4/LC",
        "A_AAC/MPEG2/LC",
        "V_VP8",
        "V_VP9",
        "V_AV1",
        "V_MJPEG",
        "V_MPEG2",
        "V_MPEG4/ISO/SP",
        "V_MPEG4/ISO/ASP",
        "V_MS/VFW/FOURCC",
        "V_UNCOMPRESSED"
    );
    Refusal::Unsupported(named.unwrap_or(match kind {
        TrackKind::Video => "the CodecID of its pictures is not packaged",
        TrackKind::Audio | TrackKind::Other => "the CodecID of its sound is not packaged",
    }))
}
