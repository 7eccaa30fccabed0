//! Objects in S3, against a real store: what is written is read, by range too; a wrong secret is refused;
//! and a store that is sick gives an error in time, never other bytes or half an object.

use crate::harness::faulty_link::{FaultyLink, Spoil};
use crate::harness::object_store::ObjectStore;
use bytes::Bytes;
use kvs_edge::fleet::Metrics;
use kvs_edge::fleet::s3::{Config, Error, S3};
use kvs_edge::net::client::{Client, Options};

async fn open(config: &Config) -> S3 {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::new(Options::default()).unwrap();
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    S3::open(config, "cache.shared.s3", &client, metrics).await.unwrap()
}

fn pattern(length: usize) -> Bytes {
    Bytes::from((0..length).map(|at| (at * 7 + at / 251) as u8).collect::<Vec<_>>())
}

async fn read(s3: &S3, name: &str, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>, Error> {
    Ok(s3.get(name, range).await?.bytes())
}

#[tokio::test]
async fn what_is_written_is_read_by_range_too_and_removed() {
    let store = ObjectStore::start().await;
    let s3 = open(&store.config(&store.url)).await;
    let whole = pattern(5 << 20);
    assert!(matches!(s3.get("t0/none", None).await, Err(Error::Missing)));
    assert!(matches!(s3.head("t0/none").await, Err(Error::Missing)));
    s3.put("t0/large", whole.clone()).await.unwrap();
    assert_eq!(s3.head("t0/large").await.unwrap(), 5 << 20);
    assert!(read(&s3, "t0/large", None).await.unwrap() == whole);
    for range in
        [0..1, 0..65_536, 1_000_000..3_000_000, (5 << 20) - 1..5 << 20, (5 << 20) - 10..(5 << 20) + 10]
    {
        let expected = &whole[range.start as usize..(range.end as usize).min(whole.len())];
        let object = s3.get("t0/large", Some(range.clone())).await.unwrap();
        assert_eq!(object.length, 5 << 20);
        assert!(object.bytes() == expected, "{range:?}");
    }
    s3.put("t0/large", whole.slice(..10)).await.unwrap();
    assert!(read(&s3, "t0/large", None).await.unwrap() == whole[..10], "a new object replaces the old one");
    s3.put("t0/empty", Bytes::new()).await.unwrap();
    assert_eq!(
        (s3.head("t0/empty").await.unwrap(), read(&s3, "t0/empty", None).await.unwrap().len()),
        (0, 0)
    );
    for name in ["t0/large", "t0/empty", "t0/empty"] {
        s3.delete(name).await.unwrap();
        assert!(matches!(s3.head(name).await, Err(Error::Missing)));
    }
}

#[tokio::test]
async fn a_wrong_secret_and_a_missing_bucket_are_refused() {
    let store = ObjectStore::start().await;
    let right = open(&store.config(&store.url)).await;
    right.put("t1/there", pattern(100)).await.unwrap();
    let config = Config { secret_access_key: store.wrong_secret(), ..store.config(&store.url) };
    let wrong = open(&config).await;
    for refused in [
        wrong.get("t1/there", None).await.map(drop),
        wrong.head("t1/there").await.map(drop),
        wrong.put("t1/there", pattern(10)).await,
        wrong.delete("t1/there").await,
    ] {
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    }
    assert!(read(&right, "t1/there", None).await.unwrap() == pattern(100), "nothing was changed");
    let elsewhere = open(&Config { bucket: "no-such-bucket".into(), ..store.config(&store.url) }).await;
    let refused = elsewhere.get("t1/there", None).await.map(drop);
    assert!(matches!(refused, Err(Error::Refused { .. } | Error::Missing)), "{refused:?}");
}

#[tokio::test]
async fn a_sick_store_is_an_error_in_time_and_never_half_an_object() {
    let store = ObjectStore::start().await;
    let link = FaultyLink::start(&store.url).await;
    let s3 = open(&store.config(&link.url)).await;
    let whole = pattern(1 << 20);
    s3.put("t2/large", whole.clone()).await.unwrap();
    let got = async |spoil| {
        link.spoil(spoil);
        read(&s3, "t2/large", Some(100_000..900_000)).await
    };
    assert!(got(Spoil::Nothing).await.unwrap() == whole[100_000..900_000]);
    assert!(matches!(got(Spoil::CutAfter(300_000)).await, Err(Error::Broken(_))));
    assert!(matches!(got(Spoil::CutAfter(0)).await, Err(Error::Broken(_))));
    assert!(matches!(got(Spoil::Unavailable).await, Err(Error::Trouble { .. })));
    assert!(got(Spoil::Nothing).await.unwrap() == whole[100_000..900_000]);
    assert!(matches!(got(Spoil::Refuse).await, Err(Error::Client(_))));
    assert!(got(Spoil::Silence).await.unwrap_err().is_late());
    assert!(got(Spoil::Trickle(1000)).await.unwrap_err().is_late());
    while !matches!(got(Spoil::Unavailable).await, Err(Error::Ill)) {}
    for _ in 0..100 {
        match got(Spoil::Nothing).await {
            Ok(bytes) => {
                assert!(bytes == whole[100_000..900_000]);
                return;
            }
            Err(error) => assert!(matches!(error, Error::Ill), "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it is not used again");
}
