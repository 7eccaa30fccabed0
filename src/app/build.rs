//! Builds a gateway from the settings; and the same without serving, for `check`.

use super::fleet::token_source;
use super::persistent::{Calls, Persistent, Prepared, key_client, key_client_trusting};
use crate::accounting::Recorder;
use crate::archive::Archive;
use crate::config::{Config, ConfigSource, InvalidConfig};
use crate::fleet::SealingSecret;
use crate::gateway::{self, Console, ConsoleFile, Gateway};
use crate::identity::{self, Identity, TokenPlaces};
use crate::net::client::{Client, Limits};
use crate::net::cors::Cors;
use crate::net::tls_tickets::TicketSecret;
use crate::playback::Keys;
use crate::policy::{AttributeType, Attributes, Policy};
use crate::setting::{ByteSize, Mistake};
use crate::sign_in::SignIn;
use crate::telemetry::audit;
use crate::{console, fleet, net};
use http::header::{self, HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What a gateway is built for.
#[derive(Clone, Copy)]
pub enum Purpose<'a> {
    /// To serve, as the first one.
    Start,
    /// To replace this one, whose verification keys are reused.
    Reload(&'a Gateway),
    /// To see whether it can be built, without any request to issuers or AWS.
    DryRun,
}

/// A gateway that is not in force yet, and the parts to adopt when it is.
pub struct Built {
    /// The gateway.
    pub gateway: Gateway,
    /// What it shares with the generation after it.
    pub prepared: Prepared,
    /// What the tickets of TLS sessions are sealed with, the same in all replicas.
    pub ticket_secrets: Vec<TicketSecret>,
    /// What the values are sealed with that replicas share.
    pub sealing_secrets: Vec<SealingSecret>,
}

/// Builds a gateway beside the one in force, which a failure leaves as it is.
///
/// # Errors
/// Every mistake, each with its position.
pub async fn gateway(
    config: &Config,
    source: &ConfigSource,
    persistent: &Persistent,
    purpose: Purpose<'_>,
) -> Result<Built, InvalidConfig> {
    let wrong = |mistakes: Vec<Mistake>| source.locate(&mistakes);
    let mut faults = Faults::default();
    let policy = faults.of(Policy::load(&config.policy, &attributes(config)));
    let general = config.warnings(machine_memory());
    let of_identity = identity::warnings(&config.issuer);
    for warning in policy.iter().flat_map(Policy::warnings).chain(&of_identity).chain(&general) {
        tracing::warn!("{}", source.locate(std::slice::from_ref(warning)));
    }
    let keys = faults.of(Keys::load(&config.playback));
    // A reload makes no requests for settings that are refused anyway; a start reports everything that is
    // wrong.
    let reloads = matches!(purpose, Purpose::Reload(_));
    if reloads && !faults.0.is_empty() {
        return Err(wrong(faults.0));
    }
    let identity = faults.of(identity_of(config, source, persistent, purpose).await?);
    if reloads && !faults.0.is_empty() {
        return Err(wrong(faults.0));
    }
    let prepared = faults.of(persistent.prepare(config, matches!(purpose, Purpose::DryRun)).await);
    let (Some(policy), Some(keys), Some(identity), Some(prepared)) = (policy, keys, identity, prepared)
    else {
        return Err(wrong(faults.0));
    };
    let Calls { upstream, sessions, .. } = prepared.calls.clone();
    let ticket_secrets = keys.ticket_secrets().into_iter().map(TicketSecret::new).collect();
    let sealing_secrets = keys.sealing_secrets();
    let (cache, batches) = (persistent.cache.clone(), persistent.batches.clone());
    let packaging = persistent.packaging.clone();
    let keys = Arc::new(keys);
    let previous = match purpose {
        Purpose::Reload(previous) => Some(&**previous.sign_in()),
        Purpose::Start | Purpose::DryRun => None,
    };
    let public_url = config.server.public_url.as_str();
    let sign_in = SignIn::new(&config.issuer, identity.clone(), keys.clone(), public_url, previous);
    let gateway = Gateway::new(gateway::GatewayParts {
        identity,
        sign_in: Arc::new(sign_in),
        sources: TokenPlaces::new(&config.identity),
        policy: Arc::new(policy),
        keys,
        playback: config.playback.clone(),
        archive: Archive::new(upstream.clone(), cache, config.cache.clone(), batches, packaging),
        upstream,
        sessions,
        public_url: public_url.into(),
        limits: config.limits.clone(),
        cors: Cors::new(&config.server.cors_origins),
        audit: prepared.audit.clone(),
        recorder: Recorder {
            metrics: persistent.gateway.clone(),
            access_log: config.log.access,
            tracer: persistent.tracer.clone(),
        },
        console: console_of(config),
        rates: Arc::new(config.rates.clone()),
        callers: persistent.callers.clone(),
        purge_log: persistent.purge_log.clone(),
    });
    Ok(Built { gateway, prepared, ticket_secrets, sealing_secrets })
}

async fn identity_of(
    config: &Config,
    source: &ConfigSource,
    persistent: &Persistent,
    purpose: Purpose<'_>,
) -> Result<Result<Arc<Identity>, Vec<Mistake>>, InvalidConfig> {
    let (issuers, settings, metrics) = (&config.issuer, &config.identity, persistent.identity.clone());
    Ok(match purpose {
        Purpose::Start => Identity::start(issuers, settings, key_fetch(source)?, metrics).await,
        Purpose::Reload(previous) => previous.identity().restart(issuers, settings).await,
        Purpose::DryRun => Identity::look(issuers, settings, metrics),
    })
}

/// The mistakes found so far.
#[derive(Default)]
struct Faults(Vec<Mistake>);

impl Faults {
    fn of<T>(&mut self, part: Result<T, Vec<Mistake>>) -> Option<T> {
        part.map_err(|mistakes| self.0.extend(mistakes)).ok()
    }
}

/// Loads the policies.
///
/// # Errors
/// Every mistake in them, each with its position.
pub fn policy(config: &Config, source: &ConfigSource) -> Result<Policy, InvalidConfig> {
    Policy::load(&config.policy, &attributes(config)).map_err(|mistakes| source.locate(&mistakes))
}

/// The attributes of a caller that policies can read: all that any issuer maps.
fn attributes(config: &Config) -> Attributes {
    let mapped = config.issuer.iter().flat_map(|issuer| issuer.claims.attributes());
    let kind = |kind| match kind {
        identity::ClaimType::String => AttributeType::String,
        identity::ClaimType::Set | identity::ClaimType::Words | identity::ClaimType::Keys => {
            AttributeType::Set
        }
        identity::ClaimType::Long => AttributeType::Long,
        identity::ClaimType::Bool => AttributeType::Bool,
        identity::ClaimType::Ip => AttributeType::Ip,
        identity::ClaimType::Datetime => AttributeType::Datetime,
    };
    Attributes(mapped.map(|(name, claim)| (name.to_owned(), kind(claim.kind))).collect())
}

/// The part `identity` alone, with its keys read.
///
/// # Errors
/// Every mistake in the settings of issuers, each with its position.
pub async fn identity(config: &Config, source: &ConfigSource) -> Result<Arc<Identity>, InvalidConfig> {
    let broken = |error: prometheus::Error| InvalidConfig { lines: vec![error.to_string()] };
    let metrics = identity::Metrics::register(&prometheus::Registry::new()).map_err(broken)?;
    let identity = Identity::start(&config.issuer, &config.identity, key_fetch(source)?, metrics).await;
    identity.map_err(|mistakes| source.locate(&mistakes))
}

fn key_fetch(source: &ConfigSource) -> Result<identity::Fetch, InvalidConfig> {
    let client = key_client().map_err(|e| source.locate(&[Mistake::at("issuer", e.to_string())]))?;
    let private = PrivateClients::default();
    Ok(Arc::new(move |request| {
        let client = match request.extensions().get::<identity::TrustedRoots>() {
            Some(roots) => private.trusting(roots),
            None => Ok(client.clone()),
        };
        Box::pin(async move {
            let response = client?.fetch(request, 1 << 20, &Limits::default()).await;
            response.map_err(|error| error.to_string())
        })
    }))
}

/// Clients for issuers with certificates of their own, by these; made anew when the certificates change.
#[derive(Default)]
struct PrivateClients(Mutex<HashMap<Arc<[u8]>, Client>>);

impl PrivateClients {
    fn trusting(&self, roots: &identity::TrustedRoots) -> Result<Client, String> {
        /// More than there are issuers with a file of their own.
        const MOST: usize = 64;
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&roots.0) {
            return Ok(client.clone());
        }
        let mut store = rustls::RootCertStore::empty();
        let found = CertificateDer::pem_slice_iter(&roots.0).filter_map(Result::ok);
        let (added, _ignored) = store.add_parsable_certificates(found);
        if added == 0 {
            return Err("ca: no certificate in PEM".to_owned());
        }
        let client = key_client_trusting(store).map_err(|error| error.to_string())?;
        if clients.len() >= MOST {
            clients.clear();
        }
        clients.insert(roots.0.clone(), client.clone());
        Ok(client)
    }
}

