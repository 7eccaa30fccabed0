//! A real object store: `rclone serve s3` on a folder, or the one that `KVS_EDGE_TEST_S3` names
//! (`tests/operate/radosgw` sets it), as `URL ACCESS-KEY SECRET-KEY BUCKET`.

use kvs_edge::fleet::s3;
use kvs_edge::setting::SecretSource;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

pub struct ObjectStore {
    pub url: String,
    pub bucket: String,
    /// What it holds, if that is a folder of files.
    pub data: Option<PathBuf>,
    folder: tempfile::TempDir,
    _child: Option<Child>,
}

const KEYS: [&str; 2] = ["AKTEST", "SKTESTSKTEST"];

impl ObjectStore {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        if let Ok(named) = std::env::var("KVS_EDGE_TEST_S3") {
            let [url, id, secret, bucket] = named.split(' ').collect::<Vec<_>>().try_into().unwrap();
            write("id", id);
            write("secret", secret);
            return Self { url: url.into(), bucket: bucket.into(), data: None, folder, _child: None };
        }
        write("id", KEYS[0]);
        write("secret", KEYS[1]);
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("media")).unwrap();
        let log = folder.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let child = Command::new(rclone())
            .args([
                "serve",
                "s3",
                "--addr",
                "127.0.0.1:0",
                "--config",
                "/dev/null",
                "--auth-key",
                &KEYS.join(","),
            ])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        for _ in 0..400 {
            let text = fs::read_to_string(&log).unwrap();
            if let Some((_, rest)) = text.split_once("server on [") {
                let url = rest.split('/').take(3).collect::<Vec<_>>().join("/");
                let (data, bucket) = (Some(data), "media".to_owned());
                return Self { url, bucket, data, folder, _child: Some(child) };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("rclone does not start: {}", fs::read_to_string(&log).unwrap());
    }

    /// The settings with which it is reached, at another address if there is one between.
    pub fn config(&self, url: &str) -> s3::Config {
        let secret = |name: &str| Some(SecretSource::File(self.folder.path().join(name)));
        s3::Config {
            endpoint_url: Some(url.to_owned()),
            access_key_id: secret("id"),
            secret_access_key: secret("secret"),
            ..s3::Config::new(&self.bucket, "us-east-1")
        }
    }

    /// Another secret than the store's.
    pub fn wrong_secret(&self) -> Option<SecretSource> {
        fs::write(self.folder.path().join("wrong"), "SKOTHERSKOTHER").unwrap();
        Some(SecretSource::File(self.folder.path().join("wrong")))
    }

    /// The folder of its keys.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn rclone() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/rclone");
    assert!(path.exists(), "target/venv has no rclone: `make test` installs it");
    path
}
