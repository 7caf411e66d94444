"""A real server, a proxy in front of it that fails on request, and the example clients of all languages."""

from __future__ import annotations

import datetime
import functools
import hashlib
import ipaddress
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "0123456789abcdef"  # a token of the tests
ARGUMENTS = ("u001", "film 1")
SETTINGS = ("COFACTOR_ADDRESS", "COFACTOR_TLS_CA", "COFACTOR_TOKEN", "COFACTOR_TIMEOUT")

LANGUAGES = {
    "go": (["client/go/cofactor-example"], ["go"]),
    "java": (["java", "-jar", "client/java/target/cofactor-example.jar"], ["java", "javac", "mvn"]),
    "typescript": (["node", "client/typescript/dist/src/main.js"], ["node", "npm"]),
    "rust": (["client/rust/target/debug/cofactor-example"], ["cargo"]),
    "cpp": (["client/cpp/build/cofactor_example"], ["cmake", "g++", "pkg-config", "protoc", "grpc_cpp_plugin"]),
}
_outcomes: dict[str, str] = {}


def make(target: str) -> None:
    command = ["make", "--no-print-directory", target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"make {target} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"


def run(
    command: list[str], address: str, arguments: tuple[str, ...] = ARGUMENTS, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a client. A setting such as token becomes the environment variable COFACTOR_TOKEN."""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    environment |= {"COFACTOR_ADDRESS": address} | {
        f"COFACTOR_{name.upper()}": value for name, value in settings.items()
    }
    environment |= {"GRPC_VERBOSITY": "NONE", "LC_ALL": "C"}
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=60
    )


@dataclass(frozen=True)
class ExampleClient:
    """The built example client of one language."""

    language: str
    command: list[str]

    def run(
        self, address: str, arguments: tuple[str, ...] = ARGUMENTS, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        return run(self.command, address, arguments, **settings)


def missing_tools(language: str) -> list[str]:
    return [tool for tool in LANGUAGES[language][1] if shutil.which(tool) is None]


@functools.cache
def build(language: str) -> ExampleClient:
    _outcomes[language] = "FAILED to build"
    make(f"client-{language}")
    _outcomes[language] = "built and run"
    return ExampleClient(language, LANGUAGES[language][0])


@pytest.fixture(scope="session", params=LANGUAGES)
def example(request):
    """The example client of each language in turn; skipped if its toolchain is missing."""
    missing = missing_tools(request.param)
    if missing:
        reason = f"not installed: {', '.join(missing)} (docs/clients.md lists what to install)"
        _outcomes[request.param] = f"SKIPPED, {reason}"
        pytest.skip(f"{request.param}: {reason}")
    return build(request.param)


@pytest.fixture(scope="session")
def examples() -> list[ExampleClient]:
    """The example clients of all languages whose toolchain is installed."""
    return [build(language) for language in LANGUAGES if not missing_tools(language)]


def pytest_terminal_summary(terminalreporter) -> None:
    """List the languages that were tested or skipped, at every verbosity."""
    if _outcomes:
        terminalreporter.section("example clients")
        for language, outcome in _outcomes.items():
            terminalreporter.write_line(f"{language}: {outcome}")


def serve(version: Path, **settings):
    from cofactor_server.config import ServerConfig
    from cofactor_server.server import create_server

    models, name = version.parents[1], version.parent.name
    return create_server(
        ServerConfig(models=models, model=name, port=0, provider="cpu", drain_delay_s=0, grace_s=1, **settings)
    )


@pytest.fixture(scope="session")
def server(dot_version):
    with serve(dot_version) as running:
        yield f"127.0.0.1:{running.port}"


@pytest.fixture(scope="session")
def guarded_server(dot_version, authority, tmp_path_factory):
    """Address of a server that uses TLS and requires TOKEN."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens.toml"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens.write_text(f'[clients.example]\nsha256 = "{digest}"\nmethods = ["cofactor.v1.*/*"]\n')
    files = {"tls_certificate": str(authority.certificate), "tls_key": str(authority.key), "tokens": str(tokens)}
    with serve(dot_version, **files) as running:
        yield f"localhost:{running.port}"


@pytest.fixture(scope="session")
def expected(server) -> str:
    """Output of the reference client, which uses the raw Python stubs."""
    return run_reference(server)


def run_reference(server: str, arguments: tuple[str, ...] = ARGUMENTS) -> str:
    done = run([sys.executable, str(Path(__file__).with_name("reference.py"))], server, arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Proxy:
    """Proxy that forwards calls to a server, and first fails or delays them as the test asks.

    Attributes:
        failures: status codes of the first calls of each method. Later calls are forwarded.
        delay_s: delay of each call.
        token: token that a call must carry, or None.
        calls: number of calls by full method name.
        on_arrival: called first for each call that arrives.
    """

    def __init__(self, upstream: str, credentials: grpc.ServerCredentials | None = None) -> None:
        self.failures: tuple[grpc.StatusCode, ...] = ()
        self.delay_s = 0.0
        self.token: str | None = None
        self.calls: Counter[str] = Counter()
        self.on_arrival: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._upstream = grpc.insecure_channel(upstream)
        self._server = grpc.server(futures.ThreadPoolExecutor(16), handlers=[self])
        self.health = health.HealthServicer(experimental_non_blocking=False)
        self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        if credentials is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    def service(self, details):
        """Return the handler of a call. The gRPC runtime calls this."""
        if not details.method.startswith("/cofactor."):
            return None
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, context: self._forward(details.method, requests, context)
        )

    def _forward(self, method, requests, context):
        with self._lock:
            attempt = self.calls[method]
            self.calls[method] += 1
        self.on_arrival()
        if self.token and ("authorization", f"Bearer {self.token}") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is missing or wrong")
        if attempt < len(self.failures):
            context.abort(self.failures[attempt], "the proxy was told to fail")
        time.sleep(self.delay_s)
        try:
            yield from self._upstream.stream_stream(method)(requests, timeout=10)
        except grpc.RpcError as error:
            context.set_trailing_metadata(error.trailing_metadata())
            context.abort(error.code(), error.details())

    def stop(self) -> None:
        self._server.stop(0).wait()
        self._upstream.close()


@pytest.fixture(scope="session")
def open_proxy(server):
    """Return a function that opens a proxy, which the caller must stop."""
    return functools.partial(Proxy, server)


@pytest.fixture
def proxy(open_proxy):
    proxy = open_proxy()
    yield proxy
    proxy.stop()


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and the certificate that it issued for localhost."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def server_credentials(self) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials([(self.key.read_bytes(), self.certificate.read_bytes())])


def _certificate(name, key, issuer, issuer_key, *, is_authority):
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )


def make_authority(folder: Path, name: str) -> Authority:
    def subject(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate(subject(name), authority_key, subject(name), authority_key, is_authority=True)
    leaf = _certificate(subject("localhost"), key, subject(name), authority_key, is_authority=False)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files = Authority(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")
    files.authority.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    files.certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(private)
    return files


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"), "trusted")


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"), "unknown")


@pytest.fixture
def secure_proxy(server, authority):
    """A proxy that uses TLS and forwards only calls with TOKEN."""
    proxy = Proxy(server, authority.server_credentials)
    proxy.token = TOKEN
    yield proxy
    proxy.stop()
