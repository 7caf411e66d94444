"""No flag is accepted and ignored."""

from dataclasses import replace

import pandas as pd
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data.splits import random_split
from cofactor_trainer.errors import RecipeError
from cofactor_trainer.training.hyperparameter_search import search_hyperparameters
from cofactor_trainer.training.lr_finder import find_learning_rate
from cofactor_trainer.training.train import train
from tests.support.synthetic import make_dataset, with_profiles

RATINGS = "user_id,item_id,rating\nann,film,4\nann,book,3\nbob,film,5\nbob,song,1\ncid,book,2\n"
FILE_FLAGS = (
    ("--columns", "user_id,item_id,rating"),
    ("--encoding", "latin-1"),
    ("--items", "items.csv"),
    ("--users", "users.csv"),
    ("--scale", "0,10"),
)
BY_TITLE = ("--by-title",)


@pytest.fixture
def working_directory(tmp_path, monkeypatch):
    """Write ratings to a folder, a text file and a Parquet file in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ml-small").mkdir()
    (tmp_path / "ml-small" / "ratings.csv").write_text(
        RATINGS.replace("user_id,item_id", "userId,movieId"), encoding="utf-8"
    )
    (tmp_path / "ratings.csv").write_text(RATINGS, encoding="utf-8")
    pd.DataFrame([line.split(",") for line in RATINGS.splitlines()[1:]], columns=["user", "item", "rating"]).astype(
        {"rating": float}
    ).to_parquet(tmp_path / "ratings.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("dataset", "flags", "named"),
    [
        *(("ml-latest-small", flags, "ml-latest-small") for flags in (*FILE_FLAGS, BY_TITLE)),
        *(("ml-100k", flags, "ml-100k") for flags in FILE_FLAGS),
        ("ml-1m", BY_TITLE, "ml-1m"),
        *(("ml-small", flags, "the directory ml-small") for flags in FILE_FLAGS),
        ("ratings.csv", BY_TITLE, "the file ratings.csv"),
        ("ratings.parquet", BY_TITLE, "the file ratings.parquet"),
        ("ratings.parquet", ("--encoding", "latin-1"), "Parquet"),
    ],
)
@pytest.mark.usefixtures("working_directory")
def test_a_flag_without_effect_is_refused(dataset, flags, named, monkeypatch, capsys):
    monkeypatch.setattr("cofactor_trainer.commands.dataset_flags.fetch", None)
    assert main(["train", "--dataset", dataset, *flags]) == 2
    assert capsys.readouterr().err == f"error: {flags[0]} does not apply to {named}: leave it out\n"


def test_the_flags_for_files_are_used(working_directory, capsys):
    (working_directory / "items.csv").write_bytes("item,title\nfilm,Café\n".encode("latin-1"))
    flags = ["--recipe", "p5", "--epochs", "1", "--device", "cpu", "--rating-range", "0,10", "--encoding", "latin-1"]
    assert main(["evaluate", *flags, "--dataset", "ratings.parquet", "--items", "items.csv", "--scale", "0,10"]) == 0
    assert "5 ratings of 0 to 10 by 3 users" in capsys.readouterr().out


MISFIT = replace(RECIPES["p5"], name="misfit", rating_range=(0.0, 0.5), epochs=1)


def test_the_learning_rate_finder_needs_permission_for_a_misfit_range():
    dataset = make_dataset()
    with pytest.raises(RecipeError, match="--allow-misfit-range to train regardless"):
        find_learning_rate(dataset, MISFIT)
    assert find_learning_rate(dataset, MISFIT, n_steps=10, allow_misfit_range=True).suggestion > 0


def test_the_search_needs_permission_for_a_misfit_range():
    pytest.importorskip("optuna", reason="the search extra is not installed")
    split = random_split(make_dataset())
    with pytest.raises(RecipeError, match="--allow-misfit-range to train regardless"):
        search_hyperparameters(split, MISFIT, n_trials=1)
    assert len(search_hyperparameters(split, MISFIT, n_trials=1, allow_misfit_range=True)) == 1


def test_a_blend_needs_permission_for_a_misfit_range():
    dataset = with_profiles(make_dataset(40, 30))
    recipe = replace(RECIPES["best"], epochs=21, n_factors=4, rating_range=(2.0, 4.0))
    with pytest.raises(RecipeError, match="--allow-misfit-range to train regardless"):
        train(dataset, None, recipe)
    assert train(dataset, None, recipe, allow_misfit_range=True).model.rating_range == (2.0, 4.0)


@pytest.mark.usefixtures("working_directory")
@pytest.mark.parametrize("command", ["lr-find", "search"])
def test_the_commands_accept_a_permitted_misfit_range(command, capsys):
    if command == "search":
        pytest.importorskip("optuna", reason="the search extra is not installed")
    flags = ["--dataset", "ratings.csv", "--recipe", "p11", "--batch-size", "64", "--device", "cpu", "--epochs", "1"]
    flags += ["--steps", "10"] if command == "lr-find" else ["--trials", "1"]
    assert main([command, *flags]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main([command, *flags, "--allow-misfit-range"]) == 0
