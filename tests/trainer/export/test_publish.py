"""`cofactor-train publish` copies a version completely or not at all, and refuses damaged ones."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.errors import InputError
from cofactor_trainer.export.manifest import VERSION
from cofactor_trainer.export.publish import publish_version


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_published_version_is_a_copy_of_the_exported_one(dot_version, tmp_path, capsys) -> None:
    assert main(["publish", str(dot_version), str(tmp_path / "repository")]) == 0
    target = tmp_path / "repository" / "dot" / "1"
    assert capsys.readouterr().out == f"published: {target}\n"
    assert files_of(target) == files_of(dot_version)
    assert [path.name for path in target.parent.iterdir()] == ["1"]


def test_a_version_is_never_published_twice(dot_version, tmp_path, capsys) -> None:
    for status in (0, 2):
        assert main(["publish", str(dot_version), str(tmp_path)]) == status
    assert "versions are never changed" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tables.bin", "manifest.json", "predict.onnx"])
def test_a_damaged_version_is_not_published(dot_version, tmp_path, capsys, name) -> None:
    damaged = tmp_path / "from" / "dot" / "1"
    shutil.copytree(dot_version, damaged)
    content = (damaged / name).read_bytes()
    (damaged / name).write_bytes(content.replace(b"0", b"1", 1) if name == "manifest.json" else content[:-1] + b"!")
    assert main(["publish", str(damaged), str(tmp_path / "to")]) == 2
    assert name in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_a_failed_copy_is_one_line_and_leaves_nothing_behind(dot_version, tmp_path, monkeypatch, capsys) -> None:
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    assert main(["publish", str(dot_version), str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: No space left on device\n"
    assert list((tmp_path / "dot").iterdir()) == []


def test_a_version_is_published_to_an_address_with_its_manifest_last(dot_version, capsys) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    assert main(["publish", str(dot_version), "memory://models"]) == 0
    assert capsys.readouterr().out == "published: memory://models/dot/1\n"
    found = {name.rpartition("/")[2]: memory.cat_file(name) for name in memory.find("/models/dot/1")}
    assert found == files_of(dot_version)
    created = {name.rpartition("/")[2]: memory.info(name)["created"] for name in memory.find("/models/dot/1")}
    assert max(created, key=created.get) == "manifest.json"
    assert main(["publish", str(dot_version), "memory://models"]) == 2
    assert main(["publish", str(dot_version), "nonsense://models"]) == 2


def test_a_version_has_the_permissions_of_a_new_folder(dot_version, tmp_path):
    (tmp_path / "repository" / "dot").mkdir(parents=True)
    publish_version(dot_version, str(tmp_path / "repository"))
    new_folder = (tmp_path / "repository" / "dot").stat().st_mode
    assert (tmp_path / "repository" / "dot" / "1").stat().st_mode == new_folder
    assert dot_version.stat().st_mode == new_folder


def test_a_killed_publisher_does_not_block_the_next(dot_version, tmp_path, monkeypatch):
    """In a container both processes have id 1."""

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", fail)
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)  # a killed process removes nothing
        with pytest.raises(KeyboardInterrupt):
            publish_version(dot_version, str(tmp_path))
    (left,) = (tmp_path / "dot").iterdir()
    assert not VERSION.fullmatch(left.name), "a server would take it for a version"
    publish_version(dot_version, str(tmp_path))
    assert files_of(tmp_path / "dot" / "1") == files_of(dot_version)


def test_the_second_of_two_publishers_at_once_gets_an_error(dot_version, tmp_path, monkeypatch):
    copy = shutil.copyfile

    def copy_after_another_publisher(source, target):
        monkeypatch.setattr(shutil, "copyfile", copy)
        publish_version(dot_version, str(tmp_path))
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy_after_another_publisher)
    with pytest.raises(InputError, match="versions are never changed"):
        publish_version(dot_version, str(tmp_path))
    assert [path.name for path in (tmp_path / "dot").iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("field", "value"), [("name", "../../escaped"), ("name", "Dot"), ("version", "../1"), ("version", "")]
)
@pytest.mark.parametrize("command", ["publish", "report"])
def test_a_manifest_with_names_that_are_not_folder_names_is_refused(
    dot_version, tmp_path, monkeypatch, capsys, command, field, value
):
    """The checksums are correct: an attacker who writes a manifest can compute them."""
    monkeypatch.chdir(tmp_path)
    crafted = tmp_path / "a" / "b" / "crafted"
    shutil.copytree(dot_version, crafted)
    manifest = json.loads((crafted / "manifest.json").read_text(encoding="utf-8")) | {field: value}
    content = json.dumps(manifest).encode()
    (crafted / "manifest.json").write_bytes(content)
    (crafted / "manifest.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  manifest.json\n")
    before = sorted(tmp_path.rglob("*"))
    more = [str(tmp_path / "a" / "b" / "to")] if command == "publish" else ["--validation-fraction", "0"]
    assert main([command, str(crafted), *more]) == 2
    assert f"manifest.json: {'model name' if field == 'name' else 'version'} {value!r}" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["publish", "report"])
@pytest.mark.parametrize("size", [None, 0, 5000])
def test_missing_or_truncated_tables_are_named(dot_version, tmp_path, capsys, command, size):
    damaged = tmp_path / "damaged"
    shutil.copytree(dot_version, damaged)
    if size is None:
        (damaged / "tables.bin").unlink()
    else:
        os.truncate(damaged / "tables.bin", size)
    more = [str(tmp_path / "to")] if command == "publish" else ["--validation-fraction", "0"]
    assert main([command, str(damaged), *more]) == 2
    error = capsys.readouterr().err
    assert f"{damaged / 'tables.bin'}: {'cannot be read' if size is None else 'does not hold the table'}" in error
