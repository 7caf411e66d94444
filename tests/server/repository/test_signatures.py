"""With --require-signature a version is served only if its exact files were signed with the right key."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cofactor.v1 import catalog_pb2
from cofactor_server.errors import ConfigurationError, ModelRefused
from cofactor_server.repository.signatures import SIGNATURE, SignatureVerifier
from cofactor_trainer.__main__ import main
from cofactor_trainer.export.signing import sign_version

pytest.importorskip("model_signing.verifying", reason="needs the extra cofactor[signing]")


def write_key_pair(folder, name):
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def publish(version, models, *flags):
    """Publish a version with the command and return its published directory."""
    assert main(["publish", str(version), str(models), *map(str, flags)]) == 0
    return models / version.parent.name / version.name


@pytest.fixture
def signed(dot_version, tmp_path):
    """Signed and published version, and its public key."""
    private, public = write_key_pair(tmp_path, "publisher")
    return publish(dot_version, tmp_path / "models", "--sign-key", private), public


def test_a_signed_version_is_served_after_it_was_copied_elsewhere(signed, serve, tmp_path) -> None:
    path, public = signed
    elsewhere = tmp_path / "elsewhere" / path.parent.name / path.name
    shutil.copytree(path, elsewhere)
    SignatureVerifier(public).verify(elsewhere)
    api = serve(tmp_path / "elsewhere", require_signature=str(public))
    assert api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=10).model.version == "1"


@pytest.mark.parametrize("had_signature", [False, True])
def test_relative_paths_sign_and_verify_like_absolute_ones(dot_version, tmp_path, monkeypatch, had_signature) -> None:
    write_key_pair(tmp_path, "publisher")
    monkeypatch.chdir(tmp_path)
    source = Path("from") / "dot" / "1"
    shutil.copytree(dot_version, source)
    if had_signature:
        (source / SIGNATURE).write_text("of an older key")
    verifier = SignatureVerifier(Path("publisher.pub"))
    for number, version in enumerate((source, tmp_path / source)):
        published = publish(version, Path(f"to-{number}"), "--sign-key", "publisher.key")
        verifier.verify(published)
        verifier.verify(published.absolute())


def test_every_change_and_every_other_signer_is_refused(signed, versions, tmp_path) -> None:
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
    versions.write(resealed, manifest)  # the checksums match, the signature does not
    unsigned = changed("unsigned")
    (unsigned / SIGNATURE).unlink()
    added = changed("added")
    (added / "more.bin").write_bytes(b"more")
    removed = changed("removed")
    (removed / "golden.npz").unlink()
    broken = changed("broken")
    (broken / SIGNATURE).write_text("{}")
    other = changed("other")
    sign_version(other, write_key_pair(tmp_path, "stranger")[0], other / SIGNATURE)
    for folder in (resealed, unsigned, added, removed, broken, other):
        with pytest.raises(ModelRefused, match="refused: "):
            verifier.verify(folder)


def test_an_unsigned_version_never_replaces_a_signed_one(signed, versions, serve) -> None:
    path, public = signed
    api = serve(path.parents[1], require_signature=str(public), poll_interval_s=0)
    versions.copy(path, path.parents[1], version="2")  # its manifest differs from the signed one
    api.server._live.watcher.poll()
    model = api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=10).model
    assert model.version == "1"
    assert "signature" in api.server._live.watcher.snapshot["dot"].refused["2"].reason


def test_a_running_server_takes_up_only_versions_of_its_publisher(
    dot_version, versions, serve, tmp_path, capsys
) -> None:
    (private, public), (stranger, _) = write_key_pair(tmp_path, "publisher"), write_key_pair(tmp_path, "stranger")
    models = tmp_path / "models"
    signed_1 = publish(dot_version, models, "--sign-key", private)
    assert capsys.readouterr().out == f"published and signed: {signed_1}\n"
    assert not (dot_version / SIGNATURE).exists(), "publishing does not change the version it publishes"
    api = serve(models, require_signature=str(public), poll_interval_s=0)
    outcomes = {}
    for version, key in (("2", None), ("3", stranger), ("4", private)):
        copy = versions.copy(dot_version, tmp_path / "unpublished", version=version)
        publish(copy, models, *([] if key is None else ["--sign-key", key]))
        api.server._live.watcher.poll()
        refused = api.server._live.watcher.snapshot["dot"].refused
        current = api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=10).model.version
        outcomes[version] = (current, refused[version].reason if version in refused else "")
    assert outcomes["2"] == ("1", f"model dot/2 refused: it has no {SIGNATURE}, and --require-signature is set")
    assert outcomes["3"][0] == "1"
    assert "its signature does not match its files" in outcomes["3"][1]
    assert outcomes["4"] == ("4", "")


def test_a_signed_version_can_be_signed_again_with_another_key(signed, tmp_path) -> None:
    path, public = signed
    private, other_public = write_key_pair(tmp_path, "other")
    moved = publish(path, tmp_path / "there", "--sign-key", private)
    SignatureVerifier(other_public).verify(moved)
    with pytest.raises(ModelRefused):
        SignatureVerifier(public).verify(moved)


def test_a_signed_version_is_published_to_and_served_from_an_fsspec_address(dot_version, serve, tmp_path) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").store.clear()
    private, public = write_key_pair(tmp_path, "publisher")
    assert main(["publish", str(dot_version), "memory://models", "--sign-key", str(private)]) == 0
    api = serve("memory://models", require_signature=str(public))
    assert api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=10).model.version == "1"


def write_private(path, key, password: bytes | None = None):
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return path


def test_an_unusable_private_key_is_named_and_nothing_is_published(dot_version, tmp_path, capsys) -> None:
    (tmp_path / "text.pem").write_text("not a key")
    p384, p256 = (ec.generate_private_key(curve) for curve in (ec.SECP384R1(), ec.SECP256R1()))
    refused = {
        tmp_path / "none.pem": "No such file",
        tmp_path / "text.pem": "is not a private key in PEM",
        write_private(tmp_path / "p384.pem", p384): "is not a P-256 key",
        write_private(tmp_path / "locked.pem", p256, b"secret"): "is encrypted",
    }
    for key, problem in refused.items():
        assert main(["publish", str(dot_version), str(tmp_path / "models"), "--sign-key", str(key)]) == 2
        error = capsys.readouterr().err
        assert key.name in error
        assert problem in error
    assert not (tmp_path / "models").exists()


def test_an_unusable_public_key_is_refused_at_startup(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        SignatureVerifier(tmp_path / "none.pub")
    (tmp_path / "bad.pub").write_text("not a key")
    with pytest.raises(ConfigurationError, match="is not a public key"):
        SignatureVerifier(tmp_path / "bad.pub")
