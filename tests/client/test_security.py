"""TLS, client certificates and tokens, on a real server that requires them."""

import asyncio
import datetime
import hashlib
from concurrent import futures

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cofactor.admin.v1 import admin_pb2, admin_pb2_grpc
from cofactor_client import Client, Tls, errors
from cofactor_client.__main__ import main
from cofactor_client.aio import AsyncClient

TOKEN = "only for this test, and for ten seconds"


class Authority:
    """Certificate authority that writes certificates for localhost into a folder."""

    def __init__(self, folder):
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority of the tests")])
        self.file = self._write("authority.pem", self._signed(self._name, self._key.public_key(), is_authority=True))

    def issue(self, name):
        """Write a certificate and its key. Returns the two files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = self._write(f"{name}.pem", self._signed(subject, key.public_key(), is_authority=False))
        encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        private = self._folder / f"{name}.key"
        private.write_bytes(key.private_bytes(*encoding))
        return certificate, private

    def _signed(self, subject, public_key, *, is_authority):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            self._name,
            subject,
            public_key,
            x509.random_serial_number(),
            now - datetime.timedelta(hours=1),
            now + datetime.timedelta(hours=1),
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name, certificate):
        path = self._folder / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def guarded(models_dir, dot_version, authority, tmp_path_factory):
    """Address of a server that requires a client certificate and a token, which allows CatalogService only."""
    from cofactor_server.config import ServerConfig
    from cofactor_server.server import create_server

    tokens = tmp_path_factory.mktemp("tokens") / "tokens.toml"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens.write_text(f'[clients.test]\nsha256 = "{digest}"\nmethods = ["cofactor.v1.CatalogService/*"]\n')
    certificate, key = authority.issue("server")
    config = ServerConfig(
        models=models_dir,
        model="dot",
        port=0,
        provider="cpu",
        drain_delay_s=0,
        tls_certificate=str(certificate),
        tls_key=str(key),
        tls_client_authority=str(authority.file),
        tokens=str(tokens),
    )
    with create_server(config) as server:
        yield f"localhost:{server.port}"


@pytest.fixture(scope="module")
def tls(authority):
    certificate, key = authority.issue("client")
    return Tls(authority.file, certificate, key)


def test_a_client_with_certificate_and_token_is_allowed(guarded, tls):
    with Client(guarded, tls=tls, token=TOKEN) as client:
        assert client.get_model().model.name == "dot"


def test_an_asyncio_client_with_certificate_and_token_is_allowed(guarded, tls):
    async def name():
        async with AsyncClient(guarded, tls=tls, token=lambda: TOKEN) as client:
            return (await client.get_model()).model.name

    assert asyncio.run(name()) == "dot"


def test_the_name_in_the_servers_certificate_is_checked(guarded, tls):
    address = guarded.replace("localhost", "ipv4:127.0.0.1")  # the certificate names localhost
    with Client(address, tls=tls, token=TOKEN) as client, pytest.raises(errors.UnavailableError):
        client.get_model(timeout=30)
    named = Tls(tls.ca, tls.certificate, tls.key, server_name="localhost")
    with Client(address, tls=named, token=TOKEN) as client:
        assert client.get_model().model.name == "dot"


@pytest.mark.parametrize("token", [None, "a wrong one"])
def test_without_the_right_token_a_call_is_unauthenticated(guarded, tls, token):
    with Client(guarded, tls=tls, token=token) as client, pytest.raises(errors.UnauthenticatedError):
        client.get_model()


def test_a_token_allows_only_its_own_methods(guarded, tls):
    with Client(guarded, tls=tls, token=TOKEN) as client, pytest.raises(errors.PermissionDeniedError):
        client.recommend("u000")


def test_client_and_server_refuse_certificates_of_another_authority(guarded, tls, authority, tmp_path):
    other = Authority(tmp_path)
    for wrong in (Tls(authority.file), Tls(other.file, tls.certificate, tls.key)):
        with Client(guarded, tls=wrong, token=TOKEN) as client, pytest.raises(errors.UnavailableError):
            client.get_model(timeout=30)


def test_the_command_reads_authority_and_token_from_the_environment(guarded, tls, monkeypatch, capsys):
    monkeypatch.setenv("COFACTOR_TOKEN", TOKEN)
    monkeypatch.setenv("COFACTOR_TLS_CA", str(tls.ca))
    words = ["model", "--address", guarded, "--cert", str(tls.certificate), "--key", str(tls.key)]
    assert main(words) == 0
    assert "dot 1" in capsys.readouterr().out
    monkeypatch.setenv("COFACTOR_TOKEN", "a wrong one")
    assert main(words) == 1
    assert "UNAUTHENTICATED" in capsys.readouterr().err


class Admin(admin_pb2_grpc.AdminServiceServicer):
    """Admin service that records the authorization header of each call."""

    def __init__(self):
        self.authorizations = []

    def ListVersions(self, request, context):  # noqa: N802
        self.authorizations.append(dict(context.invocation_metadata()).get("authorization"))
        return admin_pb2.ListVersionsResponse(models=[admin_pb2.ModelVersions(name="dot")])


def test_the_models_command_uses_tls_to_a_proxy_of_the_admin_port(authority, monkeypatch, capsys):
    certificate, key = authority.issue("proxy")
    pair = (key.read_bytes(), certificate.read_bytes())
    server, admin = grpc.server(futures.ThreadPoolExecutor(1)), Admin()
    admin_pb2_grpc.add_AdminServiceServicer_to_server(admin, server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    monkeypatch.setenv("COFACTOR_TOKEN", TOKEN)
    words = ["models", "ls", "--address", f"localhost:{port}"]
    try:
        assert main([*words, "--ca", str(authority.file)]) == 0
        assert "dot" in capsys.readouterr().out
        assert main(words) == 1, "control: the proxy speaks TLS only"
    finally:
        server.stop(None).wait()
    assert admin.authorizations == [f"Bearer {TOKEN}"]
