//! DescribeStream and ListTagsForStream: what a stream is, and what policies may read of it.

use super::behalf::OnBehalfOf;
use super::call::json;
use super::client::{Located, Upstream, UpstreamState};
use super::descriptions::{BRIEFLY, Description, GRACE, Tags, Validity, Work};
use super::entry::AwsEntry;
use super::error::Error;
use super::metrics::LIST_TAGS;
use super::pages::Pages;
use super::quota::cost::Cost;
use super::request::{Destination, KvsRequest};
use super::shared_answers::{Aged, SharedAnswerName};
use crate::kvs::operations::DescribeStream;
use crate::kvs::{Call, StreamArn, StreamRef, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

/// Pages of tags; KVS allows 50 tags.
const TAG_PAGES: usize = 10;

/// The account of the caller is overdrawn, so KVS is not called.
fn overdrawn<V: Send + 'static>() -> Work<Result<Aged<V>, Error>> {
    Box::pin(async { Err(Error::Busy { retry_after: BRIEFLY, what: "caller's" }) })
}

impl Upstream {
    /// What a stream is, requested once for all callers. `principal` is called only if KVS must be: it takes
    /// the turn under the quotas.
    ///
    /// # Errors
    /// KVS's, when nothing is remembered.
    pub async fn describe(
        &self,
        located: &Located,
        principal: impl FnOnce() -> Arc<str>,
    ) -> Result<Arc<Description>, Error> {
        let inner = &self.0;
        let entry = self.entry(located)?;
        let key = (entry.name.clone(), located.stream.clone());
        let validity = Validity { ttl: inner.config.describe_ttl.0, grace: None, keeps_trouble: false };
        let work = || inner.clone().describe(entry, &located.stream, &principal());
        inner.descriptions.streams.get(key, validity, work).await
    }

    /// The same to decide by: not much older than `describe_ttl`, whether KVS answers or not.
    /// `on_behalf_of` is called only if KVS must be; without a party to call it for, the answer is
    /// [`Error::Busy`].
    ///
    /// # Errors
    /// KVS's.
    pub async fn identify(
        &self,
        located: &Located,
        on_behalf_of: impl FnOnce() -> Option<OnBehalfOf>,
    ) -> Result<Arc<Description>, Error> {
        let inner = &self.0;
        let entry = self.entry(located)?;
        let key = (entry.name.clone(), located.stream.clone());
        let ttl = inner.config.describe_ttl.0;
        let validity = Validity { ttl, grace: Some(GRACE), keeps_trouble: false };
        let work = || match on_behalf_of() {
            Some(party) => {
                party.charge(1);
                inner.clone().describe(entry, &located.stream, party.principal())
            }
            None => overdrawn(),
        };
        inner.descriptions.streams.get(key, validity, work).await
    }

    /// A stream's tags, to decide by; `on_behalf_of` as in [`Upstream::identify`].
    ///
    /// # Errors
    /// KVS's, when nothing is remembered, or nothing that may still decide.
    pub async fn tags(
        &self,
        located: &Located,
        on_behalf_of: impl FnOnce() -> Option<OnBehalfOf>,
    ) -> Result<Arc<Tags>, Error> {
        let inner = &self.0;
        let entry = self.entry(located)?;
        let key = (entry.name.clone(), located.stream.clone());
        let ttl = inner.config.describe_ttl.0;
        let validity = Validity { ttl, grace: Some(GRACE), keeps_trouble: true };
        let work = || match on_behalf_of() {
            Some(party) => {
                party.charge(1);
                inner.clone().tags(entry, &located.stream, party.principal())
            }
            None => overdrawn(),
        };
        inner.descriptions.tags.get(key, validity, work).await
    }
}

impl UpstreamState {
    fn describe(
        self: Arc<Self>,
        entry: &Arc<AwsEntry>,
        stream: &StreamRef,
        principal: &str,
    ) -> Work<Result<Aged<Arc<Description>>, Error>> {
        let (entry, stream, principal) = (Arc::clone(entry), stream.clone(), Arc::<str>::from(principal));
        Box::pin(async move {
            let ask = self.clone().ask_for_description(entry.clone(), stream.clone(), principal);
            let text = stream_text(&stream);
            let name = SharedAnswerName { entry: &entry.name, stream: &text, api: "about" };
            let found = self.answers.get(name, self.config.describe_ttl.0, 0, ask).await?;
            entry.learn(&found.value.arn);
            Ok(found)
        })
    }

