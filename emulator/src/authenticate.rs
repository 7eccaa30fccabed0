//! Finds the account and the region that a request is signed for.

use super::answer::KvsError;
use super::clock::now;
use super::signature::{self, Scope};
use super::state::EmulatorState;
use super::stream::Tenant;
use http::request::Parts;

/// Checks the signature and gives the account and region that it was made for.
pub(super) fn authenticate(
    state: &EmulatorState,
    service: &str,
    parts: &Parts,
    body: &[u8],
) -> Result<Tenant, KvsError> {
    let claimed = signature::claimed_region(&parts.headers).filter(|region| state.serves(region));
    let region = claimed.unwrap_or_else(|| state.config.region.clone());
    let scope = Scope { region: &region, service };
    let account = signature::verify(parts, body, scope, now(), |id| state.key(id))?;
    Ok((account, region))
}
