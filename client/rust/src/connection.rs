//! How the server is reached: addresses whose health is good, TLS, token, deadline, retries.
//!
//! tonic has no service config, so what it asks for is done here: a channel over all addresses of the target, each
//! taking part while its health service says SERVING, and tries again on UNAVAILABLE and CANCELLED.

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

/// The server wants as much between pings.
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

/// What a client of any service is made from, and how long a call may take.
#[derive(Clone)]
pub struct Connection {
    pub channel: InterceptedService<Channel, Bearer>,
    timeout: Duration,
}

fn setting(name: &str, otherwise: &str) -> String {
    env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| otherwise.to_owned())
}

/// TLS with the certificate authorities of a PEM file, or of the system, or no TLS.
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

/// A network that swallows packets tells nobody: a connection that leaves a ping without an answer is ended, and its
/// calls are tried on another.
fn notice_silence(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// Lets an address take part in load balancing while its health service says SERVING.
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
                        return; // the channel is gone
                    }
                }
            }
            // No health service: as gRPC's own clients do, take the address for healthy.
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

/// Reads COFACTOR_ADDRESS, COFACTOR_TLS_CA, COFACTOR_TOKEN and COFACTOR_TIMEOUT; the error names the one that is wrong.
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
        tokio::spawn(follow_health(address, notice_silence(endpoint), changes.clone()));
    }
    Ok(Connection { channel: InterceptedService::new(channel, bearer), timeout })
}

impl Connection {
    /// Calls a method with the deadline, and again where that can help: every method only reads.
    pub async fn call<Q, A, F>(&self, request: Q, method: F) -> Result<A, Status>
    where
        Q: Clone,
        F: AsyncFn(Request<Q>) -> Result<Response<A>, Status>,
    {
        let deadline = Instant::now() + self.timeout;
        let attempts = async {
            let mut backoff = INITIAL_BACKOFF;
            for attempt in 1.. {
                let mut request = Request::new(request.clone());
                request.set_timeout(deadline.saturating_duration_since(Instant::now()));
                match method(request).await {
                    Ok(response) => return Ok(response.into_inner()),
                    // CANCELLED is what a server that stops answers to calls that it had just accepted.
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
