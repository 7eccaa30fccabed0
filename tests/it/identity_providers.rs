//! `docs/IDENTITY.md`: each block of settings is good as it is printed, and accepts a token in the documented
//! shape of its issuer, with keys from a server on loopback that stands for the issuer's. One change to the
//! token, and it is refused.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use kvs_edge::caller::Caller;
use kvs_edge::config::ConfigSource;
use kvs_edge::identity::mint::{KeyKind, SigningKey};
use kvs_edge::identity::{self, Algorithm, Fetch, Identity, IssuerConfig, JwksSource, Metrics, TokenPlaces};
use kvs_edge::kvs::Timestamp;
use kvs_edge::net::client::{Client, Limits, Options};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const NOW: u64 = 1_800_000_000;
const DOCUMENT: &str = include_str!("../../docs/IDENTITY.md");
/// Where a pod has its own certificate and token.
const POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The settings under each heading, in the order of the document.
fn documented() -> Vec<(&'static str, String)> {
    DOCUMENT
        .split("\n### ")
        .skip(1)
        .map(|section| {
            let heading = section.lines().next().unwrap();
            let block = section.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
            (heading, block.unwrap_or_else(|| panic!("no settings under {heading}")).to_owned())
        })
        .collect()
}

/// What an issuer's token looks like, and what kvs-edge must make of it.
struct Shape {
    heading: &'static str,
    algorithm: Algorithm,
    /// Beside `alg` and `kid`.
    header: Value,
    claims: Value,
    /// The header of the request; `Authorization: Bearer` if empty.
    sent_in: &'static str,
    subject: &'static str,
    groups: &'static [&'static str],
    attributes: Value,
    /// What to change so that the token is another's, and the reason of the refusal.
    other: (Value, &'static str),
}

