//! Archived footage for players, packaged here of stored fragments instead of by a session of KVS.
//!
//! The capability says which footage, as for sessions. What it presents is listed, made and remembered by the
//! archive; a segment's address is looked up there, so nothing outside of the capability's range is found
//! (law 1), and policy judges each segment by its own time.

use super::audit::{Audit, Decided, Subject};
use super::authenticated::Authenticated;
use super::error::Error;
use super::permitted::Permitted;
use super::reply::{self, CACHE_STATUS, ClientCache, Reply, cache_status};
use crate::accounting::{BodySource, Record};
use crate::archive::{Archive, FoundPresentation, FoundSegment, Presented, PresentedRange, TextKind};
use crate::cache::Outcome;
use crate::kvs::{
    Container, DiscontinuityMode, MediaFormat, PackagedPart, PackagedResource, PlaybackMode, Resource,
    SessionParameters, Timestamp,
};
use crate::package::presentation::{DashOptions, Discontinuities, HlsOptions};
use crate::playback::Packager;
use crate::policy::Policy;
use crate::sessions::{self, Playlist, WHOLE_RANGE};
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// KVS's words for a range without footage (docs/KVS.md 4.6).
const NOTHING: &str = "No fragments found in the stream for the streaming request.";

/// The longest range that is packaged: to list a day of 2-second fragments takes five seconds. Longer ones
/// are joined from sessions of KVS.
const LONGEST: Duration = Duration::from_secs(3 * 86_400);

/// Plays archived footage without a session of KVS.
pub(super) struct PackagedPlayback {
    pub(super) archive: Archive,
    pub(super) policy: Arc<Policy>,
    pub(super) audit: Audit,
    /// `playback.archive`.
    pub(super) packager: Packager,
    /// `cache.settle`.
    pub(super) settle: Duration,
}

impl PackagedPlayback {
    /// What a session would present, packaged here; `None` if it is a session of KVS that must present it.
    ///
    /// # Errors
    /// KVS's, ours, or nothing is recorded.
    pub(super) async fn present(
        &self,
        permitted: &Permitted,
        session: &SessionParameters,
        record: &Record,
    ) -> Result<Option<(Arc<FoundPresentation>, Outcome)>, Error> {
        let Some(range) = self.packages(session) else { return Ok(None) };
        // Without its ARN nothing of a stream is kept; a session reports what is wrong.
        let Ok(stream) = permitted.stream(&self.archive).await else { return Ok(None) };
        let on_behalf_of = || permitted.on_behalf_of(record);
        let presenting = self.archive.presentation(stream, &range, permitted.now, on_behalf_of);
        match permitted.steps.time("playlist", presenting).await? {
            Presented::Found(found, outcome) => Ok(Some((found, outcome))),
            Presented::Nothing => Err(Error::NoFootage(NOTHING.to_owned())),
            Presented::Refused => Ok(None),
        }
    }

    /// The footage of a session that is packaged here.
    pub(super) fn packages(&self, session: &SessionParameters) -> Option<PresentedRange> {
        let is_ours = self.packager == Packager::Own
            && session.mode == PlaybackMode::OnDemand
            && session.container == Container::FragmentedMp4;
        let range = session.range().filter(|_| is_ours)?;
        if range.end? > range.start.plus(LONGEST) {
            return None;
        }
        let most =
            if session.max_fragments == WHOLE_RANGE { usize::MAX } else { session.max_fragments.into() };
        Some(PresentedRange { clock: session.selector, range, most })
    }

    /// A playlist or manifest.
    ///
    /// # Errors
    /// There is no such track.
    pub(super) async fn playlist(
        &self,
        permitted: &Permitted,
        (found, outcome): (Arc<FoundPresentation>, Outcome),
        session: &SessionParameters,
        resource: &Resource,
    ) -> Result<Playlist, Error> {
        let kind = match resource {
            Resource::MasterPlaylist => TextKind::Master,
            Resource::MediaPlaylist { track } => {
                TextKind::Media(found.kind(*track).ok_or_else(gone)?, hls_options(session))
            }
            Resource::Manifest => TextKind::Manifest(dash_options(session)),
            _ => return Err(gone()),
        };
        let principal = || permitted.caller().principal();
        let text = self.archive.presentation_text(&found, kind, principal).await?;
        let (age, max_age) = (Duration::ZERO, Duration::ZERO);
        Ok(Playlist { text, age, max_age, outcome })
    }

