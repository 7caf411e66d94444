"""An interrupted run resumes to the same result, and early stopping keeps the best epoch."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.architectures.recipes import RECIPES, Recipe
from cofactor_trainer.data.movielens import load_embedded_small
from cofactor_trainer.data.splits import random_split
from cofactor_trainer.errors import InputError, RecipeError
from cofactor_trainer.evaluation.metrics import mean_squared_error
from cofactor_trainer.scoring.numpy_scorer import predict_ratings
from cofactor_trainer.training.checkpoints import run_fingerprint
from cofactor_trainer.training.train import train
from tests.support.synthetic import make_dataset, with_profiles

NET = Recipe(
    "net",
    "neural-network",
    n_factors=8,
    rating_range="auto",
    hidden_layers=(8,),
    embedding_dropout=0.3,
    epochs=4,
    batch_size=512,
)
DOT = replace(RECIPES["dot-bias"], epochs=4)

# Trains in a separate process and prints the number of every epoch whose checkpoint is written.
CHILD = """
import sys
from pathlib import Path
from cofactor_trainer.data.movielens import load_embedded_small
from cofactor_trainer.data.splits import random_split
from cofactor_trainer.training.train import train
from cofactor_trainer.architectures.recipes import Recipe

class Recorder:
    def on_progress(self, trained, total): pass
    def on_epoch(self, result): print(result.epoch, flush=True)

