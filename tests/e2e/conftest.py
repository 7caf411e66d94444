"""A model trained on the embedded MovieLens and served by the installed programs, as a user would do it."""

import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from cofactor_client import Client


@dataclass(frozen=True)
class Served:
    """A server process and what it serves; held_out has user_id, item_id and rating."""

    address: str
    models: Path
    training_output: str
    held_out: pd.DataFrame
    trained_on: pd.DataFrame


def frame(ratings):
    """Ratings whose user and item the model knows, with ids."""
    known = (ratings.user_rows < ratings.n_users) & (ratings.item_rows < ratings.n_items)
    return pd.DataFrame(
        {
            "user_id": [ratings.user_ids[row] for row in ratings.user_rows[known]],
            "item_id": [ratings.catalogue.item_ids[row] for row in ratings.item_rows[known]],
            "rating": ratings.ratings[known],
        }
    )


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """cofactor-train, then cofactor-serve until the tests are over."""
    from cofactor_trainer.movielens import load_embedded_small
    from cofactor_trainer.splits import random_split

    folder = tmp_path_factory.mktemp("served")
    models = folder / "models"
    words = ["--dataset", "ml-latest-small", "--recipe", "dot-bias", "--output", models, "--name", "films"]
    train = [sys.executable, "-m", "cofactor_trainer", *words, "--split-seed", "42"]
    done = subprocess.run(train, check=False, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    split = random_split(load_embedded_small(), 0.2, 42)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve = [sys.executable, "-m", "cofactor_server", "--models", models, "--port", str(port)]
    with (folder / "log").open("w") as log, subprocess.Popen(serve, stdout=log, stderr=log) as server:
        try:
            with Client(f"127.0.0.1:{port}") as client:
                client.wait_until_ready(60)
            yield Served(f"127.0.0.1:{port}", models, done.stdout, frame(split.validation), frame(split.train))
        finally:
            server.terminate()
            assert server.wait(30) == 0


@pytest.fixture(scope="module")
def client(served):
    with Client(served.address) as client:
        yield client
