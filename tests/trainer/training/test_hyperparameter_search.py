"""The search for hyper-parameters finds better ones, and continues an interrupted study."""

import sys
from dataclasses import replace

import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data.splits import random_split
from cofactor_trainer.errors import InputError, MissingExtraError
from cofactor_trainer.training.hyperparameter_search import search_hyperparameters
from cofactor_trainer.training.train import train
from tests.support.synthetic import make_dataset

# Its learning rate is far too low, so that any search finds a better one.
RECIPE = replace(RECIPES["p7"], learning_rate=2e-4, batch_size=64, n_factors=8, epochs=2)


@pytest.fixture(scope="module")
def split():
    return random_split(make_dataset())


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna", reason="the search extra is not installed")


@pytest.mark.usefixtures("optuna")
def test_the_first_trial_is_the_recipe_and_the_best_is_no_worse(split):
    new_trials = []
    trials = search_hyperparameters(split, RECIPE, n_trials=8, seed=1, on_trial=lambda *new: new_trials.append(new))
    assert [number for number, _ in new_trials] == list(range(1, 9))
    first = new_trials[0][1]
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
def test_a_study_continues_and_is_refused_for_another_recipe(split, tmp_path):
    study, numbers = tmp_path / "study.db", []
    first = search_hyperparameters(split, RECIPE, n_trials=2, study=study)
    both = search_hyperparameters(
        split, RECIPE, n_trials=3, study=study, on_trial=lambda number, _: numbers.append(number)
    )
    assert numbers == [3]
    assert len(both) == 3
    assert min(trial.loss for trial in both) <= first[0].loss
    with pytest.raises(InputError, match="another recipe, seed, split or set of ratings"):
        search_hyperparameters(split, replace(RECIPE, epochs=3), n_trials=4, study=study)


@pytest.mark.usefixtures("optuna")
def test_a_study_is_refused_for_another_split_or_other_ratings(split, tmp_path):
    search_hyperparameters(split, RECIPE, n_trials=1, study=tmp_path / "study.db")
    other = random_split(make_dataset(), seed=43)
    assert other.train.n_ratings == split.train.n_ratings
    with pytest.raises(InputError, match="another recipe, seed, split or set of ratings"):
        search_hyperparameters(other, RECIPE, n_trials=2, study=tmp_path / "study.db")
    rated = split.validation.ratings.copy()
    rated[0] = 5.5 - rated[0]
    with pytest.raises(InputError, match="another recipe, seed, split or set of ratings"):
        search_hyperparameters(
            replace(split, validation=replace(split.validation, ratings=rated)),
            RECIPE,
            n_trials=2,
            study=tmp_path / "study.db",
        )


@pytest.mark.usefixtures("optuna")
def test_a_continued_study_tries_new_settings(split, tmp_path):
    for n_trials in (2, 3, 4):
        trials = search_hyperparameters(split, RECIPE, n_trials=n_trials, study=tmp_path / "study.db")
    assert len({trial.settings["learning_rate"] for trial in trials}) == 4


@pytest.mark.usefixtures("optuna")
def test_a_file_that_is_not_a_study_is_named(split, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no database\n" * 99, encoding="utf-8")
    for path in (text, tmp_path / "nowhere" / "study.db"):
        with pytest.raises(InputError, match=rf"^{path}: cannot be used as a study \(.+\): .*--study$"):
            search_hyperparameters(split, RECIPE, n_trials=1, study=path)


@pytest.mark.usefixtures("optuna")
def test_the_command_prints_flags_that_train_takes(capsys):
    flags = ["--recipe", "p7", "--epochs", "1", "--batch-size", "4096", "--factors", "8", "--device", "cpu"]
    assert main(["search", *flags, "--trials", "1"]) == 0
    printed = capsys.readouterr().out
    assert (
        "with --recipe p7 --learning-rate 0.005 --weight-decay 0.2 --epochs 1 --batch-size 4096 --factors 8" in printed
    )


def test_without_optuna_the_extra_is_named(split, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cofactor\[search\]'"):
        search_hyperparameters(split, RECIPE, n_trials=1)
