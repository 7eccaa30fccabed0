//! Whose token it is: the entry of the settings whose rules and keys apply, found by what the token says
//! before anything of it is verified.

use super::claimed_caller::in_trust_domain;
use super::claims;
use super::error::{Error, Reason, quoted};
use super::issuer_kind::IssuerKind;
use super::jwks::KeyStore;
use super::place::AcceptedPlace;
use super::token::Unverified;
use std::sync::Arc;

/// Takes a token apart and finds the issuer whose rules and keys apply to it.
pub(super) fn apart<'a, 'i>(
    issuers: &'i [Arc<KeyStore>],
    token: &'a str,
    place: Option<&AcceptedPlace>,
) -> Result<(Unverified<'a>, &'i Arc<KeyStore>), Error> {
    let mut token = Unverified::parse(token)?;
    let store = issuer_of(issuers, &mut token, place)?;
    if token.padded && !store.config().kind.has_signer() {
        return Err(Error::refused(Reason::Malformed, "padded segments, which only load balancers write"));
    }
    Ok((token, store))
}

/// The issuer of a token: by its signer if it has one, by `iss`, or by the trust domain of `sub`; then by
/// where it was, and, if there are still several, by its audience. The first entry that fits decides, and
/// no other is tried when that refuses the token.
fn issuer_of<'i>(
    issuers: &'i [Arc<KeyStore>],
    token: &mut Unverified<'_>,
    place: Option<&AcceptedPlace>,
) -> Result<&'i Arc<KeyStore>, Error> {
    let signs = |store: &&Arc<KeyStore>| store.config().kind.has_signer();
    let called: Vec<&'i Arc<KeyStore>> = match token.signer() {
        Some(signer) if issuers.iter().any(|store| signs(&store)) => {
            let signer = signer.as_str().unwrap_or_default().to_owned();
            let signers = issuers.iter().filter(signs);
            let signed: Vec<_> = signers.filter(|s| s.config().signers().contains(&signer)).collect();
            if signed.is_empty() {
                return Err(Error::refused(Reason::Signer, quoted(&signer)));
            }
            token.adopt_header()?;
            let name = token.issuer().unwrap_or_default();
            signed.into_iter().filter(|store| store.config().is_called(name)).collect()
        }
        _ => {
            let others = || issuers.iter().filter(|store| !signs(store));
            let svid = |store: &Arc<KeyStore>| store.config().kind == IssuerKind::Spiffe;
            let name = token.issuer();
            let named = others().filter(|s| !svid(s) && name.is_some_and(|n| s.config().is_called(n)));
            let named: Vec<_> = named.collect();
            let within = |s: &&Arc<KeyStore>| svid(s) && in_trust_domain(&token.claims, s.config());
            if named.is_empty() { others().filter(within).collect() } else { named }
        }
    };
    let Some(first) = called.first() else {
        let name = token.issuer().map_or("no `iss`, or not text".to_owned(), quoted);
        return Err(Error::refused(Reason::Issuer, name));
    };
    let here = |s: &&&Arc<KeyStore>| place.is_none_or(|place| s.config().counts_at(place));
    let mut counting = called.iter().filter(here);
    let (Some(one), more) = (counting.next(), counting.next().is_some()) else {
        let place = place.map(AcceptedPlace::to_string).unwrap_or_default();
        return Err(Error::refused(Reason::Place, format!("{} in {place}", first.config().name())));
    };
    if !more {
        return Ok(one);
    }
    let meant = |s: &&&Arc<KeyStore>| claims::check_audience(&token.claims, s.config()).is_ok();
    let found = called.iter().filter(here).find(meant);
    found.copied().ok_or_else(|| Error::refused(Reason::Audience, "of none of this issuer's entries"))
}