split = random_split(load_embedded_small())
train(split.train, split.validation, eval(sys.argv[2]), seed=5, observer=Recorder(), checkpoint=Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def small():
    return random_split(load_embedded_small())


@pytest.fixture(scope="module")
def split():
    return random_split(make_dataset())


def assert_same_model(first, second):
    for name in ("user_factors", "user_bias", "item_factors", "item_bias"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    for layer, other in zip(first.layers, second.layers, strict=True):
        assert np.array_equal(layer.weight, other.weight)
        assert np.array_equal(layer.bias, other.bias)


@pytest.mark.parametrize("recipe", [DOT, NET], ids=["dot", "net"])
def test_a_killed_run_resumes_to_the_same_result(recipe, small, tmp_path):
    recipe = replace(recipe, epochs=15)  # enough for the signal to come in the middle
    checkpoint = tmp_path / "run.pt"
    command = [sys.executable, "-c", CHILD, str(checkpoint), repr(recipe)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert [child.stdout.readline() for _ in range(2)] == ["1\n", "2\n"]
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    whole = train(small.train, small.validation, recipe, seed=5)
    epochs = []
    resumed = train(
        small.train, small.validation, recipe, seed=5, checkpoint=checkpoint, resume=True, observer=_Recorder(epochs)
    )
    assert epochs
    assert epochs[0].epoch >= 3
    assert [e.validation_loss for e in resumed.history] == [e.validation_loss for e in whole.history]
    assert [e.train_loss for e in resumed.history] == [e.train_loss for e in whole.history]
    assert_same_model(resumed.model, whole.model)


class _Recorder:
    def __init__(self, epochs):
        self._epochs = epochs

    def on_progress(self, trained, total):
        pass

    def on_epoch(self, result):
        self._epochs.append(result)


def test_a_finished_run_resumes_to_its_result_without_training(split, tmp_path):
    path = tmp_path / "run.pt"
    first = train(split.train, split.validation, NET, checkpoint=path)
    second = train(split.train, split.validation, NET, checkpoint=path, resume=True)
    assert second.history == first.history
    assert_same_model(first.model, second.model)


@pytest.mark.parametrize(
    "change",
    [lambda r, s: (replace(r, weight_decay=0.3), s), lambda r, s: (r, s + 1)],
    ids=["another recipe", "another seed"],
)
def test_a_checkpoint_of_another_run_is_refused(change, split, tmp_path):
    path = tmp_path / "run.pt"
    train(split.train, None, DOT, seed=1, checkpoint=path)
    recipe, seed = change(DOT, 1)
    with pytest.raises(InputError, match="another recipe, seed or set of ratings"):
        train(split.train, None, recipe, seed=seed, checkpoint=path, resume=True)


def test_a_checkpoint_of_other_ratings_is_refused(split, tmp_path):
    path = tmp_path / "run.pt"
    train(split.train, None, DOT, checkpoint=path)
    ratings = split.train.ratings.copy()
    ratings[7] = 5.5 - ratings[7]
    with pytest.raises(InputError, match="another recipe, seed or set of ratings"):
        train(replace(split.train, ratings=ratings), None, DOT, checkpoint=path, resume=True)


def test_a_checkpoint_of_another_scale_is_refused(split, tmp_path):
    path = tmp_path / "run.pt"
    train(split.train, None, DOT, checkpoint=path)
    with pytest.raises(InputError, match="scale, items and users included"):
        train(replace(split.train, rating_max=10.0), None, DOT, checkpoint=path, resume=True)


def other_genres(ratings):
    genres = [("Western",) if "Drama" in names else names for names in ratings.catalogue.genres]
    return replace(ratings, catalogue=replace(ratings.catalogue, genres=genres))


def swapped_genres(ratings):
    genres = [ratings.catalogue.genres[1], ratings.catalogue.genres[0], *ratings.catalogue.genres[2:]]
    return replace(ratings, catalogue=replace(ratings.catalogue, genres=genres))


@pytest.mark.parametrize("other", [with_profiles, other_genres, swapped_genres])
def test_a_checkpoint_of_other_side_information_is_refused_if_the_recipe_uses_it(other, split, tmp_path):
    path = tmp_path / "run.pt"
    train(split.train, None, DOT, checkpoint=path)
    with pytest.raises(InputError, match="scale, items and users included"):
        train(other(split.train), None, DOT, checkpoint=path, resume=True)
    train(split.train, None, NET, checkpoint=path)
    first = train(split.train, None, NET)
    assert_same_model(train(other(split.train), None, NET, checkpoint=path, resume=True).model, first.model)


def test_the_fingerprint_of_a_blend_includes_side_information(split):
    first, second = (run_fingerprint(RECIPES["best"], 1, part) for part in (split.train, swapped_genres(split.train)))
    assert first != second


def test_a_checkpoint_that_cannot_be_written_is_named(split, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.pt: the checkpoint cannot be written \(.+\): .*--checkpoint"):
        train(split.train, None, DOT, checkpoint=tmp_path / "file" / "run.pt")


@pytest.mark.parametrize("damage", ["truncated", "text", "pickle", "missing"])
def test_a_damaged_checkpoint_is_refused(damage, split, tmp_path):
    path = tmp_path / "run.pt"
    train(split.train, None, DOT, checkpoint=path)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {"truncated": content[: len(content) // 2], "text": b"hello", "pickle": b"cos\nsystem\n."}[damage]
        )
    with pytest.raises(InputError, match=r"(without|leave out) --resume"):
        train(split.train, None, DOT, checkpoint=path, resume=True)


# Overfits the noise of the synthetic ratings, so that the validation loss rises again.
OVERFITTING = replace(RECIPES["p4"], epochs=30, batch_size=16, rating_range=(0.0, 5.5), learning_rate=2e-2)


def test_early_stopping_stops_and_keeps_the_best_epoch(split, tmp_path):
    whole = train(split.train, split.validation, OVERFITTING).history
    losses = [epoch.validation_loss for epoch in whole]
    best = min(losses[:-3])
    stopped = train(split.train, split.validation, OVERFITTING, patience=3, checkpoint=tmp_path / "run.pt")
    seen = [epoch.validation_loss for epoch in stopped.history]
    assert len(seen) < OVERFITTING.epochs
    assert seen == losses[: len(seen)]
    assert len(seen) - (seen.index(min(seen)) + 1) == 3
    kept = mean_squared_error(predict_ratings(stopped.model, split.validation), split.validation.ratings)
    assert kept == pytest.approx(min(seen)) != pytest.approx(seen[-1])
    assert best == min(seen)
    again = train(split.train, split.validation, OVERFITTING, patience=3, checkpoint=tmp_path / "run.pt", resume=True)
    assert_same_model(again.model, stopped.model)


def test_a_run_started_without_patience_cannot_resume_with_it(split, tmp_path):
    path = tmp_path / "run.pt"
    train(split.train, split.validation, OVERFITTING, checkpoint=path)
    with pytest.raises(InputError, match="leave out --patience, or start over without --resume"):
        train(split.train, split.validation, OVERFITTING, patience=3, checkpoint=path, resume=True)


def test_a_run_resumed_without_patience_ends_with_its_last_epoch(split, tmp_path):
    path = tmp_path / "run.pt"
    whole = train(split.train, split.validation, OVERFITTING)
    stopped = train(split.train, split.validation, OVERFITTING, patience=3, checkpoint=path)
    assert len(stopped.history) < len(whole.history)
    resumed = train(split.train, split.validation, OVERFITTING, checkpoint=path, resume=True)
    assert len(resumed.history) == len(whole.history)
    assert_same_model(resumed.model, whole.model)


def test_early_stopping_needs_held_out_ratings(split):
    with pytest.raises(RecipeError, match="early stopping"):
        train(split.train, None, DOT, patience=2)


def test_the_command_resumes_and_refuses_resume_without_a_checkpoint(tmp_path, capsys):
    flags = ["train", "--recipe", "dot-bias", "--epochs", "2", "--output", str(tmp_path), "--device", "cpu"]
    assert main([*flags, "--resume"]) == 2
    assert "--resume needs --checkpoint" in capsys.readouterr().err
    assert main([*flags, "--resume", "--checkpoint", str(tmp_path / "none.pt")]) == 2
    assert "there is no checkpoint to resume from" in capsys.readouterr().err
