//! Reads one document of an issuer over the network: a JWKS, a discovery document, a PEM.
//!
//! A redirect is followed only to the same origin, so that whoever may answer is who was meant to. The bearer
//! token of the settings is sent to the configured origin and nowhere else.

use super::issuer_config::IssuerConfig;
use super::jwks_source::JwksSource;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue, IF_NONE_MATCH, LOCATION};
use http::{Request, Response, StatusCode, Uri};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Fetches one document. It follows no redirects and reads no body beyond 1 MiB; an error is a sentence for
/// the log. Where the request has [`TrustedRoots`] among its extensions, no other certificates are trusted.
pub type Fetch = Arc<
    dyn Fn(Request<Bytes>) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, String>> + Send>>
        + Send
        + Sync,
>;

/// The certificates, in PEM, that alone are trusted for one request (`ca` of an issuer).
#[derive(Clone)]
pub struct TrustedRoots(pub Arc<[u8]>);

/// How long one document may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many redirects are followed.
const REDIRECTS: usize = 3;

/// What a request for a document takes from the settings; files are read anew each time, since what is
/// mounted there is renewed.
pub(super) struct KeyAccess {
    roots: Option<TrustedRoots>,
    bearer: Option<HeaderValue>,
    /// The configured address, whose origin gets the bearer token.
    home: Option<Uri>,
}

impl KeyAccess {
    /// Reads the files that the settings name.
    pub async fn of(config: &IssuerConfig) -> Result<Self, String> {
        let (ca, bearer) = (config.ca.clone(), config.bearer.clone());
        let home = [&config.jwks, &config.discovery_url, &config.key_url].into_iter().flatten().next();
        let home = match home {
            Some(JwksSource::Url(url)) => Some(url.clone()),
            _ => config.name().parse().ok(),
        };
        if ca.is_none() && bearer.is_none() {
            return Ok(Self { roots: None, bearer: None, home });
        }
        let read = move || -> Result<Self, String> {
            let roots = ca.map(|ca| ca.read()).transpose().map_err(|why| format!("ca: {why}"))?;
            let bearer =
                bearer.map(|bearer| bearer.read()).transpose().map_err(|why| format!("bearer: {why}"))?;
            let header = bearer.map(|token| {
                let text = [b"Bearer ", token.expose()].concat();
                let mut header =
                    HeaderValue::from_bytes(&text).map_err(|_| "bearer: it holds what no header can")?;
                header.set_sensitive(true);
                Ok::<_, &str>(header)
            });
            let roots = roots.map(|pem| TrustedRoots(pem.expose().into()));
            Ok(Self { roots, bearer: header.transpose()?, home })
        };
        tokio::task::spawn_blocking(read).await.map_err(|e| e.to_string())?
    }

    /// Gets a document.
    ///
    /// # Errors
    /// A sentence that begins with the address.
    pub async fn get(
        &self,
        fetch: &Fetch,
        url: &Uri,
        etag: Option<HeaderValue>,
    ) -> Result<Response<Bytes>, String> {
        let exchange = async {
            let mut here = url.clone();
            for _ in 0..=REDIRECTS {
                let response = fetch(self.request(&here, etag.as_ref())).await;
                let response = response.map_err(|why| format!("{here}: {why}"))?;
                match redirect(&here, &response) {
                    None => return Ok(response),
                    Some(next) => here = next.map_err(|why| format!("{here} {why}"))?,
                }
            }
            Err(format!("{url} redirects more than {REDIRECTS} times"))
        };
        match timeout(DEADLINE, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("{url} did not answer within {} s", DEADLINE.as_secs())),
        }
    }

    /// Sends a request that is no document's, to an endpoint that the issuer named.
    ///
    /// # Errors
    /// A sentence that begins with the address.
    pub async fn send(&self, fetch: &Fetch, mut request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        if let Some(roots) = &self.roots {
            request.extensions_mut().insert(roots.clone());
        }
        let url = request.uri().clone();
        match timeout(DEADLINE, fetch(request)).await {
            Ok(answer) => answer.map_err(|why| format!("{url}: {why}")),
            Err(_) => Err(format!("{url} did not answer within {} s", DEADLINE.as_secs())),
        }
    }

    fn request(&self, url: &Uri, etag: Option<&HeaderValue>) -> Request<Bytes> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = url.clone();
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json, */*;q=0.5"));
        if let Some(etag) = etag {
            request.headers_mut().insert(IF_NONE_MATCH, etag.clone());
        }
        if let Some(bearer) =
            self.bearer.as_ref().filter(|_| self.home.as_ref().is_some_and(|h| same_origin(h, url)))
        {
            request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        }
        if let Some(roots) = &self.roots {
            request.extensions_mut().insert(roots.clone());
        }
        request
    }
}

/// Where a response redirects to, if it does and to the same origin.
fn redirect(from: &Uri, response: &Response<Bytes>) -> Option<Result<Uri, String>> {
    const MOVED: [StatusCode; 5] = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !MOVED.contains(&response.status()) {
        return None;
    }
    let target = response.headers().get(LOCATION)?.to_str().ok()?;
    let origin = || Some(format!("{}://{}", from.scheme_str()?, from.authority()?));
    let whole = match target {
        path if path.starts_with('/') && !path.starts_with("//") => format!("{}{path}", origin()?),
        other => other.to_owned(),
    };
    Some(match whole.parse::<Uri>() {
        Ok(url) if same_origin(from, &url) => Ok(url),
        _ => Err("redirects to another origin, which is not followed".into()),
    })
}

fn same_origin(one: &Uri, two: &Uri) -> bool {
    let port =
        |url: &Uri| url.port_u16().or(if url.scheme_str() == Some("https") { Some(443) } else { Some(80) });
    let host = |url: &Uri| url.host().map(str::to_ascii_lowercase);
    let plain = |url: &Uri| !url.authority().is_some_and(|a| a.as_str().contains('@'));
    one.scheme_str() == two.scheme_str()
        && host(one).is_some()
        && host(one) == host(two)
        && port(one) == port(two)
        && plain(two)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_within_the_origin() {
        let from: Uri = "https://login.example.com/keys".parse().unwrap();
        let to = |target: &str| {
            let response =
                Response::builder().status(302).header(LOCATION, target).body(Bytes::new()).unwrap();
            redirect(&from, &response).unwrap().ok().map(|url| url.to_string())
        };
        for good in ["/v2/keys", "https://login.example.com/v2/keys", "https://LOGIN.example.com:443/v2/keys"]
        {
            assert!(to(good).is_some_and(|url| url.ends_with("/v2/keys")), "{good}");
        }
        for bad in [
            "//evil.example.com/keys",
            "https://evil.example.com/keys",
            "http://login.example.com/keys",
            "https://login.example.com:8443/keys",
            "https://login.example.com@evil.example.com/keys",
            "https://a@login.example.com/keys",
            "keys2",
            "",
        ] {
            assert_eq!(to(bad), None, "{bad}");
        }
    }
}
