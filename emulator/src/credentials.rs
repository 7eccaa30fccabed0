//! Sources of temporary credentials: STS (AssumeRole, AssumeRoleWithWebIdentity, GetCallerIdentity), the
//! container endpoint of ECS, and instance metadata of EC2. They suffice for the default credential chain of
//! an AWS SDK.
//!
//! | Variable | Value |
//! |---|---|
//! | `AWS_ENDPOINT_URL_STS` | the emulator's URL |
//! | `AWS_CONTAINER_CREDENTIALS_FULL_URI` | its URL and `/_emulator/credentials` |
//! | `AWS_EC2_METADATA_SERVICE_ENDPOINT` | its URL |

use super::answer::{Answer, KvsError};
use super::authenticate::authenticate;
use super::clock::{Millis, now, rfc3339};
use super::json::Json;
use super::signature::{SigningKey, decode, hex};
use super::state::EmulatorState;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode, header};
use std::net::SocketAddr;

/// Default lifetimes of the credentials of a role and of a machine.
const ROLE_SECONDS: u64 = 3600;
const MACHINE_SECONDS: u64 = 21_600;
/// The role in the instance metadata.
const ROLE: &str = "kvs-edge";
const STS_XMLNS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Answers requests for credentials; `None` for all others.
pub(super) fn answer(state: &EmulatorState, peer: SocketAddr, parts: &Parts, body: &Bytes) -> Option<Answer> {
    let path = parts.uri.path();
    let form = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if parts.method == Method::POST && path == "/" && form {
        return Some(sts(state, parts, body));
    }
    if peer.ip().is_loopback() && path.starts_with("/latest/") {
        state.counters().count("InstanceMetadata", None, |count| count.requests += 1);
        return Some(metadata(state, &parts.method, path));
    }
    None
}

/// The answer of the container endpoint.
pub(super) fn container(state: &EmulatorState) -> Answer {
    state.counters().count("ContainerCredentials", None, |count| count.requests += 1);
    let issued = Issued::new(state, &state.config.account, MACHINE_SECONDS);
    Answer::json(&Json::object([
        ("RoleArn", Json::text(format!("arn:aws:iam::{}:role/{ROLE}", state.config.account))),
        ("AccessKeyId", Json::Text(issued.id)),
        ("SecretAccessKey", Json::Text(issued.secret)),
        ("Token", Json::Text(issued.token)),
        ("Expiration", Json::Text(time(issued.expires))),
    ]))
}

fn metadata(state: &EmulatorState, method: &Method, path: &str) -> Answer {
    const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials/";
    match (method, path) {
        (&Method::PUT, "/latest/api/token") => {
            let mut answer = Answer::bytes("text/plain", "metadata-token");
            answer.headers.insert("x-aws-ec2-metadata-token-ttl-seconds", 21_600.into());
            answer
        }
        (&Method::GET, "/latest/meta-data/placement/region") => {
            Answer::bytes("text/plain", state.config.region.clone())
        }
        (&Method::GET, CREDENTIALS) => Answer::bytes("text/plain", ROLE),
        (&Method::GET, path) if path.strip_prefix(CREDENTIALS) == Some(ROLE) => {
            let issued = Issued::new(state, &state.config.account, MACHINE_SECONDS);
            Answer::json(&Json::object([
                ("Code", Json::text("Success")),
                ("Type", Json::text("AWS-HMAC")),
                ("LastUpdated", Json::Text(time(now()))),
                ("AccessKeyId", Json::Text(issued.id)),
                ("SecretAccessKey", Json::Text(issued.secret)),
                ("Token", Json::Text(issued.token)),
                ("Expiration", Json::Text(time(issued.expires))),
            ]))
        }
        _ => Answer { status: StatusCode::NOT_FOUND, ..Answer::bytes("text/plain", Bytes::new()) },
    }
}

/// New temporary credentials.
struct Issued {
    id: String,
    secret: String,
    token: String,
    expires: Millis,
}

impl Issued {
    fn new(state: &EmulatorState, account: &str, seconds: u64) -> Self {
        let seconds = state.config.max_credential_seconds.map_or(seconds, |most| most.min(seconds));
        let mut random = [0; 48];
        // Without randomness these keys can be guessed, which is harmless in an emulator.
        let _ = aws_lc_rs::rand::fill(&mut random);
        let id = format!("ASIA{}", hex(&random[..8]).to_uppercase());
        let issued = Self {
            id: id.clone(),
            secret: hex(&random[8..28]),
            token: STANDARD.encode(&random[8..48]),
            expires: now() + seconds * 1000,
        };
        state.issue(
            id,
            SigningKey {
                secret: issued.secret.clone(),
                token: Some(issued.token.clone()),
                expires: Some(issued.expires),
                account: account.to_owned(),
            },
        );
        issued
    }
}

