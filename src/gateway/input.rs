//! Reading a request's body: bounded in size and time.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body;
use http_body_util::BodyExt;
use std::time::Duration;

/// How large and how slow a request's body may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In bytes.
    pub size: usize,
    /// From head to end.
    pub total: Duration,
    /// Between two chunks.
    pub idle: Duration,
}

/// A body that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More bytes than allowed.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// It did not arrive in time.
    #[error("the request body did not arrive within {0:?}")]
    Late(Duration),
    /// The connection broke, or the framing is wrong.
    #[error("the request body ended early")]
    Broken,
}

impl Error {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a whole body.
///
/// # Errors
/// Too large, too late, or broken.
pub async fn read<B>(mut body: B, limits: Limits) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > limits.size as u64 {
        return Err(Error::TooLarge(limits.size));
    }
    let all = async {
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        while let Some(frame) =
            tokio::time::timeout(limits.idle, body.frame()).await.map_err(|_| Error::Late(limits.idle))?
        {
            let Ok(chunk) = frame.map_err(|_| Error::Broken)?.into_data() else { continue };
            let so_far = first.as_ref().map_or(0, Bytes::len) + rest.len();
            if so_far + chunk.len() > limits.size {
                return Err(Error::TooLarge(limits.size));
            }
            match &first {
                None => first = Some(chunk),
                Some(_) => rest.extend_from_slice(&chunk),
            }
        }
        Ok(match first {
            None => Bytes::new(),
            Some(first) if rest.is_empty() => first,
            Some(first) => [first.as_ref(), rest.as_ref()].concat().into(),
        })
    };
    tokio::time::timeout(limits.total, all).await.map_err(|_| Error::Late(limits.total))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    const LIMITS: Limits = Limits { size: 8, total: Duration::from_secs(15), idle: Duration::from_secs(5) };

    #[tokio::test(start_paused = true)]
    async fn bodies_are_bounded_in_size_and_time() {
        assert_eq!(read(Full::new(Bytes::from_static(b"12345678")), LIMITS).await.unwrap(), "12345678");
        let large = Full::new(Bytes::from_static(b"123456789"));
        assert_eq!(read(large, LIMITS).await, Err(Error::TooLarge(8)));
        assert_eq!(read(Silent, LIMITS).await, Err(Error::Late(LIMITS.idle)));
    }

    struct Silent;
    impl Body for Silent {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }
}
