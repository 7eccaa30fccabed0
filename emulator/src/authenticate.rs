//! Whose keys signed a request, and for which region.

use super::answer::Refusal;
use super::clock::now;
use super::signature::{self, Scope};
use super::stream::Tenant;
use super::world::World;
use http::request::Parts;

/// Checks the signature and gives the account and region that it was made for.
pub(super) fn authenticate(
    world: &World,
    service: &str,
    parts: &Parts,
    body: &[u8],
) -> Result<Tenant, Refusal> {
    let claimed = signature::claimed_region(&parts.headers).filter(|region| world.serves(region));
    let region = claimed.unwrap_or_else(|| world.config.region.clone());
    let scope = Scope { region: &region, service };
    let account = signature::verify(parts, body, scope, now(), |id| world.key(id))?;
    Ok((account, region))
}
