"""Serve TLS with certificates that are read again when they are renewed on disk."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from cofactor_server.errors import ConfigurationError
from cofactor_server.security.certificate_expiry import ExpiryWarning
from cofactor_server.security.reloaded_file import file_stamp

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class TlsFiles:
    """The PEM files of a port.

    Attributes:
        certificate: the certificate chain, the server's own certificate first.
        private_key: the key of that certificate, unencrypted.
        client_authority: for mutual TLS, the authorities one of which must have signed every client's certificate.
    """

    certificate: Path
    private_key: Path
    client_authority: Path | None = None

    def by_flag(self) -> dict[str, Path]:
        """Return the files in use, by the flag that names them."""
        files = {"--tls-certificate": self.certificate, "--tls-key": self.private_key}
        return {**files, "--tls-client-authority": self.client_authority} if self.client_authority else files


class CertificateReloader:
    """Read the files again before a handshake if one of them has changed.

    In the middle of a renewal the certificate and the key do not match. The old pair then stays in use, and the next
    handshake tries again.

    Attributes:
        initial: the certificates at the start.
        expiry: warns of certificates that expire soon.
    """

    def __init__(self, files: TlsFiles, clock: Callable[[], float] = time.time) -> None:
        """Read the files; raises ConfigurationError if they cannot be used."""
        self._files = files
        self._lock = threading.Lock()
        self._problem = ""
        self.expiry = ExpiryWarning(clock)
        self._stamp = self._read_stamp()
        self.initial = self._read()
        self.expiry.check()

    @property
    def asks_clients(self) -> bool:
        """Return True if clients need a certificate."""
        return self._files.client_authority is not None

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return new certificates, or None to go on with the old ones; gRPC calls this for every connection."""
        with self._lock:
            self.expiry.check()
            try:
                stamp = self._read_stamp()
                configuration = None if stamp == self._stamp else self._read()
            except (OSError, ConfigurationError) as error:
                self._report(str(error))
                return None
            self._stamp, self._problem = stamp, ""
            if configuration is not None:
                _LOGGER.info("certificates reloaded")
                self.expiry.check()
            return configuration

    def _report(self, problem: str) -> None:
        """Log a problem when it begins or changes, and not at every connection."""
        if problem != self._problem:
            _LOGGER.warning("certificates not reloaded, the old ones stay in use: %s", problem)
        self._problem = problem

    def _read_stamp(self) -> list[tuple[int, ...]]:
        """Return numbers that change when a file does."""
        stamp = []
        for flag, path in self._files.by_flag().items():
            stamp.append(file_stamp(path))
            if not stamp[-1]:
                raise ConfigurationError(f"{flag}: cannot read {path.name}: it does not exist or is not accessible")
        return stamp

    def _read(self) -> grpc.ServerCertificateConfiguration:
        check_pair(self._files)
        certificate, authority = self._files.certificate.read_bytes(), None
        contents = {"certificate": certificate}
        if self._files.client_authority:
            authority = contents["client_authority"] = self._files.client_authority.read_bytes()
        configuration = grpc.ssl_server_certificate_configuration(
            [(self._files.private_key.read_bytes(), certificate)], root_certificates=authority
        )
        self.expiry.read(contents)
        return configuration


def check_pair(files: TlsFiles) -> None:
    """Raise ConfigurationError unless the certificate matches the key and all files are PEM.

    gRPC itself accepts any files and then fails at every handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password OpenSSL would ask for that of an encrypted key on the terminal.
        context.load_cert_chain(files.certificate, files.private_key, password=lambda: b"")
        if files.client_authority:
            context.load_verify_locations(files.client_authority)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        names = ", ".join(f"{flag} {path.name}" for flag, path in files.by_flag().items())
        raise ConfigurationError(f"{names} cannot be used: {error}; give a PEM certificate and its key") from error


def server_credentials(reloader: CertificateReloader) -> grpc.ServerCredentials:
    """Return the credentials for `add_secure_port`."""
    return grpc.dynamic_ssl_server_credentials(
        reloader.initial,
        reloader.fetch,  # type: ignore[arg-type] # the stub lacks None, which means no change
        require_client_authentication=reloader.asks_clients,
    )
