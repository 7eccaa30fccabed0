//! Shifts the times of a fragment while it passes, onto the timeline of its playlist or manifest; see
//! `playback::mp4`.
//!
//! The head of the fragment, some hundred bytes, is held back until it is complete. The rest passes as it
//! comes.

use crate::net::body::{Broken, ByteStream};
use crate::playback::mp4;
use crate::upstream::{Answer, Error};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The same answer with `by(t, l)` ticks added to its times, where `t` is the time that it begins with, and
/// `l` how long it lasts, if its head says so.
///
/// # Errors
/// It broke before its head was complete, or is not a fragment whose times can be shifted.
pub(super) async fn shift_timestamps(
    mut answer: Answer,
    by: impl FnOnce(u64, Option<u64>) -> u64,
) -> Result<Answer, Error> {
    let broken = |why: String| Error::BrokenAnswer(why);
    let mut held = BytesMut::new();
    let end = loop {
        if let Some(end) = mp4::head(&held).map_err(|error| broken(error.to_string()))? {
            break end;
        }
        let frame = answer.body.frame().await;
        let frame = frame.ok_or_else(|| broken("a fragment ended ahead of its media".to_owned()))?;
        if let Ok(bytes) = frame.map_err(|error| broken(error.to_string()))?.into_data() {
            held.extend_from_slice(&bytes);
        }
    };
    let held = held.freeze();
    let own = mp4::time(&held[..end]).map_err(|error| broken(error.to_string()))?;
    let head = mp4::moved(&held[..end], by(own, mp4::length(&held[..end])))
        .map_err(|error| broken(error.to_string()))?;
    // Times of 64 bits may take more room, and an index that cannot hold ours is left out.
    answer.length = answer.length.map(|length| length.saturating_sub(end as u64) + head.len() as u64);
    answer.body =
        Following { ahead: [Some(head.into()), Some(held.slice(end..))], rest: answer.body }.boxed_unsync();
    Ok(answer)
}

/// The bytes that were held back, and then the rest.
struct Following {
    ahead: [Option<Bytes>; 2],
    rest: ByteStream,
}

impl Body for Following {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let ahead = self.ahead.iter_mut().find_map(|bytes| bytes.take().filter(|bytes| !bytes.is_empty()));
        match ahead {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.iter().flatten().all(Bytes::is_empty) && self.rest.is_end_stream()
    }
}
