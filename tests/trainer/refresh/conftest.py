"""Export the version that warm starts begin with, once."""

import shutil

import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.data.rating_files import read_ratings
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.refresh.starting_version import read_starting_version
from tests.trainer.refresh.growing_films import NEWCOMERS, exact_model_and_ratings, rows_of, unrated_rows, write_table


@pytest.fixture(scope="package")
def first(tmp_path_factory):
    """Model and ratings of the version below."""
    return exact_model_and_ratings()


@pytest.fixture(scope="package")
def first_version(first, tmp_path_factory):
    """Directory of version 1 of the model films; tests must not change it."""
    model, dataset = first
    models_dir = tmp_path_factory.mktemp("films")
    return export_version(model, dataset, models_dir, "films", "1", metrics={}, hyperparameters={"recipe": "made"})


@pytest.fixture(scope="package")
def start(first_version):
    """The version, read to start from."""
    return read_starting_version(first_version)


@pytest.fixture
def repository(first_version, tmp_path):
    """A model repository of one's own, with version 1 of films."""
    shutil.copytree(first_version.parents[1], tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def grown(first, tmp_path):
    """Return the data set of the first ratings and of further rows."""

    def read(*batches, without=()):
        rows = [row for row in rows_of(first[1]) if row[:2] not in without]
        return read_ratings(write_table(tmp_path / "grown.csv", rows, *batches))

    return read


@pytest.fixture(scope="package")
def refreshed(first_version, first, tmp_path_factory):
    """Version directories that two commands made of the same new table: kept and renewed."""
    folder = tmp_path_factory.mktemp("refreshed")
    news = [*unrated_rows(*first, per_user=2, shift=0.5), *NEWCOMERS]
    table = write_table(folder / "ratings.csv", rows_of(first[1]), news)
    for choice in ("keep", "renew"):
        flags = ("--embedding-space", choice, "--output", str(folder), "--version", choice)
        assert main(["train", "--dataset", str(table), "--warm-start", str(first_version), *flags]) == 0
    return {choice: read_version(folder / "films" / choice) for choice in ("keep", "renew")}
