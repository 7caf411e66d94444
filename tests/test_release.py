"""`make release`: what it refuses, what it builds, and what it states about it. FAULTS=full makes a whole release."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from cofactor_server.errors import ModelRefused
from cofactor_server.repository.signatures import SignatureVerifier
from tools.release import artefacts, provenance, trial
from tools.release.__main__ import main
from tools.release.checkout import Commit, check_out, export
from tools.release.errors import ReleaseError
from tools.release.versions import PLACES, disagreements, project_version

ROOT = Path(__file__).resolve().parents[1]
VERSION = project_version(ROOT)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def places(tmp_path) -> Path:
    """Return a repository of the files that name the version."""
    folder = tmp_path / "places"
    for name in ("pyproject.toml", *PLACES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    changelog = folder / "CHANGELOG.md"  # while a release is prepared, entries may wait
    changelog.write_text(
        re.sub(r"(?s)(## \[Unreleased\]\n).*?(?=## \[\d)", r"\1\n", changelog.read_text("utf-8")), "utf-8"
    )
    git(folder, "init", "--quiet")
    commit_all(folder)
    return folder


def commit_all(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")


def test_every_place_names_the_version_of_pyproject() -> None:
    assert disagreements(ROOT) == []


@pytest.mark.parametrize(("name", "pattern"), [(name, pattern) for name, found in PLACES.items() for pattern in found])
def test_a_place_with_another_version_is_found_with_its_line(places, name, pattern) -> None:
    text = (places / name).read_text("utf-8")
    start, end = re.search(pattern, text, re.MULTILINE).span(1)
    (places / name).write_text(text[:start] + "9.9" + text[end:], "utf-8")
    (line,) = disagreements(places)
    assert line.startswith(f"{name}:{text.count(chr(10), 0, start) + 1}: the version is 9.9")
    commit_all(places)
    with pytest.raises(ReleaseError, match=r"9\.9"):
        check_out(places)


def test_a_clean_checkout_can_be_released(places) -> None:
    commit = check_out(places)
    assert commit == Commit(git(places, "rev-parse", "HEAD"), int(git(places, "log", "-1", "--format=%ct")), VERSION)


def test_uncommitted_changes_are_refused_by_name(places) -> None:
    (places / "SECURITY.md").write_text("changed", "utf-8")
    with pytest.raises(ReleaseError, match=r"1 uncommitted changes, such as SECURITY\.md"):
        check_out(places)


def test_a_version_that_has_a_tag_is_refused(places) -> None:
    git(places, "tag", f"v{VERSION}")
    with pytest.raises(ReleaseError, match=f"the tag v{VERSION} exists"):
        check_out(places)


def test_entries_under_unreleased_are_refused(places) -> None:
    text = (places / "CHANGELOG.md").read_text("utf-8")
    (places / "CHANGELOG.md").write_text(text.replace("[Unreleased]\n", "[Unreleased]\n- a line\n"), "utf-8")
    commit_all(places)
    with pytest.raises(ReleaseError, match=r"entries under \[Unreleased\]"):
        check_out(places)


@pytest.fixture(scope="module")
def head() -> Commit:
    sha, time = git(ROOT, "log", "-1", "--format=%H %ct").split()
    return Commit(sha, int(time), tomlversion(git(ROOT, "show", "HEAD:pyproject.toml")))


def tomlversion(text: str) -> str:
    return re.search(r'^version = "(.+)"$', text, re.MULTILINE)[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory, head) -> list[list[Path]]:
    """Build the packages of HEAD in two places."""
    builds = []
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        (folder / "source").mkdir()
        (folder / "dist").mkdir()
        export(ROOT, head, folder / "source")
        builds.append(artefacts.build_packages(folder / "source", head, folder / "dist"))
    return builds


def test_the_same_commit_gives_the_same_bytes(built, head) -> None:
    for first, second in zip(*built, strict=True):
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes()
    with tarfile.open(built[0][0]) as sdist:
        assert {member.mtime for member in sdist.getmembers()} == {head.time}


def test_a_wheel_from_the_sdist_has_every_package(built) -> None:
    with zipfile.ZipFile(built[0][1]) as wheel:
        packages = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" not in name}
    assert packages == {"cofactor", "cofactor_client", "cofactor_server", "cofactor_trainer", "cofactor_web"}


def test_the_protoset_must_be_that_of_the_commit(tmp_path, head) -> None:
    (tmp_path / "source").mkdir()
    for name in ("proto", "buf.yaml"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile)(ROOT / name, tmp_path / "source" / name)
    committed = tmp_path / "source" / "proto" / "releases" / f"{head.version}.binpb"
    committed.write_bytes(artefacts.protoset(tmp_path / "source"))
    written = artefacts.write_protoset(tmp_path / "source", head, tmp_path)
    assert written.read_bytes() == committed.read_bytes()
    proto = tmp_path / "source" / "proto" / "cofactor" / "v1" / "catalog.proto"
    proto.write_text(proto.read_text("utf-8") + "\n// One more.\nmessage OneMore {}\n", "utf-8")
    with pytest.raises(ReleaseError, match="make release-api"):
        artefacts.write_protoset(tmp_path / "source", head, tmp_path)


@pytest.fixture
def dist(tmp_path) -> Path:
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "a.whl").write_bytes(b"wheel")
    (folder / "a.tar.gz").write_bytes(b"sdist")
    return folder


def test_the_provenance_is_a_valid_statement_with_every_digest(dist, head) -> None:
    images, files = {"cofactor-server:1": "ab" * 32}, sorted(dist.iterdir())
    content = provenance.statement(head, ROOT, files, images, "https://example.org/ci", datetime.now(UTC))
    statement = json_format.ParseDict(content, statement_pb2.Statement())
    Statement.copy_from_pb(statement).validate()
    predicate = json_format.ParseDict(content["predicate"], provenance_pb2.Provenance())
    assert predicate.run_details.builder.id == "https://example.org/ci"
    source, *locks = predicate.build_definition.resolved_dependencies
    assert source.digest["gitCommit"] == head.sha
    assert {lock.name for lock in locks} == {f"requirements/{path.name}" for path in ROOT.glob("requirements/*.txt")}
    digests = {subject.name: subject.digest["sha256"] for subject in statement.subject}
    assert digests == {**{path.name: provenance.sha256(path) for path in files}, **images}


def test_the_checksums_and_the_signature_notice_a_changed_file(dist, tmp_path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    (tmp_path / "key.pub").write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, public))
    provenance.write_sums(dist)
    provenance.sign(dist, tmp_path / "key.pem")
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=dist, check=False).returncode == 0
    SignatureVerifier(tmp_path / "key.pub").verify(dist)
    (dist / "a.whl").write_bytes(b"other")
    assert subprocess.run(check, cwd=dist, check=False, capture_output=True).returncode == 1
    with pytest.raises(ModelRefused):
        SignatureVerifier(tmp_path / "key.pub").verify(dist)


def test_a_key_that_does_not_exist_is_refused(dist, tmp_path) -> None:
    with pytest.raises(ReleaseError, match=r"--sign-key: .*gone\.pem"):
        provenance.sign(dist, tmp_path / "gone.pem")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--sign-key", "gone.pem"],
            r"error: --sign-key: the file \S+gone\.pem does not exist; name a P-256 key in PEM",
        ),
        (["--uv", "no-such-uv"], "error: --uv: there is no command no-such-uv"),
        (["--dist", "."], r"error: --dist: \S+ is not empty; name an empty folder"),
    ],
)
def test_a_flag_that_cannot_work_is_refused_before_anything_is_built(
    places, tmp_path, monkeypatch, capsys, flags, message
) -> None:
    monkeypatch.setattr("tools.release.__main__.ROOT", places)
    monkeypatch.chdir(tmp_path)
    good = ["--uv", sys.executable, "--dist", str(tmp_path / "new")]
    assert main(["make", *good, *flags]) == 1
    assert re.match(message, capsys.readouterr().err)


def test_the_trial_starts_a_server_and_calls_it(tmp_path) -> None:
    commands, version = Path(sys.executable).parent, importlib.metadata.version("cofactor")
    trial.try_out(commands, version, ROOT / trial.MODELS, tmp_path)
    with pytest.raises(ReleaseError, match=r"--version says .*; it should say 9\.9"):
        trial.try_out(commands, "9.9", ROOT / trial.MODELS, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReleaseError, match="the server does not start"):
        trial.try_out(commands, version, tmp_path / "empty", tmp_path)


def test_every_lock_of_an_image_has_a_bill_of_materials() -> None:
    dockerfile_and_pages = [ROOT / "Dockerfile", ROOT / "docs" / "operations.md"]
    named = {
        lock
        for page in dockerfile_and_pages
        for lock in re.findall(r"requirements/([\w-]+)\.txt", page.read_text("utf-8"))
    }
    assert set(artefacts.LOCKS) == named - {"build"}


@pytest.mark.skipif(
    os.environ.get("FAULTS") != "full", reason="FAULTS=full makes a whole release, from package registries"
)
def test_a_whole_release_is_made(tmp_path, monkeypatch) -> None:
    git(tmp_path, "clone", "--quiet", str(ROOT), "checkout")
    monkeypatch.setattr("tools.release.__main__.ROOT", tmp_path / "checkout")
    uv = str(ROOT / ".bootstrap" / "bin" / "uv")
    assert main(["make", "--dist", str(tmp_path / "dist"), "--uv", uv, "--without-images"]) == 0
    assert subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path / "dist", check=False).returncode == 0
    assert len(list((tmp_path / "dist").glob("*.cdx.json"))) == len(artefacts.LOCKS)
