"""The notebook docs/tour.ipynb runs from the first cell to the last."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TOUR = Path(__file__).resolve().parents[2] / "docs" / "tour.ipynb"


@pytest.fixture(scope="module")
def executed():
    notebook = nbformat.read(TOUR, as_version=4)
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    return notebook


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_the_tour_draws_its_plots_and_recommends(executed):
    assert sum("image/png" in output.get("data", {}) for output in outputs(executed)) == 3
    tables = [o.data["text/plain"] for o in outputs(executed) if "text/plain" in o.get("data", {})]
    assert any("title" in table and "predicted" in table for table in tables)


def test_the_tour_prints_nothing_on_standard_error(executed):
    assert [o.text for o in outputs(executed) if o.output_type == "stream" and o.name == "stderr"] == []
