"""Run batch jobs in this process, on versions that tests must not change."""

from __future__ import annotations

from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from cofactor_server.batch.__main__ import main


@pytest.fixture
def job(tmp_path, capsys):
    """Return a function that runs a command on a version directory, and returns its exit code, output and errors."""

    def run(command, version, *flags, output=tmp_path / "out.parquet"):
        words = [command, "--version-dir", str(version), "--output", str(output), "--provider", "cpu", *map(str, flags)]
        code = main(words)
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err, path=output)

    return run


@pytest.fixture
def rows(job):
    """Return a function that runs a command, which must succeed, and returns the rows of its file."""

    def run(command, version, *flags, **options):
        done = job(command, version, *flags, **options)
        assert (done.code, done.err) == (0, "")
        return pq.read_table(done.path).to_pylist()

    return run