    fn ask_for_description(
        self: Arc<Self>,
        entry: Arc<AwsEntry>,
        stream: StreamRef,
        principal: Arc<str>,
    ) -> Work<Result<Arc<Description>, Error>> {
        Box::pin(async move {
            let call = Call::DescribeStream(DescribeStream { stream: stream.clone() });
            let json =
                json(self.ask(&entry, &KvsRequest::of_call(&self.config, &call, &principal)).await?).await?;
            let description = json
                .get("StreamInfo")
                .and_then(read)
                .filter(|found| found.arn.name() == stream.name())
                .ok_or_else(|| Error::BrokenAnswer("DescribeStream gave no description".into()))?;
            Ok(Arc::new(description))
        })
    }

    fn tags(
        self: Arc<Self>,
        entry: &Arc<AwsEntry>,
        stream: &StreamRef,
        principal: &str,
    ) -> Work<Result<Aged<Arc<Tags>>, Error>> {
        let (entry, stream, principal) = (Arc::clone(entry), stream.clone(), Arc::<str>::from(principal));
        Box::pin(async move {
            let ask = self.clone().ask_for_tags(entry.clone(), stream.clone(), principal);
            let text = stream_text(&stream);
            let name = SharedAnswerName { entry: &entry.name, stream: &text, api: "tags" };
            self.answers.get(name, self.config.describe_ttl.0, 0, ask).await
        })
    }

    fn ask_for_tags(
        self: Arc<Self>,
        entry: Arc<AwsEntry>,
        stream: StreamRef,
        principal: Arc<str>,
    ) -> Work<Result<Arc<Tags>, Error>> {
        Box::pin(async move {
            let mut tags = Tags::new();
            let (mut pages, mut next) = (Pages::at_most(TAG_PAGES), None);
            loop {
                let request = self.tags_page(&stream, &principal, next.as_deref());
                let json = json(self.ask(&entry, &request).await?).await?;
                let page = json.get("Tags").and_then(Value::as_object);
                tags.extend(
                    page.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))),
                );
                next = pages.after(&json)?;
                if next.is_none() {
                    return Ok(Arc::new(tags));
                }
            }
        })
    }

    fn tags_page(&self, stream: &StreamRef, principal: &str, next: Option<&str>) -> KvsRequest {
        let mut body = match stream {
            StreamRef::Name(name) => json!({"StreamName": name.as_str()}),
            StreamRef::Arn(arn) => json!({"StreamARN": arn.as_str()}),
        };
        if let Some(token) = next {
            body["NextToken"] = token.into();
        }
        let model = Call::DescribeStream(DescribeStream { stream: stream.clone() });
        KvsRequest {
            api: LIST_TAGS,
            destination: Destination::Control { path: "/listTagsForStream" },
            body: body.to_string().into(),
            cost: Cost::of_tags(),
            ..KvsRequest::of_call(&self.config, &model, principal)
        }
    }
}

/// What names a stream among shared answers: the name or the ARN, as it is asked for.
fn stream_text(stream: &StreamRef) -> String {
    match stream {
        StreamRef::Name(name) => name.as_str().to_owned(),
        StreamRef::Arn(arn) => arn.as_str().to_owned(),
    }
}

/// Reads `StreamInfo`, tolerant of nulls, E-notation and members that no model knows (docs/KVS.md 2.2).
fn read(info: &Value) -> Option<Description> {
    let text = |member: &str| info.get(member).and_then(Value::as_str);
    let hours = info.get("DataRetentionInHours").and_then(Value::as_f64).unwrap_or(0.0);
    Some(Description {
        arn: StreamArn::parse(text("StreamARN")?).ok()?,
        status: text("Status").unwrap_or("ACTIVE").to_owned(),
        retention_hours: hours.clamp(0.0, f64::from(u32::MAX)) as u32,
        media_type: text("MediaType").map(str::to_owned),
        created: info
            .get("CreationTime")
            .and_then(Value::as_f64)
            .and_then(|seconds| Timestamp::from_seconds(seconds).ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_answer_is_understood() {
        let body = "{\"CreationTime\":1.720751492346E9,\"DataRetentionInHours\":24,\"DeviceName\":null,\
            \"IngestionConfiguration\":null,\
            \"KmsKeyId\":\"arn:aws:kms:us-east-1:111122223333:alias/aws/kinesisvideo\",\
            \"MediaType\":\"video/h264\",\"Status\":\"ACTIVE\",\
            \"StreamARN\":\"arn:aws:kinesisvideo:us-east-1:111122223333:stream/cam-1/1720751492346\",\
            \"StreamName\":\"cam-1\",\"Version\":\"davN9FKg4vjyKdCSs0f4\"}";
        let found = read(&serde_json::from_str(body).unwrap()).unwrap();
        assert_eq!((found.retention_hours, found.status.as_str()), (24, "ACTIVE"));
        assert_eq!(found.arn.name().as_str(), "cam-1");
        assert_eq!(found.created.unwrap().millis(), 1_720_751_492_346);
        assert!(read(&json!({"StreamARN": null})).is_none());
    }
}
