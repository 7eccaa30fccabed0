//! Footage that takes several upstream sessions: which they are is planned by `joined`; this opens and loads them.

use super::load::etag;
use super::shared::{FETCHES, Session, Shared, lock};
use crate::kvs::Resource;
use crate::sessions::Error;
use crate::sessions::hls::long_vod;
use crate::sessions::hls::playlist::MediaPlaylist;
use crate::sessions::origin::{Origin, Verdict};
use crate::sessions::pool::Located;
use crate::sessions::session::cached_playlist::Published;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

impl<O: Origin> Shared<O> {
    /// The session of one part, for [`Sessions::session`](super::Sessions::session) and the like.
    pub(in crate::sessions) async fn any_session(
        self: &Arc<Self>,
    ) -> Result<Arc<Session<O::Handle>>, Error<O::Error>> {
        if self.key.whole_manifest() {
            // A range that is too long is told of before anybody is sent there.
            self.playlist(&Resource::Manifest).await?;
        }
        let Some(range) = self.key.whole() else { return self.session().await };
        let mut last = Err(Error::Gone);
        for day in long_vod::days(range)? {
            last = self.part(day).session().await;
            match &last {
                Err(Error::Origin(error)) if O::verdict(error) == Verdict::NoData => {}
                _ => break,
            }
        }
        last
    }

    pub(in crate::sessions) fn part(&self, range: long_vod::Range) -> Arc<Self> {
        let now = lock(&self.state).now();
        let make = || {
            let key = self.key.part(range);
            Arc::new(Self::new(
                key,
                self.origin.clone(),
                self.config.clone(),
                self.metrics.clone(),
                None,
                now,
            ))
        };
        lock(&self.parts).open.entry(range).or_insert_with(make).clone()
    }

    /// The part behind a published address, and the resource by its name there, if the plan is known.
    pub(in crate::sessions) fn part_of(&self, resource: &Resource) -> Option<(Arc<Self>, Resource)> {
        let plan = lock(&self.parts).plan.clone()?;
        let (range, upstream) = plan.behind(resource)?;
        Some((self.part(range), upstream))
    }

    pub(in crate::sessions) async fn behind_part(
        self: &Arc<Self>,
        resource: &Resource,
    ) -> Result<Located<O::Handle>, Error<O::Error>> {
        let track = match resource {
            Resource::InitSegment { track, .. } | Resource::Mp4Fragment { track, .. } => *track,
            _ => 1,
        };
        if lock(&self.parts).plan.is_none() {
            // A process that has not seen the playlist its address came from.
            self.playlist(&Resource::MediaPlaylist { track }).await?;
        }
        let (part, upstream) = self.part_of(resource).ok_or(Error::Gone)?;
        part.behind_one(&upstream).await
    }

    /// A playlist of all parts: their playlists, a few at a time, joined.
    pub(in crate::sessions) async fn fetch_parts(
        self: &Arc<Self>,
        resource: &Resource,
        whole: long_vod::Range,
    ) -> Result<Published, Error<O::Error>> {
        let asked = Instant::now();
        let days = long_vod::days(whole)?;
        let Resource::MediaPlaylist { .. } = resource else {
            return self.fetch_first(resource, days).await;
        };
        let plan = lock(&self.parts).plan.clone();
        // Every track has the parts of the first.
        let known = plan.map(|plan| plan.parts.iter().map(|(range, ..)| *range).collect::<Vec<_>>());
        let (ranges, follow) = known.map_or((days, true), |ranges| (ranges, false));
        let permits = Arc::new(tokio::sync::Semaphore::new(FETCHES));
        let mut loads = JoinSet::new();
        for (at, range) in ranges.into_iter().enumerate() {
            let (this, resource, permits) = (self.clone(), resource.clone(), permits.clone());
            loads.spawn(async move {
                let _permit = permits.acquire().await;
                (at, this.fetch_day(&resource, range, follow).await)
            });
        }
        let mut loaded = Vec::new();
        while let Some(day) = loads.join_next().await {
            let (at, day) = day.map_err(|_| Error::Gone)?;
            loaded.push((at, day?));
        }
        loaded.sort_by_key(|(at, _)| *at);
        let parts: Vec<_> = loaded.into_iter().flat_map(|(_, day)| day).collect();
        if parts.is_empty() {
            // Each of them said that there is nothing: what the first one says, the others said too.
            return self.fetch_first(resource, long_vod::days(whole)?).await;
        }
        let joined = long_vod::join(&parts)?;
        let text = joined.render(self.key.parameters.show_timestamps);
        let ahead = {
            let mut parts_here = lock(&self.parts);
            if parts_here.plan.is_none() {
                parts_here.plan = Some(Arc::new(long_vod::Plan::of(&parts)));
            }
            drop(parts_here);
            lock(&self.state).plan(resource, &text, false)
        };
        self.fetch_ahead(ahead);
        let target = Duration::from_secs(joined.target);
        let packed = Arc::default();
        Ok(Published {
            etag: etag(&text),
            text: text.into(),
            packed,
            asked,
            target,
            generation: 0,
            fixed: true,
        })
    }

    /// One day, and what KVS did not list of it at once.
    async fn fetch_day(
        self: &Arc<Self>,
        resource: &Resource,
        day: long_vod::Range,
        follow: bool,
    ) -> Result<Vec<(long_vod::Range, MediaPlaylist)>, Error<O::Error>> {
        let mut parts = Vec::new();
        let mut next = Some(day);
        while let Some(range) = next {
            let published = match self.part(range).fetch(resource).await {
                Ok(published) => published,
                Err(Error::Origin(error)) if O::verdict(&error) == Verdict::NoData => break,
                Err(error) => return Err(error),
            };
            let text = std::str::from_utf8(&published.text).map_err(|_| Error::Gone)?;
            let playlist = MediaPlaylist::parse(text).map_err(Error::Strange)?;
            next = long_vod::rest(range, &playlist).filter(|_| follow);
            parts.push((range, playlist));
        }
        Ok(parts)
    }

    /// What the first part has that holds anything.
    async fn fetch_first(
        self: &Arc<Self>,
        resource: &Resource,
        days: Vec<long_vod::Range>,
    ) -> Result<Published, Error<O::Error>> {
        let mut last = Err(Error::Gone);
        for day in days {
            last = self.part(day).fetch(resource).await;
            match &last {
                Err(Error::Origin(error)) if O::verdict(error) == Verdict::NoData => {}
                _ => break,
            }
        }
        // The sessions of parts come and go; what they said stays.
        last.map(|published| Published { generation: 0, ..published })
    }
}
