//! How `sessions` reaches KVS: opens a session, loads a playlist, and takes the secrets out of it before anybody else
//! sees it.

use super::error::Failure;
use super::media;
use crate::cache::freshness::Rules;
use crate::cache::{self, Cache};
use crate::kvs::{Resource, SessionParameters, StreamRef, Timestamp};
use crate::playback;
use crate::sessions::{self, Opened, Origin, SessionKey, Track, Verdict};
use crate::upstream::{self, SessionUrl, Upstream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The longest playlist that is read: 5,000 fragments of some 250 bytes, and room.
const LONGEST: usize = 4 << 20;
/// An init segment has some hundred bytes.
const LONGEST_INIT: u64 = 1 << 20;
/// As long as KVS lets a session live (`KVS.md` 4.6).
const EXPIRES: Duration = Duration::from_secs(43_200);
/// Who waits for a place under the quotas on behalf of all viewers.
const EVERYBODY: &str = "shared playback sessions";

/// KVS behind the shared sessions.
pub struct KvsOrigin {
    upstream: Upstream,
    cache: Cache,
    rules: Rules,
}

impl KvsOrigin {
    /// Over these calls; what is fetched ahead of its viewers goes into this cache.
    #[must_use]
    pub fn new(upstream: Upstream, cache: Cache, settings: &cache::Config) -> Self {
        Self { upstream, cache, rules: Rules::new(settings, None) }
    }

    /// The entry was found when the request was located, by the same stream.
    fn locate(&self, stream: &StreamRef) -> Result<upstream::Located, upstream::Error> {
        self.upstream.locate(stream)
    }
}

/// Opens a session on behalf of all viewers, for as long as KVS lets it live.
pub(super) async fn open(
    upstream: &Upstream,
    located: &upstream::Located,
    parameters: &SessionParameters,
) -> Result<SessionUrl, upstream::Error> {
    upstream.open_session(located, parameters, EXPIRES, EVERYBODY).await
}

impl Origin for KvsOrigin {
    type Handle = SessionUrl;
    type Error = Failure;

    async fn open(
        &self,
        key: &SessionKey,
        parameters: &SessionParameters,
    ) -> Result<Opened<SessionUrl>, Failure> {
        let located = self.locate(&key.stream)?;
        let url = open(&self.upstream, &located, parameters).await?;
        Ok(Opened { id: url.id.to_string(), expires: url.expires, handle: url })
    }

    async fn playlist(
        &self,
        key: &SessionKey,
        session: &SessionUrl,
        resource: &Resource,
    ) -> Result<String, Failure> {
        let located = self.locate(&key.stream)?;
        let answer = self.upstream.fetch(&located, session, resource, key.most()).await?;
        let bytes = answer
            .bytes(LONGEST)
            .await
            .map_err(|broken| upstream::Error::BrokenAnswer(broken.to_string()))?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| upstream::Error::BrokenAnswer("a playlist is not UTF-8".to_owned()))?;
        let (host, token) = session.secret_parts();
        let host = host.split_once("://").map_or(host.as_str(), |(_, host)| host).trim_end_matches('/');
        playback::rewrite(resource, text, &[token.expose(), host]).map_err(Failure::Rewrite)
    }

    async fn prefetch(&self, key: &SessionKey, at: sessions::Located<SessionUrl>) {
        let Ok(located) = self.locate(&key.stream) else { return };
        let fetch = media::fetch_segment(
            self.upstream.clone(),
            located,
            at.clone(),
            self.rules,
            super::Payer::default(),
        );
        // A viewer who asks for it will be told what is wrong; nobody has asked yet.
        let _ = self.cache.warm(media::segment_key(key, &at), fetch).await;
    }

    async fn track(
        &self,
        key: &SessionKey,
        init: sessions::Located<SessionUrl>,
    ) -> Result<Option<Track>, Failure> {
        let located = self.locate(&key.stream)?;
        let nobody = super::Payer::default();
        let fetch = media::fetch_segment(self.upstream.clone(), located, init.clone(), self.rules, nobody);
        // Players will ask for it next.
        let found = self.cache.get_or_fill(media::segment_key(key, &init), fetch).await?;
        let bytes = found.entry.collect(LONGEST_INIT).await?;
        Ok(playback::mp4::init(&bytes).map(|init| Track { timescale: init.timescale, mark: init.mark }))
    }

    async fn anchor(
        &self,
        key: &SessionKey,
        at: sessions::Located<SessionUrl>,
        begins: Timestamp,
        track: Track,
    ) -> Result<Option<Duration>, Failure> {
        let located = self.locate(&key.stream)?;
        let moved = Arc::new(OnceLock::new());
        let told = moved.clone();
        // A second try of the same fetch moves by what the first one has told.
        let by = move |own| told.get_or_init(|| track.away(own, begins)).map_or(0, |away| track.ticks(away));
        let nobody = super::Payer::default();
        let fetch =
            media::fetch_moved(self.upstream.clone(), located, at.clone(), self.rules, nobody, Some(by));
        let found = self.cache.get_or_fill(media::segment_key(key, &at), fetch).await?;
        // Players will ask for it next: the rest of it comes in while they are told. A fetch that nobody reads ends.
        tokio::spawn(async move {
            let mut reader = found.entry.body(None);
            while let Some(Ok(_)) = reader.next().await {}
        });
        Ok(moved.get().copied().flatten())
    }

    fn verdict(error: &Failure) -> Verdict {
        use upstream::Error as E;
        match error {
            Failure::Rewrite(_) => Verdict::Fatal,
            Failure::Upstream(error) => match &**error {
                E::SessionExpired => Verdict::Expired,
                E::NoData(_) => Verdict::NoData,
                E::Kvs(fault) if fault.is_not_found() => Verdict::NoData,
                E::Kvs(fault) if fault.is_throttle() || fault.is_trouble() || fault.is_refusal() => {
                    Verdict::Transient
                }
                E::Kvs(_) | E::NotServed(_) => Verdict::Fatal,
                _ => Verdict::Transient,
            },
        }
    }
}
