//! An operator's request to fetch footage ahead of its viewers.

use super::Gateway;
use super::read::read_page;
use super::route::{ClipFile, Page};
use crate::archive::PresentedRange;
use crate::archive::prewarm::Order;
use crate::base::clock;
use crate::kvs::operations::GetClip;
use crate::kvs::{Call, Protocol, StreamArn, StreamName, StreamRef, Timestamp};
use crate::net::query::Query;
use serde_json::Value;

impl Gateway {
    /// Reads `{"stream": name or ARN, "start": …, "end": …, "what": "clip" or "hls"}`; a clip, if it does not
    /// say what.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub fn prewarm_order(&self, request: &Value) -> Result<Order, String> {
        let now = Timestamp::from(clock::now());
        let named = text(request, "stream")?;
        let named = match named.starts_with("arn:") {
            true => StreamArn::parse(&named).map(StreamRef::Arn),
            false => StreamName::parse(&named).map(StreamRef::Name),
        };
        let named = named.map_err(|problem| format!("stream {problem}"))?;
        let stream = named.name().clone();
        let (start, end) = (text(request, "start")?, text(request, "end")?);
        let what = if request.get("what").is_some() { text(request, "what")? } else { "clip".to_owned() };
        let (what, page) = match what.as_str() {
            "clip" => ("clip", Page::Clip(stream, ClipFile::Mp4)),
            "hls" => ("hls", Page::Play { stream, protocol: Protocol::Hls, live: false }),
            _ => return Err("what must be clip or hls".to_owned()),
        };
        let query = format!("start={start}&end={end}");
        let call = read_page(&page, &Query::from(query.as_str()), now).map_err(|error| error.to_string())?;
        let (clock, range) = match call {
            Call::GetClip(GetClip { selector, .. }) => (selector.kind, selector.range),
            call => match call.session().and_then(|session| self.player.packaged.packages(session)) {
                Some(PresentedRange { clock, range, .. }) => (clock, range),
                // A session ends without viewers, and what it gave is of no use to the next one.
                None => {
                    return Err(
                        "this range is played from a session of KVS: nothing can be fetched ahead".to_owned()
                    );
                }
            },
        };
        let stream = self.upstream().locate(&named).map_err(|error| error.to_string())?;
        Ok(Order { stream, what, shown: (start, end), clock, range })
    }
}

/// A member of the request: text, or a number of seconds.
fn text(request: &Value, name: &str) -> Result<String, String> {
    match request.get(name) {
        Some(Value::String(text)) if !text.contains(['&', '%', '#']) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) => Err(format!("{name} is not what it should be")),
        None => Err(format!(
            "{name} is missing: /cache/warm?stream=NAME-or-ARN&start=…&end=…&what=clip or hls, \
             or the same as JSON"
        )),
    }
}
