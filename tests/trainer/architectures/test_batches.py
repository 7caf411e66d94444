"""Steps on single ratings, which batch normalisation cannot take."""

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
def test_one_rating_a_step_is_refused(recipe):
    recipe = replace(RECIPES[recipe], batch_size=1)
    with pytest.raises(RecipeError, match=r"batch_size is 1: recipe p. needs at least 2 ratings a step"):
        train(make_dataset(), None, recipe)
    with pytest.raises(RecipeError, match="batch_size is 1"):
        find_learning_rate(make_dataset(), recipe)


@pytest.mark.parametrize("recipe", ["p5", "best"])
def test_a_single_rating_trains_nothing(recipe):
    dataset = make_dataset()
    validates = [False, *[True] * (dataset.n_ratings - 1)]
    split = split_by_mask(dataset, np.array(validates))
    with pytest.raises(RecipeError, match="1 rating to train on: at least 2 are needed; let a smaller fraction"):
        train(split.train, split.validation, RECIPES[recipe])


def test_a_search_says_what_no_trial_could_mend():
    pytest.importorskip("optuna", reason="the search extra is not installed")
    with pytest.raises(RecipeError, match="batch_size is 1"):
        search_hyperparameters(random_split(make_dataset()), replace(RECIPES["p5"], batch_size=1), n_trials=1)


def test_larger_steps_make_up_for_a_small_batch_size():
    recipe = replace(RECIPES["dot-bias"], batch_size=1, epochs=1)
    dataset = make_dataset()
    assert recipe.batch_size_for(dataset.n_ratings) > 1
    assert len(train(dataset, None, recipe).history) == 1


def test_a_ranking_model_may_train_on_one_user_at_a_time():
    recipe = replace(RECIPES["ranking"], batch_size=1, epochs=1, n_factors=4)
    assert train(make_dataset(), None, recipe).history[0].train_loss > 0


@pytest.mark.parametrize("command", ["train", "lr-find", "evaluate"])
def test_the_command_names_what_is_too_small(command, tmp_path, capsys):
    path = tmp_path / "ratings.csv"
    path.write_text("user,item,rating\na,x,1\nb,x,2\na,y,3\nb,y,4\nc,x,5\n", encoding="utf-8")
    flags = ["--dataset", str(path), "--device", "cpu", "--recipe", "p5"]
    flags += ["--output", str(tmp_path)] if command == "train" else []
    assert main([command, *flags, "--batch-size", "1"]) == 2
    assert capsys.readouterr().err == "error: batch_size is 1: recipe p5 needs at least 2 ratings a step\n"
    assert main([command, *flags, "--validation-fraction", "0.9"]) == 2
    assert capsys.readouterr().err.startswith("error: 1 rating to train on")