/// What the console needs before sign-in.
fn console_settings(config: &Config) -> serde_json::Value {
    let clients = config.issuer.iter().filter(|issuer| issuer.client_id.is_some());
    let mut issuers: Vec<_> = clients.map(|issuer| serde_json::json!({ "issuer": issuer.name() })).collect();
    issuers.dedup();
    let sign_out = config.identity.sign_out.as_deref();
    serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "issuers": issuers, "sign_out": sign_out })
}

/// The other origins that the console shows in a hidden frame: the issuers of sign-ins.
fn sign_in_urls(config: &Config) -> Vec<String> {
    config
        .issuer
        .iter()
        .filter(|issuer| issuer.client_id.is_some())
        .map(|issuer| issuer.name().to_owned())
        .collect()
}

/// The console in the form that the gateway serves.
fn console_of(config: &Config) -> Console {
    let headers = console::SECURITY_HEADERS
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let policy = HeaderValue::from_str(&console::csp(&sign_in_urls(config)))
        .unwrap_or(HeaderValue::from_static("default-src 'none'"));
    Console {
        file: |path, takes| {
            let asset = console::file(path, takes)?;
            let console::Asset { bytes, encoding, varies, content_type, immutable, etag } = asset;
            Some(ConsoleFile { bytes, encoding, varies, content_type, immutable, etag })
        },
        headers: headers.chain([(header::CONTENT_SECURITY_POLICY, policy)]).collect(),
        settings: console_settings(config),
    }
}

