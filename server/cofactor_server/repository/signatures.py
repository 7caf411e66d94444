"""Verify the signatures of versions, in the OpenSSF model-signing format (extra cofactor[signing])."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cofactor_server.errors import ConfigurationError, ModelRefused
from cofactor_server.repository.passing_errors import raise_if_passing

if TYPE_CHECKING:
    from model_signing.verifying import Config

_LOGGER = logging.getLogger(__name__)

SIGNATURE = "model.sig"


class SignatureVerifier:
    """Refuses versions that were not signed with one elliptic-curve key (P-256).

    The checksums in the manifest detect damage; only a signature proves who published a version.
    """

    def __init__(self, public_key: Path) -> None:
        """Read a public key in PEM.

        Raises ConfigurationError if the key cannot be used or the extra is not installed.
        """
        if not public_key.is_file():
            raise ConfigurationError(
                f"--require-signature: the file {public_key} does not exist; name a public key in PEM"
            )
        self._public_key = public_key
        try:
            self._verifier()
        except ImportError:
            raise ConfigurationError("--require-signature needs the extra cofactor[signing]; install it") from None
        except OSError as error:
            raise ConfigurationError(f"--require-signature: cannot read {public_key}: {error.strerror}") from None
        except ValueError as error:
            raise ConfigurationError(f"--require-signature: {public_key} is not a public key in PEM: {error}") from None

    def _verifier(self) -> Config:
        from model_signing import verifying

        config = verifying.Config()  # type: ignore[no-untyped-call]
        return config.use_elliptic_key_verifier(public_key=self._public_key)

    def verify(self, version: Path) -> None:
        """Raise ModelRefused unless the directory holds exactly the files that were signed, unchanged.

        Raises OSError or MemoryError for a problem of the machine, or of the public key, that may pass.
        """
        version = version.absolute()  # model-signing mistakes relative paths
        label = f"{version.parent.name}/{version.name}"
        signature = version / SIGNATURE
        if not signature.is_file():
            raise ModelRefused(f"model {label} refused: it has no {SIGNATURE}, and --require-signature is set")
        try:
            verifier = self._verifier()  # a new one every time, because verify() changes it
        except ValueError:
            raise OSError(errno.EIO, f"the public key {self._public_key.name} is damaged") from None
        try:
            verifier.verify(version, signature)
        except Exception as error:  # the library has no common base class for its errors
            raise_if_passing(error)
            _LOGGER.debug("cannot verify the signature of %s", label, exc_info=True)
            raise ModelRefused(
                f"model {label} refused: its signature does not match its files ({type(error).__name__})"
            ) from None
