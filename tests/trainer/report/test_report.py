"""The report has every section, and its numbers are those of the version and the held-out ratings."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.errors import InputError
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.report import statistics, write_report
from tests.support import synthetic

HEADINGS = [
    "Loss curves",
    "Error by rating",
    "Error by popularity",
    "Best and worst liked items",
    "Map of the items",
    "Nearest neighbours",
    "Rating table",
    "Representation bias",
]


@pytest.fixture(params=["dot_version", "net_version", "hybrid_version"])
def version(request):
    return read_version(request.getfixturevalue(request.param))


def test_the_page_has_every_section_and_needs_no_network(version, tmp_path):
    page = tmp_path / "report.html"
    write_report(version, synthetic.make_dataset(), page)
    html = page.read_text(encoding="utf-8")
    assert [heading for heading in HEADINGS if f"<h2>{heading}</h2>" not in html] == []
    assert '<script src="http' not in html
    assert '<link rel="stylesheet" href="http' not in html


def test_a_title_cannot_write_markup(dot_version, tmp_path):
    version = read_version(dot_version)
    version.item_titles[:] = ["<script>alert(1)</script>"] * len(version.item_titles)
    page = tmp_path / "report.html"
    write_report(version, None, page)
    assert "<script>alert(1)" not in page.read_text(encoding="utf-8")


def test_ratings_of_another_data_set_are_refused(dot_version, tmp_path):
    ratings = synthetic.make_dataset()
    others = replace(ratings, user_ids=[f"{user_id}x" for user_id in ratings.user_ids])
    with pytest.raises(InputError, match="--split-seed"):
        write_report(read_version(dot_version), others, tmp_path / "report.html")


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.json"):
        read_version(tmp_path)


@pytest.mark.parametrize(("field", "value"), [("dtype", "object"), ("dtype", "nonsense"), ("offset", "-8")])
def test_tables_with_an_invalid_type_or_offset_are_refused(dot_version, tmp_path, field, value):
    shutil.copytree(dot_version, tmp_path / "1")
    manifest = json.loads((tmp_path / "1" / "manifest.json").read_text(encoding="utf-8"))
    manifest["tables"][0][field] = value
    (tmp_path / "1" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(InputError, match=r"tables\.bin: does not hold the table user_factors"):
        read_version(tmp_path / "1")


def test_a_version_of_another_format_is_refused(dot_version, tmp_path):
    manifest = json.loads((dot_version / "manifest.json").read_text(encoding="utf-8"))
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"formatVersion": 2}), encoding="utf-8")
    with pytest.raises(InputError, match="format version 2 is not 1"):
        read_version(tmp_path)


def test_predict_returns_the_ratings_of_the_model(dot_version):
    version = read_version(dot_version)
    rows = np.arange(3)
    logits = (
        np.einsum("nf,nf->n", version.tables["user_factors"][rows], version.tables["item_factors"][rows])
        + version.tables["user_bias"][rows]
        + version.tables["item_bias"][rows]
        + version.manifest.global_bias
    )
    low, high = version.manifest.rating_range.low, version.manifest.rating_range.high
    np.testing.assert_allclose(version.predict(rows, rows), low + (high - low) / (1 + np.exp(-logits)), atol=1e-5)


def test_errors_are_computed_by_group():
    true = np.array([1, 1, 5, 5], np.float32)
    errors = statistics.errors_by_rating(np.array([2, 2, 4, 5], np.float32), true)
    assert errors.labels == ["1", "5"]
    np.testing.assert_allclose(errors.rmse, [1, np.sqrt(0.5)])
    np.testing.assert_allclose(errors.mean_error, [1, -0.5])


@pytest.mark.parametrize(
    ("count", "label"), [(0, "0"), (1, "1"), (4, "2-4"), (5, "5-9"), (999, "500-999"), (10_000, "10,000 and more")]
)
def test_popularity_groups_include_their_ends(count, label):
    one = np.ones(1, np.float32)
    assert statistics.errors_by_popularity(np.array([count]), one, one).labels == [label]


def test_a_lorenz_curve_is_the_diagonal_for_equal_shares_and_a_step_for_a_single_holder():
    even = statistics.lorenz_curve(np.arange(10), np.ones(10))
    np.testing.assert_allclose(even.population, even.held)
    assert statistics.lorenz_curve(np.array([3, 9, 1]), np.array([0, 5, 0])).held_by(1 / 3) == pytest.approx(1)


def test_points_on_a_line_have_one_component():
    _, share = statistics.principal_components(np.outer(np.arange(5), [1, 2, 3]).astype(np.float32))
    np.testing.assert_allclose(share, [1, 0], atol=1e-9)
