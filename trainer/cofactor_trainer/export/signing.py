"""Sign versions in the OpenSSF model-signing format with an elliptic-curve key (P-256), for servers to check."""

from __future__ import annotations

from pathlib import Path

from cofactor_trainer.errors import InputError, MissingExtraError

SIGNATURE_FILE = "model.sig"


def sign_version(version: Path, private_key: Path, signature: Path) -> None:
    """Sign all files of a version, except an older signature among them, and write the signature.

    Args:
        version: version directory.
        private_key: P-256 key in PEM, not encrypted.
        signature: file to write.

    Raises:
        InputError: the key cannot be used.
        MissingExtraError: model-signing is not installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from model_signing import hashing, signing
    except ImportError as error:
        raise MissingExtraError("signing", "model-signing", "signing") from error
    try:
        key = serialization.load_pem_private_key(private_key.read_bytes(), password=None)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", private_key) from error
    except TypeError as error:
        raise InputError("is encrypted; give the key without a password", private_key) from error
    except ValueError as error:
        raise InputError("is not a private key in PEM; make one as docs/security.md shows", private_key) from error
    if not (isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)):
        raise InputError("is not a P-256 key; make one as docs/security.md shows", private_key)
    hashed, signer = hashing.Config(), signing.Config()  # type: ignore[no-untyped-call]
    # model-signing takes a relative path to ignore as one below the version, and would sign the older signature.
    version = version.absolute()
    # The signature is stored among the files that it signs, so it is left out of them.
    hashed.set_ignored_paths(paths=[version / SIGNATURE_FILE], ignore_git_paths=False)
    signer.use_elliptic_key_signer(private_key=private_key).set_hashing_config(hashed).sign(version, signature)
