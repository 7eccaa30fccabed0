//! The paths of signing in and out. What happens there is the part `sign_in`'s; this makes answers of it.

use super::error::Error;
use super::reply::Reply;
use super::route::SignInStep;
use crate::accounting::Record;
use crate::sign_in::{Redirect, SignIn};
use crate::telemetry::request_labels;
use http::StatusCode;
use http::header::{self, HeaderValue};
use http::request::Parts;
use serde_json::json;

/// The answer to a step of signing in or out.
///
/// # Errors
/// It was not our page that asked, or the session cannot be renewed.
pub(super) async fn answer(
    sign_in: &SignIn,
    step: SignInStep,
    parts: &Parts,
    record: &mut Record,
) -> Result<Reply, Error> {
    record.api = request_labels::CONSOLE;
    if matches!(step, SignInStep::Renew | SignInStep::End) && !sign_in.is_own(&parts.headers) {
        return Err(Error::OtherPage);
    }
    match step {
        SignInStep::Begin => Ok(see_other(sign_in.begin(parts, record.at).await)),
        SignInStep::Arrive => Ok(see_other(sign_in.arrive(parts, record.at).await)),
        SignInStep::Renew => {
            let cookies = sign_in.renew(&parts.headers, record.at).await.map_err(Error::Renewal)?;
            Ok(with_cookies(Reply::json(&json!({ "renewed": true })), cookies))
        }
        SignInStep::End => {
            let (location, cookies) = sign_in.end(&parts.headers).await;
            Ok(with_cookies(Reply::json(&json!({ "location": location })), cookies))
        }
    }
}

fn see_other(Redirect { to, cookies }: Redirect) -> Reply {
    let reply = Reply::empty(StatusCode::SEE_OTHER)
        .with(header::LOCATION, to)
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    with_cookies(reply, cookies)
}

fn with_cookies(mut reply: Reply, cookies: Vec<HeaderValue>) -> Reply {
    for cookie in cookies {
        reply.headers.append(header::SET_COOKIE, cookie);
    }
    reply
}
