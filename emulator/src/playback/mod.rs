//! The playback resources: unsigned GETs whose session token is the credential (docs/KVS.md 5).

mod dash;
mod hls;
mod request;

use crate::answer::{Answer, KvsError};
use crate::clock::Millis;
use crate::members::TimeRange;
use crate::operation::Operation;
use crate::session::{Protocol, Session, is_token};
use crate::state::EmulatorState;
use request::{PlayerRequest, Query, no_fragments, value};
use std::sync::Arc;

/// The session of the token in a query, also if it has expired.
pub(super) fn session(state: &EmulatorState, query: &Query) -> Result<Arc<Session>, KvsError> {
    let token =
        value(query, "SessionToken").ok_or_else(|| KvsError::invalid("SessionToken must be specified."))?;
    if !is_token(token) {
        return Err(KvsError::invalid("The session token is not valid."));
    }
    state.session(token).ok_or_else(|| not_authorized("The session token is not valid."))
}

/// The error for an expired session.
pub(super) fn expired() -> KvsError {
    not_authorized("Streaming session token is expired")
}

fn not_authorized(message: &str) -> KvsError {
    KvsError::new(403, "NotAuthorizedException", message)
}

/// Answers a request of a player.
pub(super) fn answer(
    state: &EmulatorState,
    operation: Operation,
    session: &Session,
    query: &Query,
    no_data: bool,
    missing: &[TimeRange],
    now: Millis,
) -> Result<Answer, KvsError> {
    if session.expires <= now {
        return Err(expired());
    }
    use Operation::{
        GetDASHManifest, GetHLSMasterPlaylist, GetHLSMediaPlaylist, GetMP4InitFragment, GetMP4MediaFragment,
        GetTSFragment,
    };
    let (protocol, rate) = match operation {
        GetHLSMasterPlaylist | GetHLSMediaPlaylist => (Protocol::Hls, 5.0),
        GetDASHManifest => (Protocol::Dash, 5.0),
        GetMP4InitFragment(protocol) => (protocol, 5.0),
        GetMP4MediaFragment(protocol) => (protocol, 20.0),
        _ => (Protocol::Hls, 20.0),
    };
    if protocol != session.parameters.protocol {
        return Err(not_authorized("The session token is for another protocol."));
    }
    if !state.take(&format!("{}/{}", session.token, operation.name()), rate, 1.0) {
        return Err(KvsError::limit(format!("Rate exceeded for {} in this session.", operation.name())));
    }
    let stream = state.stream(&session.tenant, &session.stream)?;
    if no_data {
        return Err(no_fragments());
    }
    let sequence_numbers = state.config.init_sequence_number;
    let request = PlayerRequest { session, stream: &stream, query, now, missing, sequence_numbers };
    let points = session.parameters.max_results;
    match operation {
        GetHLSMasterPlaylist => hls::master(&request),
        GetHLSMediaPlaylist => {
            state.charge_points(&stream, points, 0)?;
            hls::media(&request)
        }
        GetDASHManifest => {
            state.charge_points(&stream, points, 0)?;
            dash::manifest(&request)
        }
        GetMP4InitFragment(_) => request.init(),
        GetMP4MediaFragment(_) => {
            state.charge_points(&stream, 0, 1)?;
            request.media_fragment()
        }
        GetTSFragment => {
            state.charge_points(&stream, 0, 1)?;
            request.transport_stream()
        }
        _ => Ok(Answer::unknown_operation()),
    }
}
