//! Where a bucket's objects are: the bucket in the host name, as AWS wants it, or in the path, as most other
//! stores do.

use crate::aws::hosts;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use std::net::IpAddr;

/// What the addresses of a bucket's objects have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Address {
    scheme: Scheme,
    authority: Authority,
    /// `/bucket` if the bucket stands in the path.
    bucket: String,
    prefix: String,
}

const HOW: &str = "must be http://HOST[:PORT] or https://HOST[:PORT]";

impl Address {
    /// The address of a bucket: at AWS, or at another endpoint. `path_style` as in the settings.
    ///
    /// # Errors
    /// How an endpoint is written.
    pub(super) fn of(
        endpoint: Option<&str>,
        region: &str,
        bucket: &str,
        prefix: &str,
        path_style: Option<bool>,
    ) -> Result<Self, &'static str> {
        let (scheme, authority) = match endpoint {
            Some(url) => split(url).ok_or(HOW)?,
            None => (Scheme::HTTPS, hosts::s3(region).parse().map_err(|_| HOW)?),
        };
        let prefix = prefix.to_owned();
        if path_style.unwrap_or(endpoint.is_some() || bucket.contains('.')) {
            return Ok(Self { scheme, authority, bucket: format!("/{bucket}"), prefix });
        }
        let authority = format!("{bucket}.{authority}").parse().map_err(|_| HOW)?;
        Ok(Self { scheme, authority, bucket: String::new(), prefix })
    }

    /// The address of an object. `None` if its name does not fit into a URL as it is.
    pub(super) fn of_object(&self, name: &str) -> Option<Uri> {
        self.with_path(format!("{}/{}/{name}", self.bucket, self.prefix))
    }

    fn with_path(&self, path: String) -> Option<Uri> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(PathAndQuery::try_from(path).ok()?)
            .build()
            .ok()
    }

    /// Whether it is reached without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.scheme == Scheme::HTTP
    }

    /// Whether it is this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || host.ends_with(".localhost")
            || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Scheme and authority of an address without a path, a query or a user name.
fn split(url: &str) -> Option<(Scheme, Authority)> {
    let parts = url.parse::<Uri>().ok()?.into_parts();
    let scheme = parts.scheme.filter(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS)?;
    let authority = parts.authority.filter(|a| !a.as_str().contains('@') && !a.host().is_empty())?;
    matches!(parts.path_and_query.as_ref().map(PathAndQuery::as_str), None | Some("/"))
        .then_some((scheme, authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(endpoint: Option<&str>, bucket: &str, path_style: Option<bool>) -> String {
        let address = Address::of(endpoint, "eu-west-1", bucket, "kvs-edge", path_style).unwrap();
        address.of_object("ab/cd").unwrap().to_string()
    }

    #[test]
    fn the_bucket_is_in_the_host_name_at_aws_and_in_the_path_elsewhere() {
        assert_eq!(of(None, "media", None), "https://media.s3.eu-west-1.amazonaws.com/kvs-edge/ab/cd");
        assert_eq!(of(None, "my.media", None), "https://s3.eu-west-1.amazonaws.com/my.media/kvs-edge/ab/cd");
        assert_eq!(
            of(Some("http://127.0.0.1:9000/"), "media", None),
            "http://127.0.0.1:9000/media/kvs-edge/ab/cd"
        );
        assert_eq!(
            of(Some("https://store.example:9000"), "media", Some(false)),
            "https://media.store.example:9000/kvs-edge/ab/cd"
        );
    }

    #[test]
    fn what_does_not_fit_into_a_url_has_no_address() {
        let address = Address::of(None, "eu-west-1", "media", "kvs-edge", None).unwrap();
        assert!(address.of_object("a b").is_none());
    }
}
