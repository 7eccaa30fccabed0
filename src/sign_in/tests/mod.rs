//! Signing in against a provider in the test, as a browser does it; and what an attacker changes on the way.

mod hostile;
mod provider;
mod steps;

use super::*;
use crate::playback;
use http::header::COOKIE;
use http::{Method, Request};
use provider::{FakeProvider, ISSUER};
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const HOME: &str = "https://video.example.com";

/// A gateway's part, and the provider that it signs people in with.
struct World {
    sign_in: SignIn,
    provider: Arc<FakeProvider>,
}

impl World {
    async fn new() -> Self {
        Self::with(FakeProvider::new(), "").await
    }

    /// With more settings of the issuer.
    async fn with(provider: FakeProvider, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "s3cr:t/+ä").unwrap();
        let text = format!(
            "issuer = '{ISSUER}'\naudience = ['kvs-edge']\nalgorithms = ['ES256']\ndiscovery = true\n\
             claims = {{ subject = '/sub', groups = '/groups' }}\nclient_id = 'web app'\n{}",
            more.replace("SECRET", &format!("file:{}", secret.display())),
        );
        let mut issuers: Vec<IssuerConfig> = vec![toml::from_str(&text).unwrap()];
        IssuerConfig::complete(&mut issuers);
        let provider = Arc::new(provider);
        let metrics = identity::Metrics::register(&prometheus::Registry::new()).unwrap();
        let settings = identity::Config::default();
        let identity = Identity::start(&issuers, &settings, provider.fetch(), metrics).await.unwrap();
        let keys = Arc::new(playback::Keys::load(&playback::Config::default()).unwrap());
        let sign_in = SignIn::new(&issuers, identity, keys, HOME, None);
        // The secret is read at each request.
        std::mem::forget(folder);
        Self { sign_in, provider }
    }

    /// Signs a browser in.
    async fn signed_in(&self) -> Browser {
        let mut browser = Browser::default();
        let back = self.provider.answer(&browser.begin(self, "").await);
        assert_eq!(browser.arrive(self, &back).await, format!("{HOME}/"));
        browser
    }
}

/// Cookies, and requests with them.
#[derive(Clone, Default)]
struct Browser(BTreeMap<String, String>);

impl Browser {
    fn parts(&self, path: &str) -> Parts {
        let cookies: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::builder().method(Method::GET).uri(path).header(HOST, "video.example.com");
        request.header(COOKIE, cookies.join("; ")).body(()).unwrap().into_parts().0
    }

    fn keep(&mut self, cookies: &[HeaderValue]) {
        for cookie in cookies {
            let cookie = cookie.to_str().unwrap();
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if cookie.contains("Max-Age=0") {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn follow(&mut self, redirect: &Redirect) -> String {
        self.keep(&redirect.cookies);
        redirect.to.to_str().unwrap().to_owned()
    }

    /// Begins; gives the address at the provider.
    async fn begin(&mut self, world: &World, query: &str) -> String {
        let redirect = world.sign_in.begin(&self.parts(&format!("{BEGIN}?{query}")), NOW).await;
        self.follow(&redirect)
    }

    /// Comes back with this query; gives where it is sent then.
    async fn arrive(&mut self, world: &World, query: &str) -> String {
        let redirect = world.sign_in.arrive(&self.parts(&format!("{CALLBACK}?{query}")), NOW).await;
        self.follow(&redirect)
    }

    async fn renew(&mut self, world: &World) -> Result<(), Problem> {
        let cookies = world.sign_in.renew(&self.parts("/console/renew").headers, NOW).await?;
        self.keep(&cookies);
        Ok(())
    }

    fn session(&self, world: &World) -> Option<Session> {
        world.sign_in.carried(&self.parts("/").headers).session().cloned()
    }

    fn is_signed_in(&self, world: &World) -> bool {
        self.session(world).is_some()
    }
}

/// A parameter of an address.
fn parameter(address: &str, name: &str) -> String {
    let query = address.split_once('?').unwrap().1.split('#').next().unwrap();
    form::value(query, name).unwrap().unwrap_or_default()
}
