"""A warm start keeps what it knows, learns what is new, and says when it cannot."""

from dataclasses import replace

import numpy as np
import pytest
from google.protobuf import json_format

from cofactor.v1 import manifest_pb2
from cofactor_trainer.__main__ import main
from cofactor_trainer.errors import InputError
from cofactor_trainer.export.finished_training import FinishedTraining, read_training, save_training
from cofactor_trainer.export.manifest import MANIFEST_FILE
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.refresh.changes import find_changes
from cofactor_trainer.refresh.hold_out import compare
from cofactor_trainer.refresh.starting_version import read_starting_version
from cofactor_trainer.refresh.warm_start import warm_start
from cofactor_trainer.scoring.numpy_scorer import predict_ratings
from tests.trainer.refresh.growing_films import NEWCOMERS, rows_of, unrated_rows

TABLES = ("user_factors", "user_bias", "item_factors", "item_bias")


def test_changes_are_found_by_id(start, grown, first):
    (user, item, rating), second = rows_of(first[1])[:2]
    dataset = grown([*NEWCOMERS, (user, item, rating - 0.5)], without={(user, item), second[:2]})
    changes = find_changes(start, dataset)
    assert (changes.n_added, changes.n_changed, changes.n_removed) == (5, 1, 1)
    assert np.flatnonzero(changes.is_new_user).tolist() == [dataset.user_ids.index("a")]
    assert np.flatnonzero(changes.is_new_item).tolist() == [dataset.catalogue.item_ids.index("an")]
    one = np.flatnonzero(~np.isnan(changes.before) & ~np.isnan(changes.after))[0]
    assert dataset.user_ids[changes.user_rows[one]] == user
    assert changes.before[one] == pytest.approx(rating)
    assert changes.after[one] == pytest.approx(rating - 0.5)


def test_without_news_the_model_stays_as_it_is_bit_for_bit(start, first):
    result = warm_start(start, first[1], keeps_space=False)
    assert result.changes.is_empty
    for name in TABLES:
        assert np.array_equal(getattr(result.model, name), getattr(start.model, name)), name


@pytest.mark.parametrize("keeps_space", [True, False])
def test_only_what_news_concern_moves(start, first, grown, keeps_space):
    rated = {item for user, item, _ in rows_of(first[1]) if user == "u003"}
    others = {item for user, item, _ in rows_of(first[1]) if user != "u003"}
    item = min(others - rated)
    dataset = grown([("u003", item, 0.5)])
    result = warm_start(start, dataset, keeps_space=keeps_space)
    users = [start.user_ids.index(user_id) for user_id in dataset.user_ids]
    items = [start.item_ids.index(item_id) for item_id in dataset.catalogue.item_ids]
    moved_users = [
        user for row, user in enumerate(dataset.user_ids) if differs(result.model, row, start, users, "user")
    ]
    moved_items = [
        item for row, item in enumerate(dataset.catalogue.item_ids) if differs(result.model, row, start, items, "item")
    ]
    assert moved_users == ["u003"]
    assert moved_items == ([] if keeps_space else [item])


def differs(model, row, start, rows, side):
    return any(
        not np.array_equal(getattr(model, f"{side}_{table}")[row], getattr(start.model, f"{side}_{table}")[rows[row]])
        for table in ("factors", "bias")
    )


def test_a_new_user_is_embedded_as_the_server_would_and_a_new_item_suits_its_raters(start, grown):
    dataset = grown(NEWCOMERS)
    model = warm_start(start, grown(NEWCOMERS[:2])).model
    rows = np.array([[start.item_ids.index("i000"), start.item_ids.index("i001")]])
    embedded = start.exported.run("embed_user", item_rows=rows, ratings=np.array([[5.0, 4.5]], np.float32))
    np.testing.assert_allclose(model.user_factors[0], embedded["user_factors"][0], atol=1e-6)
    model = warm_start(start, dataset).model
    item = dataset.catalogue.item_ids.index("an")
    raters = np.flatnonzero(dataset.item_rows == item)
    pairs = dataset.select_ratings(raters)
    unknown = replace(pairs, item_rows=np.full(len(raters), dataset.n_items, np.int32))
    errors = [np.abs(predict_ratings(model, either) - pairs.ratings).mean() for either in (pairs, unknown)]
    assert errors[0] < 0.7 * errors[1]


def test_ratings_that_a_user_gained_are_learnt(start, first, grown):
    news = unrated_rows(*first, per_user=12, shift=1.0)
    learnt, later = news[::2], news[1::2]
    dataset = grown(learnt)
    model = warm_start(start, dataset).model
    check = grown(learnt, later)
    held_out = check.select_ratings(check.timestamps == check.timestamps.max())
    stale, new = (
        np.square(predict_ratings(either, held_out) - held_out.ratings).mean() for either in (first[0], model)
    )
    assert new < 0.85 * stale


