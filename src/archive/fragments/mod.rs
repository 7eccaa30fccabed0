//! GetMediaForFragmentList from single fragments: those that are held come from the cache, and KVS is called
//! once for the rest (`batch`).
//!
//! The answer is KVS's: documents in the order of the request. A fragment that KVS cannot give is an error
//! answer as long as nothing has left, and a broken body after that; it is never kept.

mod assembly;
mod batch;
mod body;
mod call;

pub use batch::Batches;
pub use call::MATROSKA;

use super::{Archive, Error, Stream};
use crate::cache::{Outcome, Tier};
use crate::kvs::operations::GetMediaForFragmentList;
use crate::net::body::ByteStream;
use crate::telemetry::spans;
use crate::upstream::OnBehalfOf;
use assembly::{Assembly, Failure};
use body::Feed;
use http_body_util::BodyExt;

/// The documents of a list of fragments, on their way.
pub struct FragmentsAnswer {
    /// [`Outcome::Miss`] if KVS was called, [`Outcome::Collapsed`] if other requests fetch what was not held.
    pub outcome: Outcome,
    /// The documents, in the order of the request.
    pub body: ByteStream,
}

impl Archive {
    /// The fragments of a list.
    ///
    /// # Errors
    /// KVS refuses the call, or cannot give the first fragment.
    pub async fn fragments<E: From<Error>>(
        &self,
        stream: &Stream,
        list: &GetMediaForFragmentList,
        on_behalf_of: impl FnOnce() -> Result<OnBehalfOf, E>,
    ) -> Result<FragmentsAnswer, E> {
        let on_behalf_of = on_behalf_of()?;
        let steps = on_behalf_of.steps().clone();
        let mut assembly = Assembly::new(self, stream, list, on_behalf_of);
        let all_held = !assembly.plan();
        // A call that KVS refuses is refused as a whole, whatever of it is held here.
        if let Some(own) = &assembly.own
            && let Some(error) = steps.time(spans::UPSTREAM, own.refused()).await
        {
            return Err(Error::Upstream(error).into());
        }
        let first = steps.time(spans::UPSTREAM, assembly.next()).await.transpose();
        let first = first.map_err(Failure::into_error)?;
        let outcome = match (all_held, assembly.calls) {
            (true, 0) => Outcome::Hit(Tier::Memory),
            (false, 0) => Outcome::Collapsed,
            _ => Outcome::Miss,
        };
        Ok(FragmentsAnswer { outcome, body: Feed::new(first, assembly).boxed_unsync() })
    }
}
