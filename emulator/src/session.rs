//! Playback sessions: what a session token stands for, and which fragments it lists (docs/KVS.md 4.6, 5).

use super::archive::{Fragment, Selector};
use super::clock::Millis;
use super::stream::{Stream, Tenant};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

/// The largest age of the newest fragment with which a LIVE session opens and goes on.
const LIVE_MILLIS: Millis = 30_000;

/// HLS or DASH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    Hls,
    Dash,
}

/// The playback mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Live,
    LiveReplay { from: Millis, to: Option<Millis> },
    OnDemand { from: Millis, to: Millis },
}

/// Where playlists have EXT-X-DISCONTINUITY.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Discontinuity {
    Always,
    Never,
    AtJumps,
}

/// The parameters of the call that opened a session.
#[derive(Clone, Debug)]
pub(super) struct Parameters {
    pub(super) protocol: Protocol,
    pub(super) mode: Mode,
    pub(super) selector: Selector,
    pub(super) transport_stream: bool,
    pub(super) discontinuity: Discontinuity,
    pub(super) show_timestamps: bool,
    pub(super) show_numbers: bool,
    pub(super) max_results: usize,
}

/// An open session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) token: String,
    pub(super) tenant: Tenant,
    pub(super) stream: String,
    pub(super) created: Millis,
    pub(super) expires: Millis,
    pub(super) parameters: Parameters,
    /// Its first fragment; times and sequence numbers count from here.
    pub(super) first: Fragment,
}

/// The fragments of a playlist or manifest.
#[derive(Debug)]
pub(super) struct Listing {
    /// How many fragments of the session precede the first listed one.
    pub(super) skipped: usize,
    /// How long those last.
    pub(super) skipped_millis: Millis,
    pub(super) fragments: Vec<Fragment>,
    /// No fragment will be added.
    pub(super) ended: bool,
}

/// There is nothing to list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoFragments;

impl Parameters {
    /// The first fragment of a session that is opened at `now`.
    pub(super) fn first(&self, stream: &Stream, now: Millis) -> Option<Fragment> {
        match self.mode {
            Mode::Live => {
                let newest = stream.archive.newest(self.max_results, now);
                newest.last().filter(|f| f.server + LIVE_MILLIS >= now)?;
                newest.first().copied()
            }
            Mode::OnDemand { from, to } => stream.pass(self.selector, from, to, now).first().copied(),
            Mode::LiveReplay { from, to } => {
                stream.pass(self.selector, from, to.unwrap_or(now), now).first().copied()
            }
        }
    }
}

impl Session {
    /// Every fragment of the session so far, from its first.
    pub(super) fn fragments(&self, stream: &Stream, now: Millis) -> Vec<Fragment> {
        let Parameters { selector, mode, .. } = self.parameters;
        match mode {
            Mode::Live => {
                let all = stream.archive.range(Selector::Server, self.first.server, now, now);
                only_newer(all, selector)
            }
            // A list that does not change after the session was opened.
            Mode::OnDemand { from, to } => stream.pass(selector, from, to, self.created),
            Mode::LiveReplay { from, to } => {
                // Without an end it goes on until the session expires.
                only_newer(stream.pass(selector, from, to.unwrap_or(now), now), selector)
            }
        }
    }

    /// The fragments that a playlist lists at `now`.
    pub(super) fn listing(&self, stream: &Stream, now: Millis) -> Result<Listing, NoFragments> {
        let mut fragments = self.fragments(stream, now);
        let count = self.parameters.max_results;
        let mut ended = false;
        let mut skipped = 0;
        match self.parameters.mode {
            Mode::Live => {
                fragments.last().filter(|f| f.server + LIVE_MILLIS >= now).ok_or(NoFragments)?;
                skipped = fragments.len().saturating_sub(count);
            }
            Mode::OnDemand { .. } => {
                fragments.truncate(count);
                ended = true;
            }
            Mode::LiveReplay { to, .. } => {
                // At first as many as fit, then one more for each duration of a fragment that has passed.
                let selector = self.parameters.selector;
                let clock = now - self.created;
                let begin = fragments.first().ok_or(NoFragments)?.start(selector);
                let visible = fragments
                    .iter()
                    .filter(|f| (f.start(selector) + f.millis).saturating_sub(begin) <= clock)
                    .count()
                    .saturating_add(count)
                    .min(fragments.len());
                let whole = visible == fragments.len();
                fragments.truncate(visible);
                skipped = visible.saturating_sub(count);
                let last = fragments.last().map_or(0, |f| f.millis);
                ended = whole && to.is_some_and(|to| to + 2 * last < now);
            }
        }
        if fragments.is_empty() {
            return Err(NoFragments);
        }
        let listed = fragments.split_off(skipped);
        Ok(Listing { skipped, skipped_millis: closed_length(&fragments), fragments: listed, ended })
    }

    /// When a fragment begins, counted from the start of the session.
    pub(super) fn offset(&self, fragment: &Fragment) -> Millis {
        let selector = self.parameters.selector;
        fragment.start(selector).saturating_sub(self.first.start(selector))
    }
}

/// How long fragments last without the gaps between them.
pub(super) fn closed_length(fragments: &[Fragment]) -> Millis {
    fragments.iter().map(|f| f.millis).sum()
}

/// Drops backfilled fragments that are older than the newest before them: they are not listed (docs/KVS.md
/// 4.6).
fn only_newer(mut fragments: Vec<Fragment>, selector: Selector) -> Vec<Fragment> {
    let mut newest = None;
    fragments.retain(|f| {
        let start = f.start(selector);
        let newer = newest.is_none_or(|newest| start > newest);
        if newer {
            newest = Some(start);
        }
        newer
    });
    fragments
}

/// Makes a token of the observed form: four fields of 32, 16, 25 and 32 bytes, base64url, `~` for `=`; 152
/// characters (docs/KVS.md 5.1).
///
/// `random` fills the fields. The canary stands as plain text in the first field, so that tests can search
/// for it in the output of a gateway; at most 36 characters of `[A-Za-z0-9_-]` fit.
pub(super) fn mint(random: &[u8; 105], canary: Option<&str>) -> String {
    let mut bytes = Vec::with_capacity(113);
    let mut rest: &[u8] = random;
    for (tag, length) in [(0x0a, 32), (0x12, 16), (0x1a, 25), (0x22, 32)] {
        let (field, next) = rest.split_at(length);
        bytes.extend_from_slice(&[tag, length as u8]);
        bytes.extend_from_slice(field);
        rest = next;
    }
    let mut token = URL_SAFE.encode(bytes).replace('=', "~");
    let canary: String = canary.unwrap_or_default().chars().filter(|c| is_token_char(*c)).take(36).collect();
    token.replace_range(8..8 + canary.len(), &canary);
    token
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Whether text has the form of a token.
pub(super) fn is_token(text: &str) -> bool {
    text.len() == 152
        && text.starts_with("Ci")
        && text.strip_suffix('~').is_some_and(|rest| rest.chars().all(is_token_char))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tokens_have_the_observed_shape(seed: u8, canary in "[A-Za-z0-9_-]{0,36}") {
            let token = mint(&[seed; 105], Some(&canary));
            prop_assert!(is_token(&token), "{}", token);
            prop_assert!(token.contains(&canary));
            let bytes = URL_SAFE.decode(token.replace('~', "=")).unwrap();
            prop_assert_eq!(bytes.len(), 113);
            prop_assert_eq!((bytes[0], bytes[34], bytes[52], bytes[79]), (0x0a, 0x12, 0x1a, 0x22));
        }
    }
}
