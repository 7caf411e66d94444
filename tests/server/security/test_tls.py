"""TLS and mutual TLS on a real port, with certificates that change while the server runs."""

from __future__ import annotations

import datetime
import ssl
import time

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cofactor.v1 import catalog_pb2, catalog_pb2_grpc
from cofactor_server.config import ServerConfig
from cofactor_server.errors import ConfigurationError
from cofactor_server.security.certificate_expiry import first_expiry
from cofactor_server.security.tls import CertificateReloader, TlsFiles
from cofactor_server.server import create_server


class Authority:
    """A certificate authority."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign("authority", self.key, ca=True)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, days: float = 1) -> tuple[bytes, bytes]:
        """Return a key and its certificate, which is valid for so many days, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name, key, ca=False, days=days)
        return (
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            certificate.public_bytes(serialization.Encoding.PEM),
        )

    def _sign(self, name, key, *, ca, days=1):
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = subject if ca else self.certificate.subject
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def write(folder, key, certificate):
    (folder / "key.pem").write_bytes(key)
    (folder / "cert.pem").write_bytes(certificate)


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def files(authority, tmp_path):
    write(tmp_path, *authority.issue("localhost"))
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    return tmp_path


@pytest.fixture
def serve_tls(served_models, files):
    running = []

    def start(**settings):
        settings = {"tls_certificate": str(files / "cert.pem"), "tls_key": str(files / "key.pem"), **settings}
        config = ServerConfig(models=str(served_models), port=0, provider="cpu", drain_delay_s=0, grace_s=1, **settings)
        running.append(create_server(config))
        return running[-1].port

    start.running = running
    yield start
    for server in running:
        server.stop()


def ask(port, credentials) -> str:
    """Make a call on a new connection; return its status code."""
    channel = (
        grpc.secure_channel(f"localhost:{port}", credentials, options=[("grpc.use_local_subchannel_pool", 1)])
        if credentials
        else grpc.insecure_channel(f"localhost:{port}")
    )
    with channel:
        try:
            catalog_pb2_grpc.CatalogServiceStub(channel).GetModel(catalog_pb2.GetModelRequest(), timeout=10)
        except grpc.RpcError as error:
            return error.code().name
    return "OK"


def shown_certificate(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port))


def test_tls_serves_clients_that_trust_its_authority_and_refuses_plaintext(serve_tls, authority) -> None:
    port = serve_tls()
    assert ask(port, grpc.ssl_channel_credentials(authority.pem)) == "OK"
    assert ask(port, grpc.ssl_channel_credentials(Authority().pem)) == "UNAVAILABLE"
    assert ask(port, None) == "UNAVAILABLE"


def test_mutual_tls_serves_only_clients_of_its_authority(serve_tls, authority, files) -> None:
    port = serve_tls(tls_client_authority=str(files / "ca.pem"))
    assert ask(port, grpc.ssl_channel_credentials(authority.pem, *authority.issue("client"))) == "OK"
    assert ask(port, grpc.ssl_channel_credentials(authority.pem)) == "UNAVAILABLE"
    assert ask(port, grpc.ssl_channel_credentials(authority.pem, *Authority().issue("client"))) == "UNAVAILABLE"


def test_a_renewed_certificate_is_used_without_a_restart_and_old_connections_go_on(serve_tls, authority, files) -> None:
    port = serve_tls()
    before = shown_certificate(port)
    credentials = grpc.ssl_channel_credentials(authority.pem)
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        stub.GetModel(catalog_pb2.GetModelRequest(), timeout=10)
        key, certificate = authority.issue("localhost")
        write(files, key, certificate)
        assert ask(port, credentials) == "OK"
        assert shown_certificate(port).strip() == certificate.decode().strip() != before.strip()
        stub.GetModel(catalog_pb2.GetModelRequest(), timeout=10)


def test_a_new_certificate_without_its_key_is_not_used(serve_tls, authority, files, caplog) -> None:
    port = serve_tls()
    before = shown_certificate(port)
    key, certificate = authority.issue("localhost")
    (files / "cert.pem").write_bytes(certificate)
    assert ask(port, grpc.ssl_channel_credentials(authority.pem)) == "OK"
    assert shown_certificate(port) == before
    assert "certificates not reloaded" in caplog.text
    (files / "key.pem").write_bytes(key)
    assert shown_certificate(port).strip() == certificate.decode().strip()