/// Loads certificates, if there are any.
///
/// # Errors
/// A file cannot be read or does not fit.
pub fn tls(config: &Config, source: &ConfigSource) -> Result<Option<net::tls::LoadedTls>, InvalidConfig> {
    let Some(tls) = &config.server.tls else { return Ok(None) };
    let loaded = net::tls::load(tls);
    loaded.map(Some).map_err(|error| source.locate(&[Mistake::at("server.tls", error.to_string())]))
}

/// The memory of this machine, if it says so.
fn machine_memory() -> Option<ByteSize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(ByteSize(kib << 10))
}

/// A configuration that is good.
pub struct Checked {
    /// What it holds, in one line.
    pub summary: String,
    /// What is allowed and probably not meant, one line each.
    pub warnings: Vec<String>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}

/// Builds everything once and drops it. Issuers and AWS get requests only if `online`. What is allowed and
/// probably not meant follows the summary, one line each.
///
/// # Errors
/// Every mistake, each with its position.
pub async fn check(source: &ConfigSource, online: bool) -> Result<Checked, InvalidConfig> {
    let mut config = Config::load(source)?;
    let log = audit::Sink::try_out(&config.log.audit)
        .map_err(|problem| source.locate(&[Mistake::at("log.audit", problem.to_string())]));
    // A dry run writes nothing, and makes no folder and no lock: the audit log and the cache's folder may be
    // those of a running process.
    config.log.audit.to = audit::Target::Stdout;
    config.cache.disk = None;
    let token = token_source(&config);
    let store = config.cache.shared.take();
    let shared = store.as_ref().map_or(Ok(()), fleet::Store::look);
    let shared = shared.map_err(|mistakes| source.locate(&mistakes));
    let persistent = Persistent::new(&config)
        .await
        .map_err(|error| InvalidConfig { lines: vec![format!("cannot set up: {error:#}")] })?;
    let certificates = tls(&config, source).map(drop);
    let purpose = if online { Purpose::Start } else { Purpose::DryRun };
    let built = gateway(&config, source, &persistent, purpose).await;
    let others =
        [log, shared, certificates].into_iter().filter_map(Result::err).flat_map(|refused| refused.lines);
    let gateway = match (others.collect::<Vec<_>>(), built) {
        (lines, Ok(built)) if lines.is_empty() => built.gateway,
        (lines, Ok(_)) => return Err(InvalidConfig { lines }),
        (mut lines, Err(refused)) => {
            lines.extend(refused.lines);
            return Err(InvalidConfig { lines });
        }
    };
    let mut found = Vec::new();
    let mut summary = format!(
        "configuration is good: {} issuer(s), {} [[aws]] entry(ies), {} policy(ies) in {} file(s)",
        config.issuer.len(),
        config.aws.len(),
        gateway.policy().len(),
        gateway.policy().files().len(),
    );
    if online {
        let mut problems = gateway.identity().problems();
        if let Err(error) = gateway.archive().count_streams().await {
            problems.push(format!("[[aws]]: {error}"));
        }
        let probed = match &store {
            Some(store) => fleet::probe(store, token).await.map(Some),
            None => Ok(None),
        };
        let probed = probed.unwrap_or_else(|failed| {
            problems.extend(failed);
            None
        });
        if !problems.is_empty() {
            return Err(InvalidConfig { lines: problems });
        }
        summary.push_str("; keys, credentials and KVS answer");
        if let Some(fleet::Probed { summary: about, warnings }) = probed {
            summary.push_str(&format!("; {about}"));
            found.extend(warnings);
        }
    }
    let mut warnings = config.warnings(machine_memory());
    if gateway.policy().is_empty() {
        let problem = "there is no policy in these files: nobody may do anything";
        warnings.push(Mistake::at("policy.files", problem));
    }
    warnings.extend(gateway.policy().warnings().iter().cloned());
    warnings.extend(identity::warnings(&config.issuer));
    found.extend(warnings.iter().map(|warning| source.locate(std::slice::from_ref(warning)).to_string()));
    Ok(Checked { summary, warnings: found })
}
