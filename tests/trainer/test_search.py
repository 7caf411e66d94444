"""The search for hyper-parameters."""

import sys
from dataclasses import replace

import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.errors import InputError, MissingExtraError
from cofactor_trainer.recipes import RECIPES
from cofactor_trainer.search import search
from cofactor_trainer.splits import random_split
from cofactor_trainer.training import train
from synthetic import make_dataset

# A rate far too low, which any search should leave behind.
RECIPE = replace(RECIPES["p7"], learning_rate=2e-4, batch_size=64, n_factors=8, epochs=2)


@pytest.fixture(scope="module")
def split():
    return random_split(make_dataset())


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna", reason="the search extra is not installed")


@pytest.mark.usefixtures("optuna")
def test_the_first_trial_is_the_recipe_and_the_best_is_no_worse(split):
    told = []
    trials = search(split, RECIPE, n_trials=8, seed=1, on_trial=lambda number, trial: told.append((number, trial)))
    assert [number for number, _ in told] == list(range(1, 9))
    first = told[0][1]
    assert first.settings == {
        "learning_rate": 2e-4,
        "weight_decay": 0.2,
        "epochs": 2,
        "batch_size": 64,
        "n_factors": 8,
    }
    assert first.loss == train(split.train, split.validation, RECIPE, seed=1).history[-1].validation_loss
    assert [trial.loss for trial in trials] == sorted(trial.loss for trial in trials)
    assert trials[0].loss < first.loss
    again = train(split.train, split.validation, replace(RECIPE, **trials[0].settings), seed=1)
    assert again.history[-1].validation_loss == trials[0].loss


@pytest.mark.usefixtures("optuna")
def test_a_study_goes_on_where_it_ended_and_keeps_to_its_recipe(split, tmp_path):
    study, told = tmp_path / "study.db", []
    first = search(split, RECIPE, n_trials=2, study=study)
    both = search(split, RECIPE, n_trials=3, study=study, on_trial=lambda number, _: told.append(number))
    assert told == [3]
    assert len(both) == 3
    assert min(trial.loss for trial in both) <= first[0].loss
    with pytest.raises(InputError, match="another recipe, seed or set of ratings"):
        search(split, replace(RECIPE, epochs=3), n_trials=4, study=study)


@pytest.mark.usefixtures("optuna")
def test_the_command_prints_flags_that_train_takes(capsys):
    flags = ["--recipe", "p7", "--epochs", "1", "--batch-size", "4096", "--factors", "8", "--device", "cpu"]
    assert main(["search", *flags, "--trials", "1"]) == 0
    said = capsys.readouterr().out
    assert "with --recipe p7 --learning-rate 0.005 --weight-decay 0.2 --epochs 1 --batch-size 4096 --factors 8" in said


def test_without_optuna_the_extra_is_named(split, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cofactor\[search\]'"):
        search(split, RECIPE, n_trials=1)
