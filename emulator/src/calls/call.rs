//! A signed call, and what several operations read from one: the stream, the selector, the range.

use crate::answer::KvsError;
use crate::archive::{Fragment, Selector};
use crate::clock::Millis;
use crate::members::{Members, TimeRange, is_name_char, missing};
use crate::state::EmulatorState;
use crate::stream::{Stream, Tenant};
use std::sync::Arc;

/// Longest range of a clip or a session.
const DAY_MILLIS: Millis = 86_400_000;

/// A call with everything that answering it takes.
pub(crate) struct Call<'a> {
    pub(crate) state: &'a EmulatorState,
    pub(crate) tenant: &'a Tenant,
    pub(crate) members: Members<'a>,
    pub(crate) now: Millis,
    /// A fault: the stream has no fragments.
    pub(crate) no_data: bool,
    /// A fault: the first fragment is replaced by an error chunk of this code and id.
    pub(crate) in_band_error: Option<(String, String)>,
    /// A fault: fragments whose server timestamps lie in these ranges do not exist.
    pub(crate) missing: Vec<TimeRange>,
}

impl Call<'_> {
    /// The stream of `StreamName` or `StreamARN`. One of them is required; both must agree. What KVS does
    /// with both is not known.
    pub(super) fn stream(&self) -> Result<Arc<Stream>, KvsError> {
        let name = self.members.text("StreamName", (1, 256), is_name_char)?;
        let arn = self.members.text("StreamARN", (1, 1024), |c| is_name_char(c) || ":/".contains(c))?;
        let from_arn = arn.map(|arn| self.by_arn(arn)).transpose()?;
        match (name, from_arn) {
            (None, None) => Err(KvsError::invalid("Either streamName or streamARN must be specified.")),
            (Some(name), None) => self.state.stream(self.tenant, name),
            (Some(name), Some(stream)) if name != stream.name => {
                Err(KvsError::invalid("StreamName and StreamARN name different streams."))
            }
            (_, Some(stream)) => Ok(stream),
        }
    }

    fn by_arn(&self, arn: &str) -> Result<Arc<Stream>, KvsError> {
        let name = name_in_arn(arn).ok_or_else(|| {
            KvsError::invalid(format!("'{arn}' at 'streamARN' is not the ARN of a stream."))
        })?;
        let stream = self.state.stream(self.tenant, name)?;
        if stream.arn() == arn { Ok(stream) } else { Err(KvsError::no_stream()) }
    }

    /// The stream, which must have a retention.
    pub(super) fn recording_stream(&self) -> Result<Arc<Stream>, KvsError> {
        let stream = self.stream()?;
        if stream.archive.retention_hours == 0 {
            let message = "The stream does not have data retention enabled.";
            return Err(KvsError::new(400, "NoDataRetentionException", message));
        }
        Ok(stream)
    }

    /// Whether a fragment is missing by the fault plan.
    pub(super) fn is_missing(&self, fragment: &Fragment) -> bool {
        self.missing.iter().any(|(from, to)| (*from..=*to).contains(&fragment.server))
    }

    /// Charges one request to the rate of a stream.
    pub(super) fn charge_rate(&self, api: &str, stream: &str, per_second: f64) -> Result<(), KvsError> {
        if self.state.take(&format!("{api}/{}/{stream}", self.tenant.0), per_second, 1.0) {
            return Ok(());
        }
        Err(KvsError::limit(format!(
            "Limit exceeded on number of requests for {api} API for resource '{stream}'"
        )))
    }

    /// Checks the `TimestampRange` of a clip or session: at most a day, End after Start, and for server times
    /// in the past and within the retention.
    pub(super) fn played_range(
        &self,
        stream: &Stream,
        selector: Selector,
        range: TimeRange,
    ) -> Result<TimeRange, KvsError> {
        let (from, to) = range;
        if to <= from {
            return Err(KvsError::invalid("EndTimestamp must be later than StartTimestamp."));
        }
        if to - from > DAY_MILLIS {
            return Err(KvsError::invalid("The time range must not be longer than 24 hours."));
        }
        if selector == Selector::Server {
            if to > self.now {
                return Err(KvsError::invalid("EndTimestamp must be in the past."));
            }
            if from < stream.archive.head(self.now) {
                return Err(KvsError::invalid("StartTimestamp must be later than the stream head."));
            }
        }
        Ok((from, to))
    }
}

/// The error for codecs that an operation does not take (docs/KVS.md 4.8).
pub(super) fn unsupported(message: &str) -> KvsError {
    KvsError::new(400, "UnsupportedStreamMediaTypeException", message)
}

/// The name of the stream in a request, for the counters. The stream need not exist.
pub(crate) fn stream_name(members: Members<'_>) -> Option<String> {
    let name = members.text("StreamName", (1, 256), is_name_char).ok().flatten();
    let arn = members.text("StreamARN", (1, 1024), |_| true).ok().flatten();
    name.or_else(|| name_in_arn(arn?)).map(str::to_owned)
}

/// `arn:aws:kinesisvideo:eu-west-1:123456789012:stream/cam-1/1720751492346` names `cam-1`.
fn name_in_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let service = (parts.next()? == "arn").then(|| parts.nth(1))??;
    let mut resource = parts.nth(2)?.split('/');
    let (kind, name, created) = (resource.next()?, resource.next()?, resource.next()?);
    let shaped = service == "kinesisvideo" && kind == "stream" && resource.next().is_none();
    (shaped && !name.is_empty() && created.bytes().all(|b| b.is_ascii_digit())).then_some(name)
}

/// The type and the `TimestampRange` of a fragment selector.
pub(super) fn selector_and_range(
    members: Members<'_>,
    name: &str,
) -> Result<(Selector, TimeRange), KvsError> {
    let inner = members.inner(name)?.ok_or_else(|| missing(name))?;
    let selector = inner.selector("FragmentSelectorType")?.ok_or_else(|| missing("FragmentSelectorType"))?;
    let range = inner.inner("TimestampRange")?.ok_or_else(|| missing("TimestampRange"))?.range()?;
    Ok((selector, range))
}
