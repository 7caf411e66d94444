"""TLS for the server's ports, with certificates that are renewed on disk and taken up without a restart."""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import grpc

_log = logging.getLogger(__name__)


class TlsError(ValueError):
    """A certificate or key that cannot be used."""


@dataclass(frozen=True)
class TlsFiles:
    """Where the PEM files are.

    certificate: the chain, the server's own certificate first. private_key: its key, unencrypted.
    client_authority: with it, every client must show a certificate that one of these authorities signed (mTLS).
    """

    certificate: Path
    private_key: Path
    client_authority: Path | None = None

    def paths(self) -> list[Path]:
        """Return the files in use."""
        return [path for path in (self.certificate, self.private_key, self.client_authority) if path is not None]


class CertificateReloader:
    """Reads the files again when one of them has changed, before a handshake.

    A pair that does not fit together, as in the middle of a renewal, is not taken up: the old one serves on, and
    the next handshake looks again.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._stamp = self._read_stamp()
        self.initial = self._read()

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new certificates, or None where nothing (usable) has changed; gRPC calls it per connection."""
        with self._lock:
            try:
                stamp = self._read_stamp()
                if stamp == self._stamp:
                    return None
                configuration = self._read()
            except (OSError, TlsError) as error:
                _log.warning("certificates not reloaded, the old ones stay in use: %s", error)
                return None
            self._stamp = stamp
        _log.info("certificates reloaded")
        return configuration

    def _read_stamp(self) -> list[tuple[int, int, int]]:
        try:
            stats = [path.stat() for path in self._files.paths()]
        except OSError as error:
            raise TlsError(f"cannot read {Path(error.filename).name}: {error.strerror}") from error
        return [(stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats]

    def _read(self) -> grpc.ServerCertificateConfiguration:
        check_pair(self._files)
        authority = self._files.client_authority
        return grpc.ssl_server_certificate_configuration(
            [(self._files.private_key.read_bytes(), self._files.certificate.read_bytes())],
            root_certificates=authority.read_bytes() if authority else None,
        )


def check_pair(files: TlsFiles) -> None:
    """Raise TlsError unless the certificate and the key belong together and the authorities are PEM.

    gRPC itself accepts anything here and fails at each handshake instead.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An encrypted key asks for its password on the terminal; a server has none.
        context.load_cert_chain(files.certificate, files.private_key, password=lambda: b"")
        if files.client_authority:
            context.load_verify_locations(files.client_authority)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        names = ", ".join(path.name for path in files.paths())
        raise TlsError(f"the TLS files {names} cannot be used: {error}") from error


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Make the credentials for `add_secure_port`. Raises TlsError where the files cannot be used."""
    reloader = CertificateReloader(files)
    return grpc.dynamic_ssl_server_credentials(
        reloader.initial,
        reloader.fetch,  # type: ignore[arg-type] # the stub forgets that None means no change
        require_client_authentication=files.client_authority is not None,
    )
