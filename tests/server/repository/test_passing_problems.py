"""Problems that pass, such as a lack of file descriptors: no version is refused for good, and others are served."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cofactor_server.config import ServerConfig
from cofactor_server.errors import ConfigurationError, ModelRefused
from cofactor_server.inference.golden_check import run_golden_tests
from cofactor_server.inference.sessions import load_on_cpu
from cofactor_server.repository.passing_errors import is_passing
from cofactor_server.repository.sources import LocalSource
from cofactor_server.repository.version_directory import open_version_directory, verify_manifest_checksum
from cofactor_server.repository.watcher import ModelWatcher
from cofactor_server.server import create_server
from tests.server.repository.test_watcher import Content, load, publish, served, write_policy


@contextlib.contextmanager
def no_free_descriptors() -> Iterator[None]:
    """Let every attempt to open a file fail with EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened[0] + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in opened:
            os.close(descriptor)


def test_no_step_of_loading_takes_a_lack_of_descriptors_for_a_fault_of_the_version(dot_version) -> None:
    directory = open_version_directory(dot_version)
    steps = {
        "checksum": lambda: verify_manifest_checksum(dot_version),
        "files": lambda: open_version_directory(dot_version),
        "graph": lambda: load_on_cpu(directory, "predict"),
        "golden cases": lambda: run_golden_tests(directory, None),
    }
    for name, step in steps.items():
        with no_free_descriptors():
            try:
                step()
            except Exception as raised:  # no assertion here: pytest would open files
                error = raised
        assert isinstance(error, OSError), name
        assert is_passing(error), name


def test_a_file_that_is_missing_is_the_fault_of_the_version(dot_version, tmp_path) -> None:
    version = shutil.copytree(dot_version, tmp_path / "dot" / dot_version.name)
    (version / "golden.npz").unlink()
    with pytest.raises(ModelRefused, match=r"cannot read golden\.npz: No such file"):
        open_version_directory(version)


@pytest.mark.parametrize("problem", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_a_version_that_the_machine_could_not_load_is_loaded_at_the_next_poll(tmp_path, problem) -> None:
    problems = [problem]

    def load_later(path: Path) -> Content:
        if problems:
            raise problems.pop()
        return load(path)

    publish(tmp_path / "models", "1")
    watcher = ModelWatcher(LocalSource(tmp_path / "models"), load_later, tmp_path / "copies")
    watcher.poll()
    assert "cannot be loaded now" in watcher.snapshot["m"].refused["1"].reason
    watcher.poll()
    assert served(watcher) == (["1"], "1")


class Obstructed(LocalSource):
    """A repository in which some folders and files cannot be read, as their permissions may have it for root too."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.closed: set[str] = set()

    def _check(self, name: str) -> None:
        if name in self.closed:
            raise PermissionError(errno.EACCES, "Permission denied")

    def _file_states(self, folder: Path) -> dict[str, str]:
        self._check(f"{folder.parent.name}/{folder.name}")
        return super()._file_states(folder)

    def _folders(self, parent, name):
        self._check(parent.name)
        return super()._folders(parent, name)

    def read_policy(self, name: str) -> str | None:
        self._check(f"{name}/serving.json")
        return super().read_policy(name)


@pytest.fixture
def obstructed(tmp_path: Path) -> Obstructed:
    return Obstructed(tmp_path / "models")


def test_a_version_that_cannot_be_read_hides_no_other(obstructed, tmp_path, caplog) -> None:
    root = tmp_path / "models"
    watcher = ModelWatcher(obstructed, load, tmp_path / "copies")
    publish(root, "1")
    publish(root, "2")
    publish(root, "1", model="other")
    obstructed.closed = {"m/2"}
    watcher.poll()
    watcher.poll()
    assert served(watcher) == (["1"], "1")
    assert watcher.snapshot["m"].refused["2"].reason == "cannot be read now: Permission denied"
    assert "1" in watcher.snapshot["other"].loaded
    assert watcher.repository_error == ""
    assert caplog.text.count("2 cannot be read now: Permission denied") == 1
    obstructed.closed = set()
    watcher.poll()
    assert served(watcher) == (["2"], "2")
    obstructed.closed = {"m/2"}
    watcher.poll()
    assert served(watcher) == (["2"], "2"), "a version is not given up because its folder cannot be read now"


@pytest.mark.parametrize("closed", ["m", "m/serving.json"])
def test_a_model_that_cannot_be_read_keeps_its_versions_and_the_others_are_followed(
    obstructed, tmp_path, closed, caplog
) -> None:
    root = tmp_path / "models"
    watcher = ModelWatcher(obstructed, load, tmp_path / "copies")
    publish(root, "1")
    publish(root, "2")
    publish(root, "1", model="other")
    write_policy(root, labels={"stable": "1"})
    obstructed.closed = {closed}
    watcher.poll()
    assert "m" not in watcher.snapshot, "without its policy nobody knows which version to serve"
    assert list(watcher.unreadable_models) == ["m"]
    assert "1" in watcher.snapshot["other"].loaded
    obstructed.closed = set()
    watcher.poll()
    assert served(watcher)[1] == "1"
    obstructed.closed = {closed}
    caplog.clear()
    publish(root, "2", model="other")
    watcher.poll()
    watcher.poll()
    assert served(watcher)[1] == "1"
    assert "2" in watcher.snapshot["other"].loaded
    assert caplog.text.count("model m: cannot be read now: ") == 1


def test_a_model_whose_update_fails_does_not_stop_the_others(tmp_path, caplog) -> None:
    root = tmp_path / "models"
    for model in ("a", "b"):
        publish(root, "1", model=model)

    def fail_for_a(snapshot) -> None:
        if list(snapshot) == ["a"]:
            raise RuntimeError("a bug")

    watcher = ModelWatcher(LocalSource(root), load, tmp_path / "copies", fail_for_a)
    watcher.poll()
    assert "1" in watcher.snapshot["b"].loaded
    assert "following model a failed" in caplog.text


def test_a_server_without_an_allowed_name_says_what_names_are_allowed(dot_version, tmp_path) -> None:
    shutil.copytree(dot_version, tmp_path / "MyModel" / "1")
    with pytest.raises(ConfigurationError, match="names in lower case"):
        create_server(ServerConfig(models=str(tmp_path), port=0, provider="cpu"))