impl Shape {
    fn of(heading: &'static str, claims: Value) -> Self {
        Self {
            heading,
            algorithm: Algorithm::RS256,
            header: json!({ "typ": "JWT" }),
            claims,
            sent_in: "",
            subject: "",
            groups: &[],
            attributes: json!({}),
            other: (json!({ "aud": "another" }), "audience"),
        }
    }
    fn signed(mut self, algorithm: Algorithm, header: Value) -> Self {
        (self.algorithm, self.header) = (algorithm, header);
        self
    }
    fn sent_in(mut self, header: &'static str) -> Self {
        self.sent_in = header;
        self
    }
    fn is(mut self, subject: &'static str, groups: &'static [&'static str], attributes: Value) -> Self {
        (self.subject, self.groups, self.attributes) = (subject, groups, attributes);
        self
    }
    fn refuses(mut self, change: Value, reason: &'static str) -> Self {
        self.other = (change, reason);
        self
    }
}

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const APP: &str = "66666666-7777-8888-9999-000000000000";
const POOL: &str = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI";
const ALB: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/edge/50dc6c495c0c9188";
const INSTANCE: &str = "arn:aws:ec2:us-east-1:111122223333:verified-access-instance/vai-0abc123def456";

fn people() -> Vec<Shape> {
    vec![
        Shape::of("Okta", json!({
            "ver": 1, "jti": "AT.iB3kX", "iss": "https://dev-123456.okta.com/oauth2/default", "aud": "api://kvs-edge",
            "iat": NOW, "exp": NOW + 3600, "cid": "0oa1", "uid": "00u1", "scp": ["openid", "video.view"],
            "auth_time": NOW - 5, "sub": "ann@example.com", "groups": ["Everyone", "guards"],
        }))
        .signed(Algorithm::RS256, json!({}))
        .is("ann@example.com", &["Everyone", "guards"], json!({ "scopes": ["openid", "video.view"] })),
        Shape::of("Microsoft Entra ID, version 2", json!({
            "aud": APP, "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"), "iat": NOW, "nbf": NOW,
            "exp": NOW + 4000, "aio": "AXQAi", "azp": APP, "azpacr": "1", "name": "Ann", "oid": "0a0a", "rh": "0.AX",
            "preferred_username": "ann@example.com", "roles": ["guards"], "scp": "Video.View Video.Download",
            "sub": "pairwise", "tid": TENANT, "uti": "u", "ver": "2.0",
        }))
        .is("0a0a", &["guards"], json!({ "scopes": ["Video.Download", "Video.View"] }))
        .refuses(json!({ "tid": "99999999-2222-3333-4444-555555555555" }), "require"),
        Shape::of("Microsoft Entra ID, version 1", json!({
            "aud": "api://kvs-edge", "iss": format!("https://sts.windows.net/{TENANT}/"), "iat": NOW, "nbf": NOW,
            "exp": NOW + 4000, "acr": "1", "amr": ["pwd", "mfa"], "appid": APP, "appidacr": "0", "ipaddr": "192.0.2.1",
            "oid": "0a0a", "roles": ["guards"], "scp": "user_impersonation", "sub": "pairwise", "tid": TENANT,
            "unique_name": "ann@example.com", "upn": "ann@example.com", "ver": "1.0",
        }))
        .signed(Algorithm::RS256, json!({ "typ": "JWT", "x5t": "abc" }))
        .is("0a0a", &["guards"], json!({})),
        Shape::of("AD FS", json!({
            "aud": "microsoft:identityserver:kvs-edge", "iss": "http://adfs.example.com/adfs/services/trust",
            "iat": NOW, "nbf": NOW, "exp": NOW + 3600, "apptype": "Public", "appid": "client", "upn": "ann@example.com",
            "group": "guards", "authmethod": "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
            "auth_time": "2027-01-15T07:59:59.000Z", "ver": "1.0", "scp": "openid",
        }))
        .is("ann@example.com", &["guards"], json!({})),
        Shape::of("Auth0", json!({
            "iss": "https://example.eu.auth0.com/", "sub": "auth0|6543", "iat": NOW, "exp": NOW + 86_400,
            "aud": ["https://kvs-edge.example.com", "https://example.eu.auth0.com/userinfo"], "azp": "client",
            "scope": "openid profile view:live", "permissions": ["view:live"],
            "https://example.com/groups": ["guards"],
        }))
        .is(
            "auth0|6543",
            &["guards"],
            json!({ "permissions": ["view:live"], "scopes": ["openid", "profile", "view:live"] }),
        )
        .refuses(json!({ "iss": "https://example.eu.auth0.com" }), "issuer"),
        Shape::of("Google Workspace", json!({
            "iss": "https://accounts.google.com", "azp": "1234567890-abcdef.apps.googleusercontent.com",
            "aud": "1234567890-abcdef.apps.googleusercontent.com", "sub": "110169484474386276334", "hd": "example.com",
            "email": "ann@example.com", "email_verified": true, "at_hash": "HK6E", "nonce": "n", "iat": NOW,
            "exp": NOW + 3600,
        }))
        .is("ann@example.com", &[], json!({}))
        .refuses(json!({ "hd": null }), "require"),
        Shape::of("Google service accounts", json!({
            "iss": "https://accounts.google.com", "aud": "kvs-edge", "azp": "104", "sub": "104",
            "email": "recorder@my-project.iam.gserviceaccount.com", "email_verified": true, "iat": NOW, "exp": NOW + 3600,
        }))
        .is("recorder@my-project.iam.gserviceaccount.com", &[], json!({}))
        .refuses(json!({ "email": "recorder@evil.iam.gserviceaccount.com" }), "require"),
        Shape::of("Firebase Authentication", json!({
            "iss": "https://securetoken.google.com/my-project", "aud": "my-project", "auth_time": NOW - 9, "user_id": "u1",
            "sub": "u1", "iat": NOW, "exp": NOW + 3600, "email": "ann@example.com", "email_verified": false,
            "firebase": { "identities": { "email": ["ann@example.com"] }, "sign_in_provider": "password" },
            "staff": true, "groups": ["guards"],
        }))
        .is("u1", &["guards"], json!({}))
        .refuses(json!({ "staff": "true" }), "require"),
        Shape::of("Amazon Cognito, ID tokens", json!({
            "sub": "aaaa-bbbb", "aud": "1example23456789", "cognito:groups": ["guards"], "email_verified": true,
            "token_use": "id", "auth_time": NOW, "iss": POOL, "cognito:username": "ann", "exp": NOW + 3600, "iat": NOW,
            "email": "ann@example.com", "event_id": "e", "origin_jti": "o", "jti": "j",
        }))
        .signed(Algorithm::RS256, json!({}))
        .is("ann", &["guards"], json!({}))
        .refuses(json!({ "cognito:groups": ["customers"] }), "require"),
        Shape::of("Amazon Cognito, access tokens", json!({
            "sub": "aaaa-bbbb", "cognito:groups": ["guards"], "iss": POOL, "version": 2, "client_id": "1example23456789",
            "event_id": "e", "token_use": "access", "scope": "openid video/view", "auth_time": NOW, "exp": NOW + 3600,
            "iat": NOW, "jti": "j", "username": "ann", "origin_jti": "o",
        }))
        .signed(Algorithm::RS256, json!({}))
        .is("ann", &["guards"], json!({ "scopes": ["openid", "video/view"] }))
        .refuses(json!({ "client_id": "another" }), "audience"),
        Shape::of("Keycloak", json!({
            "exp": NOW + 300, "iat": NOW, "auth_time": NOW, "jti": "onrtac:1", "iss": "https://sso.example.com/realms/main",
            "aud": ["kvs-edge", "account"], "sub": "f3a1", "typ": "Bearer", "azp": "web", "sid": "s", "acr": "1",
            "allowed-origins": ["https://app.example.com"], "realm_access": { "roles": ["offline_access", "guards"] },
            "resource_access": { "account": { "roles": ["view-profile"] } }, "scope": "openid email",
            "email_verified": true, "groups": ["/site/berlin"], "preferred_username": "ann",
        }))
        .is("ann", &["guards", "offline_access"], json!({ "teams": ["/site/berlin"] }))
        .refuses(json!({ "aud": "account" }), "audience"),
        Shape::of("Dex", json!({
            "iss": "https://dex.example.com", "sub": "CgNhbm4SBGxkYXA", "aud": "kvs-edge", "exp": NOW + 86_400, "iat": NOW,
            "at_hash": "h", "c_hash": "c", "email": "ann@example.com", "email_verified": true, "groups": ["guards"],
            "name": "Ann",
        }))
        .signed(Algorithm::RS256, json!({}))
        .is("ann@example.com", &["guards"], json!({})),
        Shape::of("PingOne", json!({
            "client_id": "c", "iss": format!("https://auth.pingone.eu/{TENANT}/as"), "jti": "j", "iat": NOW,
            "exp": NOW + 3600, "aud": ["https://kvs-edge.example.com"], "scope": "video:view", "sub": "s-1", "env": TENANT,
            "org": "o", "memberOfGroupNames": ["guards"],
        }))
        .signed(Algorithm::RS256, json!({}))
        .is("s-1", &["guards"], json!({ "scopes": ["video:view"] })),
        Shape::of("OneLogin", json!({
            "sub": "37", "email": "ann@example.com", "preferred_username": "ann", "name": "Ann", "groups": ["guards"],
            "sid": "s", "iat": NOW, "exp": NOW + 7200, "aud": "12345678-90ab-cdef-1234-567890abcdef",
            "iss": "https://example.onelogin.com/oidc/2",
        }))
        .is("ann", &["guards"], json!({})),
        Shape::of("JumpCloud", json!({
            "acr": "0", "aud": ["abcdef12-3456-7890-abcd-ef1234567890"], "auth_time": NOW, "exp": NOW + 3600, "iat": NOW,
            "iss": "https://oauth.id.jumpcloud.com/", "jti": "j", "rat": NOW, "sid": "s", "sub": "5f",
            "email": "ann@example.com", "groups": ["guards"],
        }))
        .signed(Algorithm::RS256, json!({ "kid": "public:hydra.openid.id-token", "typ": "JWT" }))
        .is("ann@example.com", &["guards"], json!({})),
        Shape::of("Zitadel", json!({
            "iss": "https://example.zitadel.cloud", "sub": "1234", "aud": ["234567890123456789", "345678901234567890"],
            "exp": NOW + 43_200, "iat": NOW, "nbf": NOW, "jti": "V2_1", "client_id": "c",
            "urn:zitadel:iam:org:project:roles": { "guards": { "99": "example.zitadel.cloud" } },
        }))
        .is("1234", &["guards"], json!({})),
        Shape::of("Authentik", json!({
            "iss": "https://auth.example.com/application/o/kvs-edge/", "sub": "9f86d081", "exp": NOW + 300, "iat": NOW,
            "aud": "aBcDeFgHiJkLmNoPqRsTuVwXyZ012345", "auth_time": NOW, "acr": "goauthentik.io/providers/oauth2/default",
            "amr": ["pwd"], "email": "ann@example.com", "email_verified": true, "preferred_username": "ann",
            "groups": ["guards"], "azp": "aBcDeFgHiJkLmNoPqRsTuVwXyZ012345", "uid": "x",
        }))
        .is("ann", &["guards"], json!({})),
        Shape::of("Authelia", json!({
            "aud": ["https://kvs-edge.example.com"], "client_id": "console", "exp": NOW + 3600, "iat": NOW,
            "iss": "https://auth.example.com", "jti": "j", "nbf": NOW, "scope": "openid groups", "sub": "7d1a",
            "groups": ["guards"],
        }))
        .signed(Algorithm::RS256, json!({ "typ": "at+jwt" }))
        .is("7d1a", &["guards"], json!({})),
        Shape::of("FusionAuth", json!({
            "aud": TENANT, "exp": NOW + 3600, "iat": NOW, "iss": "example.com", "sub": "00000000-0000-0001-0000-000000000000",
            "jti": "j", "authenticationType": "PASSWORD", "email": "ann@example.com", "email_verified": true,
            "applicationId": TENANT, "roles": ["guards"], "tid": "t",
        }))
        .signed(Algorithm::RS256, json!({ "gty": ["authorization_code"] }))
        .is("ann@example.com", &["guards"], json!({}))
        .refuses(json!({ "email_verified": false }), "require"),
        Shape::of("Ory Hydra", json!({
            "aud": ["kvs-edge"], "client_id": "c", "exp": NOW + 3600, "ext": { "groups": ["guards"] }, "iat": NOW,
            "iss": "https://hydra.example.com/", "jti": "j", "nbf": NOW, "scp": ["openid", "video"], "sub": "ann",
        }))
        .is("ann", &["guards"], json!({ "scopes": ["openid", "video"] })),
        Shape::of("HashiCorp Vault", json!({
            "aud": "kvs-edge", "exp": NOW + 3600, "iat": NOW, "iss": "https://vault.example.com/v1/identity/oidc",
            "namespace": "root", "sub": "entity-1", "groups": ["guards"],
        }))
        .signed(Algorithm::RS256, json!({}))
        .is("entity-1", &["guards"], json!({})),
    ]
}

