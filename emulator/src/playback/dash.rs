//! The DASH manifest. No capture is public: the structure is known, the rest is plausible
//! (docs/KVS.md 5.6).

use super::request::{PlayerRequest, changed};
use crate::answer::{Answer, KvsError};
use crate::clock::{Millis, rfc3339};
use crate::media::Track;
use crate::session::{Listing, Mode, closed_length};
use std::fmt::Write as _;

/// The manifest. Fragments have the numbers of the session, from 1. Gaps are closed.
pub(super) fn manifest(request: &PlayerRequest<'_>) -> Result<Answer, KvsError> {
    let listing = request.listing()?;
    let first = listing.fragments[0];
    if listing.fragments.iter().any(|f| !f.is_alike(&first)) {
        return Err(changed("The codec private data must not change in a session."));
    }
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    opening(&mut out, request, &listing);
    let recording = first.recording();
    adaptation_set(&mut out, request, &listing, "video", 1);
    let _ = writeln!(
        out,
        "      <Representation id=\"1\" codecs=\"{}\" width=\"{}\" height=\"{}\" frameRate=\"125/8\" \
             bandwidth=\"{}\"/>\n    \
             </AdaptationSet>",
        recording.codec_name(),
        recording.width(),
        recording.height(),
        request.bandwidth(&listing, &[Track::Video])
    );
    if request.has_audio() {
        adaptation_set(&mut out, request, &listing, "audio", 2);
        let _ = writeln!(
            out,
            "      <Representation id=\"2\" codecs=\"{}\" audioSamplingRate=\"{}\" bandwidth=\"{}\"/>\n    \
             </AdaptationSet>",
            first.sound.codec_name(),
            first.sound.rate(),
            request.bandwidth(&listing, &[Track::Audio])
        );
    }
    out.push_str("  </Period>\n</MPD>\n");
    Ok(Answer::bytes("application/dash+xml", out))
}

fn opening(out: &mut String, request: &PlayerRequest<'_>, listing: &Listing) {
    let session = request.session;
    let length = closed_length(&listing.fragments);
    let on_demand = matches!(session.parameters.mode, Mode::OnDemand { .. });
    let (kind, start, times) = if on_demand || listing.ended {
        let start = session.first.start(session.parameters.selector);
        let whole = listing.skipped_millis + length;
        ("static", start, format!("mediaPresentationDuration=\"{}\"", period(whole)))
    } else {
        // Players compute from this when the next fragment is available.
        let start = match session.parameters.mode {
            Mode::Live => session.first.ready.saturating_sub(session.first.millis),
            _ => session.created.saturating_sub(length),
        };
        let depth = period(length);
        ("dynamic", start, format!("minimumUpdatePeriod=\"PT1S\" timeShiftBufferDepth=\"{depth}\""))
    };
    let start = rfc3339(start);
    let _ = writeln!(
        out,
        "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" xmlns:kvs=\"urn:example:kvs\" \
         profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" type=\"{kind}\" \
         availabilityStartTime=\"{start}\" {times} minBufferTime=\"PT2S\">\n  \
         <Period id=\"0\" start=\"PT0S\">"
    );
}

fn adaptation_set(out: &mut String, request: &PlayerRequest<'_>, listing: &Listing, kind: &str, track: u32) {
    let session = request.session;
    let token = &session.token;
    let _ = writeln!(
        out,
        "    <AdaptationSet contentType=\"{kind}\" mimeType=\"{kind}/mp4\" segmentAlignment=\"true\" \
         startWithSAP=\"1\">\n      \
         <SegmentTemplate timescale=\"1000\" startNumber=\"{}\" \
         initialization=\"getMP4InitFragment.mp4?SessionToken={token}&amp;TrackNumber={track}\" \
         media=\"getMP4MediaFragment.mp4?FragmentNumber=$Number$&amp;SessionToken={token}\
         &amp;TrackNumber={track}\">\n        \
         <SegmentTimeline>",
        listing.skipped + 1
    );
    let mut time = listing.skipped_millis;
    for fragment in &listing.fragments {
        let _ = write!(out, "          <S t=\"{time}\" d=\"{}\"", fragment.millis);
        time += fragment.millis;
        if session.parameters.show_timestamps {
            let _ = write!(out, " kvs:ts=\"{}\"", fragment.start(session.parameters.selector));
        }
        if session.parameters.show_numbers {
            let _ = write!(out, " kvs:fn=\"{}\"", fragment.number);
        }
        out.push_str("/>\n");
    }
    out.push_str("        </SegmentTimeline>\n      </SegmentTemplate>\n");
}

/// `PT4.004S`.
fn period(millis: Millis) -> String {
    format!("PT{}.{:03}S", millis / 1000, millis % 1000)
}
