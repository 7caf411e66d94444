"""A browser, and a real gateway to a real server of the invented catalogue."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path

import pytest

from tests.support.web.browser import browser_problem, launch_browser, open_page
from tests.support.web.invented_catalogue import InventedCatalogue
from tests.support.web.page_server import run_page

SIZES = ("--factors", "12", "--epochs", "8", "--device", "cpu", "--validation-fraction", "0.2")


@pytest.fixture(scope="session")
def browser():
    """A headless browser; without one, the tests are skipped, and the summary says why."""
    problem = browser_problem()
    if problem:
        warnings.warn(f"the page is not tested in a browser: {problem}", stacklevel=1)
        pytest.skip(problem)
    with launch_browser() as running:
        yield running


@pytest.fixture(scope="session")
def catalogue():
    """The invented catalogue: titles, genres, years and ratings."""
    return InventedCatalogue()


@pytest.fixture(scope="session")
def books(catalogue, tmp_path_factory):
    """Model repository with a trained version 1, stable, and its twin 2, canary; tests must not change it."""
    from cofactor_trainer.__main__ import main
    from tests.server.conftest import copy_version

    folder = tmp_path_factory.mktemp("books")
    catalogue.write(folder)
    models = folder / "models"
    files = ("--dataset", str(folder / "ratings.csv"), "--items", str(folder / "items.csv"))
    names = ("--output", str(models), "--name", "books", "--version", "1")
    assert main(["train", *files, *SIZES, *names]) == 0
    copy_version(models / "books" / "1", models, version="2")
    policy = {"latest": 2, "labels": {"stable": "1", "canary": "2"}, "canaryPercent": {"canary": 0}}
    (models / "books" / "serving.json").write_text(json.dumps(policy))
    return models


@pytest.fixture(scope="session")
def gateway(books, tmp_path_factory):
    """A gateway to a server of `books`, for tests that change nothing."""
    with run_page(books, tmp_path_factory.mktemp("page") / "log") as (_, gateway):
        yield gateway


@pytest.fixture(scope="session")
def own_books(books, tmp_path_factory):
    """A copy of `books` whose labels tests may move."""
    return Path(shutil.copytree(books, tmp_path_factory.mktemp("own") / "models"))


@pytest.fixture
def open_at(browser, gateway):
    """Return a context manager that opens the page at a view."""

    def open_view(view: str = "for-you", **options):
        return open_page(browser, gateway.url, view=view, **options)

    return open_view


@pytest.fixture(scope="session")
def screenshots():
    """Folder of the screenshots that the tests leave behind."""
    return Path(os.environ.get("COFACTOR_SCREENSHOTS", ".demo/screenshots"))
