//! Serves the console's files, and what the page asks about itself and its user.

use super::authenticate::Authenticator;
use super::error::Error;
use super::reply::{self, Reply};
use super::route::{NoRoute, Route};
use crate::accounting::{BodySource, Record};
use crate::identity;
use crate::net::gzip;
use crate::telemetry::request_labels;
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use serde_json::{Value, json};

/// The console, handed in: its files belong to no caller, and the page makes all its other requests like any
/// client.
pub struct Console {
    /// The file at a path, in the smallest form whose coding the client takes.
    pub file: fn(&str, &dyn Fn(&str) -> bool) -> Option<ConsoleFile>,
    /// Headers of every file.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What it must know before anybody has signed in.
    pub settings: Value,
}

/// A file of the console.
pub struct ConsoleFile {
    /// The body.
    pub bytes: &'static [u8],
    /// Its coding, if it has one.
    pub encoding: Option<&'static str>,
    /// Whether other clients may get another form.
    pub varies: bool,
    /// Its type.
    pub content_type: &'static str,
    /// Whether its name changes with its content.
    pub immutable: bool,
    /// Its entity tag, quotes included.
    pub etag: String,
}

impl Console {
    /// The answer to a path of the console. Only `/console/me` needs a credential;
    /// `/console/session` is `null` without one.
    ///
    /// # Errors
    /// There is no such file, or no caller.
    pub(super) async fn answer(
        &self,
        path: &str,
        parts: &Parts,
        authenticator: &Authenticator,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        record.api = request_labels::CONSOLE;
        match path {
            "/console/config.json" => Ok(Reply::json(&self.settings)),
            "/console/me" => Ok(Reply::json(&signed_in(path, parts, authenticator, record).await?)),
            // The same with `null` for a missing credential: browsers log each 401 as an error.
            "/console/session" => match signed_in(path, parts, authenticator, record).await {
                Err(Error::SignIn | Error::Identity(identity::Error::Missing { .. })) => {
                    Ok(Reply::json(&Value::Null))
                }
                found => Ok(Reply::json(&found?)),
            },
            _ => self.asset(path, parts),
        }
    }

    fn asset(&self, path: &str, parts: &Parts) -> Result<Reply, Error> {
        let takes = |coding: &str| gzip::takes(&parts.headers, coding);
        let asset = (self.file)(path, &takes).ok_or(NoRoute::Unknown)?;
        let mut reply = reply::text(Bytes::from_static(asset.bytes), asset.content_type);
        let keep = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
        reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
        for (name, value) in &self.headers {
            reply.headers.insert(name.clone(), value.clone());
        }
        if let Some(coding) = asset.encoding {
            reply.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        if asset.varies {
            reply.headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Ok(etag) = HeaderValue::from_str(&asset.etag) {
            if parts.headers.get(header::IF_NONE_MATCH) == Some(&etag) {
                reply.status = StatusCode::NOT_MODIFIED;
                reply.source = BodySource::Empty;
            }
            reply.headers.insert(header::ETAG, etag);
        }
        Ok(reply)
    }
}

/// The caller of a request as the page shows it.
///
/// # Errors
/// There is no credential, or none that is good.
async fn signed_in(
    path: &str,
    parts: &Parts,
    authenticator: &Authenticator,
    record: &mut Record,
) -> Result<Value, Error> {
    let authenticated = authenticator.authenticate(&Route::Console(path), parts, record).await?;
    let caller = authenticated.caller();
    if caller.is_anonymous() {
        // The page learns by this that it must show the sign-in.
        return Err(Error::SignIn);
    }
    let carried = authenticator.sign_in.carried(&parts.headers);
    let session = carried.session().filter(|session| session.issuer() == &*caller.issuer);
    Ok(json!({
        "subject": &*caller.subject,
        "issuer": &*caller.issuer,
        "groups": &caller.groups,
        "expires": caller.expires.to_string(),
        "signed_in": session.map(|session| json!({ "renews": session.is_renewable() })),
    }))
}
