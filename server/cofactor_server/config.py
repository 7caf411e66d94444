"""Read the server's settings from flags, environment variables and a TOML file.

All three derive from one frozen dataclass. pydantic-settings could read them too, but its import takes 0.75 s, in every
worker and for every `--help`; this module and all that it imports take 0.06 s.
"""

# _setting() returns a dataclass field, which ruff does not know.
# ruff: noqa: RUF009

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib.metadata
import ipaddress
import os
import tomllib
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
# Eleven days. gRPC counts milliseconds in 32 bits, which last for 24 days.
_MAX_SECONDS = 1_000_000
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _metadata(about: str, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """Return the metadata of a setting: its help text, and its smallest and largest value."""
    return {"help": about, "low": low, "high": high}


def _setting(default: Any, about: str, low: float | None = None, high: float | None = None) -> Any:
    """Return the dataclass field of a setting that has a default."""
    return field(default=default, metadata=_metadata(about, low, high))


# Settings without which a server is open to callers, or to versions, that it should refuse.
_PROTECTIONS = (
    "tokens",
    "jwt_keys",
    "jwt_issuer",
    "jwt_audience",
    "tls_certificate",
    "tls_key",
    "tls_client_authority",
    "require_signature",
    "erasure_key_file",
)
_GRAPHS = ("recommend", "predict", "similar_items", "similarity", "embed_user")
# Variables of the client, which may run in the same environment.
_OF_CLIENTS = {"COFACTOR_TOKEN", "COFACTOR_TLS_CA", "COFACTOR_ADDRESS", "COFACTOR_TIMEOUT"}


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Settings of one server; the metadata of a field holds its help text and its range.

    Raises ConfigurationError if a value is out of its range or two values contradict each other.
    """

    models: str = field(
        metadata=_metadata(
            "folder that holds the models as <name>/<version>/, or its fsspec address, such as s3://bucket/models"
        )
    )
    poll_interval_s: float = _setting(
        5.0, "mean time between two checks for new versions; 0: never check", 0, _MAX_SECONDS
    )
    copies: str = _setting(
        "", "folder for private copies of the versions and files of the worker processes; empty: a temporary folder"
    )
    model: str = _setting("", "default model; empty: the first by name")
    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(50051, "port to listen on; 0: any free port", 0, 65535)
    insecure_plaintext: bool = _setting(False, "allow plaintext on an address that is not loopback")
    tls_certificate: str = _setting("", "TLS: certificate chain, PEM; read again when it changes")
    tls_key: str = _setting("", "TLS: private key of the certificate, PEM")
    tls_client_authority: str = _setting(
        "", "mutual TLS: authorities that must have signed the clients' certificates, PEM"
    )
    tokens: str = _setting("", "TOML file of static tokens and the methods that they allow")
    jwt_keys: str = _setting("", "JWKS file of the public keys that verify JSON Web Tokens")
    jwt_issuer: str = _setting("", "issuer that JSON Web Tokens must name")
    jwt_audience: str = _setting("", "audience that JSON Web Tokens must name")
    rate_limit: float = _setting(
        0.0,
        "requests per second that one client may make of each worker process: calls, messages of a stream, entries of "
        "a batch; 0: no limit",
        0,
    )
    rate_burst: int = _setting(100, "requests that one client may make at once of each worker process after a pause", 1)
    require_signature: str = _setting(
        "", "public key, PEM, that must verify the signature of every version; empty: versions need no signature"
    )
    erasure_key_file: str = _setting(
        "", "file with the secret key that erased users are recorded under; all servers of a repository need it"
    )
    workers: int = _setting(1, "processes that share the port", 1, 256)
    pin_workers: bool = _setting(
        True,
        "with workers: pin every worker to a core of its own if there are enough cores, so that its threads do not "
        "pass Python's lock between cores",
    )
    metrics_port: int = _setting(0, "port for Prometheus; 0: no metrics", 0, 65535)
    admin_port: int = _setting(0, "port on 127.0.0.1 for the admin API and channelz; 0: no admin API", 0, 65535)
    oip: bool = _setting(False, "answer the Open Inference Protocol too, on the same port")
    tracing: bool = _setting(False, "send OpenTelemetry traces; the OTEL_* variables configure them")
    feedback_log: str = _setting(
        "", "SQLite file that RecordEvents and served lists are written to, on a local disk; empty: no feedback log"
    )
    feedback_event_types: str = _setting(
        "", "types of events that RecordEvents takes, separated by commas; empty: every type"
    )
    feedback_list_share: float = _setting(
        1.0, "share of the recommended lists that are written to the feedback log, drawn at random; 0: none", 0, 1
    )
    feedback_retention_days: int = _setting(
        0, "days after which rows of the feedback log are removed; 0: never", 0, 36_500
    )
    provider: Provider = _setting(
        "auto",
        "where the graphs may run; auto: on CUDA too if it works and there is one process; cuda: CUDA must work",
    )
    gpu_graphs: str = _setting(
        "auto",
        "graphs that run on CUDA; auto: each graph and batch size where it was faster when the version was loaded; "
        "else names, such as recommend,similar_items",
    )
    gpu_memory_mib: int = _setting(0, "most device memory per graph, MiB; 0: no limit", 0)
    approximate: bool = _setting(
        False, "recommend from a version's index if it has one, on the CPU; needs the extra approximate"
    )
    threads: int = _setting(64, "threads that answer calls, in each worker process", 1, 1024)
    max_queue_size: int = _setting(
        256, "most calls that wait for a thread, in each worker process; further ones are refused at once", 0
    )
    max_streams: int = _setting(
        32, "most open streams in each worker process; further ones are refused at once", 1, 1024
    )
    max_page_size: int = _setting(1000, "largest page_size", 1, 10_000)
    max_items_per_request: int = _setting(10_000, "longest list in a request", 1)
    max_requests_per_batch: int = _setting(256, "most requests in one BatchRecommend", 1)
    max_message_mib: int = _setting(4, "largest request message, MiB", 1, 1024)
    max_response_mib: int = _setting(
        4, "largest response, MiB; requests for more are refused before any work. Most clients take 4 MiB", 1, 1024
    )
    batching: Batching = _setting(
        "auto", "batch calls that wait for the engine; auto: only where batching was measured to be faster"
    )
    max_batch_size: int = _setting(32, "most calls in one run of the engine", 1, 1024)
    cache_mib: int = _setting(64, "memory for cached responses, MiB per version and worker; 0: no cache", 0)
    max_connection_age_s: float = _setting(
        300.0,
        "age at which clients are asked to reconnect, so that they find new replicas, at least 1; 0: never",
        0,
        _MAX_SECONDS,
    )
    drain_delay_s: float = _setting(0.5, "time between NOT_SERVING and refusing calls at shutdown", 0, _MAX_SECONDS)
    grace_s: float = _setting(10.0, "time that running calls have to finish at shutdown", 0, _MAX_SECONDS)
    log_level: LogLevel = _setting("info", "least severe level that is logged")
    log_format: LogFormat = _setting("text", "format of the log lines")

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for setting in dataclasses.fields(self):
            _check_range(setting, hints[setting.name], getattr(self, setting.name))
        unknown = (self.pinned_gpu_graphs or frozenset()) - set(_GRAPHS)
        if unknown:
            raise ConfigurationError(
                f"gpu_graphs must be auto or some of {', '.join(_GRAPHS)}, not {', '.join(sorted(unknown))!r}"
            )
        if "" in (self.accepted_event_types or ()):
            raise ConfigurationError(
                f"feedback_event_types must be names between commas, not {self.feedback_event_types!r}"
            )
        if self.provider == "cuda" and self.workers > 1:
            raise ConfigurationError(
                f"workers must be 1 with provider cuda, not {self.workers}: each process would copy the tables to "
                "the device; leave workers out, or use provider cpu"
            )
        if 0 < self.max_connection_age_s < 1:
            raise ConfigurationError(
                f"max_connection_age_s must be at least 1, or 0 for never, not {self.max_connection_age_s}"
            )
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ConfigurationError("tls_certificate and tls_key belong together; set both or neither")
        if self.tls_client_authority and not self.tls_certificate:
            raise ConfigurationError("tls_client_authority needs tls_certificate and tls_key; set them too")
        if len({bool(self.jwt_keys), bool(self.jwt_issuer), bool(self.jwt_audience)}) > 1:
            raise ConfigurationError("jwt_keys, jwt_issuer and jwt_audience belong together; set all or none")
        if not self.tls_certificate and not self.insecure_plaintext and not is_loopback(self.host):
            raise ConfigurationError(
                f"host {self.host} is not loopback and the server has no TLS: anyone on the network could read and "
                "make calls; set tls_certificate and tls_key, or pass --insecure-plaintext if a proxy encrypts"
            )

    @property
    def accepted_event_types(self) -> frozenset[str] | None:
        """Return the types of events that RecordEvents takes, or None for every type."""
        if not self.feedback_event_types:
            return None
        return frozenset(name.strip() for name in self.feedback_event_types.split(","))

    @property
    def pinned_gpu_graphs(self) -> frozenset[str] | None:
        """Return the graphs that run on CUDA whatever is faster, or None if each runs where it is faster."""
        if self.gpu_graphs == "auto":
            return None
        return frozenset(name.strip() for name in self.gpu_graphs.split(","))


def _check_range(setting: dataclasses.Field[Any], hint: Any, value: Any) -> None:
    choices = typing.get_args(hint)
    if choices and value not in choices:
        raise ConfigurationError(f"{setting.name} must be one of {', '.join(choices)}, not {value}")
    low, high = setting.metadata["low"], setting.metadata["high"]
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        limits = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ConfigurationError(f"{setting.name} must be {limits}, not {value}")


def is_loopback(host: str) -> bool:
    """Return True if only programs of this machine reach the host."""
    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def flag_of(name: str) -> str:
    """Return the command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def environment_variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return "COFACTOR_" + name.upper()


def load_config(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> tuple[ServerConfig, bool]:
    """Read the settings; also return True if --print-config was given.

    Raises ConfigurationError if a setting is unknown, missing, or has a value that it may not have.
    """
    flags = vars(_parser().parse_args(arguments))
    print_config = bool(flags.pop("print_config"))
    hints = typing.get_type_hints(ServerConfig)
    file = flags.pop("config") or environment.get("COFACTOR_CONFIG")
    values: dict[str, Any] = {}
    for name, value in (_read_toml(file) if file else {}).items():
        if name not in hints:
            raise ConfigurationError(f"{file}: there is no setting {name!r}; cofactor-serve --help lists them")
        values[name] = _convert(f"{file}: {name}", hints[name], value)
    for variable, value in environment.items():
        name = variable.removeprefix("COFACTOR_").lower()
        if variable == environment_variable_of(name) and name in hints:
            _check_not_empty(variable, name, value)
            values[name] = _convert(variable, hints[name], value)
    for name, value in flags.items():
        if value is not None:
            _check_not_empty(flag_of(name), name, value)
            values[name] = _convert(flag_of(name), hints[name], value)
    if "models" not in values:
        raise ConfigurationError("--models (or COFACTOR_MODELS) is required: the folder that holds <name>/<version>/")
    return ServerConfig(**values), print_config


def _check_not_empty(origin: str, name: str, value: object) -> None:
    """Raise ConfigurationError if a setting that protects the server is given, but empty.

    A shell leaves such a value behind where a variable is unset or mistyped, and the server would then be open to all.
    """
    if name in _PROTECTIONS and not str(value).strip():
        raise ConfigurationError(f"{origin} is empty: name the file or the value, or leave it out to go without")


def suspicious_variables(environment: Mapping[str, str] = os.environ) -> list[tuple[str, str]]:
    """Return variables that look like a mistyped setting that protects the server, each with that setting's."""
    protections = [environment_variable_of(name) for name in _PROTECTIONS]
    known = {environment_variable_of(setting.name) for setting in dataclasses.fields(ServerConfig)} | _OF_CLIENTS
    return [
        (variable, close[0])
        for variable in sorted(environment)
        if variable.startswith("COFACTOR_") and variable not in known
        if (close := difflib.get_close_matches(variable, protections, 1, 0.85))
    ]


def _version() -> str:
    try:
        return importlib.metadata.version("cofactor")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cofactor-serve",
        description="Serve recommendations over gRPC.",
        epilog="Every setting can also be given as the environment variable COFACTOR_<NAME> or in the TOML file. A "
        "flag overrides the environment, and the environment overrides the file.",
    )
    parser.add_argument("--version", action="version", version=f"cofactor-serve {_version()}")
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings, such as port = 50051")
    parser.add_argument("--print-config", action="store_true", help="print the settings as TOML and exit")
    hints = typing.get_type_hints(ServerConfig)
    for setting in dataclasses.fields(ServerConfig):
        default = "required" if setting.default is dataclasses.MISSING else f"default: {setting.default!r}"
        about = f"{setting.metadata['help']} ({default})".replace("%", "%%")
        flag, choices = flag_of(setting.name), typing.get_args(hints[setting.name])
        if hints[setting.name] is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=about)
        else:
            metavar = "|".join(choices) if choices else setting.name.upper()
            parser.add_argument(flag, metavar=metavar, default=None, help=about)
    return parser


def _read_toml(path: str) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None


def _convert(origin: str, hint: Any, value: Any) -> Any:
    """Convert a value to the type of its setting; `origin` names the flag, variable or key in the error."""
    try:
        if hint is bool:
            return value if isinstance(value, bool) else _BOOLEANS[str(value).lower()]
        if hint in (int, float):
            if isinstance(value, bool):
                raise ValueError(value)
            return hint(value)
        return str(value)
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{origin} must be {_KINDS[hint]}, not {value!r}") from None


def to_toml(config: ServerConfig) -> str:
    """Return the settings as a TOML file with a comment on every setting."""
    lines = []
    for setting in dataclasses.fields(config):
        value = getattr(config, setting.name)
        shown = str(value).lower() if isinstance(value, bool) else value
        if not isinstance(value, bool | int | float):
            shown = '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
        lines += [f"# {setting.metadata['help']}", f"{setting.name} = {shown}"]
    return "\n".join(lines) + "\n"
