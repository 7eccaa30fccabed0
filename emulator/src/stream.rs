//! A stream: its name and ARN, its tags and retention, and what its camera recorded.

use super::archive::{Archive, Fragment, Selector};
use super::clock::Millis;
use super::json::Json;
use super::media::Producer;
use super::number::{digest, mix};
use std::collections::BTreeMap;

/// The largest change of the delay from producer time to server time within one upload.
const PASS_MILLIS: Millis = 60_000;

/// The account and the region that a stream belongs to.
pub(super) type Tenant = (String, String);

/// One stream of one account. A change replaces it as a whole.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) account: String,
    pub(super) region: String,
    /// Its creation time; part of its ARN.
    pub(super) created: Millis,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) archive: Archive,
}

impl Stream {
    /// A stream whose camera began to record at `first_recorded`. `place` varies the picture, the position in
    /// the loop and the latency.
    pub(super) fn new(name: &str, account: &str, region: &str, first_recorded: Millis, place: usize) -> Self {
        Self {
            name: name.to_owned(),
            account: account.to_owned(),
            region: region.to_owned(),
            created: first_recorded,
            tags: BTreeMap::new(),
            archive: Archive {
                seed: digest(&format!("{account}/{region}/{name}")),
                producer: Producer::default(),
                first_recorded,
                retention_hours: 24,
                latency: 137 + 53 * (place as u64 % 5),
                jitter: 0,
                gaps: Vec::new(),
                backfills: Vec::new(),
                codec_changes: Vec::new(),
                recording: place,
                loop_offset: 7 * place as u64,
            },
        }
    }

    /// `arn:aws:kinesisvideo:eu-west-1:123456789012:stream/cam-1/1720751492346`.
    pub(super) fn arn(&self) -> String {
        let partition = match self.region.split('-').next() {
            Some("cn") => "aws-cn",
            _ if self.region.starts_with("us-gov") => "aws-us-gov",
            _ => "aws",
        };
        let Self { region, account, name, created, .. } = self;
        format!("arn:{partition}:kinesisvideo:{region}:{account}:stream/{name}/{created}")
    }

    /// DescribeStream's StreamInfo, with the unmodelled member that KVS sends (docs/KVS.md 2.2).
    pub(super) fn describe(&self) -> Json {
        let key = format!("arn:aws:kms:{}:{}:alias/aws/kinesisvideo", self.region, self.account);
        let version = format!("{:016x}", mix(self.created ^ self.archive.retention_hours));
        Json::object([
            ("StreamName", Json::text(&self.name)),
            ("StreamARN", Json::text(self.arn())),
            ("DeviceName", Json::Null),
            ("IngestionConfiguration", Json::Null),
            ("MediaType", Json::text(self.archive.producer.media_type())),
            ("KmsKeyId", Json::text(key)),
            ("Version", Json::text(version)),
            ("Status", Json::text("ACTIVE")),
            ("CreationTime", Json::Time(self.created)),
            ("DataRetentionInHours", Json::Integer(self.archive.retention_hours)),
        ])
    }

    /// The fragments of a clip or a session in a range (docs/KVS.md 4.1), in the order of their starts.
    ///
    /// By server time: all that start within the range. By producer time: the fragments of the first upload
    /// only, if the range was uploaded several times; of several with equal starts the one with the largest
    /// number.
    pub(super) fn pass(&self, selector: Selector, from: Millis, to: Millis, now: Millis) -> Vec<Fragment> {
        let mut found = self.archive.range(selector, from, to, now);
        if selector == Selector::Producer {
            let drift = |a: &Fragment, b: &Fragment| {
                (b.server - a.server).saturating_sub(b.producer.saturating_sub(a.producer))
            };
            let end = found.windows(2).position(|pair| drift(&pair[0], &pair[1]) > PASS_MILLIS);
            found.truncate(end.map_or(found.len(), |last| last + 1));
            found.sort_by_key(|f| (f.producer, std::cmp::Reverse(f.number)));
            found.dedup_by_key(|f| f.producer);
        }
        found
    }

    /// The duration of each listed fragment: until the next begins, or its own length. At least one frame,
    /// also where fragments overlap.
    pub(super) fn durations(fragments: &[Fragment], selector: Selector) -> Vec<Millis> {
        use super::media::FRAME_MILLIS;
        let next = |at: usize| fragments.get(at + 1).map(|next| next.start(selector));
        let of = |(at, f): (usize, &Fragment)| match next(at) {
            // A gap does not extend the fragment before it.
            Some(next) if next < f.start(selector) + 2 * f.millis => {
                next.saturating_sub(f.start(selector)).max(FRAME_MILLIS)
            }
            _ => f.millis,
        };
        fragments.iter().enumerate().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::archive::Backfill;
    use super::*;

    const NOW: Millis = 1_700_000_000_000;

    #[test]
    fn of_two_uploads_of_one_time_the_oldest_pass_is_played() {
        let mut stream = Stream::new("cam-1", "123456789012", "eu-west-1", NOW - 90_000_000, 0);
        let (from, to) = (NOW - 7_200_000, NOW - 7_140_000);
        stream.archive.gaps.push((from, from + 30_000));
        stream.archive.backfills.push(Backfill { from, to: from + 28_672, at: NOW - 3_600_000 });
        let all = stream.archive.range(Selector::Producer, from, to, NOW);
        let played = stream.pass(Selector::Producer, from, to, NOW);
        assert!(played.len() < all.len());
        assert!(played.iter().all(|f| !f.backfilled), "what was ingested an hour later is another pass");
        assert!(played.windows(2).all(|w| w[0].producer < w[1].producer));
    }

    #[test]
    fn an_arn_has_the_shape_that_aws_documents() {
        let arn = Stream::new("cam-1", "123456789012", "us-gov-west-1", 1_720_751_492_346, 0).arn();
        assert_eq!(arn, "arn:aws-us-gov:kinesisvideo:us-gov-west-1:123456789012:stream/cam-1/1720751492346");
    }
}
