//! (being built) MKV.
use crate::net::body::{Broken, ByteStream};

#[allow(dead_code)]
pub(super) enum Refusal {
    NotFound(String),
    Broken(Broken),
}

pub(super) async fn checked(body: ByteStream) -> Result<ByteStream, Refusal> {
    Ok(body)
}