fn machines() -> Vec<Shape> {
    let account = |namespace: &str| {
        json!({ "namespace": namespace, "node": { "name": "n", "uid": "u" }, "pod": { "name": "recorder-0", "uid": "u" },
                "serviceaccount": { "name": "recorder", "uid": "u" }, "warnafter": NOW + 3607 })
    };
    vec![
        Shape::of("GitHub Actions", json!({
            "jti": "j", "sub": "repo:octo-org/video:ref:refs/heads/main", "aud": "kvs-edge", "ref": "refs/heads/main",
            "sha": "s", "repository": "octo-org/video", "repository_owner": "octo-org", "repository_owner_id": "9919",
            "run_id": "1", "run_number": "10", "run_attempt": "1", "repository_visibility": "private",
            "repository_id": "74", "actor_id": "12", "actor": "octocat", "workflow": "ci", "head_ref": "", "base_ref": "",
            "event_name": "push", "ref_protected": "true", "ref_type": "branch", "runner_environment": "github-hosted",
            "job_workflow_ref": "octo-org/video/.github/workflows/ci.yml@refs/heads/main", "nbf": NOW - 300, "exp": NOW + 600,
            "iss": "https://token.actions.githubusercontent.com", "iat": NOW - 300,
        }))
        .signed(Algorithm::RS256, json!({ "typ": "JWT", "x5t": "x" }))
        .is(
            "github:repo:octo-org/video:ref:refs/heads/main",
            &["octo-org/video"],
            json!({ "ref": "refs/heads/main", "event": "push" }),
        )
        .refuses(json!({ "repository_owner_id": "9920" }), "require"),
        Shape::of("GitLab CI", json!({
            "namespace_id": "72", "namespace_path": "my-group", "project_id": "20", "project_path": "my-group/video",
            "user_id": "1", "user_login": "ann", "user_email": "ann@example.com", "user_access_level": "developer",
            "pipeline_id": "574", "pipeline_source": "push", "job_id": "302", "ref": "main", "ref_type": "branch",
            "ref_path": "refs/heads/main", "ref_protected": "true", "runner_id": 1, "runner_environment": "self-hosted",
            "sha": "7", "project_visibility": "private", "jti": "j", "iat": NOW - 5, "nbf": NOW - 10, "exp": NOW + 3595,
            "iss": "https://gitlab.com", "sub": "project_path:my-group/video:ref_type:branch:ref:main", "aud": "kvs-edge",
        }))
        .is("gitlab:project_path:my-group/video:ref_type:branch:ref:main", &["my-group/video"], json!({}))
        .refuses(json!({ "ref_protected": "false" }), "require"),
        Shape::of("Buildkite", json!({
            "iss": "https://agent.buildkite.com", "sub": "organization:acme:pipeline:video:ref:refs/heads/main:commit:9:step:s",
            "aud": "kvs-edge", "iat": NOW, "nbf": NOW, "exp": NOW + 300, "organization_slug": "acme",
            "pipeline_slug": "video", "build_number": 1, "build_branch": "main", "build_commit": "9", "step_key": "s",
            "job_id": "j", "agent_id": "a",
        }))
        .is(
            "buildkite:organization:acme:pipeline:video:ref:refs/heads/main:commit:9:step:s",
            &["video"],
            json!({}),
        )
        .refuses(json!({ "organization_slug": ["acme"] }), "require"),
        Shape::of("CircleCI", json!({
            "aud": TENANT, "exp": NOW + 3600, "iat": NOW, "iss": format!("https://oidc.circleci.com/org/{TENANT}"),
            "oidc.circleci.com/context-ids": ["c"], "oidc.circleci.com/project-id": "p-1",
            "sub": format!("org/{TENANT}/project/p-1/user/u-1"),
        }))
        .is(
            "circleci:org/11111111-2222-3333-4444-555555555555/project/p-1/user/u-1",
            &["p-1"],
            json!({}),
        ),
        Shape::of("Amazon EKS", json!({
            "aud": ["kvs-edge"], "exp": NOW + 3600, "iat": NOW, "nbf": NOW,
            "iss": "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
            "kubernetes.io": account("video"), "sub": "system:serviceaccount:video:recorder",
        }))
        .signed(Algorithm::RS256, json!({}))
        .is("system:serviceaccount:video:recorder", &["video"], json!({}))
        .refuses(json!({ "aud": ["sts.amazonaws.com"] }), "audience"),
        Shape::of("Kubernetes API server", json!({
            "aud": ["kvs-edge"], "exp": NOW + 3607, "iat": NOW, "nbf": NOW, "jti": "j",
            "iss": "https://kubernetes.default.svc.cluster.local", "kubernetes.io": account("video"),
            "sub": "system:serviceaccount:video:recorder",
        }))
        .signed(Algorithm::RS256, json!({}))
        .is("system:serviceaccount:video:recorder", &["video"], json!({}))
        .refuses(json!({ "aud": ["https://kubernetes.default.svc.cluster.local"] }), "audience"),
        Shape::of("AWS STS GetWebIdentityToken", json!({
            "aud": "kvs-edge", "sub": "arn:aws:iam::111122223333:role/recorder", "iat": NOW, "exp": NOW + 300, "jti": "j",
            "iss": format!("https://{TENANT}.tokens.sts.global.api.aws"),
            "https://sts.amazonaws.com/": {
                "aws_account": "111122223333", "source_region": "eu-west-1", "org_id": "o-1",
                "principal_id": "arn:aws:iam::111122223333:role/recorder", "principal_tags": { "team": "video" },
                "ou_path": ["o-1/r-1/"],
            },
        }))
        .signed(Algorithm::ES384, json!({ "typ": "JWT" }))
        .is("arn:aws:iam::111122223333:role/recorder", &[], json!({ "team": "video" }))
        .refuses(json!({ "https://sts.amazonaws.com/": { "aws_account": "999999999999" } }), "require"),
        Shape::of("SPIFFE bundle", json!({
            "aud": ["kvs-edge"], "exp": NOW + 300, "iat": NOW, "sub": "spiffe://example.org/ns/video/sa/recorder",
        }))
        .signed(Algorithm::ES256, json!({ "typ": "JWT" }))
        .is("spiffe://example.org/ns/video/sa/recorder", &[], json!({}))
        .refuses(json!({ "sub": "spiffe://example.net/ns/video/sa/recorder" }), "issuer"),
        Shape::of("SPIRE OIDC discovery provider", json!({
            "aud": ["kvs-edge"], "exp": NOW + 300, "iat": NOW, "iss": "https://oidc.example.org",
            "sub": "spiffe://example.org/ns/video/sa/recorder",
        }))
        .is("spiffe://example.org/ns/video/sa/recorder", &[], json!({})),
    ]
}

