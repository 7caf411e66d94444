"""`cofactor-train publish`: what servers then see, and what is refused."""

from __future__ import annotations

import shutil

import pytest

from cofactor_trainer.__main__ import main


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_published_version_is_the_one_that_was_exported(dot_version, tmp_path, capsys) -> None:
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


def test_a_failed_copy_leaves_nothing_behind(dot_version, tmp_path, monkeypatch) -> None:
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(OSError, match="No space"):
        main(["publish", str(dot_version), str(tmp_path)])
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
