"""Export the versions that tests serve, once for all tests, and keep tests apart."""

from __future__ import annotations

import logging
import signal
from dataclasses import replace

import numpy as np
import pytest

from tests.support import shop, synthetic


def pytest_configure():
    """Let the processes that tests start react to Ctrl-C, also where the tests run in the background and ignore it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def restored_logging():
    """Undo what a command that runs in this process does to logging.

    Its handler would write to the captured stderr of a test that has ended, in the midst of a later test.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory):
    """Model repository of the versions below; tests must not change it."""
    return tmp_path_factory.mktemp("models")


def _export(models_dir, name, architecture, dataset=None, model=None):
    from cofactor_trainer.export.version_writer import MetricsProtocol, export_version

    model, dataset = model or synthetic.make_model(architecture), dataset or synthetic.make_dataset()
    return export_version(
        model,
        dataset,
        models_dir,
        name,
        "1",
        metrics={"mse": 0.8},
        hyperparameters={"seed": "7"},
        protocol=MetricsProtocol("measured on random numbers", refitted=False),
    )


@pytest.fixture(scope="session")
def dot_version(models_dir):
    """Version directory of a dot-product model whose items have an attribute of every type."""
    return _export(models_dir, "dot", "dot-product", synthetic.with_attributes(synthetic.make_dataset()))


@pytest.fixture(scope="session")
def indexed_version(models_dir):
    """Version directory of a dot-product model, `films`, with an index of candidates.

    Every second item is a copy of the one before it, with the same ratings, so that items have equal scores in pairs.
    Popularity follows a power law.
    """
    from cofactor_trainer.export.version_writer import export_version

    n_users, n_items = 100, 6000
    model = synthetic.make_model(n_items=n_items, n_users=n_users)
    for table in (model.item_factors, model.item_bias):
        table[1:-1:2] = table[0:-1:2]
    dataset = synthetic.make_dataset(n_items=n_items, n_users=n_users, ratings_per_user=40)
    first_of_pair = (dataset.item_rows.astype(float) ** 3 / n_items**2).astype(np.int64) // 2 * 2
    once = np.unique(dataset.user_rows * n_items + first_of_pair).astype(np.int32)
    users, items = np.repeat(once // n_items, 2), np.repeat(once % n_items, 2)
    items[1::2] += 1
    dataset = replace(dataset, user_rows=users, item_rows=items, ratings=np.full(len(items), 3, np.float32))
    return export_version(model, dataset, models_dir, "films", "1", metrics={}, hyperparameters={}, approximate=True)


@pytest.fixture(scope="session")
def net_version(models_dir):
    """Version directory of a neural network."""
    return _export(models_dir, "net", "neural-network")


@pytest.fixture(scope="session")
def hybrid_version(models_dir):
    """Version directory of a hybrid."""
    return _export(models_dir, "hybrid", "hybrid")


@pytest.fixture(scope="session")
def profile_version(models_dir):
    """Version directory of a dot-product model with the profile features "age" and "mood"."""
    return _export(models_dir, "profile", "dot-product", synthetic.with_profiles(synthetic.make_dataset()))


@pytest.fixture(scope="session")
def two_part_version(models_dir):
    """Version directory of a dot-product model with a ranking part."""
    model = synthetic.make_two_part_model()
    return _export(models_dir, "two-part", "dot-product", model=model)


@pytest.fixture(scope="session")
def two_part_hybrid_version(models_dir):
    """Version directory of a hybrid with a ranking part."""
    model = synthetic.make_two_part_model("hybrid")
    return _export(models_dir, "two-part-hybrid", "hybrid", model=model)


@pytest.fixture(scope="session")
def shop_version(tmp_path_factory):
    """Version directory that the train command made from the events of tests/support/shop.py."""
    from cofactor_trainer.__main__ import main

    folder = tmp_path_factory.mktemp("shop")
    events = shop.write_events(folder / "events.csv")
    sizes = ("--epochs", "40", "--factors", "8", "--learning-rate", "0.03", "--batch-size", "64")
    names = ("--output", str(folder), "--name", "shop", "--version", "1")
    training = ("--dataset", str(events), "--validation-fraction", "0", "--device", "cpu")
    assert main(["train", *training, *shop.EVENT_FLAGS, *sizes, *names]) == 0
    return folder / "shop" / "1"


@pytest.fixture(scope="session")
def mixed_version(tmp_path_factory):
    """Version directory that the train command made from the ratings and events of tests/support/shop.py."""
    from cofactor_trainer.__main__ import main

    folder = tmp_path_factory.mktemp("mixed")
    table = shop.write_mixed_table(folder / "table.csv")
    names = ("--output", str(folder), "--name", "mixed", "--version", "1")
    assert (
        main(["train", "--dataset", str(table), "--device", "cpu", *shop.MIXED_FLAGS, *shop.MIXED_SIZES, *names]) == 0
    )
    return folder / "mixed" / "1"
