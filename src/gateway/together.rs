//! JSON answers that no cache keeps, asked of KVS once for all who ask for the same at once (law 2): descriptions, pages
//! of fragments and of pictures.
//!
//! KVS allows five DescribeStream a second and stream, whatever the crowd. An answer serves for a second, which is what
//! KVS itself takes to show what was just written (`KVS.md` 4.2). A failure serves those who waited for it, and nobody later.

use super::error::Error;
use super::record::Record;
use super::{Ask, Gateway};
use crate::kvs::{Call, Operation};
use crate::upstream;
use bytes::Bytes;
use moka::future::Cache;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(1);
/// Bytes of all answers together.
const MOST: u64 = 64 << 20;
/// The longest JSON answer that is read whole: 25 images of 6 MiB never come near it in practice.
const LONGEST: usize = 160 << 20;

/// What was answered a moment ago, or is about to be: by entry, call, and the request as KVS is sent it. No user.
#[derive(Clone)]
pub struct Together {
    answers: Cache<Key, Bytes>,
}

type Key = (Arc<str>, Operation, Bytes);

impl Default for Together {
    fn default() -> Self {
        let answers = Cache::builder()
            .max_capacity(MOST)
            .weigher(|key: &Key, answer: &Bytes| {
                u32::try_from(key.2.len() + answer.len()).unwrap_or(u32::MAX)
            })
            .time_to_live(FRESH)
            .build();
        Self { answers }
    }
}

impl Gateway {
    /// Asks KVS, or joins somebody who does, and notes on the record what came of it.
    pub(super) async fn ask_together(
        &self,
        ask: &Ask<'_>,
        call: &Call,
        record: &mut Record,
    ) -> Result<Bytes, Error> {
        let located = ask.located()?;
        let key = (located.entry.clone(), call.operation(), call.body());
        let (payer, principal, started) = (ask.payer()?, ask.caller().principal(), Instant::now());
        let mut asked = None;
        let answer = self
            .together
            .answers
            .try_get_with(key, async {
                let calling = self.upstream.call(located, call, &principal);
                let answer = payer.ask(upstream::points(call), calling).await?;
                asked = Some((answer.attempts, answer.request_id.clone()));
                let body = answer.bytes(LONGEST).await;
                body.map_err(|broken| upstream::Error::BrokenAnswer(broken.to_string()))
            })
            .await;
        match asked {
            Some((attempts, request_id)) => {
                record.attempts += attempts;
                record.upstream_request_id = request_id;
                record.upstream_millis = u64::try_from(started.elapsed().as_millis()).ok();
            }
            None if answer.is_ok() => record.cache = "collapsed",
            None => {}
        }
        answer.map_err(Error::Upstream)
    }
}
