//! Footage that takes several upstream sessions: `hls::long_vod` decides which parts there are, and this file
//! opens and loads them. Each part is a [`SharedSession`] of its own and counts towards `sessions.most`.

use super::cached_playlist::Published;
use super::load::{FETCHES, FOOTAGE_DEADLINES};
use super::shared::{SharedSession, lock};
use super::upstream_session::Location;
use crate::kvs::Resource;
use crate::playback::Rewritten;
use crate::playback::hls::MediaPlaylist;
use crate::sessions::error::{Effect, Error};
use crate::sessions::hls::long_vod::{self, Plan, Range};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

impl SharedSession {
    /// Makes sure that there is something to play: opens an upstream session, of the first part that has
    /// media.
    pub(in crate::sessions) async fn open_any(self: &Arc<Self>) -> Result<(), Error> {
        if self.key.is_whole_manifest() {
            // A range that is too long is refused before a player is sent there.
            self.playlist(&Resource::Manifest).await?;
        }
        let Some(range) = self.key.long_range() else { return self.session().await.map(drop) };
        let mut last = Err(Error::Gone);
        for day in long_vod::days(range)? {
            last = self.part(day).session().await.map(drop);
            if !is_without_media(&last) {
                break;
            }
        }
        last
    }

    fn part(&self, range: Range) -> Arc<Self> {
        let now = lock(&self.state).now();
        let make = || Self::new(self.key.part(range), self.context.clone(), None, self.turn.clone(), now);
        lock(&self.parts).open.entry(range).or_insert_with(make).clone()
    }

    /// The part that a published address leads to, and the resource by its name there, if the plan is known.
    pub(super) fn part_of(&self, resource: &Resource) -> Option<(Arc<Self>, Resource)> {
        let plan = lock(&self.parts).plan.clone()?;
        let (range, upstream) = plan.locate(resource)?;
        Some((self.part(range), upstream))
    }

    pub(super) async fn locate_in_parts(self: &Arc<Self>, resource: &Resource) -> Result<Location, Error> {
        let track = match resource {
            Resource::InitSegment { track, .. } | Resource::Mp4Fragment { track, .. } => *track,
            _ => 1,
        };
        if lock(&self.parts).plan.is_none() {
            // This process has not loaded the playlist that the address came from.
            self.playlist(&Resource::MediaPlaylist { track }).await?;
        }
        let (part, upstream) = self.part_of(resource).ok_or(Error::Gone)?;
        part.locate_here(&upstream).await
    }

    /// A playlist of all parts: their playlists, a few at a time, joined.
    pub(super) async fn fetch_parts(
        self: &Arc<Self>,
        resource: &Resource,
        whole: Range,
    ) -> Result<Published, Error> {
        let asked = Instant::now();
        let days = long_vod::days(whole)?;
        let Resource::MediaPlaylist { .. } = resource else {
            return self.fetch_first(resource, days).await;
        };
        let cost = u32::try_from(days.len()).unwrap_or(u32::MAX);
        let principal = self.turn.principal();
        let deadline = asked + self.context.source.playlist_deadline() * FOOTAGE_DEADLINES;
        let turn = self.context.joined_days.take(&principal, cost, deadline);
        let _turn = turn.await.map_err(Error::Crowded)?;
        let parts = self.fetch_each(resource, &days).await.inspect_err(|error| self.give_up_parts(error))?;
        if parts.is_empty() {
            // All parts say that there is nothing. The answer is what the first one says.
            return self.fetch_first(resource, days).await;
        }
        let plan = Plan::of(&parts);
        let joined = long_vod::join(parts)?;
        lock(&self.parts).plan.get_or_insert_with(|| Arc::new(plan));
        let text = self.store(joined.render(self.key.parameters.show_timestamps)).await?;
        self.plan_ahead(resource, &joined.resources());
        let target = Duration::from_secs(joined.target);
        Ok(Published { text, asked, target, generation: 0, fixed: true, until: None })
    }

    async fn fetch_each(
        self: &Arc<Self>,
        resource: &Resource,
        days: &[Range],
    ) -> Result<Vec<(Range, MediaPlaylist)>, Error> {
        let plan = lock(&self.parts).plan.clone();
        // Every track has the parts of the track that was loaded first.
        let (ranges, follow) = match plan {
            Some(plan) => (plan.parts.iter().map(|(range, ..)| *range).collect(), false),
            None => (days.to_vec(), true),
        };
        let permits = Arc::new(Semaphore::new(FETCHES));
        let mut loads = JoinSet::new();
        for (place, range) in ranges.into_iter().enumerate() {
            let (this, resource, permits) = (self.clone(), resource.clone(), permits.clone());
            loads.spawn(async move {
                let _permit = permits.acquire().await;
                (place, this.fetch_day(&resource, range, follow).await)
            });
        }
        let mut loaded = Vec::new();
        while let Some(day) = loads.join_next().await {
            let (place, day) = day.map_err(|_| Error::Gone)?;
            loaded.push((place, day?));
        }
        loaded.sort_by_key(|(place, _)| *place);
        Ok(loaded.into_iter().flat_map(|(_, day)| day).collect())
    }

    /// One day, and what KVS did not list of it at once.
    async fn fetch_day(
        self: &Arc<Self>,
        resource: &Resource,
        day: Range,
        follow: bool,
    ) -> Result<Vec<(Range, MediaPlaylist)>, Error> {
        let mut parts = Vec::new();
        let mut next = Some(day);
        while let Some(range) = next {
            let answer = self.part(range).fetch_from_any(resource).await;
            if is_without_media(&answer) {
                break;
            }
            let (_, Rewritten::Playlist(answer), _) = answer? else { return Err(NOT_HLS) };
            let playlist = answer.media.map_err(Error::UnusablePlaylist)?;
            next = long_vod::rest(range, &playlist).filter(|_| follow);
            parts.push((range, playlist));
        }
        Ok(parts)
    }

    /// What the first part with media answers.
    async fn fetch_first(
        self: &Arc<Self>,
        resource: &Resource,
        days: Vec<Range>,
    ) -> Result<Published, Error> {
        let mut last = Err(Error::Gone);
        for day in days {
            last = self.part(day).fetch(resource).await;
            if !is_without_media(&last) {
                break;
            }
        }
        // The sessions of parts are replaced independently, and what they listed stays the same.
        last.map(|published| Published { generation: 0, ..published })
    }

    /// Closes the sessions of a playlist for which there was no room: several long ranges that wait for each
    /// other's sessions would otherwise hold all of them.
    fn give_up_parts(&self, error: &Error) {
        let mut parts = lock(&self.parts);
        if matches!(error, Error::Full | Error::MostPerCaller(_)) && parts.plan.is_none() {
            parts.open.clear();
        }
    }
}

/// Only HLS is joined.
const NOT_HLS: Error = Error::UnusablePlaylist("KVS answered with something that is not a media playlist");

fn is_without_media<T>(result: &Result<T, Error>) -> bool {
    result.as_ref().is_err_and(|error| error.effect() == Effect::NoData)
}
