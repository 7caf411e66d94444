"""Signed versions: only what the holder of the key signed, all of it and nothing else, is served."""

from __future__ import annotations

import shutil

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cofactor.v1 import catalog_pb2
from cofactor_server.errors import ConfigurationError, ModelRefused
from cofactor_server.signatures import SIGNATURE, SignatureVerifier, sign_version

pytest.importorskip("model_signing.verifying", reason="needs the extra cofactor[signing]")


def write_pair(folder, name):
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def signed(dot_version, versions, tmp_path):
    """A signed version, its public key, and another pair."""
    private, public = write_pair(tmp_path, "publisher")
    path = versions.copy(dot_version, tmp_path / "models")
    sign_version(path, private)
    return path, public


def test_a_signed_version_is_served_wherever_it_was_copied_to(signed, serve, tmp_path) -> None:
    path, public = signed
    elsewhere = tmp_path / "elsewhere" / path.parent.name / path.name
    shutil.copytree(path, elsewhere)
    SignatureVerifier(public).verify(elsewhere)
    api = serve(tmp_path / "elsewhere", require_signature=str(public))
    assert api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=10).model.version == "1"


def test_any_change_and_any_other_signer_is_refused(signed, versions, tmp_path) -> None:
    path, public = signed
    verifier = SignatureVerifier(public)
    verifier.verify(path)

    def changed(name):
        copy = tmp_path / name / path.parent.name / path.name
        shutil.copytree(path, copy)
        return copy

    resealed = changed("resealed")
    manifest = versions.read(resealed)
    manifest.dataset = "another"
    versions.write(resealed, manifest)  # every checksum is right, and nobody signed it
    unsigned = changed("unsigned")
    (unsigned / SIGNATURE).unlink()
    added = changed("added")
    (added / "more.bin").write_bytes(b"more")
    removed = changed("removed")
    (removed / "golden.npz").unlink()
    broken = changed("broken")
    (broken / SIGNATURE).write_text("{}")
    other = changed("other")
    sign_version(other, write_pair(tmp_path, "stranger")[0])
    for folder in (resealed, unsigned, added, removed, broken, other):
        with pytest.raises(ModelRefused, match="refused: "):
            verifier.verify(folder)


def test_an_unsigned_version_never_replaces_a_signed_one(signed, versions, serve) -> None:
    path, public = signed
    api = serve(path.parents[1], require_signature=str(public), poll_interval_s=0)
    versions.copy(path, path.parents[1], version="2")  # its manifest names another version than was signed
    api.server._live.watcher.poll()
    model = api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=10).model
    assert model.version == "1"
    assert "signature" in api.server._live.watcher.snapshot["dot"].refused["2"].reason


def test_a_key_that_cannot_be_used_is_refused_at_the_start(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="no file"):
        SignatureVerifier(tmp_path / "none.pub")
    (tmp_path / "bad.pub").write_text("not a key")
    with pytest.raises(ConfigurationError, match="is not a public key"):
        SignatureVerifier(tmp_path / "bad.pub")
