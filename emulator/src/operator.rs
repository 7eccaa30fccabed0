//! What tests and operators tell the emulator, under `/_emulator/`: only from loopback, and unknown to
//! players.
//!
//! | Request | Does |
//! |---|---|
//! | `POST faults` | adds a rule, or a list of rules, to the fault plan (`faults`); needs `allow_faults` |
//! | `GET faults`, `DELETE faults` | shows the plan with what it has done; clears it |
//! | `GET requests`, `DELETE requests` | shows the ledger (`ledger`); starts it anew |
//! | `POST streams/{name}` | changes a camera: see `Change` |
//! | `DELETE sessions` | all playback sessions have expired |
//! | `GET credentials` | temporary credentials, as a container gets them (`credentials`) |
//! | `DELETE credentials` | all temporary credentials have expired |
//! | `POST endpoint` | `{"url": …}`: what GetDataEndpoint answers; `{}`: the data plane takes another port |
//! | `GET health` | 200 |

use super::answer::{Answer, Refusal};
use super::archive::Backfill;
use super::clock::{Millis, now};
use super::credentials;
use super::faults::{Fault, Rule};
use super::json::Json;
use super::media::Producer;
use super::operation::Operation;
use super::world::World;
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Answers what is for the operator; `None` is for everybody else.
pub(super) fn answer(world: &Arc<World>, peer: SocketAddr, parts: &Parts, body: &Bytes) -> Option<Answer> {
    let path = parts.uri.path().strip_prefix("/_emulator/")?;
    if !peer.ip().is_loopback() {
        return Some(Answer::unknown_operation());
    }
    let answer = match (&parts.method, path) {
        (_, "faults") if !world.config.allow_faults => {
            Err(Refusal::denied("AccessDeniedException", "faults are off; start with allow_faults"))
        }
        (&Method::POST, "faults") => plan(world, body),
        (&Method::GET, "faults") => Ok(json(world.plan().to_json())),
        (&Method::DELETE, "faults") => {
            world.plan().clear();
            Ok(json("{}"))
        }
        (&Method::GET, "requests") => Ok(json(world.ledger().to_json())),
        (&Method::DELETE, "requests") => {
            *world.ledger() = Default::default();
            Ok(json("{}"))
        }
        (&Method::GET, "health") => Ok(json("{}")),
        (&Method::GET, "credentials") => Ok(credentials::container(world)),
        (&Method::DELETE, "credentials") => {
            world.expire_keys();
            Ok(json("{}"))
        }
        (&Method::DELETE, "sessions") => {
            world.expire_sessions(None);
            Ok(json("{}"))
        }
        (&Method::POST, "endpoint") => move_endpoint(world, body),
        (&Method::POST, path) => match path.strip_prefix("streams/") {
            Some(name) => change(world, name, body),
            None => Err(Refusal::not_found("no such thing")),
        },
        _ => Err(Refusal::not_found("no such thing")),
    };
    Some(answer.unwrap_or_else(|refusal| refusal.answer()))
}

fn json(text: impl Into<Bytes>) -> Answer {
    Answer::bytes("application/json", text)
}

fn plan(world: &World, body: &Bytes) -> Result<Answer, Refusal> {
    let rules: Vec<Rule> = match body.first() {
        Some(b'[') => read(body)?,
        _ => vec![read(body)?],
    };
    for rule in &rules {
        if rule.operation != "*" && !Operation::is_name(&rule.operation) {
            return Err(Refusal::invalid(format!("no operation is named '{}'", rule.operation)));
        }
        if let Fault::Status { status, .. } | Fault::Raw { status, .. } = rule.fault
            && !(200..=599).contains(&status)
        {
            return Err(Refusal::invalid("a fault's status is between 200 and 599"));
        }
    }
    let mut plan = world.plan();
    rules.into_iter().for_each(|rule| plan.add(rule));
    Ok(json(plan.to_json()))
}

/// Where GetDataEndpoint sends clients from now on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Endpoint {
    /// Anywhere, such as a host that does not exist.
    url: Option<String>,
}

/// To another URL, or, with none given, the data plane itself moves to another port and its old one is
/// closed.
fn move_endpoint(world: &Arc<World>, body: &Bytes) -> Result<Answer, Refusal> {
    let endpoint: Endpoint = read(body)?;
    match endpoint.url {
        Some(url) => world.endpoint.set(url),
        None if world.config.separate_data_plane => {
            world
                .endpoint
                .move_to_new_port(world.config.listen.ip())
                .map_err(|e| Refusal::new(500, "InternalFailure", e.to_string()))?;
        }
        None => return Err(Refusal::invalid("the data plane moves only if separate_data_plane is set")),
    }
    Ok(Answer::json(&Json::object([("DataEndpoint", Json::Text(world.endpoint.url()))])))
}

/// What may be changed about a stream. Times are seconds since the epoch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// `paused`: the camera records no more; `running`: it does again; `deleted`: the stream is gone.
    state: Option<String>,
    /// The camera was away, or will be.
    gap: Option<Span>,
    /// Footage of a time when the camera was away arrives, from `at` (or now) on.
    backfill: Option<Late>,
    retention_hours: Option<u64>,
    tags: Option<BTreeMap<String, String>>,
    /// From then on the camera records with other codec settings.
    codec_change_at: Option<f64>,
    /// How much its latency varies, below 2048.
    jitter_millis: Option<u64>,
    /// Whether it has a track of sound.
    audio: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    from: f64,
    to: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Late {
    from: f64,
    to: f64,
    at: Option<f64>,
}

fn change(world: &World, name: &str, body: &Bytes) -> Result<Answer, Refusal> {
    let change: Change = read(body)?;
    let mut streams = world.named(name);
    if streams.is_empty() && change.state.as_deref() == Some("running") {
        // A stream of a name that was deleted is another stream: its ARN has another creation time.
        streams.push(world.create(name, now()));
    }
    if streams.is_empty() {
        return Err(Refusal::no_stream());
    }
    for stream in streams {
        let mut stream = (*stream).clone();
        let archive = &mut stream.archive;
        match change.state.as_deref() {
            Some("deleted") => {
                world.delete(name);
                return Ok(json("{}"));
            }
            Some("paused") if !archive.gaps.iter().any(|gap| gap.1 == Millis::MAX) => {
                archive.gaps.push((now(), Millis::MAX));
            }
            Some("running") => {
                archive.gaps.iter_mut().filter(|gap| gap.1 == Millis::MAX).for_each(|gap| gap.1 = now());
            }
            Some("paused") | None => {}
            Some(other) => return Err(Refusal::invalid(format!("no state is named '{other}'"))),
        }
        if let Some(Span { from, to }) = change.gap {
            archive.gaps.push((millis(from), millis(to)));
        }
        if let Some(Late { from, to, at }) = change.backfill {
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
        stream.producer = match change.audio {
            Some(true) => Producer::VideoAndAudio,
            Some(false) => Producer::VideoOnly,
            None => stream.producer,
        };
        world.put(stream);
    }
    Ok(json("{}"))
}

fn millis(seconds: f64) -> Millis {
    (seconds * 1000.0).round() as Millis
}

fn read<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|e| Refusal::invalid(e.to_string()))
}