/// Whole seconds, as STS writes them.
fn time(millis: Millis) -> String {
    rfc3339(millis / 1000 * 1000).replace(".000Z", "Z")
}

/// A decoded form body.
struct FormBody(Vec<(String, String)>);

impl FormBody {
    fn read(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body).replace('+', " ");
        let decode = |text: &str| String::from_utf8_lossy(&decode(text)).into_owned();
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (decode(name), decode(value))).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

fn sts(state: &EmulatorState, parts: &Parts, body: &Bytes) -> Answer {
    let form = FormBody::read(body);
    let action = form.get("Action").to_owned();
    state.counters().count(&action, None, |count| count.requests += 1);
    // AssumeRoleWithWebIdentity is authenticated by its token, everything else by a signature.
    let caller = match action.as_str() {
        "AssumeRoleWithWebIdentity" => Ok(state.config.account.clone()),
        _ => authenticate(state, "sts", parts, body).map(|(account, _)| account),
    };
    let result = caller.and_then(|account| match action.as_str() {
        "AssumeRole" | "AssumeRoleWithWebIdentity" => assume(state, &action, &form),
        "GetCallerIdentity" => Ok(identity(&account)),
        _ => Err(KvsError::new(400, "InvalidAction", "Could not find operation")),
    });
    match result {
        Ok(xml) => Answer::bytes("text/xml", xml),
        Err(error) => failure(state, &action, &error),
    }
}

fn assume(state: &EmulatorState, action: &str, form: &FormBody) -> Result<String, KvsError> {
    let (role, session) = (form.get("RoleArn"), form.get("RoleSessionName"));
    let mut parts = role.split(':');
    let account = parts.nth(4).filter(|account| state.has_account(account));
    let name = parts.next().and_then(|resource| resource.strip_prefix("role/"));
    let denied = || {
        let message = format!("User is not authorized to perform: sts:{action} on resource: {role}");
        KvsError::denied("AccessDenied", message)
    };
    let (account, name) = account.zip(name).ok_or_else(denied)?;
    if session.is_empty() {
        return Err(KvsError::new(400, "ValidationError", "RoleSessionName must not be empty"));
    }
    let wanted = state.config.external_id.as_deref().filter(|_| action == "AssumeRole");
    if wanted.is_some_and(|wanted| wanted != form.get("ExternalId")) {
        return Err(denied());
    }
    if action == "AssumeRoleWithWebIdentity" && form.get("WebIdentityToken").is_empty() {
        return Err(KvsError::new(400, "InvalidIdentityToken", "No token"));
    }
    let seconds = form.get("DurationSeconds").parse().unwrap_or(ROLE_SECONDS);
    let Issued { id, secret, token, expires } = Issued::new(state, account, seconds);
    let expiration = time(expires);
    Ok(format!(
        "<{action}Response xmlns=\"{STS_XMLNS}\"><{action}Result>\
         <AssumedRoleUser><AssumedRoleId>AROAEMULATOR:{session}</AssumedRoleId>\
         <Arn>arn:aws:sts::{account}:assumed-role/{name}/{session}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>{token}</SessionToken><Expiration>{expiration}</Expiration></Credentials>\
         </{action}Result>\
         <ResponseMetadata><RequestId>emulator</RequestId></ResponseMetadata></{action}Response>"
    ))
}

fn identity(account: &str) -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"{STS_XMLNS}\"><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::{account}:user/emulator</Arn>\
         <UserId>AIDAEMULATOR</UserId><Account>{account}</Account>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>"
    )
}

/// STS's errors are XML, and their names have no `Exception` at the end.
fn failure(state: &EmulatorState, action: &str, error: &KvsError) -> Answer {
    state.counters().count(action, None, |count| count.failed += 1);
    let code = error.kind.strip_suffix("Exception").unwrap_or(&error.kind);
    let message = error.message.replace('&', "&amp;").replace('<', "&lt;");
    let xml = format!(
        "<ErrorResponse xmlns=\"{STS_XMLNS}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>emulator</RequestId></ErrorResponse>"
    );
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    Answer { status, ..Answer::bytes("text/xml", xml) }
}
