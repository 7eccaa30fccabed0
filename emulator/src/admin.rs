//! The administration of the emulator under `/_emulator/`. It answers only to loopback.
//!
//! | Request | Does |
//! |---|---|
//! | `POST faults` | adds a rule, or a list of rules, to the fault plan (`faults`); needs `allow_faults` |
//! | `GET faults`, `DELETE faults` | shows the plan with its counters; removes all rules |
//! | `GET requests`, `DELETE requests` | shows the counters (`counters`); resets them |
//! | `POST streams/{name}` | changes a camera, its producer included: see `Change` |
//! | `DELETE sessions` | lets all playback sessions expire |
//! | `GET credentials` | temporary credentials, as a container gets them (`credentials`) |
//! | `DELETE credentials` | lets all temporary credentials expire |
//! | `POST endpoint` | `{"url": …}`: what GetDataEndpoint answers; `{}`: the data plane takes another port |
//! | `GET health` | 200 |

use super::answer::{Answer, KvsError};
use super::archive::Backfill;
use super::clock::{Millis, now};
use super::credentials;
use super::faults::{Fault, FaultRule};
use super::json::Json;
use super::media::{Producer, SoundCodec};
use super::operation::Operation;
use super::state::EmulatorState;
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Answers requests under `/_emulator/`; `None` for all others.
pub(super) fn answer(
    state: &Arc<EmulatorState>,
    peer: SocketAddr,
    parts: &Parts,
    body: &Bytes,
) -> Option<Answer> {
    let path = parts.uri.path().strip_prefix("/_emulator/")?;
    if !peer.ip().is_loopback() {
        return Some(Answer::unknown_operation());
    }
    let answer = match (&parts.method, path) {
        (_, "faults") if !state.config.allow_faults => {
            Err(KvsError::denied("AccessDeniedException", "faults are off; start with allow_faults"))
        }
        (&Method::POST, "faults") => plan(state, body),
        (&Method::GET, "faults") => Ok(json(state.plan().to_json())),
        (&Method::DELETE, "faults") => {
            state.plan().clear();
            Ok(json("{}"))
        }
        (&Method::GET, "requests") => Ok(json(state.counters().to_json())),
        (&Method::DELETE, "requests") => {
            *state.counters() = Default::default();
            Ok(json("{}"))
        }
        (&Method::GET, "health") => Ok(json("{}")),
        (&Method::GET, "credentials") => Ok(credentials::container(state)),
        (&Method::DELETE, "credentials") => {
            state.expire_keys();
            Ok(json("{}"))
        }
        (&Method::DELETE, "sessions") => {
            state.expire_sessions(None);
            Ok(json("{}"))
        }
        (&Method::POST, "endpoint") => move_endpoint(state, body),
        (&Method::POST, path) => match path.strip_prefix("streams/") {
            Some(name) => change(state, name, body),
            None => Err(KvsError::not_found("no such thing")),
        },
        _ => Err(KvsError::not_found("no such thing")),
    };
    Some(answer.unwrap_or_else(|error| error.answer()))
}

fn json(text: impl Into<Bytes>) -> Answer {
    Answer::bytes("application/json", text)
}

fn plan(state: &EmulatorState, body: &Bytes) -> Result<Answer, KvsError> {
    let rules: Vec<FaultRule> = match body.first() {
        Some(b'[') => read(body)?,
        _ => vec![read(body)?],
    };
    for rule in &rules {
        if rule.operation != "*" && !Operation::is_name(&rule.operation) {
            return Err(KvsError::invalid(format!("no operation is named '{}'", rule.operation)));
        }
        if let Fault::Status { status, .. } | Fault::Raw { status, .. } = rule.fault
            && !(200..=599).contains(&status)
        {
            return Err(KvsError::invalid("a fault's status is between 200 and 599"));
        }
    }
    let mut plan = state.plan();
    rules.into_iter().for_each(|rule| plan.add(rule));
    Ok(json(plan.to_json()))
}

/// The body of `POST endpoint`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Endpoint {
    /// Any URL, also of a host that does not exist.
    url: Option<String>,
}

/// Sets the URL that GetDataEndpoint returns. Without one the data plane moves to another port.
fn move_endpoint(state: &Arc<EmulatorState>, body: &Bytes) -> Result<Answer, KvsError> {
    let endpoint: Endpoint = read(body)?;
    match endpoint.url {
        Some(url) => state.endpoint.set(url),
        None if state.config.separate_data_plane => {
            state
                .endpoint
                .move_to_new_port(state.config.listen.ip())
                .map_err(|e| KvsError::new(500, "InternalFailure", e.to_string()))?;
        }
        None => return Err(KvsError::invalid("the data plane moves only if separate_data_plane is set")),
    }
    Ok(Answer::json(&Json::object([("DataEndpoint", Json::Text(state.endpoint.url()))])))
}

