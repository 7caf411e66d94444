"""Settings of the gRPC channel: target, service config, keepalive, TLS and token."""

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

# With this config no call fails in a rolling restart. gRPC sends no new calls to a server whose health is NOT_SERVING.
# Calls that were sent just before fail with UNAVAILABLE or CANCELLED, and are retried: every method but
# RecordEvents is read-only, and RecordEvents records no event twice.
SERVICE_CONFIG: dict[str, Any] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [
                {"service": "cofactor.v1.RecommenderService"},
                {"service": "cofactor.v1.CatalogService"},
                {"service": "cofactor.v1.FeedbackService"},
            ],
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

# Settings for networks that drop packets silently. A connection is closed when data has not been acknowledged for five
# seconds (keepalive sets TCP_USER_TIMEOUT as well), and its calls are retried on another one. Without this, gRPC waits
# for the operating system, about 15 minutes. The client tries to reconnect after at most five seconds; gRPC's default
# backoff grows to two minutes.
_KEEPALIVE: dict[str, Any] = {
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.http2.ping_timeout_ms": 5_000,  # default: a minute, regardless of keepalive_timeout_ms (grpcio 1.85)
    # gRPC varies the backoff by a fifth, so that a client tries again after at most 4.8 s.
    "grpc.min_reconnect_backoff_ms": 4_000,  # also the time limit of an attempt to connect
    "grpc.max_reconnect_backoff_ms": 4_000,
}


@dataclass(frozen=True)
class Tls:
    """TLS settings: the authorities that the client trusts, and its own certificate.

    Attributes:
        ca: PEM file of the authorities to trust; None for those that come with gRPC.
        certificate: PEM file of the client's own certificate chain, for mutual TLS.
        key: PEM file of the client's private key; required with `certificate`.
        server_name: name to expect in the server's certificate; None for the host of the address.
    """

    ca: Path | str | None = None
    certificate: Path | str | None = None
    key: Path | str | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if only one of certificate and key is given."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key: give both for mutual TLS, or neither")

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises OSError if one cannot be read."""
        ca, key, certificate = (
            Path(path).read_bytes() if path is not None else None for path in (self.ca, self.key, self.certificate)
        )
        return grpc.ssl_channel_credentials(ca, key, certificate)


@dataclass(frozen=True)
class Connection:
    """Settings that both clients open their channel with.

    Attributes:
        address: "host:port", where the host may resolve to several servers, which then share the calls; or a list of
            "ip:port"; or a gRPC target such as "unix:/run/cofactor.sock". The default port is 50051.
        timeout: default deadline of a call in seconds, or None for no limit.
        tls: TLS settings; None for plain text.
        token: sent as `authorization: Bearer …`; a function is called before every RPC.
        max_message_bytes: size limit of a message sent or received.
        channel_options: more gRPC channel arguments; they override the client's own.
    """

    address: str | Sequence[str]
    timeout: float | None = 10.0
    tls: Tls | None = None
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    max_message_bytes: int = 16 * 2**20
    channel_options: Sequence[tuple[str, Any]] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for settings that are out of range or that would leak the token."""
        if self.timeout is not None and not (math.isfinite(self.timeout) and self.timeout > 0):
            raise ValueError(f"timeout: must be a positive number of seconds or None, not {self.timeout!r}")
        if self.max_message_bytes <= 0:
            raise ValueError(f"max_message_bytes: must be a positive number, not {self.max_message_bytes!r}")
        if self.token is not None and self.tls is None and not _is_local(self.target):
            raise ValueError("token: would be sent in plain text; pass tls=Tls(), or use an address on this machine")

    @property
    def target(self) -> str:
        """The gRPC target of `address`."""
        return target(self.address)

    @property
    def options(self) -> list[tuple[str, Any]]:
        """The gRPC channel arguments."""
        options: dict[str, Any] = {
            "grpc.service_config": json.dumps(SERVICE_CONFIG),
            "grpc.enable_retries": 1,
            **_KEEPALIVE,
            "grpc.max_send_message_length": self.max_message_bytes,
            "grpc.max_receive_message_length": self.max_message_bytes,
            "grpc.primary_user_agent": f"cofactor-python/{installed_version()}",
        }
        if self.tls is not None and self.tls.server_name is not None:
            options["grpc.ssl_target_name_override"] = self.tls.server_name
        return list((options | dict(self.channel_options)).items())

    def open(self) -> grpc.Channel:
        """Open a channel, which connects on its first call. Raises OSError if a file of `tls` cannot be read."""
        if self.tls is None:
            return grpc.insecure_channel(self.target, self.options)
        return grpc.secure_channel(self.target, self.tls.credentials(), self.options)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that is sent with every call."""
        token = self.token() if callable(self.token) else self.token
        return () if token is None else (("authorization", f"Bearer {token}"),)


def target(address: str | Sequence[str]) -> str:
    """Return the gRPC target of one address or of several.

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
    families = {_family(server) for server in address}
    if len(families) > 1:
        raise ValueError("address: a list must hold either IPv4 or IPv6 addresses, not both")
    return f"{families.pop()}:{','.join(_with_port(server) for server in address)}"


def host_and_port(address: str) -> tuple[str, int] | None:
    """Return host and port of an address, or None for one that names no single host, such as unix:/run/cofactor.sock.

    >>> host_and_port("localhost"), host_and_port("dns:///[::1]:7000"), host_and_port("unix:/run/cofactor.sock")
    (('localhost', 50051), ('::1', 7000), None)
    """
    scheme, _, rest = target(address).partition(":")
    server = rest.rpartition("/")[2]
    if scheme not in ("dns", "ipv4", "ipv6") or "," in server:
        return None
    host, _, port = _with_port(server).rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdecimal() else None


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
            f"address: {address[:64]!r} in a list is not an IP address; use one DNS name that resolves to all servers"
        ) from None


def _is_local(target: str) -> bool:
    scheme, _, rest = target.partition(":")
    if scheme.startswith("unix"):
        return True
    hosts = [_host(server) for server in rest.rpartition("/")[2].split(",")]
    return all(host == "localhost" or _is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def installed_version() -> str:
    """Return the version of the installed package, or "unknown"."""
    try:
        return version("cofactor")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
