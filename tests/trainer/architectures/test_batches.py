"""Batches of one rating are refused, because batch normalisation needs two."""

from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data.splits import random_split, split_by_mask
from cofactor_trainer.errors import RecipeError
from cofactor_trainer.training.hyperparameter_search import search_hyperparameters
from cofactor_trainer.training.lr_finder import find_learning_rate
from cofactor_trainer.training.train import train
from tests.support.synthetic import make_dataset


@pytest.mark.parametrize("recipe", ["p5", "p9"])
def test_a_batch_size_of_one_is_refused(recipe):
    recipe = replace(RECIPES[recipe], batch_size=1)
    with pytest.raises(RecipeError, match=r"batch_size is 1: recipe p. needs at least 2"):
        train(make_dataset(), None, recipe)
    with pytest.raises(RecipeError, match="batch_size is 1"):
        find_learning_rate(make_dataset(), recipe)


@pytest.mark.parametrize("recipe", ["p5", "best"])
def test_a_single_rating_is_refused(recipe):
    dataset = make_dataset()
    validates = [False, *[True] * (dataset.n_ratings - 1)]
    split = split_by_mask(dataset, np.array(validates))
    with pytest.raises(RecipeError, match="1 rating to train on: at least 2 are needed; lower --validation-fraction"):
        train(split.train, split.validation, RECIPES[recipe])


def test_a_search_refuses_a_batch_size_of_one():
    pytest.importorskip("optuna", reason="the search extra is not installed")
    with pytest.raises(RecipeError, match="batch_size is 1"):
        search_hyperparameters(random_split(make_dataset()), replace(RECIPES["p5"], batch_size=1), n_trials=1)


def test_steps_per_epoch_enlarges_a_batch_size_of_one():
    recipe = replace(RECIPES["dot-bias"], batch_size=1, epochs=1)
    dataset = make_dataset()
    assert recipe.batch_size_for(dataset.n_ratings) > 1
    assert len(train(dataset, None, recipe).history) == 1


def test_a_ranking_model_trains_with_one_user_per_batch():
    recipe = replace(RECIPES["ranking"], batch_size=1, epochs=1, n_factors=4)
    assert train(make_dataset(), None, recipe).history[0].train_loss > 0


@pytest.mark.parametrize("command", ["train", "lr-find", "evaluate"])
def test_the_command_reports_too_small_batches(command, tmp_path, capsys):
    path = tmp_path / "ratings.csv"
    path.write_text("user,item,rating\na,x,1\nb,x,2\na,y,3\nb,y,4\nc,x,5\n", encoding="utf-8")
    flags = ["--dataset", str(path), "--device", "cpu", "--recipe", "p5"]
    flags += ["--output", str(tmp_path)] if command == "train" else []
    assert main([command, *flags, "--batch-size", "1"]) == 2
    assert capsys.readouterr().err == "error: batch_size is 1: recipe p5 needs at least 2\n"
    assert main([command, *flags, "--validation-fraction", "0.9"]) == 2
    assert capsys.readouterr().err.startswith("error: 1 rating to train on")