fn proxies() -> Vec<Shape> {
    vec![
        Shape::of("AWS Application Load Balancer", json!({
            "sub": "00u1", "email": "ann@example.com", "email_verified": "true", "groups": ["guards"], "exp": NOW + 120,
            "iss": "https://login.example.com",
        }))
        .signed(Algorithm::ES256, json!({
            "typ": "JWT", "iss": "https://login.example.com", "client": "kvs-edge-client", "signer": ALB, "exp": NOW + 120,
        }))
        .sent_in("X-Amzn-Oidc-Data")
        .is("ann@example.com", &["guards"], json!({}))
        .refuses(json!({ "iss": "https://evil.example.com" }), "issuer"),
        Shape::of("AWS Verified Access", json!({
            "sub": "xyz", "email": "ann@example.com", "email_verified": true, "groups": ["guards"],
            "additional_user_context": { "aud": "xxx", "exp": 1_000_000_000, "groups": ["g-1"], "iss": "https://oidc-tp.com/" },
        }))
        .signed(Algorithm::ES384, json!({ "iss": "https://login.example.com", "signer": INSTANCE, "exp": NOW + 120 }))
        .sent_in("X-Amzn-Ava-User-Context")
        .is("ann@example.com", &["guards"], json!({}))
        .refuses(json!({ "email": 7 }), "subject"),
        Shape::of("Cloudflare Access", json!({
            "aud": ["4714c1358e65fe4b408ad6d432a5f878f08194bdb4752441fd56faefa9b2b6f2"], "email": "ann@example.com",
            "exp": NOW + 3600, "iat": NOW, "nbf": NOW, "iss": "https://example.cloudflareaccess.com", "type": "app",
            "identity_nonce": "6", "sub": "7335d417", "country": "DE", "custom": { "groups": ["guards"] },
        }))
        .signed(Algorithm::RS256, json!({}))
        .sent_in("Cf-Access-Jwt-Assertion")
        .is("ann@example.com", &["guards"], json!({}))
        .refuses(json!({ "type": "org" }), "require"),
        Shape::of("Pomerium", json!({
            "aud": "kvs-edge.example.com", "email": "ann@example.com", "exp": NOW + 300, "groups": ["guards"], "iat": NOW,
            "iss": "kvs-edge.example.com", "jti": "j", "name": "Ann", "sid": "s", "sub": "google/1", "user": "google/1",
        }))
        .signed(Algorithm::ES256, json!({}))
        .sent_in("X-Pomerium-Jwt-Assertion")
        .is("ann@example.com", &["guards"], json!({})),
        Shape::of("Google Cloud IAP", json!({
            "aud": "/projects/1234567890/global/backendServices/9876543210", "email": "ann@example.com", "exp": NOW + 600,
            "google": { "access_levels": ["accessPolicies/1/accessLevels/office"] }, "hd": "example.com", "iat": NOW,
            "iss": "https://cloud.google.com/iap", "sub": "accounts.google.com:1101",
        }))
        .signed(Algorithm::ES256, json!({ "typ": "JWT" }))
        .sent_in("X-Goog-Iap-Jwt-Assertion")
        .is("ann@example.com", &[], json!({ "access_levels": ["accessPolicies/1/accessLevels/office"] })),
        Shape::of("Teleport", json!({
            "aud": ["http://127.0.0.1:8080"], "exp": NOW + 3600, "iss": "teleport.example.com", "nbf": NOW,
            "roles": ["guards"], "sub": "ann", "traits": { "logins": ["root", "ubuntu"] }, "username": "ann",
        }))
        .signed(Algorithm::ES256, json!({}))
        .sent_in("Teleport-Jwt-Assertion")
        .is("ann", &["guards"], json!({ "logins": ["root", "ubuntu"] })),
        Shape::of("oauth2-proxy", json!({
            "exp": NOW + 300, "iat": NOW, "iss": "https://sso.example.com/realms/main", "aud": ["kvs-edge", "account"],
            "sub": "f3a1", "typ": "Bearer", "azp": "oauth2-proxy", "realm_access": { "roles": ["guards"] },
            "preferred_username": "ann",
        }))
        .sent_in("X-Forwarded-Access-Token")
        .is("ann", &["guards"], json!({})),
        Shape::of("Apache with mod_auth_openidc", json!({
            "exp": NOW + 300, "iat": NOW, "iss": "https://sso.example.com/realms/main", "aud": ["kvs-edge", "account"],
            "sub": "f3a1", "typ": "Bearer", "azp": "apache", "realm_access": { "roles": ["guards"] },
            "preferred_username": "ann",
        }))
        .sent_in("X-Forwarded-Access-Token")
        .is("ann", &["guards"], json!({})),
    ]
}

