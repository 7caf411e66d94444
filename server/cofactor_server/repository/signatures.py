"""Signed versions: the OpenSSF model-signing format, checked against a public key (extra cofactor[signing])."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cofactor_server.errors import ConfigurationError, ModelRefused

_log = logging.getLogger(__name__)

SIGNATURE = "model.sig"


class SignatureVerifier:
    """Refuses versions that the holder of one elliptic-curve key (P-256) has not signed.

    Checksums in the manifest tell damage; only a signature tells who published.
    """

    def __init__(self, public_key: Path) -> None:
        """Use a PEM public key. Raises ConfigurationError where it cannot be used or the extra is not installed."""
        if not public_key.is_file():
            raise ConfigurationError(f"--require-signature: there is no file {public_key}; give the public key, PEM")
        self._public_key = public_key
        try:
            self._verifier()
        except ImportError:
            raise ConfigurationError("--require-signature needs the extra cofactor[signing]") from None
        except ValueError as error:
            raise ConfigurationError(f"--require-signature: {public_key} is not a public key: {error}") from None

    def _verifier(self) -> Any:
        from model_signing import verifying

        config = verifying.Config()  # type: ignore[no-untyped-call]
        return config.use_elliptic_key_verifier(public_key=self._public_key)

    def verify(self, version: Path) -> None:
        """Raise ModelRefused unless every file of the version, and no other, is what was signed."""
        label = f"{version.parent.name}/{version.name}"
        signature = version / SIGNATURE
        if not signature.is_file():
            raise ModelRefused(f"model {label} refused: it has no {SIGNATURE}, and signatures are required")
        try:
            self._verifier().verify(version, signature)
        except Exception as error:  # a damaged signature raises whatever its parsers raise
            _log.debug("signature of %s", label, exc_info=True)
            raise ModelRefused(
                f"model {label} refused: its signature does not match its files ({type(error).__name__})"
            ) from None
