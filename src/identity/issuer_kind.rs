//! The kinds of issuers, and what each implies where the settings say nothing.
//!
//! Sources: the user guides of Application Load Balancer ("Authenticate users"), of Verified Access ("User
//! claims passing and signature verification") and of Cognito ("Understanding user pool JSON web tokens");
//! the SPIFFE standards "JWT-SVID" and "SPIFFE Trust Domain and Bundle".

use super::algorithm::Algorithm::{self, *};
use super::place::AcceptedPlace;
use serde::{Deserialize, Serialize};

/// What an issuer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IssuerKind {
    /// Anything whose tokens say `iss` and `aud`, with keys in a JWKS or a shared secret.
    #[default]
    Oidc,
    /// An Amazon Cognito user pool: ID tokens say `aud`, access tokens say `client_id`.
    Cognito,
    /// An Application Load Balancer that signs people in and sets `X-Amzn-Oidc-Data`.
    Alb,
    /// AWS Verified Access, which sets `X-Amzn-Ava-User-Context`.
    VerifiedAccess,
    /// A SPIFFE trust domain: tokens are JWT-SVIDs, keys are in its bundle.
    Spiffe,
}

impl IssuerKind {
    /// Whether the `signer` in the token's header, an ARN, chooses the issuer; keys are then published one by
    /// one as PEM, and segments may be padded.
    pub(super) const fn has_signer(self) -> bool {
        matches!(self, Self::Alb | Self::VerifiedAccess)
    }

    /// Whether tokens of this kind must name an audience.
    pub(super) const fn has_audience(self) -> bool {
        !matches!(self, Self::VerifiedAccess)
    }

    /// The `alg` of its tokens, if there is no choice.
    pub(super) const fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Oidc => &[],
            Self::Cognito => &[RS256],
            Self::Alb => &[ES256],
            Self::VerifiedAccess => &[ES384],
            // JWT-SVID, section 3: the RS, ES and PS families.
            Self::Spiffe => &[RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512],
        }
    }

    /// The accepted `typ`; an empty one stands for a token without.
    pub(super) const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Spiffe => &["JWT", "JOSE", ""],
            _ => &["JWT", "at+jwt", ""],
        }
    }

    /// The only places where its tokens count; empty: everywhere.
    pub(super) fn places(self) -> Vec<AcceptedPlace> {
        match self {
            Self::Alb => vec![AcceptedPlace::Header("X-Amzn-Oidc-Data".into())],
            Self::VerifiedAccess => vec![AcceptedPlace::Header("X-Amzn-Ava-User-Context".into())],
            _ => Vec::new(),
        }
    }

    /// The `use` of its keys (RFC 7517 4.2; SPIFFE Trust Domain and Bundle 4.2.3).
    pub(super) const fn key_use(self) -> &'static str {
        if matches!(self, Self::Spiffe) { "jwt-svid" } else { "sig" }
    }

    /// The claim that holds groups.
    pub(super) const fn groups(self) -> &'static str {
        if matches!(self, Self::Cognito) { "/cognito:groups" } else { "/groups" }
    }

    /// Where the keys of a signer are, each by its `kid`; `None` if the ARN is not one of this kind.
    pub(super) fn key_address(self, signer: &str) -> Option<String> {
        let mut parts = signer.split(':');
        let arn = parts.next()?;
        let (partition, service, region) = (parts.next()?, parts.next()?, parts.next()?);
        let (_account, resource) = (parts.next()?, parts.next()?);
        let right = match self {
            Self::Alb => service == "elasticloadbalancing" && resource.starts_with("loadbalancer/app/"),
            Self::VerifiedAccess => service == "ec2" && resource.starts_with("verified-access-instance/"),
            _ => false,
        };
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if arn != "arn" || !right || region.is_empty() || !region.bytes().all(plain) {
            return None;
        }
        let domain = if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        Some(match (self, partition) {
            (Self::Alb, "aws-us-gov") => {
                format!("https://s3-{region}.amazonaws.com/aws-elb-public-keys-prod-{region}/")
            }
            (Self::Alb, _) => format!("https://public-keys.auth.elb.{region}.{domain}/"),
            _ => format!("https://public-keys.prod.verified-access.{region}.{domain}/"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_signer_are_in_its_region_and_nowhere_else() {
        let alb = |arn: &str| IssuerKind::Alb.key_address(arn);
        let tail = "123456789012:loadbalancer/app/edge/50dc6c495c0c9188";
        for (arn, address) in [
            (
                "arn:aws:elasticloadbalancing:eu-west-1",
                "https://public-keys.auth.elb.eu-west-1.amazonaws.com/",
            ),
            (
                "arn:aws-cn:elasticloadbalancing:cn-north-1",
                "https://public-keys.auth.elb.cn-north-1.amazonaws.com.cn/",
            ),
            (
                "arn:aws-us-gov:elasticloadbalancing:us-gov-west-1",
                "https://s3-us-gov-west-1.amazonaws.com/aws-elb-public-keys-prod-us-gov-west-1/",
            ),
        ] {
            assert_eq!(alb(&format!("{arn}:{tail}")).as_deref(), Some(address));
        }
        for bad in [
            "",
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/net/a/1",
            "arn:aws:elasticloadbalancing:evil.example.com/x:123456789012:loadbalancer/app/a/1",
            "arn:aws:elasticloadbalancing::123456789012:loadbalancer/app/a/1",
            "arn:aws:ec2:us-east-1:123456789012:verified-access-instance/vai-1",
        ] {
            assert_eq!(alb(bad), None, "{bad}");
        }
        let instance = "arn:aws:ec2:us-east-1:123456789012:verified-access-instance/vai-1";
        assert_eq!(
            IssuerKind::VerifiedAccess.key_address(instance).as_deref(),
            Some("https://public-keys.prod.verified-access.us-east-1.amazonaws.com/")
        );
    }
}
