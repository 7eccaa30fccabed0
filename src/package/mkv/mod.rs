//! Reads one stored fragment (docs/KVS.md 9.2; RFC 8794, RFC 9559).

use super::{Document, Fragment, Refusal};

/// Reads a fragment that is here whole.
///
/// # Errors
/// What about it is not understood; nothing is guessed.
pub fn read(document: &Document) -> Result<Fragment, Refusal> {
    let _ = document;
    Err(Refusal::Unsupported("not written yet"))
}
