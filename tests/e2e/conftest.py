"""A model trained on MovieLens ml-latest-small by `cofactor_trainer` and served by `cofactor_server`."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from cofactor_client import Client
from tests.support.waiting import until


@dataclass(frozen=True)
class Served:
    """A server process, and the ratings behind its model, with the columns user_id, item_id and rating."""

    address: str
    models: Path
    training_output: str
    held_out: pd.DataFrame
    trained_on: pd.DataFrame


def to_frame(ratings):
    """Return the ratings whose user and item the model knows, with ids instead of rows."""
    known = (ratings.user_rows < ratings.n_users) & (ratings.item_rows < ratings.n_items)
    return pd.DataFrame(
        {
            "user_id": [ratings.user_ids[row] for row in ratings.user_rows[known]],
            "item_id": [ratings.catalogue.item_ids[row] for row in ratings.item_rows[known]],
            "rating": ratings.ratings[known],
        }
    )


def port_in(log: Path) -> int:
    """Return the port in a server's log, or 0 if the server does not listen yet."""
    found = re.search(r"listening on \S+ port (\d+)", log.read_text())
    return int(found[1]) if found else 0


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """Run cofactor-train, then cofactor-serve until the end of the tests."""
    from cofactor_trainer.data.movielens import load_embedded_small
    from cofactor_trainer.data.splits import random_split

    folder = tmp_path_factory.mktemp("served")
    models = folder / "models"
    words = ["--dataset", "ml-latest-small", "--recipe", "dot-bias", "--output", models, "--name", "films"]
    train = [sys.executable, "-m", "cofactor_trainer", *words, "--split-seed", "42", "--export", "judged"]
    done = subprocess.run(train, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    split = random_split(load_embedded_small(), 0.2, 42)
    serve = [sys.executable, "-m", "cofactor_server", "--models", models, "--port", "0"]
    log_path = folder / "log"
    with log_path.open("w") as log, subprocess.Popen(serve, stdout=log, stderr=log) as server:
        try:
            until(lambda: port_in(log_path) or server.poll() is not None, 60, "the server listens")
            assert server.poll() is None, log_path.read_text()
            address = f"127.0.0.1:{port_in(log_path)}"
            with Client(address) as client:
                client.wait_until_ready(60)
            yield Served(address, models, done.stdout, to_frame(split.validation), to_frame(split.train))
        finally:
            server.terminate()
            assert server.wait(30) == 0


@pytest.fixture(scope="module")
def client(served):
    with Client(served.address) as client:
        yield client
