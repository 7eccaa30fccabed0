//! Playlists and manifests of presentations: written once for all viewers, and no more at a time than there
//! is memory for.

use super::presented::{FoundPresentation, PATIENCE, Presentations, TextKind};
use crate::archive::{Archive, Error};
use crate::base::stored_text::{HeldText, StoredText};
use crate::net::body::Broken;
use crate::package::presentation::Presentation;
use std::sync::{Arc, PoisonError};

/// Texts that are remembered of one presentation.
const TEXTS: usize = 6;
/// Texts of more rows are written off the runtime, in turns.
const QUICK: usize = 2_000;
/// Rows of an hour.
const HOUR_ROWS: usize = 3_600;

impl Archive {
    /// What is written of a presentation, from memory or written now. `principal` is whose turn it takes if
    /// much is being written; it is called only then.
    ///
    /// # Errors
    /// [`Error::Crowded`], or it could not be written.
    pub async fn presentation_text(
        &self,
        found: &FoundPresentation,
        kind: TextKind,
        principal: impl FnOnce() -> Arc<str>,
    ) -> Result<Arc<StoredText>, Error> {
        let Presentations { room, hours, .. } = &self.0.packaging.presentations;
        if let Some(text) = found.held(kind, room) {
            return Ok(text);
        }
        let _writing = found.writing.lock().await;
        if let Some(text) = found.held(kind, room) {
            return Ok(text);
        }
        let (presentation, rows) = (found.presentation.clone(), found.presentation.rows().len());
        let write = move || Arc::new(StoredText::new(write(&presentation, kind)));
        let text = if rows <= QUICK {
            write()
        } else {
            let cost = u32::try_from(rows / HOUR_ROWS + 1).unwrap_or(u32::MAX);
            let principal = principal();
            let turn = hours.take(&principal, cost, tokio::time::Instant::now() + PATIENCE);
            let _turn = turn.await.map_err(Error::Crowded)?;
            let written = tokio::task::spawn_blocking(write).await;
            written.map_err(|broken| Broken::Cut(broken.to_string()))?
        };
        let mut texts = found.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.len() >= TEXTS {
            texts.clear();
        }
        texts.insert(kind, HeldText::new(text.clone(), room));
        Ok(text)
    }
}

fn write(presentation: &Presentation, kind: TextKind) -> String {
    match kind {
        TextKind::Master => presentation.master_playlist(),
        TextKind::Media(kind, options) => presentation.media_playlist(kind, options),
        TextKind::Manifest(options) => presentation.manifest(options),
    }
}