#[derive(serde::Deserialize)]
struct Settings {
    #[serde(default)]
    identity: identity::Config,
    issuer: Vec<IssuerConfig>,
}

/// The settings of a block, with a pod's files in a folder of the test.
fn settings(block: &str, folder: &Path) -> (String, Settings) {
    fs::write(folder.join("ca.crt"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    fs::write(folder.join("token"), "pod-token").unwrap();
    let text = block.replace(POD, folder.to_str().unwrap());
    let mut settings: Settings = toml::from_str(&text).unwrap();
    IssuerConfig::complete(&mut settings.issuer);
    (text, settings)
}

/// Serves documents by host and path: `/login.example.com/keys` stands for `https://login.example.com/keys`.
#[derive(Clone, Default)]
struct Server {
    documents: Arc<Mutex<BTreeMap<String, String>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(&self) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, this) = (listener.local_addr().unwrap(), self.clone());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = vec![0; 8192];
                let length = socket.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                this.seen.lock().unwrap().push(head);
                let found = this.documents.lock().unwrap().get(&path).cloned();
                let (status, body) = found.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = socket.write_all((head + &body).as_bytes()).await;
            }
        });
        address
    }

    fn publish(&self, url: &str, body: String) {
        let path = url.strip_prefix("https:/").unwrap_or_else(|| panic!("{url}"));
        self.documents.lock().unwrap().insert(path.to_owned(), body);
    }

    /// Fetches from this server whatever host is asked for.
    async fn fetch(&self) -> Fetch {
        let address = self.start().await;
        let client = Client::new(Options { allow_http: true, ..Options::default() }).unwrap();
        Arc::new(move |mut request: Request<Bytes>| {
            let (uri, client) = (request.uri().clone(), client.clone());
            assert_eq!(uri.scheme_str(), Some("https"), "{uri}");
            let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
            let here = format!("http://{address}/{}{port}{}", uri.host().unwrap(), uri.path());
            *request.uri_mut() = here.parse().unwrap();
            Box::pin(async move {
                client.fetch(request, 1 << 20, &Limits::default()).await.map_err(|error| error.to_string())
            })
        })
    }
}

