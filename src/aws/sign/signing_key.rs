//! The key that signatures of one day are made with. It is worked out of the secret key by four HMACs, which
//! take longer than the signature itself.

use arc_swap::ArcSwapOption;
use aws_credential_types::Credentials;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use std::fmt;
use std::sync::Arc;

/// The last key, for one region and service.
#[derive(Default)]
pub(super) struct SigningKeys(ArcSwapOption<DayKey>);

struct DayKey {
    day: Box<str>,
    made_of: Credentials,
    key: Key,
}

impl SigningKeys {
    /// The key for a day, `YYYYMMDD`. Always of the same region and service.
    pub(super) fn get(&self, credentials: &Credentials, day: &str, region: &str, service: &str) -> Key {
        if let Some(kept) = &*self.0.load()
            && *kept.day == *day
            && kept.made_of.secret_access_key() == credentials.secret_access_key()
        {
            return kept.key.clone();
        }
        let key = derive(credentials.secret_access_key(), day, region, service);
        let kept = DayKey { day: day.into(), made_of: credentials.clone(), key: key.clone() };
        self.0.store(Some(Arc::new(kept)));
        key
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys(…)")
    }
}

fn derive(secret: &str, day: &str, region: &str, service: &str) -> Key {
    let first = Key::new(HMAC_SHA256, zeroize::Zeroizing::new(format!("AWS4{secret}")).as_bytes());
    [day, region, service, "aws4_request"]
        .iter()
        .fold(first, |key, part| Key::new(HMAC_SHA256, sign(&key, part.as_bytes()).as_ref()))
}
