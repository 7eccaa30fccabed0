//! Single fragments: those that are held come from the cache, and KVS is called once for the rest, whoever
//! wants them (`batch`).
//!
//! [`Archive::fragments_of`] reads footage, [`Archive::fragment`] one fragment, [`Archive::fragments`]
//! answers GetMediaForFragmentList as KVS does: documents in the order of the request. A fragment that KVS
//! cannot give is an error as long as nothing has left, and a broken body after that; it is never kept.

mod at_replicas;
mod batch;
mod body;
mod call;
mod failure;
mod reader;
mod run;
mod source;

pub use batch::Batches;
pub use failure::Failure;
pub use reader::FragmentReader;
pub use source::MATROSKA;

use super::{Archive, Error, Stream};
use crate::base::task::spawn_self_ending;
use crate::cache::{Key, Outcome, Tier};
use crate::kvs::operations::GetMediaForFragmentList;
use crate::kvs::{FragmentNumber, ListedFragment};
use crate::net::body::ByteStream;
use crate::package::Document;
use crate::telemetry::spans;
use crate::upstream::OnBehalfOf;
use reader::{CallLimits, Wanted};

/// The documents of a list of fragments, on their way.
pub struct FragmentsAnswer {
    /// [`Outcome::Miss`] if KVS was called, [`Outcome::Collapsed`] if other requests fetch what was not held.
    pub outcome: Outcome,
    /// The documents, in the order of the request.
    pub body: ByteStream,
}

/// One fragment.
pub struct FoundFragment {
    /// How it came.
    pub outcome: Outcome,
    /// Its bytes.
    pub document: Document,
}

/// What is fetched ahead of a viewer.
const AHEAD: CallLimits = CallLimits { fragments: 8, bytes: 8 << 20 };

impl Archive {
    /// The fragments of a list, as KVS's answer.
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
        let wanted: Vec<Wanted> =
            list.fragments.iter().map(|number| Wanted::number(stream, number)).collect();
        let mut reader =
            FragmentReader::new(self, stream, wanted.into_iter(), CallLimits::WHOLE, on_behalf_of);
        reader.read_ahead();
        // A call that KVS refuses is refused as a whole, whatever of it is held here.
        if let Some(own) = reader.own()
            && let Some(error) = steps.time(spans::UPSTREAM, own.refused()).await
        {
            return Err(Error::Upstream(error).into());
        }
        let first = steps.time(spans::UPSTREAM, reader.next()).await.transpose();
        let first = first.map_err(Failure::into_error)?;
        Ok(FragmentsAnswer { outcome: reader.outcome(), body: body::body(first, reader) })
    }

    /// Reads the fragments of these rows in their order, fetching ahead of the reader within bounds. Nothing
    /// is fetched before the first one is read.
    pub fn fragments_of(
        &self,
        stream: &Stream,
        rows: impl Iterator<Item = ListedFragment> + Send + 'static,
        on_behalf_of: OnBehalfOf,
    ) -> FragmentReader {
        let of = stream.clone();
        let wanted = rows.map(move |row| Wanted::row(&of, &row));
        FragmentReader::new(self, stream, wanted, CallLimits::FIRST, on_behalf_of)
    }

    /// One fragment. `on_behalf_of` is called only if it is not held in memory.
    ///
    /// # Errors
    /// KVS does not have it, which is [`crate::upstream::Error::Kvs`] with status 404 and names it; KVS
    /// refuses or breaks the call; or the error of `on_behalf_of`.
    pub async fn fragment<E: From<Error>>(
        &self,
        stream: &Stream,
        number: &FragmentNumber,
        on_behalf_of: impl FnOnce() -> Result<OnBehalfOf, E>,
    ) -> Result<FoundFragment, E> {
        let wanted = Wanted::number(stream, number);
        if let Some(found) = self.0.cache.get(&Key::mkv(stream.arn(), number)) {
            let document = source::pieces(found.entry).await.map_err(Error::from)?;
            return Ok(FoundFragment { outcome: Outcome::Hit(Tier::Memory), document });
        }
        let wanted = std::iter::once(wanted);
        let mut reader = FragmentReader::new(self, stream, wanted, CallLimits::SMALL, on_behalf_of()?);
        let fragment = reader.next().await.unwrap_or(Err(Failure::Missing(number.clone())));
        let document = fragment.map_err(Failure::into_error)?;
        Ok(FoundFragment { outcome: reader.outcome(), document })
    }

    /// Fetches fragments that a viewer will probably ask for, in the background: the first few of `rows`,
    /// which follow the one that is asked for, or begin with it. Does nothing if the first one is held or on
    /// its way, so a viewer that plays on causes one call for several fragments, and any number of viewers
    /// causes it once.
    pub fn prefetch<E>(
        &self,
        stream: &Stream,
        rows: &[ListedFragment],
        on_behalf_of: impl FnOnce() -> Result<OnBehalfOf, E>,
    ) {
        let Some(first) = rows.first().map(|row| Key::mkv(stream.arn(), &row.number)) else { return };
        if self.0.cache.holds(&first) || self.0.batches.join(&first).is_some() {
            return;
        }
        let Ok(on_behalf_of) = on_behalf_of() else { return };
        let rows = &rows[..rows.len().min(AHEAD.fragments)];
        let wanted: Vec<Wanted> = rows.iter().map(|row| Wanted::row(stream, row)).collect();
        let mut reader = FragmentReader::new(self, stream, wanted.into_iter(), AHEAD, on_behalf_of);
        reader.read_ahead();
        if let Some(own) = reader.into_own() {
            // Ends with the call, which has a deadline.
            spawn_self_ending(own.run_to_end());
        }
    }

    /// Whether a fragment is held, so that reading it would not call KVS. Nothing is read for that.
    #[must_use]
    pub fn holds_fragment(&self, stream: &Stream, number: &FragmentNumber) -> bool {
        self.0.cache.holds(&Key::mkv(stream.arn(), number))
    }
}
