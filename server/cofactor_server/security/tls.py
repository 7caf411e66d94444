"""Serve TLS with certificates that are read again when they are renewed on disk."""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import grpc

from cofactor_server.errors import ConfigurationError

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
    """

    def __init__(self, files: TlsFiles) -> None:
        """Read the files; raises ConfigurationError if they cannot be used."""
        self._files = files
        self._lock = threading.Lock()
        self._stamp = self._read_stamp()
        self.initial = self._read()

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return new certificates, or None to go on with the old ones; gRPC calls this for every connection."""
        with self._lock:
            try:
                stamp = self._read_stamp()
                if stamp == self._stamp:
                    return None
                configuration = self._read()
            except (OSError, ConfigurationError) as error:
                _LOGGER.warning("certificates not reloaded, the old ones stay in use: %s", error)
                return None
            self._stamp = stamp
        _LOGGER.info("certificates reloaded")
        return configuration

    def _read_stamp(self) -> list[tuple[int, int, int]]:
        """Return numbers that change when a file does."""
        stamp = []
        for flag, path in self._files.by_flag().items():
            try:
                stat = path.stat()
            except OSError as error:
                raise ConfigurationError(f"{flag}: cannot read {path.name}: {error.strerror}") from error
            stamp.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return stamp

    def _read(self) -> grpc.ServerCertificateConfiguration:
        check_pair(self._files)
        authority = self._files.client_authority
        return grpc.ssl_server_certificate_configuration(
            [(self._files.private_key.read_bytes(), self._files.certificate.read_bytes())],
            root_certificates=authority.read_bytes() if authority else None,
        )


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


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return the credentials for `add_secure_port`; raises ConfigurationError if the files cannot be used."""
    reloader = CertificateReloader(files)
    return grpc.dynamic_ssl_server_credentials(
        reloader.initial,
        reloader.fetch,  # type: ignore[arg-type] # the stub lacks None, which means no change
        require_client_authentication=files.client_authority is not None,
    )
