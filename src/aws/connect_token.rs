//! The token by which AWS credentials sign in to ElastiCache and MemoryDB: a presigned request that is never
//! sent as one, good for 15 minutes.

use crate::base::percent;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningParams, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use std::time::{Duration, SystemTime};

/// Who signs in where.
#[derive(Clone, Debug)]
pub struct ConnectTo {
    /// `elasticache` or `memorydb`.
    pub service: &'static str,
    /// Where the cache is.
    pub region: String,
    /// The name of the cache, replication group or cluster.
    pub cache: String,
    /// The user in the store.
    pub user: String,
    /// ElastiCache Serverless.
    pub serverless: bool,
}

/// How long a token is good for, the longest that AWS takes.
const LIFE: Duration = Duration::from_secs(900);

/// The token as of `now`: a password of the store.
///
/// # Errors
/// Why nothing can be signed with these keys.
pub fn connect_token(to: &ConnectTo, keys: &Credentials, now: SystemTime) -> Result<String, String> {
    let host = to.cache.to_ascii_lowercase();
    let kind = if to.serverless { "&ResourceType=ServerlessCache" } else { "" };
    let user = percent::encode(&to.user);
    let address = format!("http://{host}/?Action=connect&User={user}{kind}");
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFE);
    let identity: Identity = keys.clone().into();
    let params: SigningParams<'_> = v4::SigningParams::builder()
        .identity(&identity)
        .region(&to.region)
        .name(to.service)
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let headers = [("host", host.as_str())];
    let signable =
        SignableRequest::new("GET", address.as_str(), headers.into_iter(), SignableBody::Bytes(&[]))
            .map_err(|error| error.to_string())?;
    let (instructions, _) = sign(signable, &params).map_err(|error| error.to_string())?.into_parts();
    let mut token = address.trim_start_matches("http://").to_owned();
    for (name, value) in instructions.params() {
        token.push('&');
        token.push_str(name);
        token.push('=');
        token.push_str(&percent::encode(value));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_token_is_a_presigned_request_without_its_scheme() {
        let keys =
            Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None, None, "test");
        let to = ConnectTo {
            service: "elasticache",
            region: "eu-west-1".to_owned(),
            cache: "My-Cache".to_owned(),
            user: "edge 1".to_owned(),
            serverless: true,
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let token = connect_token(&to, &keys, now).unwrap();
        assert!(
            token.starts_with("my-cache/?Action=connect&User=edge%201&ResourceType=ServerlessCache&"),
            "{token}"
        );
        for part in [
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "X-Amz-Credential=AKIDEXAMPLE%2F20260101%2Feu-west-1%2Felasticache%2Faws4_request",
            "X-Amz-Expires=900",
            "X-Amz-SignedHeaders=host",
            "X-Amz-Signature=",
        ] {
            assert!(token.contains(part), "{part}: {token}");
        }
        assert_eq!(connect_token(&to, &keys, now).unwrap(), token);
    }
}