    /// A segment or an init segment: whole, or the part that was asked for.
    ///
    /// # Errors
    /// It is outside of what the capability presents, policy does not permit it, or KVS's.
    pub(super) async fn segment(
        &self,
        permitted: &Permitted,
        (found, session): (&FoundPresentation, &SessionParameters),
        packaged: PackagedResource,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let row = found.row(packaged.address).ok_or_else(gone)?;
        self.permit(permitted, row.start(session.selector), record).await?;
        let is_settled = row.server.plus(self.settle) <= permitted.now;
        let segment = match packaged.part {
            PackagedPart::Init => found.init(packaged.address),
            PackagedPart::Media => {
                let on_behalf_of = || permitted.on_behalf_of(record);
                let stream = permitted.stream(&self.archive).await?;
                let making = self.archive.segment(stream, found, packaged.address, on_behalf_of);
                permitted.steps.time("cache", making).await?
            }
        };
        let segment = segment.ok_or_else(gone)?;
        record.cache = segment.outcome.as_str();
        let keep = permitted
            .capability
            .as_ref()
            .map_or(ClientCache::Revalidated, |capability| ClientCache::of(capability, permitted.now));
        let keep = keep.header(is_settled.then_some(u64::MAX));
        Ok(self.reply(permitted, segment, packaged, keep))
    }

    /// Policy has judged the address, which may lie behind its fragment's own time and be on another clock.
    async fn permit(&self, permitted: &Permitted, time: Timestamp, record: &Record) -> Result<(), Error> {
        let judged = self.policy.permit_fragment(&permitted.permit, time, &permitted.context);
        let (Err(denied), Some(capability)) = (judged, &permitted.capability) else { return Ok(()) };
        let by = Authenticated::Capability(capability.clone());
        let subject = Subject::of(permitted.request());
        let policy_version = self.policy.version();
        let decided = Decided { by: &by, subject, located: permitted.located.as_ref(), policy_version };
        let judged = Err(denied);
        let receipt = self.audit.decision(&judged, decided, record)?;
        self.audit.written(receipt).await?;
        judged.map(drop).map_err(Error::from)
    }

    fn reply(
        &self,
        permitted: &Permitted,
        segment: FoundSegment,
        packaged: PackagedResource,
        keep: HeaderValue,
    ) -> Reply {
        let (method, asked) = (&permitted.parts.method, &permitted.parts.headers);
        let mut reply = Reply::empty(StatusCode::OK);
        let headers = &mut reply.headers;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MediaFormat::Mp4.content_type()));
        headers.insert(header::CACHE_CONTROL, keep);
        // It is made anew of a fragment that is held; it is not held itself.
        headers.insert(CACHE_STATUS, cache_status(segment.outcome, false));
        let part = reply::select_part(&mut reply, (method, asked), &segment.etag, segment.length());
        let Some(part) = part else { return reply };
        if method != Method::HEAD {
            let body = self.archive.segment_body(segment, part, packaged.protocol);
            reply.source = BodySource::Passing(body);
        }
        reply
    }
}

/// The address is not, or no longer, part of what the capability presents.
fn gone() -> Error {
    sessions::Error::Gone.into()
}

/// Dates stand at the beginning and behind discontinuities. A playlist of as many fragments as KVS lists has
/// them at each, if the session asks for that.
fn hls_options(session: &SessionParameters) -> HlsOptions {
    HlsOptions {
        discontinuities: match session.discontinuity {
            DiscontinuityMode::Always => Discontinuities::Everywhere,
            DiscontinuityMode::Never => Discontinuities::Nowhere,
            DiscontinuityMode::OnDiscontinuity => Discontinuities::BehindGaps,
        },
        dates: session.show_timestamps && session.max_fragments != WHOLE_RANGE,
    }
}

fn dash_options(session: &SessionParameters) -> DashOptions {
    DashOptions {
        timestamps: session.show_timestamps && session.max_fragments != WHOLE_RANGE,
        numbers: session.show_numbers,
    }
}
