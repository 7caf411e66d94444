"""The server's settings: one frozen dataclass, from which flags, environment variables and the TOML file derive."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import ipaddress
import os
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cofactor_server.errors import ConfigurationError

Provider = Literal["auto", "cuda", "cpu"]
Batching = Literal["auto", "on", "off"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
# Eleven days. gRPC counts milliseconds in 32 bits, which end after 24 days.
_LONGEST_S = 1_000_000


def _about(about: str, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """Metadata of a setting: what it means, and the range it must lie in."""
    return {"about": about, "low": low, "high": high}


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Settings of one server; field metadata says what each means and its range.

    Raises ConfigurationError when a value is out of its range or two values contradict each other.
    """

    models: str = field(
        metadata=_about("folder of models, or an fsspec address such as s3://bucket/models: <name>/<version>/ in it")
    )
    poll_interval_s: float = field(
        default=5.0, metadata=_about("mean time between two looks for new versions; 0: never", 0, _LONGEST_S)
    )
    copies: str = field(
        default="", metadata=_about("folder for private copies of the versions; empty: a temporary one")
    )
    model: str = field(default="", metadata=_about("default model; empty: the first by name"))
    host: str = field(default="127.0.0.1", metadata=_about("address to listen on"))
    port: int = field(default=50051, metadata=_about("port to listen on; 0: any free one", 0, 65535))
    insecure_plaintext: bool = field(
        default=False, metadata=_about("allow plaintext on an address other than loopback")
    )
    tls_certificate: str = field(default="", metadata=_about("TLS: certificate chain, PEM; read again when it changes"))
    tls_key: str = field(default="", metadata=_about("TLS: the certificate's private key, PEM"))
    tls_client_authority: str = field(
        default="", metadata=_about("mutual TLS: authorities that must have signed the clients' certificates, PEM")
    )
    tokens: str = field(default="", metadata=_about("TOML file of static tokens and the methods they open"))
    jwt_keys: str = field(default="", metadata=_about("JWKS file of the public keys that sign JSON Web Tokens"))
    jwt_issuer: str = field(default="", metadata=_about("issuer that JSON Web Tokens must name"))
    jwt_audience: str = field(default="", metadata=_about("audience that JSON Web Tokens must name"))
    rate_limit: float = field(default=0.0, metadata=_about("calls per second that one client may make; 0: any", 0))
    rate_burst: int = field(default=100, metadata=_about("calls that one client may make at once after a pause", 1))
    require_signature: str = field(
        default="", metadata=_about("public key, PEM, with which every version must be signed; empty: none need be")
    )
    workers: int = field(default=1, metadata=_about("processes that share the port", 1, 256))
    pin_workers: bool = field(
        default=True,
        metadata=_about(
            "with workers: each on a core of its own, where there are as many cores; or threads wait for "
            "Python's lock across cores"
        ),
    )
    metrics_port: int = field(default=0, metadata=_about("port for Prometheus; 0: none", 0, 65535))
    admin_port: int = field(
        default=0, metadata=_about("port on 127.0.0.1 for the admin API and channelz; 0: none", 0, 65535)
    )
    oip: bool = field(default=False, metadata=_about("answer the Open Inference Protocol on the same port too"))
    tracing: bool = field(default=False, metadata=_about("send OpenTelemetry traces, as the OTEL_* variables say"))
    provider: Provider = field(
        default="auto", metadata=_about("what runs the graphs; auto: CUDA where it works, else the CPU")
    )
    gpu_memory_mib: int = field(default=0, metadata=_about("most device memory per graph, MiB; 0: no limit", 0))
    approximate: bool = field(
        default=False,
        metadata=_about("recommend from a version's index, where it has one, on the CPU; needs the extra approximate"),
    )
    threads: int = field(default=64, metadata=_about("threads that answer calls", 1, 1024))
    max_queue_size: int = field(
        default=256, metadata=_about("calls that may wait for a thread; further ones are refused at once", 0)
    )
    max_streams: int = field(default=32, metadata=_about("open streams; further ones are refused at once", 1, 1024))
    max_page_size: int = field(default=1000, metadata=_about("largest page_size", 1, 10_000))
    max_items_per_request: int = field(default=10_000, metadata=_about("longest list in a request", 1))
    max_requests_per_batch: int = field(default=256, metadata=_about("most requests in one BatchRecommend", 1))
    max_message_mib: int = field(default=4, metadata=_about("largest request message, MiB", 1, 1024))
    batching: Batching = field(
        default="auto", metadata=_about("join calls that wait for the engine; auto: where it was measured to pay")
    )
    max_batch_size: int = field(default=32, metadata=_about("most calls in one run of the engine", 1, 1024))
    cache_mib: int = field(
        default=64, metadata=_about("memory for answers to give again, MiB for each version and worker; 0: none", 0)
    )
    max_connection_age_s: float = field(
        default=300.0,
        metadata=_about(
            "age at which clients are asked to reconnect and so find new replicas, at least 1; 0: never", 0, _LONGEST_S
        ),
    )
    drain_delay_s: float = field(
        default=0.5, metadata=_about("time between NOT_SERVING and refusing calls at shutdown", 0, _LONGEST_S)
    )
    grace_s: float = field(default=10.0, metadata=_about("time that running calls get at shutdown", 0, _LONGEST_S))
    log_level: LogLevel = field(default="info", metadata=_about("least severe message logged"))
    log_format: LogFormat = field(default="text", metadata=_about("how messages are logged"))

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for each in dataclasses.fields(self):
            _check_range(each, hints[each.name], getattr(self, each.name))
        if 0 < self.max_connection_age_s < 1:
            raise ConfigurationError(
                f"max_connection_age_s must be at least 1, or 0 for never, not {self.max_connection_age_s}"
            )
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ConfigurationError("tls_certificate and tls_key belong together; set both or neither")
        if self.tls_client_authority and not self.tls_certificate:
            raise ConfigurationError("tls_client_authority needs tls_certificate and tls_key")
        if len({bool(self.jwt_keys), bool(self.jwt_issuer), bool(self.jwt_audience)}) > 1:
            raise ConfigurationError("jwt_keys, jwt_issuer and jwt_audience belong together; set all or none")
        if not self.tls_certificate and not self.insecure_plaintext and not _is_loopback(self.host):
            raise ConfigurationError(
                f"host {self.host} is not loopback and the server speaks plaintext: anyone on the network could "
                "read and call it; pass --insecure-plaintext if something in front of it encrypts"
            )