def test_an_embedding_of_the_old_version_gives_the_same_scores_on_the_new_one(refreshed, first_version):
    old, new = read_version(first_version), refreshed["keep"]
    assert new.manifest.embedding_space == old.manifest.embedding_space
    rated = np.array([[0, 5, 9]])
    made = old.run("embed_user", item_rows=rated, ratings=np.array([[5.0, 1.0, 3.5]], np.float32))
    old_ids, new_ids = old.strings("item_ids"), new.strings("item_ids")
    known = [item_id for item_id in new_ids if item_id != "an"]
    assert set(known) <= set(old_ids)
    outputs = []
    for version, ids in ((old, old_ids), (new, new_ids)):
        rows = np.array([ids.index(item_id) for item_id in known])
        predicted = version.run(
            "predict", user_factors=made["user_factors"], user_bias=made["user_bias"], item_rows=rows
        )["ratings"]
        factors = version.tables["item_factors"][rows]
        outputs.append((predicted, factors[:, -7:] @ made["user_factors"][0, -7:]))
    for before, after in zip(*outputs, strict=True):
        assert np.array_equal(before, after)


def test_a_renewed_embedding_space_has_another_fingerprint(refreshed, first_version):
    assert refreshed["renew"].manifest.embedding_space != read_version(first_version).manifest.embedding_space


def test_the_manifest_says_where_the_version_comes_from_and_how_it_was_measured(refreshed):
    manifest = refreshed["keep"].manifest
    assert (manifest.name, manifest.warm_started_from, manifest.warm_start_count) == ("films", "1", 1)
    assert dict(manifest.hyperparameters) == {"recipe": "made", "warm_start": "1"}
    assert manifest.refitted
    assert "of 83 ratings that version 1 had not learnt, the latest of them" in manifest.metrics_protocol
    assert 0 < manifest.metrics["mse"] < 4
    assert "a" in refreshed["keep"].strings("user_ids")


def test_a_warm_start_can_begin_with_a_warm_start(refreshed, first):
    start = read_starting_version(refreshed["keep"].path)
    assert warm_start(start, first[1]).lineage.warm_starts == 2


def change_manifest(repository, change):
    """Change the manifest of version 1 in a repository of one's own, and return the version's directory."""
    path = repository / "films" / "1" / MANIFEST_FILE
    manifest = json_format.Parse(path.read_text(encoding="utf-8"), manifest_pb2.Manifest())
    change(manifest)
    path.write_text(json_format.MessageToJson(manifest), encoding="utf-8")
    return path.parent


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda manifest: setattr(manifest, "architecture", "hybrid"), "is a hybrid, and only dot products can be"),
        (lambda manifest: manifest.events.types.add(weight=1), "the version learnt from ratings and events"),
    ],
)
def test_what_cannot_be_warm_started_is_refused_before_any_work(change, words, repository, capsys, tmp_path):
    version = change_manifest(repository, change)
    flags = ("--dataset", "no such file.csv", "--output", str(tmp_path / "new"))
    assert main(["train", "--warm-start", str(version), *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "cofactor-train --dataset" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_a_version_of_an_older_trainer_is_refused_with_the_command_that_helps(repository):
    def leave_out_priors(manifest):
        kept = [table for table in manifest.tables if not table.name.startswith("ranking_prior")]
        del manifest.tables[:]
        manifest.tables.extend(kept)

    with pytest.raises(InputError, match=r"lacks ranking_prior_mean, ranking_prior_covariance.*train it in full"):
        read_starting_version(change_manifest(repository, leave_out_priors))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--epochs", "3"), "--epochs does not apply to --warm-start"),
        (("--recipe", "fast"), "--recipe does not apply"),
        (("--factors", "3"), "--factors does not apply"),
        (("--split", "time"), "--split and --export do not apply"),
    ],
)
def test_flags_that_a_warm_start_cannot_follow_are_refused(flags, words, first_version, capsys):
    assert main(["train", "--warm-start", str(first_version), "--dataset", "none.csv", *flags]) == 2
    assert words in capsys.readouterr().err


def test_data_of_another_kind_are_refused(start, grown, capsys):
    with pytest.raises(InputError, match=r"ratings of 0\.5 to 5, but the data have ratings of"):
        compare(start, grown([("u003", "i119", 9.0)]))


def test_the_embedding_space_is_chosen_with_a_warm_start_only(capsys):
    assert main(["train", "--embedding-space", "keep", "--dataset", "none.csv"]) == 2
    assert "--embedding-space needs --warm-start" in capsys.readouterr().err


def test_a_finished_warm_start_keeps_its_lineage_until_it_is_exported(start, first, tmp_path):
    result = warm_start(start, first[1])
    training = FinishedTraining(result.model, first[1], "films", "2", {}, {}, lineage=result.lineage)
    save_training(training, tmp_path / "2.trained.npz")
    assert read_training(tmp_path / "2.trained.npz").lineage == result.lineage
