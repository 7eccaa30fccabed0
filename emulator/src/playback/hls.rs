//! HLS playlists, with the tags of the captures (docs/KVS.md 5.2 to 5.5). Every URL is relative.

use super::request::PlayerRequest;
use crate::answer::{Answer, KvsError};
use crate::archive::Fragment;
use crate::clock::{Millis, rfc3339};
use crate::media::Track;
use crate::session::{Discontinuity, Listing, Mode};
use crate::stream::Stream;
use std::fmt::Write as _;

const TYPE: &str = "application/x-mpegURL";
/// A gap or an overlap larger than this is a discontinuity.
const TOLERANCE_MILLIS: Millis = 50;

/// The master playlist: always one variant, with the audio as a rendition unless it is muxed.
pub(super) fn master(request: &PlayerRequest<'_>) -> Result<Answer, KvsError> {
    let listing = request.listing()?;
    let session = request.session;
    let recording = listing.fragments[0].recording();
    let url =
        |track: u32| format!("getHLSMediaPlaylist.m3u8?SessionToken={}&TrackNumber={track}", session.token);
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:1\n");
    let separate = request.has_audio() && !session.parameters.transport_stream;
    if separate {
        let _ = writeln!(
            out,
            "#EXT-X-MEDIA:AUTOSELECT=YES,FORCED=NO,TYPE=AUDIO,URI=\"{}\",\
             GROUP-ID=\"audio\",DEFAULT=NO,NAME=\"audio\"",
            url(2)
        );
    }
    let sound = if request.has_audio() { ",mp4a.40.2" } else { "" };
    let tracks: &[Track] = if request.has_audio() { &[Track::Video, Track::Audio] } else { &[Track::Video] };
    let group = if separate { ",AUDIO=\"audio\"" } else { "" };
    let _ = writeln!(
        out,
        "#EXT-X-STREAM-INF:CODECS=\"{}{sound}\",RESOLUTION={}x{},FRAME-RATE=15.62,BANDWIDTH={}{group}",
        recording.codec_name(),
        recording.width(),
        recording.height(),
        request.bandwidth(&listing, tracks)
    );
    let _ = writeln!(out, "{}", url(1));
    Ok(Answer::bytes(TYPE, out))
}

/// The media playlist of one track, or of both if they are muxed.
pub(super) fn media(request: &PlayerRequest<'_>) -> Result<Answer, KvsError> {
    let track = request.track()?;
    let listing = request.listing()?;
    Ok(Answer::bytes(TYPE, playlist(request, track, &listing)))
}

fn playlist(request: &PlayerRequest<'_>, track: Track, listing: &Listing) -> String {
    let parameters = &request.session.parameters;
    let (skipped, fragments) = request.on_track(track, listing);
    let durations = Stream::durations(&fragments, parameters.selector);
    let on_demand = matches!(parameters.mode, Mode::OnDemand { .. });
    let longest = durations.iter().max().copied().unwrap_or_default();
    let version = if parameters.transport_stream { 3 } else { 7 };
    let mut out = format!("#EXTM3U\n#EXT-X-VERSION:{version}\n");
    if on_demand {
        out.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n");
    }
    // As captured: ON_DEMAND counts from 1, LIVE from 0.
    let sequence = skipped + usize::from(on_demand);
    let _ = writeln!(out, "#EXT-X-TARGETDURATION:{}", longest.div_ceil(1000));
    let _ = writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{sequence}");
    if !parameters.transport_stream {
        out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    let mut before: Option<(&Fragment, Millis)> = None;
    for (fragment, &duration) in fragments.iter().zip(&durations) {
        segment(&mut out, request, track, before, fragment, duration);
        before = Some((fragment, duration));
    }
    if listing.ended {
        // As captured in 2023: a discontinuity before the end.
        if parameters.discontinuity == Discontinuity::Always {
            out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        out.push_str("#EXT-X-ENDLIST\n");
    }
    out
}

/// DISCONTINUITY, MAP, PROGRAM-DATE-TIME, EXTINF, URL: in this order.
fn segment(
    out: &mut String,
    request: &PlayerRequest<'_>,
    track: Track,
    before: Option<(&Fragment, Millis)>,
    fragment: &Fragment,
    duration: Millis,
) {
    let parameters = &request.session.parameters;
    let (token, start) = (&request.session.token, fragment.start(parameters.selector));
    let new_codec = before.is_some_and(|(before, _)| before.codec != fragment.codec);
    let jump = before.is_some_and(|(before, duration)| {
        let end = before.start(parameters.selector) + duration;
        end.abs_diff(start) > TOLERANCE_MILLIS
    });
    let discontinuity = match parameters.discontinuity {
        Discontinuity::Always => true,
        Discontinuity::AtJumps => jump || new_codec,
        Discontinuity::Never => new_codec,
    };
    if discontinuity {
        out.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if !parameters.transport_stream && (before.is_none() || new_codec) {
        let epoch = request.epoch(fragment);
        let sequence =
            if request.sequence_numbers { format!("&SequenceNumber={epoch}") } else { String::new() };
        let _ = writeln!(
            out,
            "#EXT-X-MAP:URI=\"getMP4InitFragment.mp4?SessionToken={token}&TrackNumber={}{sequence}\"",
            track.number()
        );
    }
    if parameters.show_timestamps {
        let _ = writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", rfc3339(start));
    }
    let _ = writeln!(out, "#EXTINF:{},", seconds(duration));
    let _ = if parameters.transport_stream {
        writeln!(out, "getTSFragment.ts?FragmentNumber={}&SessionToken={token}", fragment.number)
    } else {
        writeln!(
            out,
            "getMP4MediaFragment.mp4?FragmentNumber={}&SessionToken={token}&TrackNumber={}",
            fragment.number,
            track.number()
        )
    };
}

/// At most three decimals, zeros at the end cut, but one digit after the point.
fn seconds(millis: Millis) -> String {
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    let cut = text.trim_end_matches('0');
    if cut.ends_with('.') { format!("{cut}0") } else { cut.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_look_as_captured() {
        for (millis, text) in [(1857, "1.857"), (1010, "1.01"), (2680, "2.68"), (998, "0.998"), (2000, "2.0")]
        {
            assert_eq!(seconds(millis), text);
        }
    }
}