def _check_range(each: dataclasses.Field[Any], hint: Any, value: Any) -> None:
    low, high = each.metadata["low"], each.metadata["high"]
    choices = typing.get_args(hint)
    if choices and not isinstance(hint, types.UnionType) and value not in choices:
        raise ConfigurationError(f"{each.name} must be one of {', '.join(choices)}, not {value}")
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        limits = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ConfigurationError(f"{each.name} must be {limits}, not {value}")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return "COFACTOR_" + name.upper()


def _converted(name: str, hint: Any, text: Any) -> Any:
    """`text` (from a flag, the environment or TOML) as the field's type."""
    try:
        if hint is bool:
            if isinstance(text, bool):
                return text
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[str(text).lower()]
        if hint in (int, float, Path):
            if isinstance(text, bool):
                raise ValueError(text)
            return hint(text)
        return str(text)
    except (ValueError, KeyError, TypeError):
        kind = {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, "a text")
        raise ConfigurationError(f"{name} must be {kind}, not {text!r}") from None


def _version() -> str:
    try:
        return importlib.metadata.version("cofactor")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cofactor-serve",
        description="Serve recommendations over gRPC.",
        epilog="Every setting is also read from COFACTOR_<NAME> and from the TOML file; a flag wins over "
        "the environment, and the environment over the file.",
    )
    parser.add_argument("--version", action="version", version=f"cofactor-serve {_version()}")
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings, such as port = 50051")
    parser.add_argument("--print-config", action="store_true", help="print the settings as TOML and exit")
    hints = typing.get_type_hints(ServerConfig)
    for each in dataclasses.fields(ServerConfig):
        default = "required" if each.default is dataclasses.MISSING else f"default: {each.default!r}"
        about = f"{each.metadata['about']} ({default})".replace("%", "%%")
        if hints[each.name] is bool:
            parser.add_argument(flag_of(each.name), action=argparse.BooleanOptionalAction, default=None, help=about)
        else:
            choices = typing.get_args(hints[each.name])
            name = "|".join(choices) if choices else each.name.upper()
            parser.add_argument(flag_of(each.name), metavar=name, default=None, help=about)
    return parser


def _from_file(path: str) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None


def load_config(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> tuple[ServerConfig, bool]:
    """The settings, and whether --print-config was given.

    Raises ConfigurationError for unknown settings and values that do not fit.
    """
    flags = vars(_parser().parse_args(arguments))
    print_config = bool(flags.pop("print_config"))
    hints = typing.get_type_hints(ServerConfig)
    file = flags.pop("config") or environment.get("COFACTOR_CONFIG")
    values: dict[str, Any] = {}
    for name, value in (_from_file(file) if file else {}).items():
        if name not in hints:
            raise ConfigurationError(f"{file}: there is no setting {name!r}; cofactor-serve --help lists them")
        values[name] = _converted(f"{file}: {name}", hints[name], value)
    for variable, value in environment.items():
        name = variable.removeprefix("COFACTOR_").lower()
        if variable == variable_of(name) and name in hints:
            values[name] = _converted(variable, hints[name], value)
    for name, value in flags.items():
        if value is not None:
            values[name] = _converted(flag_of(name), hints[name], value)
    if "models" not in values:
        raise ConfigurationError("--models (or COFACTOR_MODELS) is required: the folder that holds <name>/<version>/")
    return ServerConfig(**values), print_config


def to_toml(config: ServerConfig) -> str:
    """The settings as a TOML file with a comment on each."""
    lines = []
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        shown = str(value).lower() if isinstance(value, bool) else value
        if not isinstance(value, bool | int | float):
            shown = '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
        lines += [f"# {each.metadata['about']}", f"{each.name} = {shown}"]
    return "\n".join(lines) + "\n"