def test_unchanged_files_are_not_read_again(files, monkeypatch) -> None:
    reloader = CertificateReloader(TlsFiles(files / "cert.pem", files / "key.pem"))
    monkeypatch.setattr(reloader, "_read", lambda: pytest.fail("read again"))
    assert reloader.fetch() is None


def test_a_certificate_and_key_that_do_not_match_are_refused_at_the_start(served_models, authority, files) -> None:
    (files / "key.pem").write_bytes(authority.issue("other")[0])
    config = ServerConfig(
        models=str(served_models), port=0, tls_certificate=str(files / "cert.pem"), tls_key=str(files / "key.pem")
    )
    with pytest.raises(ConfigurationError, match=r"--tls-certificate cert\.pem, --tls-key key\.pem cannot be used"):
        create_server(config)
    with pytest.raises(ConfigurationError, match=r"--tls-certificate: cannot read gone\.pem"):
        CertificateReloader(TlsFiles(files / "gone.pem", files / "key.pem"))


def test_beyond_loopback_plaintext_needs_its_flag_and_tls_does_not(served_models) -> None:
    with pytest.raises(ConfigurationError, match="insecure-plaintext"):
        ServerConfig(models=str(served_models), host="0.0.0.0")
    ServerConfig(models=str(served_models), host="0.0.0.0", insecure_plaintext=True)
    ServerConfig(models=str(served_models), host="0.0.0.0", tls_certificate="c", tls_key="k")
    for half in ({"tls_certificate": "c"}, {"tls_key": "k"}, {"tls_client_authority": "a"}):
        with pytest.raises(ConfigurationError, match="tls_"):
            ServerConfig(models=str(served_models), **half)


def test_files_that_are_missing_are_logged_once_and_not_at_every_connection(authority, files, caplog) -> None:
    reloader = CertificateReloader(TlsFiles(files / "cert.pem", files / "key.pem"))
    (files / "cert.pem").rename(files / "away.pem")
    for _ in range(5):
        assert reloader.fetch() is None
    assert caplog.text.count("certificates not reloaded") == 1
    (files / "away.pem").rename(files / "cert.pem")
    reloader.fetch()
    write(files, *authority.issue("localhost"))
    assert reloader.fetch() is not None
    (files / "cert.pem").unlink()
    reloader.fetch()
    assert caplog.text.count("certificates not reloaded") == 2


@pytest.mark.parametrize("days", [1, 20_000, 40_000])  # the last two expire in a GeneralizedTime, after 2049
def test_the_expiry_of_a_certificate_is_what_cryptography_reads(authority, days) -> None:
    _, pem = authority.issue("localhost", days)
    expected = x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    assert first_expiry(pem) == expected
    _, sooner = authority.issue("localhost", 0.5)
    assert first_expiry(pem + sooner) == first_expiry(sooner)


def test_what_is_no_certificate_has_no_expiry() -> None:
    marks = b"-----BEGIN CERTIFICATE-----%s-----END CERTIFICATE-----"
    for body in (b"", b"!", b"MAA=", b"MIIB", b"MAIwAA=="):
        assert first_expiry(marks % body) is None
    assert first_expiry(b"") is None


def test_certificates_are_warned_of_in_their_last_14_days_once_a_day(authority, tmp_path, caplog) -> None:
    write(tmp_path, *authority.issue("localhost", 30))
    now = [time.time()]
    reloader = CertificateReloader(TlsFiles(tmp_path / "cert.pem", tmp_path / "key.pem"), clock=lambda: now[0])
    assert "expire" not in caplog.text
    for day in (15, 16.5, 16.6, 17.6):
        now[0] = time.time() + day * 86_400
        reloader.fetch()
    assert caplog.text.count("--tls-certificate: a certificate expires at") == 2
    now[0] = time.time() + 31 * 86_400
    reloader.fetch()
    assert "--tls-certificate: a certificate expired at" in caplog.text


def test_the_expiry_of_the_certificates_is_a_metric(serve_tls, authority, files) -> None:
    write(files, *authority.issue("localhost", 0.5))
    serve_tls(tls_client_authority=str(files / "ca.pem"))
    [server] = serve_tls.running
    rows = server.reporter.report().gauges["cofactor_tls_expiry_timestamp_seconds"]
    times = {labels["file"]: seconds for labels, seconds in rows}
    assert times["certificate"] == first_expiry((files / "cert.pem").read_bytes())
    assert times["client_authority"] == first_expiry(authority.pem) > times["certificate"]
