//! The playback resources: unsigned GETs whose session token is the credential (docs/KVS.md 5).

mod dash;
mod hls;
mod play;

use crate::answer::{Answer, Refusal};
use crate::clock::Millis;
use crate::operation::Operation;
use crate::session::{Protocol, Session, is_token};
use crate::world::World;
use play::{Play, Query, no_fragments, value};
use std::sync::Arc;

/// The session that a query's token names, expired or not.
pub(super) fn session(world: &World, query: &Query) -> Result<Arc<Session>, Refusal> {
    let token =
        value(query, "SessionToken").ok_or_else(|| Refusal::invalid("SessionToken must be specified."))?;
    if !is_token(token) {
        return Err(Refusal::invalid("The session token is not valid."));
    }
    world.session(token).ok_or_else(|| not_authorized("The session token is not valid."))
}

/// What an expired session answers.
pub(super) fn expired() -> Refusal {
    not_authorized("Streaming session token is expired")
}

fn not_authorized(message: &str) -> Refusal {
    Refusal::new(403, "NotAuthorizedException", message)
}

/// Answers a player.
pub(super) fn answer(
    world: &World,
    operation: Operation,
    session: &Session,
    query: &Query,
    no_data: bool,
    now: Millis,
) -> Result<Answer, Refusal> {
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
    if !world.take(&format!("{}/{}", session.token, operation.name()), rate, 1.0) {
        return Err(Refusal::limit(format!("Rate exceeded for {} in this session.", operation.name())));
    }
    let stream = world.stream(&session.tenant, &session.stream)?;
    if no_data {
        return Err(no_fragments());
    }
    let sequence_numbers = world.config.init_sequence_number;
    let play = Play { session, stream: &stream, query, now, sequence_numbers };
    let points = session.parameters.max_results;
    match operation {
        GetHLSMasterPlaylist => hls::master(&play),
        GetHLSMediaPlaylist => {
            world.charge_points(&stream, points, 0)?;
            hls::media(&play)
        }
        GetDASHManifest => {
            world.charge_points(&stream, points, 0)?;
            dash::manifest(&play)
        }
        GetMP4InitFragment(_) => play.init(),
        GetMP4MediaFragment(_) => {
            world.charge_points(&stream, 0, 1)?;
            play.media_fragment()
        }
        GetTSFragment => {
            world.charge_points(&stream, 0, 1)?;
            play.transport_stream()
        }
        _ => Ok(Answer::unknown_operation()),
    }
}
