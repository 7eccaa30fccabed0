//! A clip made of stored fragments: its plan from the list and the first fragment, its bytes from the
//! fragments that a range touches.

use crate::archive::{Archive, Error, FragmentReader, Stream};
use crate::cache::Outcome;
use crate::kvs::ListedFragment;
use crate::package::clip::{Clip, ClipSettings, Format};
use crate::package::{Document, Refusal, run_starts};
use crate::upstream::OnBehalfOf;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The most beginnings of producer runs that are looked at ahead of a clip's first byte. A change of settings
/// beyond them breaks the clip where it is.
const MOST_PROBES: usize = 32;
/// Plans of more fragments are made off the runtime.
const QUICK: usize = 2_000;
/// How many fragments of a range are looked for in the cache to say how it will be answered.
const LOOKED_FOR: usize = 64;

/// A clip that can be read.
#[derive(Clone)]
pub struct PackagedClip {
    pub(super) clip: Arc<Clip>,
    pub(super) stream: Stream,
    pub(super) slack: u8,
    /// How its first fragment came.
    first: Outcome,
}

impl PackagedClip {
    /// Its length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.clip.length()
    }

    /// Its strong entity tag, quotes included: the same in every replica.
    #[must_use]
    pub fn etag(&self) -> &str {
        self.clip.etag()
    }
}

impl Archive {
    /// The clip of these fragments, of which there is at least one. Fetches the first one, and those at which
    /// a producer began anew, since its settings may have changed there.
    ///
    /// # Errors
    /// KVS's, or [`Error::Package`] with the fragment that cannot be packaged behind the first.
    pub async fn package_clip<E: From<Error>>(
        &self,
        stream: &Stream,
        rows: Arc<[ListedFragment]>,
        (format, hidden): (Format, Duration),
        on_behalf_of: impl Fn() -> Result<OnBehalfOf, E>,
    ) -> Result<PackagedClip, E> {
        let Some(first_row) = rows.first().cloned() else {
            return Err(
                Error::refused(None, Refusal::Unsupported("there are no fragments to package")).into()
            );
        };
        let found = self.fragment(stream, &first_row.number, &on_behalf_of).await?;
        let slack = self.0.packaging.slack(stream.arn());
        let settings = ClipSettings { format, slack, hidden };
        let clip = plan(rows, found.document, settings).await;
        let clip = clip.map_err(|refusal| self.refuse(&first_row, refusal))?;
        let clip = PackagedClip { clip, stream: stream.clone(), slack, first: found.outcome };
        self.probe(&clip, on_behalf_of).await?;
        Ok(clip)
    }

    /// Looks at the fragments at which settings may have changed.
    async fn probe<E: From<Error>>(
        &self,
        clip: &PackagedClip,
        on_behalf_of: impl Fn() -> Result<OnBehalfOf, E>,
    ) -> Result<(), E> {
        let rows = clip.clip.rows();
        let probes: Vec<usize> = run_starts(rows).take(MOST_PROBES).collect();
        if probes.is_empty() {
            return Ok(());
        }
        let wanted: Vec<ListedFragment> = probes.iter().map(|at| rows[*at].clone()).collect();
        let mut reader = self.fragments_of(&clip.stream, wanted.into_iter(), on_behalf_of()?);
        for at in probes {
            let Some(document) = reader.next().await else { break };
            let document = document.map_err(|failure| E::from(failure.into_error()))?;
            let checked = clip.clip.check(at, &document);
            checked.map_err(|refusal| E::from(self.refuse(&rows[at], refusal)))?;
        }
        Ok(())
    }

    /// How a range of a clip will be answered, as far as the cache tells now.
    #[must_use]
    pub fn clip_outcome(&self, clip: &PackagedClip, range: Range<u64>) -> Outcome {
        let rows = &clip.clip.rows()[clip.clip.sections(range).fragments()];
        let is_held = |row: &ListedFragment| self.holds_fragment(&clip.stream, &row.number);
        if rows.iter().take(LOOKED_FOR).all(is_held) { clip.first } else { Outcome::Miss }
    }

    pub(super) fn read_fragments(
        &self,
        clip: &PackagedClip,
        fragments: Range<usize>,
        on_behalf_of: &OnBehalfOf,
    ) -> FragmentReader {
        let of = clip.clip.clone();
        let rows = fragments.map(move |at| of.rows()[at].clone());
        // The head of the answer has been promised: the body waits for KVS's quotas.
        self.fragments_of(&clip.stream, rows, on_behalf_of.clone()).patient()
    }

    /// Counts and says that a fragment cannot be packaged.
    pub(super) fn refuse(&self, row: &ListedFragment, refusal: Refusal) -> Error {
        self.0.packaging.metrics().refused(refusal.reason());
        Error::refused(Some(row), refusal)
    }
}

/// Plans a clip, off the runtime if that takes long.
async fn plan(
    rows: Arc<[ListedFragment]>,
    first: Document,
    settings: ClipSettings,
) -> Result<Arc<Clip>, Refusal> {
    if rows.len() <= QUICK {
        return Clip::new(rows, &first, settings).map(Arc::new);
    }
    let planned = tokio::task::spawn_blocking(move || Clip::new(rows, &first, settings).map(Arc::new));
    planned.await.unwrap_or(Err(Refusal::Unsupported("it could not be planned")))
}