/// An issuer's key document as they are in the wild: with keys for other uses, odd ones, and no `alg`.
fn jwks(key: &SigningKey, kid: &str, key_use: &str) -> String {
    let mut jwk = key.jwk();
    (jwk["kid"], jwk["use"], jwk["alg"], jwk["x5c"]) =
        (kid.into(), key_use.into(), Value::Null, json!(["MIIB"]));
    let odd = json!([
        { "kty": "RSA", "use": "enc", "kid": "enc", "n": "AQAB", "e": "AQAB" },
        { "kty": "EC", "crv": "X", "kid": "new", "use": "sig", "alg": null },
        { "kty": "RSA", "use": "x509-svid", "x5c": ["MIIB"], "n": "AQAB", "e": "AQAB" },
    ]);
    let keys: Vec<Value> = odd.as_array().unwrap().iter().cloned().chain([jwk]).collect();
    format!("\u{feff}{}", json!({ "keys": keys, "spiffe_sequence": 7, "public_certs": [] }))
}

/// A public key on P-256 or P-384 as AWS publishes it.
fn pem(key: &SigningKey) -> String {
    let jwk = key.jwk();
    let number = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let prefix = if jwk["crv"] == "P-256" {
        "3059301306072a8648ce3d020106082a8648ce3d03010703420004"
    } else {
        "3076301006072a8648ce3d020106052b8104002203620004"
    };
    let prefix: Vec<u8> = (0..prefix.len() / 2)
        .map(|at| u8::from_str_radix(&prefix[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let der = STANDARD.encode([prefix, number("x"), number("y")].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
}

/// Signs header and claims; load balancers pad their segments.
fn signed(key: &SigningKey, algorithm: Algorithm, header: &Value, claims: &Value, padded: bool) -> String {
    let segment = |value: &Value| {
        let text = value.to_string();
        if padded { URL_SAFE.encode(text) } else { URL_SAFE_NO_PAD.encode(text) }
    };
    let message = format!("{}.{}", segment(header), segment(claims));
    let signature = key.sign_bytes(algorithm, message.as_bytes()).unwrap();
    let signature = if padded { URL_SAFE.encode(signature) } else { URL_SAFE_NO_PAD.encode(signature) };
    format!("{message}.{signature}")
}

/// One key of each kind for all issuers, since an RSA key takes seconds to make.
fn key_of(kind: KeyKind) -> SigningKey {
    static RSA: OnceLock<String> = OnceLock::new();
    if kind != KeyKind::Rsa {
        return SigningKey::generate(kind).unwrap();
    }
    let pem = RSA.get_or_init(|| SigningKey::generate(kind).unwrap().to_pem().to_string());
    SigningKey::from_pem(pem.as_bytes()).unwrap()
}

struct World {
    identity: Arc<Identity>,
    places: TokenPlaces,
    key: SigningKey,
    kid: String,
    padded: bool,
}

impl World {
    async fn of(shape: &Shape, settings: &Settings, server: &Server) -> Self {
        let kind = match shape.algorithm {
            Algorithm::ES256 => KeyKind::P256,
            Algorithm::ES384 => KeyKind::P384,
            _ => KeyKind::Rsa,
        };
        let key = key_of(kind);
        let issuer = &settings.issuer[0];
        let kid = shape.header["kid"].as_str().unwrap_or("0a1b2c3d-0000-1111-2222-333344445555").to_owned();
        let key_use = if issuer.kind == identity::IssuerKind::Spiffe { "jwt-svid" } else { "sig" };
        let url = |source: &Option<JwksSource>| source.as_ref().map(JwksSource::to_string);
        match (url(&issuer.jwks), url(&issuer.key_url)) {
            (Some(url), _) => server.publish(&url, jwks(&key, &kid, key_use)),
            (None, Some(base)) => server.publish(&format!("{base}{kid}"), pem(&key)),
            (None, None) => {
                let base = issuer.name().trim_end_matches('/').to_owned();
                let discovery = url(&issuer.discovery_url)
                    .unwrap_or_else(|| format!("{base}/.well-known/openid-configuration"));
                let keys = format!("{base}/provider/keys");
                server.publish(&discovery, json!({ "issuer": issuer.name(), "jwks_uri": keys }).to_string());
                server.publish(&keys, jwks(&key, &kid, key_use));
            }
        }
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let fetch = server.fetch().await;
        let identity = Identity::start(&settings.issuer, &settings.identity, fetch, metrics).await.unwrap();
        let padded = matches!(issuer.kind, identity::IssuerKind::Alb | identity::IssuerKind::VerifiedAccess);
        Self { identity, places: TokenPlaces::new(&settings.identity), key, kid, padded }
    }

    async fn judge(&self, shape: &Shape, change: &Value) -> Result<Arc<Caller>, identity::Error> {
        let (mut header, mut claims) = (shape.header.clone(), shape.claims.clone());
        (header["alg"], header["kid"]) = (shape.algorithm.as_str().into(), self.kid.clone().into());
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let token = signed(&self.key, shape.algorithm, &header, &claims, self.padded);
        let (name, value) = match shape.sent_in {
            "" => ("authorization", format!("Bearer {token}")),
            name => (name, token),
        };
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(&value).unwrap())]);
        let token = self.places.token(&Method::GET, &headers)?;
        self.identity.verify_sent(token, Timestamp::from_millis(NOW * 1000)).await.map(|(caller, _)| caller)
    }
}

fn shapes() -> Vec<Shape> {
    people().into_iter().chain(machines()).chain(proxies()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_issuer_of_the_document_works_by_its_settings_alone() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let blocks = documented();
    let headings: Vec<_> = blocks.iter().map(|(heading, _)| *heading).collect();
    let shapes = shapes();
    assert_eq!(shapes.iter().map(|shape| shape.heading).collect::<Vec<_>>(), headings);
    assert!(shapes.len() >= 27, "{}", shapes.len());
    for (shape, (heading, block)) in shapes.iter().zip(&blocks) {
        let folder = tempfile::tempdir().unwrap();
        let (_, settings) = settings(block, folder.path());
        let server = Server::default();
        let world = World::of(shape, &settings, &server).await;
        assert_eq!(world.identity.problems(), Vec::<String>::new(), "{heading}");
        let caller = world.judge(shape, &json!({})).await.unwrap_or_else(|e| panic!("{heading}: {e}"));
        assert_eq!(&*caller.subject, shape.subject, "{heading}");
        assert_eq!(caller.groups.iter().collect::<Vec<_>>(), shape.groups, "{heading}");
        assert_eq!(serde_json::to_value(&caller.attributes).unwrap(), shape.attributes, "{heading}");
        let (change, reason) = &shape.other;
        let refused = world.judge(shape, change).await.map(|_| "accepted");
        assert_eq!(refused.unwrap_or_else(|e| e.as_str()), *reason, "{heading}: {change}");
        let expired = world
            .judge(shape, &json!({ "exp": NOW - 100 }))
            .await
            .map_or_else(|e| e.as_str(), |_| "accepted");
        assert_eq!(expired, "expired", "{heading}");
        if *heading == "Kubernetes API server" {
            let seen = server.seen.lock().unwrap().join("\n").to_ascii_lowercase();
            assert!(seen.contains("authorization: bearer pod-token"), "{seen}");
        }
    }
}

/// Runs `check` on a block, which must pass without a warning.
async fn check(heading: &str, block: &str) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let (block, settings) = settings(block, folder.path());
    let warnings = identity::warnings(&settings.issuer);
    assert!(warnings.is_empty(), "{heading}: {warnings:?}");
    write("all.cedar", "permit (principal in Group::\"guards\", action, resource);");
    write("playback-key", "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=");
    write("client-secret", "secret");
    write(
        "edge.toml",
        &format!(
            "[server]\npublic_url = 'https://video.example.com'\n[[aws]]\nname = 'main'\nregion = 'eu-west-1'\n\
             streams = ['*']\n[policy]\nfiles = ['all.cedar']\n[playback]\nkeys = ['file:playback-key']\n{block}"
        ),
    );
    let source = ConfigSource::read(&folder.path().join("edge.toml"), std::iter::empty()).unwrap();
    let checked = kvs_edge::app::check(&source, false).await;
    let summary = checked.unwrap_or_else(|refused| panic!("{heading}: {refused:#}")).to_string();
    // Some issuers are bare names as they come, and `check` says what that means.
    let mut warnings = summary.lines().filter(|line| line.starts_with("warning"));
    assert!(warnings.all(|line| line.contains("has no scheme")), "{heading}: {summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_block_of_the_document_passes_check_without_a_warning() {
    for (heading, block) in documented() {
        check(heading, &block).await;
    }
}

/// The lines for signing in, each with the block of its provider.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lines_for_signing_in_fit_the_block_of_their_provider() {
    let blocks: BTreeMap<_, _> = documented().into_iter().collect();
    let mut count = 0;
    for section in DOCUMENT.split("\n#### ").skip(1) {
        let heading = section.lines().next().unwrap();
        let lines = section.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let block = blocks.get(heading).unwrap_or_else(|| panic!("no block under {heading}"));
        check(heading, &block.replacen("[[issuer]]\n", &format!("[[issuer]]\n{lines}"), 1)).await;
        count += 1;
    }
    assert_eq!(count, 7);
}

#[tokio::test]
async fn check_warns_of_an_issuer_that_signs_for_anybody() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("all.cedar", "permit (principal in Group::\"guards\", action, resource);");
    write("playback-key", "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=");
    write(
        "edge.toml",
        "[[aws]]\nname = 'main'\nregion = 'eu-west-1'\nstreams = ['*']\n[policy]\nfiles = ['all.cedar']\n\
         [playback]\nkeys = ['file:playback-key']\n[[issuer]]\nissuer = 'https://gitlab.com'\naudience = ['kvs-edge']\n\
         algorithms = ['RS256']\ndiscovery = true\n",
    );
    let source = ConfigSource::read(&folder.path().join("edge.toml"), std::iter::empty()).unwrap();
    let checked = kvs_edge::app::check(&source, false).await.unwrap_or_else(|refused| panic!("{refused:#}"));
    let summary = checked.to_string();
    let warning = summary.lines().nth(1).unwrap_or_default();
    assert!(warning.starts_with("warning: ") && warning.contains("edge.toml:9:"), "{summary}");
    assert!(warning.contains("anybody can have a token of https://gitlab.com"), "{summary}");
}
