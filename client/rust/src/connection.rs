//! Connects to the server, with TLS, token, deadline, retries, and load balancing over healthy addresses.
//!
//! tonic does not support a service config, so this module implements what it would do: it balances over all addresses
//! of the target whose health service reports SERVING, and retries calls that fail with UNAVAILABLE or CANCELLED.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::{Interceptor, interceptor::InterceptedService};
use tonic::transport::channel::Change;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const MAX_ATTEMPTS: u32 = 3;
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MULTIPLIER: u32 = 3;

/// The server accepts one ping every 10 s.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

type Changes = Sender<Change<SocketAddr, Endpoint>>;

/// Adds `authorization: Bearer TOKEN` to every call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A channel, from which the client of any service is made, and the most time that a call may take.
#[derive(Clone)]
pub struct Connection {
    pub channel: InterceptedService<Channel, Bearer>,
    timeout: Duration,
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

/// Returns the TLS settings, which trust the authorities in a PEM file or those of the system, or None for no TLS.
fn tls(ca: &str, host: &str) -> Result<Option<ClientTlsConfig>, String> {
    let config = ClientTlsConfig::new().domain_name(host);
    match ca {
        "" => Ok(None),
        "system" => Ok(Some(config.with_native_roots())),
        path => {
            let pem = fs::read(path)
                .map_err(|error| format!("COFACTOR_TLS_CA is a PEM file, or 'system': {path}: {error}"))?;
            Ok(Some(config.ca_certificate(Certificate::from_pem(pem))))
        }
    }
}

fn bearer(token: &str, ca: &str) -> Result<Bearer, String> {
    if token.is_empty() {
        return Ok(Bearer(None));
    }
    if ca.is_empty() {
        return Err("COFACTOR_TOKEN would travel in plain text: set COFACTOR_TLS_CA".to_owned());
    }
    let value = format!("Bearer {token}").parse().map_err(|_| "COFACTOR_TOKEN is not ASCII".to_owned())?;
    Ok(Bearer(Some(value)))
}

fn timeout() -> Result<Duration, String> {
    let seconds = setting("COFACTOR_TIMEOUT", "5").parse().ok().filter(|seconds| *seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "COFACTOR_TIMEOUT is seconds, such as 5 or 0.5".to_owned())
}

/// Sends pings, without which a client does not notice that the network drops all packets of a connection. A connection
/// that does not answer a ping is closed, and its calls are retried on another.
fn with_pings(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// Includes an address in the load balancing while its health service reports SERVING.
async fn follow_health(address: SocketAddr, endpoint: Endpoint, changes: Changes) {
    let mut health = HealthClient::new(endpoint.connect_lazy());
    loop {
        match health.watch(HealthCheckRequest::default()).await {
            Ok(response) => {
                let mut updates = response.into_inner();
                while let Ok(Some(update)) = updates.message().await {
                    let change = if update.status == ServingStatus::Serving as i32 {
                        Change::Insert(address, endpoint.clone())
                    } else {
                        Change::Remove(address)
                    };
                    if changes.send(change).await.is_err() {
                        return; // the channel was dropped
                    }
                }
            }
            // Without a health service, the address counts as healthy, as in gRPC's own clients.
            Err(status) if status.code() == Code::Unimplemented => {
                let _ = changes.send(Change::Insert(address, endpoint)).await;
                return;
            }
            Err(_) => {}
        }
        if changes.send(Change::Remove(address)).await.is_err() {
            return;
        }
        sleep(MAX_BACKOFF).await;
    }
}

/// Opens the connection that COFACTOR_ADDRESS, COFACTOR_TLS_CA, COFACTOR_TOKEN and COFACTOR_TIMEOUT describe. The error
/// names the invalid one.
pub async fn connect() -> Result<Connection, String> {
    let target = setting("COFACTOR_ADDRESS", "localhost:50051");
    let ca = setting("COFACTOR_TLS_CA", "");
    let bearer = bearer(&setting("COFACTOR_TOKEN", ""), &ca)?;
    let timeout = timeout()?;
    let host = target.rsplit_once(':').map_or(target.as_str(), |(host, _)| host);
    let tls = tls(&ca, host)?;
    let addresses = tokio::net::lookup_host(&target)
        .await
        .map_err(|error| format!("COFACTOR_ADDRESS is host:port, not {target}: {error}"))?;

    let (channel, changes) = Channel::balance_channel(16);
    for address in addresses {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).map_err(|error| error.to_string())?;
        let endpoint = match &tls {
            Some(tls) => endpoint.tls_config(tls.clone()).map_err(|error| format!("COFACTOR_TLS_CA: {error}"))?,
            None => endpoint,
        };
        tokio::spawn(follow_health(address, with_pings(endpoint), changes.clone()));
    }
    Ok(Connection { channel: InterceptedService::new(channel, bearer), timeout })
}

impl Connection {
    /// Calls a method with the deadline, and retries it if that can help: every method only reads.
    pub async fn call<Q, R, F>(&self, request: Q, method: F) -> Result<R, Status>
    where
        Q: Clone,
        F: AsyncFn(Request<Q>) -> Result<Response<R>, Status>,
    {
        let deadline = Instant::now() + self.timeout;
        let attempts = async {
            let mut backoff = INITIAL_BACKOFF;
            for attempt in 1.. {
                let mut request = Request::new(request.clone());
                request.set_timeout(deadline.saturating_duration_since(Instant::now()));
                match method(request).await {
                    Ok(response) => return Ok(response.into_inner()),
                    // A server that shuts down answers CANCELLED to calls that it has just accepted.
                    Err(status)
                        if attempt < MAX_ATTEMPTS && matches!(status.code(), Code::Unavailable | Code::Cancelled) => {}
                    Err(status) => return Err(status),
                }
                sleep(backoff).await;
                backoff = MAX_BACKOFF.min(backoff * BACKOFF_MULTIPLIER);
            }
            unreachable!("the last attempt returns")
        };
        timeout_at(deadline, attempts)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in COFACTOR_TIMEOUT seconds")))
    }
}
