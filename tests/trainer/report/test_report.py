"""The report has every section, and its numbers are those of the version and the held-out ratings."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.data.splits import random_split
from cofactor_trainer.errors import InputError
from cofactor_trainer.evaluation.baselines import fit_biases
from cofactor_trainer.evaluation.error_groups import errors_by_popularity, errors_by_rating
from cofactor_trainer.evaluation.evaluate import evaluate_ranking, evaluate_ratings, top_k_rows
from cofactor_trainer.evaluation.lorenz_curve import lorenz_curve
from cofactor_trainer.export.held_out_measures import MEASURES_FILE, HeldOutMeasures, measure_held_out, read_measures
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.report import statistics, write_report
from cofactor_trainer.scoring.numpy_scorer import score_all
from tests.support import shop, synthetic

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


@pytest.fixture(params=["dot_version", "net_version", "hybrid_version", "two_part_version"])
def version(request):
    return read_version(request.getfixturevalue(request.param))


def test_the_page_has_every_section_and_needs_no_network(version, tmp_path):
    page = tmp_path / "report.html"
    write_report(version, synthetic.make_dataset(), page)
    html = page.read_text(encoding="utf-8")
    assert [heading for heading in HEADINGS if f"<h2>{heading}</h2>" not in html] == []
    assert '<script src="http' not in html
    assert '<link rel="stylesheet" href="http' not in html


@pytest.mark.parametrize("has_measures", [True, False], ids=["measured", "not measured"])
def test_a_version_of_ratings_and_events_is_reported_by_its_ratings(has_measures, mixed_version, tmp_path):
    directory = tmp_path / "mixed" / "1"
    shutil.copytree(mixed_version, directory)
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    if not has_measures:
        (directory / MEASURES_FILE).unlink()
        (directory / "manifest.json").write_text(json.dumps(manifest | {"refitted": False}), encoding="utf-8")
    page = tmp_path / "report.html"
    table = str(mixed_version.parents[1] / "table.csv")
    assert main(["report", str(directory), "--dataset", table, *shop.MIXED_FLAGS, "--html", str(page)]) == 0
    html = page.read_text(encoding="utf-8")
    assert [heading for heading in HEADINGS if f"<h2>{heading}</h2>" not in html] == []
    version = read_version(directory)
    ratings = statistics.training_ratings(version, synthetic.make_dataset().select_ratings(np.zeros(0, np.int64)))
    assert min(ratings.ratings) >= 1


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
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"formatVersion": 4}), encoding="utf-8")
    with pytest.raises(InputError, match="format version 4 is not 1, 2 or 3"):
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
    errors = errors_by_rating(np.array([2, 2, 4, 5], np.float32), true)
    assert errors.labels == ["1", "5"]
    np.testing.assert_allclose(errors.rmse, [1, np.sqrt(0.5)])
    np.testing.assert_allclose(errors.mean_error, [1, -0.5])


@pytest.mark.parametrize(
    ("count", "label"), [(0, "0"), (1, "1"), (4, "2-4"), (5, "5-9"), (999, "500-999"), (10_000, "10,000 and more")]
)
def test_popularity_groups_include_their_ends(count, label):
    one = np.ones(1, np.float32)
    assert errors_by_popularity(np.array([count]), one, one).labels == [label]


def test_a_lorenz_curve_is_the_diagonal_for_equal_shares_and_a_step_for_a_single_holder():
    even = lorenz_curve(np.arange(10), np.ones(10))
    np.testing.assert_allclose(even.population, even.held)
    assert lorenz_curve(np.array([3, 9, 1]), np.array([0, 5, 0])).held_by(1 / 3) == pytest.approx(1)


def test_points_on_a_line_have_one_component():
    _, share = statistics.principal_components(np.outer(np.arange(5), [1, 2, 3]).astype(np.float32))
    np.testing.assert_allclose(share, [1, 0], atol=1e-9)


@pytest.fixture(scope="module")
def dense_split():
    """Return a split of 30 users who rated 80 items each, so that new users can be judged."""
    random = np.random.default_rng(3)
    user_rows, item_rows = (rows.ravel().astype(np.int32) for rows in np.mgrid[:30, :80])
    ratings = synthetic.make_dataset(n_users=30, n_items=80)
    taste = random.normal(size=(30, 1)) @ random.normal(size=(1, 80)) + random.normal(size=80)
    values = np.clip(np.round(3 + taste.ravel() * 2) / 2, ratings.rating_min, ratings.rating_max).astype(np.float32)
    return random_split(
        replace(ratings, user_rows=user_rows, item_rows=item_rows, ratings=values, timestamps=None), 0.25
    )


def test_the_measures_are_those_of_the_model_and_of_the_baselines(dense_split):
    model = fit_biases(dense_split.train)
    measures = measure_held_out(model, dense_split)
    errors, ranking = evaluate_ratings(model, dense_split), evaluate_ranking(model, dense_split)
    assert measures.models["this model"]["rmse"] == measures.models["user and item biases"]["rmse"] == errors.rmse
    by_rating = measures.models["this model, ordered by predicted rating"]
    assert by_rating == {name: pytest.approx(getattr(ranking, name)) for name in by_rating}
    assert {"popularity", "item means", "user and item biases"} < set(measures.models)
    assert "rmse" not in measures.models["popularity"] or measures.models["popularity"]["rmse"] > errors.rmse
    total = sum(measures.by_rating.counts)
    assert total == sum(measures.by_popularity.counts) == dense_split.validation.n_ratings
    assert measures.new_users.n_users == 30
    assert measures.new_users.rmse[-1] < measures.new_users.rmse[0]
    curve = {f"new_user_rmse@{n}": measures.new_users.rmse[place] for place, n in enumerate((0, 1, 2, 5, 10, 20, 50))}
    assert measures.new_user_metrics() == curve


def test_measures_survive_their_file(dense_split):
    measures = measure_held_out(fit_biases(dense_split.train), dense_split)
    assert HeldOutMeasures.from_json(json.loads(json.dumps(measures.to_json()))).to_json() == measures.to_json()


def test_a_version_that_was_trained_again_shows_what_the_judged_model_was_measured_at(tmp_path):
    (tmp_path / "r.csv").write_text("user_id,item_id,rating\n" + _table(), encoding="utf-8")
    flags = ["--dataset", str(tmp_path / "r.csv"), "--device", "cpu", "--epochs", "1", "--version", "1"]
    assert main(["train", *flags, "--output", str(tmp_path / "models"), "--name", "m"]) == 0
    version, page = tmp_path / "models" / "m" / "1", tmp_path / "page.html"
    measures = read_measures(version)
    assert main(["report", str(version), "--html", str(page)]) == 0
    html = page.read_text(encoding="utf-8")
    for heading in ("Compared with baselines", "Error by rating", "Error by popularity", "New users"):
        assert f"<h2>{heading}</h2>" in html
    assert "<td>user and item biases</td>" in html
    assert f"<td>{measures.models['this model']['ndcg']:.4f}</td>" in html
    assert "the exported model was then trained on all" in html


def _table():
    """Return ratings of 12 users for 90 items, all but every seventh."""
    return "".join(f"u{u},i{i},{1 + (u * i) % 5}\n" for u in range(12) for i in range(90) if (u + i) % 7)


def test_exposures_follow_the_default_order(two_part_version):
    version = read_version(two_part_version)
    model = synthetic.make_two_part_model()
    scores = score_all(model, np.arange(len(model.user_bias) - 1), model.order)
    offsets, rated = version.tables["rated.offsets"], version.tables["rated.item_rows"]
    for user, user_scores in enumerate(scores):
        user_scores[rated[offsets[user] : offsets[user + 1]]] = -np.inf
    best = top_k_rows(scores, 10)
    assert statistics.count_exposures(version).tolist() == np.bincount(best.ravel(), minlength=scores.shape[1]).tolist()
