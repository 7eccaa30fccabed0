//! Endpoints that move and fragments that are not there. The fault matrix, as a client sees it, is
//! `conformance::faults`.

use super::*;

#[tokio::test]
async fn an_endpoint_that_moves_or_whose_name_is_gone_is_found_again() {
    let kvs = kvs(|config| config.separate_data_plane = true).await;
    let upstream = upstream(entry(&kvs.url()), quick()).await;
    let list = &calls()[1];
    asked(&upstream, list).await.unwrap();
    operator(&kvs, "POST", "endpoint", "{}").await;
    asked(&upstream, list).await.expect("the data plane moved to another port");
    operator(&kvs, "POST", "endpoint", r#"{"url":"http://gone.localhost:1"}"#).await;
    asked(&upstream, list).await.expect("what works is kept");
    let clip = asked(&upstream, &calls()[2]).await;
    assert!(clip.is_err(), "an endpoint that was never good: {clip:?}");
    operator(&kvs, "POST", "endpoint", "{}").await;
    asked(&upstream, &calls()[2]).await.expect("and found once it is good");
}

#[tokio::test]
async fn fragments_that_are_not_there_are_told_from_those_that_are() {
    let kvs = kvs(|_| {}).await;
    let upstream = upstream(entry(&kvs.url()), quick()).await;
    let numbers = numbers(&upstream).await;
    let once = r#"{"operation":"GetMediaForFragmentList","fault":{"kind":"in_band_error"},"times":1}"#;
    operator(&kvs, "POST", "faults", once).await;
    asked(&upstream, &fragments(&numbers[..2])).await.expect("asked for again");
    let missing = format!("{}{}", &numbers[0][..46], if numbers[0].ends_with('9') { '8' } else { '9' });
    let got = asked(&upstream, &fragments(&[numbers[0].clone(), missing.clone(), numbers[1].clone()])).await;
    assert!(got.is_err(), "an error in the band is no success");
    let Call::GetMediaForFragmentList(list) = fragments(&[numbers[0].clone(), missing, numbers[1].clone()])
    else {
        unreachable!()
    };
    let located = upstream.locate(&camera()).unwrap();
    let mut chunks = upstream.media(&located, &list, &OnBehalfOf::all_callers("alice")).await.unwrap();
    let mut found = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        found.push((chunk.number.unwrap().to_string(), chunk.error.is_none()));
    }
    let good: Vec<_> = found.iter().filter(|(_, good)| *good).map(|(number, _)| number.clone()).collect();
    assert_eq!(good, numbers[..2]);
}

/// The local KVS checks signatures against the real time, so the offset learned here is as wrong as one
/// that was right before our clock was mended.
#[tokio::test]
async fn a_mended_clock_is_a_permanent_outage() {
    let kvs = kvs(|_| {}).await;
    let upstream = upstream(entry(&kvs.url()), quick()).await;
    let list = &calls()[1];
    asked(&upstream, list).await.unwrap();
    let late = r#"{"operation":"ListFragments","times":1,"fault":{"kind":"raw","status":403,
        "headers":{"x-amzn-ErrorType":"InvalidSignatureException","date":"Fri, 01 Jan 2100 12:00:00 GMT"},
        "body":"{\"message\":\"Signature expired\"}"}}"#;
    operator(&kvs, "POST", "faults", late).await;
    let refused = asked(&upstream, list).await;
    assert!(refused.is_err(), "the repetition is signed for the year 2100: {refused:?}");
    asked(&upstream, list).await.expect("the next refusal sets the clock back");
    asked(&upstream, list).await.expect("and that is all it takes");
    assert_eq!(count(&kvs, "ListFragments").await.0, 6, "one call, two refusals, a third, two good ones");
}
