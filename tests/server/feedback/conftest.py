"""Servers with a feedback log, and what the log holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest

from cofactor.v1 import feedback_pb2_grpc


@pytest.fixture
def models(dot_version, versions, tmp_path):
    """Return a repository with the model `dot`."""
    versions.copy(dot_version, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def log_file(tmp_path):
    return tmp_path / "feedback.sqlite"


@pytest.fixture
def serve_log(serve, models, log_file):
    """Return a function that starts a server with a feedback log."""

    def start(**settings):
        api = serve(**{"models": models, "poll_interval_s": 0, "feedback_log": str(log_file), **settings})
        return SimpleNamespace(**vars(api), feedback=feedback_pb2_grpc.FeedbackServiceStub(api.channel))

    return start


@pytest.fixture
def rows(log_file):
    """Return a function that returns rows of the log, as dictionaries."""

    def select(table):
        with closing(sqlite3.connect(log_file)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]

    return select
