"""How a client reaches its servers: target, service config, TLS, token."""

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import grpc

DEFAULT_PORT = 50051
_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "xds:")

# Rolling restarts cost no call: traffic leaves a server when its health says NOT_SERVING, and what is caught in
# the race answers CANCELLED, not only UNAVAILABLE. Every method is read-only, so trying again is safe.
SERVICE_CONFIG: dict[str, Any] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{"service": "cofactor.v1.RecommenderService"}, {"service": "cofactor.v1.CatalogService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}

# A network that swallows packets tells nobody. What is sent and not acknowledged for five seconds ends the connection
# (keepalive sets TCP_USER_TIMEOUT too), and its calls are tried on another; without it gRPC waits for the system, a
# quarter of an hour. A server is looked for again after five seconds at most, where gRPC would come to wait for two
# minutes.
_KEEPALIVE: dict[str, Any] = {
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.http2.ping_timeout_ms": 5_000,  # a minute otherwise, whatever the line before says (grpcio 1.85)
    "grpc.min_reconnect_backoff_ms": 5_000,  # how long an attempt to connect may take
    "grpc.max_reconnect_backoff_ms": 5_000,
}


@dataclass(frozen=True)
class Tls:
    """How to trust the server, and how to be trusted by it.

    Attributes:
        ca: PEM file of the authorities to trust; None: those that come with gRPC.
        certificate: PEM file of the client's own certificate chain, for mutual TLS.
        key: PEM file of its private key; given together with `certificate`.
        server_name: the name that the server's certificate must hold where it is not that of the address.
    """

    ca: Path | str | None = None
    certificate: Path | str | None = None
    key: Path | str | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        """Refuses half a key pair."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key: give both for mutual TLS, or neither")

    def credentials(self) -> grpc.ChannelCredentials:
        """The files' contents as gRPC takes them; OSError where one cannot be read."""
        ca, key, certificate = (
            Path(path).read_bytes() if path is not None else None for path in (self.ca, self.key, self.certificate)
        )
        return grpc.ssl_channel_credentials(ca, key, certificate)


@dataclass(frozen=True)
class Connection:
    """Everything about a channel, checked; both clients open theirs from one of these.

    Attributes:
        address: "host:port" (a name that resolves to several servers is balanced over all of them), a list of
            "ip:port", or a gRPC target such as "unix:/run/cofactor.sock". The port defaults to 50051.
        timeout: seconds for a call that names none, or None for no limit.
        tls: None for plain text.
        token: sent as `authorization: Bearer …`; a function is asked before every call.
        max_message_bytes: the largest message sent or received.
        channel_options: further gRPC channel arguments; they win over the client's own.
    """

    address: str | Sequence[str]
    timeout: float | None = 10.0
    tls: Tls | None = None
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    max_message_bytes: int = 16 * 2**20
    channel_options: Sequence[tuple[str, Any]] = ()

    def __post_init__(self) -> None:
        """Refuses what could only fail later, or leak the token."""
        if self.timeout is not None and not (math.isfinite(self.timeout) and self.timeout > 0):
            raise ValueError(f"timeout: a positive number of seconds or None, not {self.timeout!r}")
        if self.max_message_bytes <= 0:
            raise ValueError(f"max_message_bytes: a positive number, not {self.max_message_bytes!r}")
        if self.token is not None and self.tls is None and not _is_local(self.target):
            raise ValueError("token: would travel in plain text; give tls=Tls(), or an address on this machine")

    @property
    def target(self) -> str:
        """The gRPC target of `address`."""
        return target(self.address)

    @property
    def options(self) -> list[tuple[str, Any]]:
        """Channel arguments."""
        options: dict[str, Any] = {
            "grpc.service_config": json.dumps(SERVICE_CONFIG),
            "grpc.enable_retries": 1,
            **_KEEPALIVE,
            "grpc.max_send_message_length": self.max_message_bytes,
            "grpc.max_receive_message_length": self.max_message_bytes,
            "grpc.primary_user_agent": f"cofactor-python/{_version()}",
        }
        if self.tls is not None and self.tls.server_name is not None:
            options["grpc.ssl_target_name_override"] = self.tls.server_name
        return list((options | dict(self.channel_options)).items())

    def open(self) -> grpc.Channel:
        """A channel, which connects when it is first used; OSError where a file of `tls` cannot be read."""
        if self.tls is None:
            return grpc.insecure_channel(self.target, self.options)
        return grpc.secure_channel(self.target, self.tls.credentials(), self.options)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        token = self.token() if callable(self.token) else self.token
        return () if token is None else (("authorization", f"Bearer {token}"),)


def target(address: str | Sequence[str]) -> str:
    """The gRPC target of one address or of several.

    >>> target("localhost")
    'dns:///localhost:50051'
    >>> target(["10.0.0.1:50051", "10.0.0.2:50051"])
    'ipv4:10.0.0.1:50051,10.0.0.2:50051'
    """
    if isinstance(address, str):
        if not address.strip():
            raise ValueError('address: is empty; give "host:port"')
        return address if address.startswith(_SCHEMES) else f"dns:///{_with_port(address)}"
    if not address:
        raise ValueError("address: the list is empty; give at least one ip:port")
    families = {_family(each) for each in address}
    if len(families) > 1:
        raise ValueError("address: a list holds either IPv4 or IPv6 addresses, not both")
    return f"{families.pop()}:{','.join(_with_port(each) for each in address)}"


def _with_port(address: str) -> str:
    if address.startswith("["):
        return address if "]:" in address else f"{address}:{DEFAULT_PORT}"
    if address.count(":") > 1:
        return f"[{address}]:{DEFAULT_PORT}"
    return address if ":" in address else f"{address}:{DEFAULT_PORT}"


def _host(address: str) -> str:
    return _with_port(address).rpartition(":")[0].strip("[]")


def _family(address: str) -> str:
    try:
        return f"ipv{ipaddress.ip_address(_host(address)).version}"
    except ValueError:
        raise ValueError(
            f"address: {address[:64]!r} in a list is not an IP address; give one DNS name that resolves to all servers"
        ) from None


def _is_local(target: str) -> bool:
    scheme, _, rest = target.partition(":")
    if scheme.startswith("unix"):
        return True
    hosts = [_host(each) for each in rest.rpartition("/")[2].split(",")]
    return all(host == "localhost" or _is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _version() -> str:
    try:
        return version("cofactor")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
