//! The control plane: GetDataEndpoint, DescribeStream, ListStreams, ListTagsForStream (docs/KVS.md 2).

use super::call::Call;
use crate::answer::{Answer, KvsError};
use crate::json::Json;
use crate::members::{is_name_char, missing};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const API_NAMES: [&str; 8] = [
    "PUT_MEDIA",
    "GET_MEDIA",
    "LIST_FRAGMENTS",
    "GET_MEDIA_FOR_FRAGMENT_LIST",
    "GET_HLS_STREAMING_SESSION_URL",
    "GET_DASH_STREAMING_SESSION_URL",
    "GET_CLIP",
    "GET_IMAGES",
];
/// Requests per second and stream, and per account.
const STREAM_RATE: f64 = 5.0;
const ACCOUNT_RATE: f64 = 300.0;
const LIST_RATE: f64 = 50.0;
/// The page of ListStreams as observed: 10 by default, at most 1000.
const PAGE: usize = 10;
const LARGEST_PAGE: usize = 1000;

pub(super) fn get_data_endpoint(call: &Call<'_>) -> Result<Answer, KvsError> {
    call.members.choice("APIName", &API_NAMES)?.ok_or_else(|| missing("aPIName"))?;
    let stream = call.stream()?;
    charge(call, "GetDataEndpoint", &stream.name)?;
    Ok(Answer::json(&Json::object([("DataEndpoint", Json::Text(call.state.endpoint.url()))])))
}

pub(super) fn describe_stream(call: &Call<'_>) -> Result<Answer, KvsError> {
    let stream = call.stream()?;
    charge(call, "DescribeStream", &stream.name)?;
    Ok(Answer::json(&Json::object([("StreamInfo", stream.describe())])))
}

pub(super) fn list_tags_for_stream(call: &Call<'_>) -> Result<Answer, KvsError> {
    let stream = call.stream()?;
    charge(call, "ListTagsForStream", &stream.name)?;
    let tags = stream.tags.iter().map(|(name, value)| (name.clone(), Json::text(value))).collect();
    Ok(Answer::json(&Json::object([("NextToken", Json::Null), ("Tags", Json::Map(tags))])))
}

pub(super) fn list_streams(call: &Call<'_>) -> Result<Answer, KvsError> {
    let asked = call.members.integer("MaxResults", 1, 10_000)?;
    let page = asked.map_or(PAGE, |asked| usize::try_from(asked).unwrap_or(LARGEST_PAGE).min(LARGEST_PAGE));
    let base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    let token = call.members.text("NextToken", (0, 1024), base64)?.filter(|token| !token.is_empty());
    let after = token.map(name_of).transpose()?;
    let prefix = match call.members.inner("StreamNameCondition")? {
        Some(condition) => {
            condition.choice("ComparisonOperator", &["BEGINS_WITH"])?;
            condition.text("ComparisonValue", (1, 256), is_name_char)?
        }
        None => None,
    };
    if !call.state.take(&format!("ListStreams/{}", call.tenant.0), LIST_RATE, 1.0) {
        return Err(KvsError::limit("Limit exceeded on number of requests for ListStreams API"));
    }
    let mut streams = call.state.streams(call.tenant);
    streams.retain(|stream| {
        let later = after.as_ref().is_none_or(|after| stream.name > *after);
        later && prefix.is_none_or(|prefix| stream.name.starts_with(prefix))
    });
    let more = streams.len() > page;
    streams.truncate(page);
    let next = streams.last().filter(|_| more).map(|last| STANDARD.encode(&last.name));
    Ok(Answer::json(&Json::object([
        ("NextToken", Json::maybe(next)),
        ("StreamInfoList", Json::List(streams.iter().map(|stream| stream.describe()).collect())),
    ])))
}

/// The name in a token; the next page begins after it.
fn name_of(token: &str) -> Result<String, KvsError> {
    let bytes = STANDARD.decode(token).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| KvsError::invalid("The NextToken is not valid."))
}

fn charge(call: &Call<'_>, api: &str, stream: &str) -> Result<(), KvsError> {
    call.charge_rate(api, stream, STREAM_RATE)?;
    if call.state.take(&format!("{api}/{}", call.tenant.0), ACCOUNT_RATE, 1.0) {
        return Ok(());
    }
    Err(KvsError::limit(format!("Limit exceeded on number of requests for {api} API")))
}
