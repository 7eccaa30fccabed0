//! Makes connections to the store: one server, the primary that sentinels know, or a cluster.
//!
//! Secrets are read and tokens are made for each connection, so a changed password or an old token is in
//! force with the next one. The client repairs its connections itself where it notices that they broke; what
//! it does not notice is the business of `store`, which then makes a new one here.

use super::address::Address;
use super::config::{Config, Mode, ReplicaReads};
use super::link::Link;
use super::topology::Topology;
use crate::setting::{Mistake, Secret, SecretSource};
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, TlsCertificates, TlsMode,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How a user and a token are got where there is no password. Called for each connection.
pub type TokenSource =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(String, Secret), String>> + Send>> + Send + Sync>;

/// How long one node may take to be connected.
const CONNECT: Duration = Duration::from_millis(500);
/// The client's own bound on an answer. Operations have shorter ones; this ends what they have left behind.
const ANSWER: Duration = Duration::from_secs(2);
/// How often the client repeats an operation at a node that a cluster redirects to.
const RETRIES: u32 = 3;

/// Everything that a connection is made of.
pub(super) struct Connector {
    config: Config,
    ca: Option<Vec<u8>>,
    token: Option<TokenSource>,
    pub(super) topology: Topology,
}

/// How to sign in.
#[derive(Clone, Default)]
struct SignIn {
    user: Option<String>,
    password: Option<String>,
}

impl Connector {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// A file or a secret cannot be read.
    pub(super) fn new(config: &Config, token: Option<TokenSource>) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut must = |key: &str, problem: String| {
            mistakes.push(Mistake::at(format!("cache.shared.{key}"), problem));
        };
        for (key, secret) in
            [("password", &config.password), ("sentinel_password", &config.sentinel_password)]
        {
            if let Some(Err(problem)) = secret.as_ref().map(read) {
                must(key, problem);
            }
        }
        let ca = match config.ca.as_ref().map(|path| (path, std::fs::read(path))) {
            None => None,
            Some((path, Err(error))) => {
                must("ca", format!("cannot read {}: {error}", path.display()));
                None
            }
            Some((path, Ok(pem))) => {
                use rustls::pki_types::{CertificateDer, pem::PemObject};
                if CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).next().is_none() {
                    must("ca", format!("{} has no certificate in PEM", path.display()));
                }
                Some(pem)
            }
        };
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(Self { config: config.clone(), ca, token, topology: Topology::default() })
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// What the store or the network said; no secret.
    pub(super) async fn connect(&self) -> Result<Link, String> {
        let sign_in = self.sign_in().await?;
        let link = match self.config.mode {
            Mode::Standalone => self.standalone(&sign_in).await,
            Mode::Cluster => self.cluster(&sign_in).await,
            Mode::Sentinel => self.sentinel(&sign_in).await,
        };
        link.map_err(|error| error.to_string())
    }

    async fn sign_in(&self) -> Result<SignIn, String> {
        if let Some(token) = &self.token {
            let (user, token) = token().await?;
            let token = String::from_utf8(token.expose().to_vec()).map_err(|_| "the token is no text")?;
            return Ok(SignIn { user: Some(user), password: Some(token) });
        }
        let user = self.config.addresses().find_map(|address| address.user.clone());
        let password = self.config.password.as_ref().map(read).transpose()?;
        Ok(SignIn { user, password })
    }

    async fn standalone(&self, sign_in: &SignIn) -> Result<Link, RedisError> {
        let Some(address) = self.config.addresses().next() else { return Err(no_address()) };
        let info = self.info(place(address), address.database, sign_in)?;
        let client = match self.certificates() {
            Some(certificates) => Client::build_with_tls(info, certificates)?,
            None => Client::open(info)?,
        };
        Ok(Link::Single {
            primary: client.get_multiplexed_async_connection_with_config(&options()).await?,
            replica: None,
        })
    }

    async fn sentinel(&self, sign_in: &SignIn) -> Result<Link, RedisError> {
        let client = |kind| -> Result<_, RedisError> {
            let master = self.config.master.as_deref().unwrap_or_default();
            let sentinels = self.config.addresses().map(place);
            let mut builder = SentinelClientBuilder::new(sentinels, master, kind)?;
            if let Some(user) = &sign_in.user {
                builder = builder.set_client_to_redis_username(user);
            }
            if let Some(password) = &sign_in.password {
                builder = builder.set_client_to_redis_password(password);
            }
            if let Some(Ok(password)) = self.config.sentinel_password.as_ref().map(read) {
                builder = builder.set_client_to_sentinel_password(password);
            }
            if self.tls() {
                builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            }
            if let Some(certificates) = self.certificates() {
                builder = builder
                    .set_client_to_redis_certificates(certificates.clone())
                    .set_client_to_sentinel_certificates(certificates);
            }
            builder.build()
        };
        let mut primary = client(SentinelServerType::Master)?;
        let primary = primary.get_async_connection_with_config(&options()).await?;
        let replica = if self.config.replica_reads == ReplicaReads::Failover {
            let mut replica = client(SentinelServerType::Replica)?;
            // Without a replica the primary alone is used.
            replica.get_async_connection_with_config(&options()).await.ok()
        } else {
            None
        };
        Ok(Link::Single { primary, replica })
    }

    async fn cluster(&self, sign_in: &SignIn) -> Result<Link, RedisError> {
        // Nodes that are known beside those of the settings: these may be gone by now.
        let learnt = self.topology.nodes().into_iter().map(|(host, port)| addr(host, port, self.tls()));
        let nodes = self.config.addresses().map(place).chain(learnt);
        let nodes = nodes.map(|node| self.info(node, 0, sign_in)).collect::<Result<Vec<_>, _>>()?;
        let mut builder = redis::cluster::ClusterClientBuilder::new(nodes)
            .connection_timeout(CONNECT)
            .response_timeout(ANSWER)
            .retries(RETRIES)
            .min_retry_wait(20)
            .max_retry_wait(100);
        if let Some(certificates) = self.certificates() {
            builder = builder.certs(certificates);
        }
        if self.config.replica_reads == ReplicaReads::Failover {
            builder = builder.read_routing_strategy(self.topology.clone());
        }
        Ok(Link::Cluster(builder.build()?.get_async_connection().await?))
    }

    fn info(
        &self,
        addr: ConnectionAddr,
        database: i64,
        sign_in: &SignIn,
    ) -> Result<ConnectionInfo, RedisError> {
        let mut settings = RedisConnectionInfo::default().set_db(database).set_skip_set_lib_name();
        if let Some(user) = &sign_in.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &sign_in.password {
            settings = settings.set_password(password);
        }
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
        Ok(addr.into_connection_info()?.set_redis_settings(settings).set_tcp_settings(tcp))
    }

    fn tls(&self) -> bool {
        self.config.addresses().any(|address| address.tls)
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let root_cert = self.ca.clone()?;
        Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
    }
}

fn read(secret: &SecretSource) -> Result<String, String> {
    let secret = secret.read()?;
    String::from_utf8(secret.expose().to_vec()).map_err(|_| "is no text in UTF-8".to_owned())
}

fn options() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER))
}

fn place(address: &Address) -> ConnectionAddr {
    addr(address.host.clone(), address.port, address.tls)
}

fn addr(host: String, port: u16, tls: bool) -> ConnectionAddr {
    match tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    }
}

fn no_address() -> RedisError {
    RedisError::from((redis::ErrorKind::InvalidClientConfig, "there is no address"))
}
