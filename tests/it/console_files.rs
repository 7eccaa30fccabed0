//! The console's files on the wire: in the smallest form that the client takes, each form with a tag of its own.

use crate::harness::Edge;
use flate2::read::GzDecoder;
use std::collections::BTreeSet;
use std::io::Read;

#[tokio::test]
async fn each_form_of_a_file_has_its_own_tag_and_is_no_longer_than_the_plain_one() {
    let edge = Edge::start().await;
    let get = async |path: &str, accepted: &str| {
        edge.http.get(&format!("{}{path}", edge.url), &[("accept-encoding", accepted)]).await
    };
    let page = get("/", "identity").await;
    let text = page.text();
    let script = text.split('"').find(|part| part.starts_with("/console/") && part.ends_with(".js"));
    let script = script.expect("the page is built: make test does it").to_owned();
    for path in ["/", &script] {
        let plain = get(path, "identity").await;
        assert_eq!(plain.header("content-encoding"), None);
        let mut tags = BTreeSet::from([plain.header("etag").unwrap().to_owned()]);
        for (accepted, coding) in [("gzip", "gzip"), ("gzip, deflate, br", "br"), ("br;q=0, gzip", "gzip")] {
            let packed = get(path, accepted).await;
            assert_eq!(packed.status, 200);
            assert_eq!(packed.header("content-encoding"), Some(coding), "{path} {accepted}");
            assert_eq!(packed.header("vary"), Some("accept-encoding"));
            assert!(packed.body.len() < plain.body.len(), "{path} {accepted}");
            tags.insert(packed.header("etag").unwrap().to_owned());
            if coding == "gzip" {
                let mut unpacked = Vec::new();
                GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
                assert_eq!(unpacked, plain.body, "{path}");
            }
        }
        assert_eq!(tags.len(), 3, "{path}: {tags:?}");
        let tag = get(path, "br").await.header("etag").unwrap().to_owned();
        let url = format!("{}{path}", edge.url);
        let again = edge.http.get(&url, &[("accept-encoding", "br"), ("if-none-match", &tag)]).await;
        assert_eq!((again.status, again.body.len()), (304, 0));
        assert_eq!(again.header("vary"), Some("accept-encoding"));
    }
}
