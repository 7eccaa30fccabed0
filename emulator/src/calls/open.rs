//! GetHLSStreamingSessionURL and GetDASHStreamingSessionURL: check the parameters, open a session and make
//! its token (docs/KVS.md 4.6, 4.7, 5.1).

use super::call::{Call, unsupported};
use crate::answer::{Answer, KvsError};
use crate::archive::{Fragment, Selector};
use crate::json::Json;
use crate::media::VideoCodec;
use crate::members::{Members, missing};
use crate::session::{Discontinuity, Mode, Parameters, Protocol, Session, mint};
use crate::stream::Stream;

/// Requests per second and stream.
const RATE: f64 = 25.0;

pub(super) fn get_hls_streaming_session_url(call: &Call<'_>) -> Result<Answer, KvsError> {
    let members = call.members;
    let container = members.choice("ContainerFormat", &["FRAGMENTED_MP4", "MPEG_TS"])?;
    let discontinuity = members.choice("DiscontinuityMode", &["ALWAYS", "NEVER", "ON_DISCONTINUITY"])?;
    let names = ProtocolNames {
        protocol: Protocol::Hls,
        api: "GetHLSStreamingSessionURL",
        selector: "HLSFragmentSelector",
        most: "MaxMediaPlaylistFragmentResults",
        path: "/hls/v1/getHLSMasterPlaylist.m3u8",
        answer: "HLSStreamingSessionURL",
    };
    open(call, &names, |parameters| {
        parameters.transport_stream = container == Some("MPEG_TS");
        parameters.discontinuity = match (discontinuity, parameters.selector) {
            (Some("ALWAYS"), _) | (None, Selector::Server) => Discontinuity::Always,
            (Some("ON_DISCONTINUITY"), _) => Discontinuity::AtJumps,
            _ => Discontinuity::Never,
        };
    })
}

pub(super) fn get_dash_streaming_session_url(call: &Call<'_>) -> Result<Answer, KvsError> {
    let numbers = call.members.choice("DisplayFragmentNumber", &["ALWAYS", "NEVER"])?;
    let names = ProtocolNames {
        protocol: Protocol::Dash,
        api: "GetDASHStreamingSessionURL",
        selector: "DASHFragmentSelector",
        most: "MaxManifestFragmentResults",
        path: "/dash/v1/getDASHManifest.mpd",
        answer: "DASHStreamingSessionURL",
    };
    open(call, &names, |parameters| parameters.show_numbers = numbers == Some("ALWAYS"))
}

/// The names in which the two calls differ.
struct ProtocolNames {
    protocol: Protocol,
    api: &'static str,
    selector: &'static str,
    most: &'static str,
    path: &'static str,
    answer: &'static str,
}

fn open(
    call: &Call<'_>,
    names: &ProtocolNames,
    adjust: impl FnOnce(&mut Parameters),
) -> Result<Answer, KvsError> {
    let members = call.members;
    let expires = members.integer("Expires", 300, 43_200)?.unwrap_or(300);
    let most = members.integer(names.most, 1, 5000)?;
    let show = members.choice("DisplayFragmentTimestamp", &["ALWAYS", "NEVER"])?;
    let kind = members.choice("PlaybackMode", &["LIVE", "LIVE_REPLAY", "ON_DEMAND"])?.unwrap_or("LIVE");
    let choice = members.inner(names.selector)?;
    let stream = call.recording_stream()?;
    let (selector, mode) = mode(call, &stream, names.selector, kind, choice)?;
    call.charge_rate(names.api, &stream.name, RATE)?;
    let mut parameters = Parameters {
        protocol: names.protocol,
        mode,
        selector,
        transport_stream: false,
        discontinuity: Discontinuity::Never,
        show_timestamps: show == Some("ALWAYS"),
        show_numbers: false,
        max_results: most.map_or(if kind == "ON_DEMAND" { 1000 } else { 5 }, |most| most as usize),
    };
    adjust(&mut parameters);
    let first = if call.no_data { None } else { parameters.first(&stream, call.now) };
    let none = || KvsError::not_found("No fragments found in the stream for the streaming request.");
    let first = first.ok_or_else(none)?;
    if names.protocol == Protocol::Hls {
        playable(&first, parameters.transport_stream)?;
    }
    let mut random = [0; 105];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| KvsError::new(500, "InternalFailure", "no randomness"))?;
    let token = mint(&random, call.state.config.canary.as_deref());
    let seconds = call.state.config.max_session_seconds.map_or(expires, |most| most.min(expires));
    let url = format!("{}{}?SessionToken={token}", call.state.endpoint.url(), names.path);
    let session = Session {
        token,
        tenant: call.tenant.clone(),
        stream: stream.name.clone(),
        created: call.now,
        expires: call.now + seconds * 1000,
        parameters,
        first,
    };
    call.state.open(session, call.now);
    Ok(Answer::json(&Json::object([(names.answer, Json::Text(url))])))
}

/// HLS takes no G.711, and MPEG_TS only H.264 (docs/KVS.md 4.8).
fn playable(first: &Fragment, transport_stream: bool) -> Result<(), KvsError> {
    if first.sound.is_g711() {
        return Err(unsupported("HLS sessions cannot have G.711."));
    }
    if transport_stream && first.video == VideoCodec::H265 {
        return Err(unsupported("HLS sessions of MPEG_TS cannot have H.265."));
    }
    Ok(())
}

/// LIVE forbids a range, ON_DEMAND requires one, LIVE_REPLAY requires a start.
fn mode(
    call: &Call<'_>,
    stream: &Stream,
    name: &str,
    kind: &str,
    choice: Option<Members<'_>>,
) -> Result<(Selector, Mode), KvsError> {
    let selector = match choice {
        Some(choice) => choice.selector("FragmentSelectorType")?,
        None => None,
    };
    let range = match choice {
        Some(choice) => choice.inner("TimestampRange")?,
        None => None,
    };
    if kind == "LIVE" {
        if range.is_some() {
            return Err(KvsError::invalid(format!("{name}.TimestampRange must not be set for LIVE.")));
        }
        return Ok((selector.unwrap_or(Selector::Server), Mode::Live));
    }
    let selector = selector.ok_or_else(|| missing(&format!("{name}.FragmentSelectorType")))?;
    let range = range.ok_or_else(|| missing(&format!("{name}.TimestampRange")))?;
    let from = range.time("StartTimestamp")?.ok_or_else(|| missing("StartTimestamp"))?;
    match range.time("EndTimestamp")? {
        None if kind == "ON_DEMAND" => Err(missing("EndTimestamp")),
        None => {
            if from >= call.now || (selector == Selector::Server && from < stream.archive.head(call.now)) {
                let message = "StartTimestamp must be in the past and later than the stream head.";
                return Err(KvsError::invalid(message));
            }
            Ok((selector, Mode::LiveReplay { from, to: None }))
        }
        Some(to) => {
            let (from, to) = call.played_range(stream, selector, (from, to))?;
            let replay = kind == "LIVE_REPLAY";
            let mode =
                if replay { Mode::LiveReplay { from, to: Some(to) } } else { Mode::OnDemand { from, to } };
            Ok((selector, mode))
        }
    }
}