/// Changes to a stream. Times are seconds since 1970.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// `paused`: the camera stops recording; `running`: it records again; `deleted`: the stream is deleted.
    state: Option<String>,
    /// A time in which the camera does not record, in the past or the future.
    gap: Option<TimeSpan>,
    /// Footage of a gap that is uploaded from `at` on; from now on if absent.
    backfill: Option<BackfillChange>,
    retention_hours: Option<u64>,
    tags: Option<BTreeMap<String, String>>,
    /// When the codec settings change.
    codec_change_at: Option<f64>,
    /// How much the latency varies; less than 2048.
    jitter_millis: Option<u64>,
    /// Whether the producer sends sound: `false` is sound "none", `true` "aac" if it was "none".
    audio: Option<bool>,
    /// Fields of the producer (`Producer`) that change; the others stay. It applies to everything that the
    /// camera recorded, so it makes another archive of the stream.
    producer: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeSpan {
    from: f64,
    to: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackfillChange {
    from: f64,
    to: f64,
    at: Option<f64>,
}

fn change(state: &EmulatorState, name: &str, body: &Bytes) -> Result<Answer, KvsError> {
    let change: Change = read(body)?;
    let mut streams = state.named(name);
    if streams.is_empty() && change.state.as_deref() == Some("running") {
        // A stream that replaces a deleted one is another stream: its ARN has another creation time.
        streams.push(state.create(name, now()));
    }
    if streams.is_empty() {
        return Err(KvsError::no_stream());
    }
    for stream in streams {
        let mut stream = (*stream).clone();
        let archive = &mut stream.archive;
        match change.state.as_deref() {
            Some("deleted") => {
                state.delete(name);
                return Ok(json("{}"));
            }
            Some("paused") if !archive.gaps.iter().any(|gap| gap.1 == Millis::MAX) => {
                archive.gaps.push((now(), Millis::MAX));
            }
            Some("running") => {
                archive.gaps.iter_mut().filter(|gap| gap.1 == Millis::MAX).for_each(|gap| gap.1 = now());
            }
            Some("paused") | None => {}
            Some(other) => return Err(KvsError::invalid(format!("no state is named '{other}'"))),
        }
        if let Some(TimeSpan { from, to }) = change.gap {
            archive.gaps.push((millis(from), millis(to)));
        }
        if let Some(BackfillChange { from, to, at }) = change.backfill {
            let at = at.map_or_else(now, millis);
            archive.backfills.push(Backfill { from: millis(from), to: millis(to), at });
        }
        if let Some(at) = change.codec_change_at {
            archive.codec_changes.push(millis(at));
            archive.codec_changes.sort_unstable();
        }
        archive.retention_hours = change.retention_hours.unwrap_or(archive.retention_hours);
        archive.jitter = change.jitter_millis.unwrap_or(archive.jitter);
        stream.tags = change.tags.clone().unwrap_or(stream.tags);
        stream.archive.producer = producer(&stream.archive.producer, &change)?;
        state.put(stream);
    }
    if change.producer.is_some() {
        // It applies to footage that sessions have listed: what they said of it is not true any more.
        state.expire_sessions(Some(name));
    }
    Ok(json("{}"))
}

/// The producer after a change.
fn producer(before: &Producer, change: &Change) -> Result<Producer, KvsError> {
    let mut producer = *before;
    if let Some(changes) = &change.producer {
        let invalid = |e: serde_json::Error| KvsError::invalid(format!("producer: {e}"));
        let mut fields = serde_json::to_value(before).map_err(invalid)?;
        if let Some(fields) = fields.as_object_mut() {
            fields.extend(changes.clone());
        }
        producer = serde_json::from_value(fields).map_err(invalid)?;
    }
    match change.audio {
        Some(false) => producer.sound = SoundCodec::None,
        Some(true) if producer.sound == SoundCodec::None => producer.sound = SoundCodec::Aac,
        _ => {}
    }
    Ok(producer)
}

fn millis(seconds: f64) -> Millis {
    (seconds * 1000.0).round() as Millis
}

fn read<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, KvsError> {
    serde_json::from_slice(body).map_err(|e| KvsError::invalid(e.to_string()))
}
