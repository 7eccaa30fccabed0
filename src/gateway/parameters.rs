//! The parameters of the plain GETs. What a page does not take is refused: a parameter that is misspelt would
//! otherwise be left out without a word.

use super::error::Error;
use super::route::Page;
use crate::base::similar::nearest;
use crate::kvs::Invalid;
use crate::net::query::Query;

/// Of a clip.
pub(super) const CLIP: [&str; 6] = ["start", "end", "clock", "trim", "format", "source"];
/// Of a picture.
pub(super) const SNAPSHOT: [&str; 5] = ["at", "clock", "width", "height", "max_age"];
/// Of a link, besides those of what it leads to.
const LINK: [&str; 2] = ["to", "expires"];
/// What players add to any address where their integrator turned it on (CTA-5004): it says nothing about what
/// is asked for.
const PLAYER_REPORT: &str = "CMCD";

/// What a page is called in messages, and the parameters that it takes.
fn of(page: &Page) -> (&'static str, &'static [&'static str]) {
    match page {
        Page::Streams => ("/streams", &["limit", "next"]),
        Page::Stream(_) => ("/streams/{name}", &[]),
        Page::Fragments(_) => ("fragments", &["start", "end", "clock"]),
        Page::Clip(..) => ("a clip", &CLIP),
        Page::Snapshot(..) => ("a snapshot", &SNAPSHOT),
        Page::Play { live: true, .. } => ("live playback", &["clock", "container", "silence"]),
        Page::Play { live: false, .. } => ("playback of a range", &["start", "end", "clock", "container"]),
        Page::Link(_) => ("link", &LINK),
    }
}

/// Refuses parameters that a page does not take.
///
/// # Errors
/// Which one, what the page takes, and what was probably meant.
pub(super) fn check(page: &Page, query: &Query<'_>) -> Result<(), Error> {
    check_beside(page, query, &[])
}

/// The same for what a link leads to.
///
/// # Errors
/// As of [`check`].
pub(super) fn check_linked(target: &Page, query: &Query<'_>) -> Result<(), Error> {
    check_beside(target, query, &LINK)
}

fn check_beside(page: &Page, query: &Query<'_>, beside: &[&'static str]) -> Result<(), Error> {
    let (name, own) = of(page);
    let is_play = matches!(page, Page::Play { .. });
    let is_known = |given: &str| {
        own.contains(&given)
            || beside.contains(&given)
            || given.is_empty()
            || is_play && given == PLAYER_REPORT
    };
    let Some(unknown) = query.names().find(|given| !is_known(given)) else { return Ok(()) };
    let known: Vec<&str> = own.iter().chain(beside).copied().collect();
    let takes = if known.is_empty() { "no parameters".to_owned() } else { known.join(", ") };
    let meant = nearest(unknown, known).map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    // A name of any length may come; enough of it is shown to find it.
    let unknown: String = unknown.chars().take(40).collect();
    Err(Error::Parameter(format!("there is no parameter {unknown:?} here: {name} takes {takes}{meant}")))
}

/// What is wrong with a call, in the words of the page that stands for it.
pub(super) fn in_own_words(invalid: Invalid) -> Error {
    let Invalid::Member { member, problem } = invalid else { return invalid.into() };
    let member = member.rsplit('.').next().unwrap_or_default();
    let own = [
        ("StartTimestamp", "start"),
        ("EndTimestamp", "end"),
        ("WidthPixels", "width"),
        ("HeightPixels", "height"),
        ("SERVER_TIMESTAMP", "the server's clock"),
    ];
    let reworded = own.iter().fold(format!("{member} {problem}"), |text, (kvs, own)| text.replace(kvs, own));
    Error::Parameter(reworded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::route::ClipFile;
    use crate::kvs::operations::ImageFormat;
    use crate::kvs::{Protocol, StreamName};
    use proptest::prelude::*;

    fn cam() -> StreamName {
        StreamName::parse("cam-1").unwrap()
    }

    #[test]
    fn unknown_parameters_are_refused_with_what_is_taken() {
        let clip = Page::Clip(cam(), ClipFile::Mp4);
        let live = Page::Play { stream: cam(), protocol: Protocol::Hls, live: true };
        for (page, query, message) in [
            (&clip, "start=1&end=2&trim=exact", None),
            (&clip, "begin=1", Some("a clip takes start, end, clock, trim, format, source")),
            (&clip, "Start=1", Some("did you mean start?")),
            (&live, "CMCD=bl%3D1000", None),
            (&live, "start=1", Some("live playback takes clock, container, silence")),
            (&Page::Stream(cam()), "x=1", Some("/streams/{name} takes no parameters")),
            (&Page::Streams, "", None),
            (&Page::Streams, "limit=1&", None),
        ] {
            let refused = check(page, &Query::from(query)).err().map(|error| error.to_string());
            match (refused, message) {
                (None, None) => {}
                (Some(refused), Some(message)) => assert!(refused.contains(message), "{query}: {refused}"),
                other => panic!("{query}: {other:?}"),
            }
        }
        assert!(check_linked(&clip, &Query::from("to=clip&start=1&expires=60")).is_ok());
        assert!(check_linked(&clip, &Query::from("to=clip&at=1")).is_err());
    }

    #[test]
    fn a_page_names_its_own_parameters() {
        let problem = "must be at most 24 hours after StartTimestamp".to_owned();
        let member = "ClipFragmentSelector.TimestampRange.EndTimestamp".to_owned();
        let reworded = in_own_words(Invalid::Member { member, problem });
        assert_eq!(reworded.to_string(), "end must be at most 24 hours after start");
    }

    proptest! {
        #[test]
        fn any_query_is_taken_or_refused_without_panic(query in "\\PC{0,60}") {
            let _ = check(&Page::Snapshot(cam(), ImageFormat::Jpeg), &Query::from(query.as_str()));
        }
    }
}
