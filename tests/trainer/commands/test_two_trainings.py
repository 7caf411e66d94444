"""`cofactor-train train` measures on held-out ratings, then trains again on all ratings and exports that."""

import argparse
import io
import re

import numpy as np
import pytest
from rich.console import Console

from cofactor_trainer.__main__ import main
from cofactor_trainer.architectures.recipes import find_recipe
from cofactor_trainer.commands.parsers import add_parsers
from cofactor_trainer.commands.recipe_flags import recipe_from_flags
from cofactor_trainer.commands.two_trainings import Trainer, ranking_checkpoint, refit_checkpoint
from cofactor_trainer.data.rating_files import read_ratings
from cofactor_trainer.data.splits import random_split
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.training.console_observer import ConsoleObserver
from cofactor_trainer.training.train import train
from tests.support.version_contents import rated_pairs

OVERFITTING = ("--recipe", "p4", "--epochs", "40", "--batch-size", "16", "--learning-rate", "0.02", "--patience", "2")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Ratings with users and items that only one line has, so that a split makes some of both unknown."""
    random = np.random.default_rng(11)
    pairs = sorted({(int(u), int(i)) for u, i in zip(*random.integers(0, [[60], [40]], (2, 1500)), strict=True)})
    lines = [f"u{u},i{i},{1 + (u * 7 + i * 3) % 5}" for u, i in pairs]
    lines += [f"lonely{n},only{n},{1 + n % 5}" for n in range(20)]
    path = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    path.write_text("user_id,item_id,rating\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ratings(table):
    return read_ratings(table)


@pytest.fixture(scope="module")
def split(ratings):
    return random_split(ratings)


def flags(*words):
    return command_parser().parse_args(["train", "--epochs", "3", "--factors", "6", "--device", "cpu", *words])


def command_parser():
    parser = argparse.ArgumentParser()
    add_parsers(parser.add_subparsers())
    return parser


def train_version(ratings, split, *words):
    """Train as the command does -> what it exports, and what it prints."""
    arguments = flags(*words)
    console = Console(file=io.StringIO(), width=120)
    version = Trainer(console, recipe_from_flags(arguments), "cpu", arguments).train_version(ratings, split)
    return version, console.file.getvalue()


def assert_same_model(first, second):
    for name in ("user_factors", "user_bias", "item_factors", "item_bias"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name


@pytest.mark.parametrize("recipe", ["dot-bias", "neural-net", "ranking", "p5"])
def test_the_exported_model_is_trained_on_all_ratings(ratings, split, recipe):
    version, output = train_version(ratings, split, "--recipe", recipe)
    assert version.train_ratings is version.rated is ratings
    same, _ = train_version(ratings, None, "--recipe", recipe)
    assert_same_model(version.model, same.model)
    n_ratings, n_held_out = ratings.n_ratings, split.validation.n_ratings
    assert version.protocol.refitted
    assert version.protocol.text == (
        f"measured on {n_held_out:,} of {n_ratings:,} ratings, held out at random (seed 42); the exported model was "
        f"then trained on all {n_ratings:,}"
    )
    assert f"training on {n_ratings - n_held_out:,} ratings, measuring on {n_held_out:,} others\n" in output
    assert f"training again on all {n_ratings:,} ratings for 3 epochs, to export\n" in output


@pytest.mark.parametrize("recipe", ["dot-bias", "ranking"])
def test_two_trainings_side_by_side_give_the_same_version(ratings, split, recipe, monkeypatch):
    serial, _ = train_version(ratings, split, "--recipe", recipe)
    monkeypatch.setattr("cofactor_trainer.commands.two_trainings.FEWEST_SIDE_BY_SIDE", 0)
    monkeypatch.setattr("cofactor_trainer.commands.two_trainings.has_second_processor", lambda: True)
    parallel, output = train_version(ratings, split, "--recipe", recipe)
    assert_same_model(parallel.model, serial.model)
    assert parallel.metrics == serial.metrics
    assert f"on all {ratings.n_ratings:,} ratings for 3 epochs, in a second process\n" in output
    assert re.search(r"trained again: train loss \d\.\d{4} in epoch 3", output)
    _, output = train_version(ratings, split, "--recipe", recipe, "--patience", "3")
    assert "second process" not in output


def test_the_metrics_are_those_of_the_model_that_had_not_seen_the_held_out_ratings(ratings, split):
    refitted, _ = train_version(ratings, split)
    judged, output = train_version(ratings, split, "--export", "judged")
    assert refitted.metrics == judged.metrics
    assert [e.validation_loss for e in refitted.history] == [e.validation_loss for e in judged.history]
    assert not judged.protocol.refitted
    assert judged.protocol.text.endswith(f"exported model was trained on the other {split.train.n_ratings:,}")
    assert judged.train_ratings is split.train
    assert "training again" not in output


def test_a_model_trained_without_held_out_ratings_says_so(table, ratings, tmp_path, capsys):
    version, output = train_version(ratings, None)
    assert version.protocol.text == "measured on the ratings that the model was trained on"
    assert not version.protocol.refitted
    assert output.count("train loss") == 1
    words = ["--dataset", str(table), "--output", str(tmp_path), "--validation-fraction", "0", "--export", "judged"]
    assert main(words) == 2
    assert "--export judged needs held-out ratings" in capsys.readouterr().err


def test_the_second_training_has_as_many_epochs_as_the_best_of_the_first(ratings, split):
    version, output = train_version(ratings, split, *OVERFITTING)
    losses = [epoch.validation_loss for epoch in version.history]
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 2 < 40
    second = output.split(f"training again on all {ratings.n_ratings:,} ratings for {best} epochs")[1]
    assert [int(n) for n in re.findall(r"^ +(\d+) +\d\.\d{4} +- +- ", second, re.MULTILINE)] == [*range(1, best + 1)]


def test_a_shorter_training_follows_the_schedule_of_the_whole_one(ratings):
    recipe = find_recipe("p5")
    whole = train(ratings, None, recipe).history
    first = train(ratings, None, recipe, n_epochs=2)
    assert [epoch.train_loss for epoch in first.history] == [epoch.train_loss for epoch in whole[:2]]
    assert first.best_epoch == 2


# Each training has 3 epochs of the rating part, then 15 of the ranking part.
@pytest.mark.parametrize(
    ("killed_in", "after"),
    [("first", 2), ("first, ranking", 8), ("between", 18), ("second", 20), ("second, ranking", 25)],
)
def test_a_run_killed_in_either_training_resumes_to_the_same_model(
    ratings, split, tmp_path, killed_in, after, monkeypatch
):
    whole, _ = train_version(ratings, split)
    checkpoint = tmp_path / "run.pt"
    words = ("--checkpoint", str(checkpoint))
    _interrupt(monkeypatch, after)
    with pytest.raises(KeyboardInterrupt):
        train_version(ratings, split, *words)
    monkeypatch.undo()
    assert refit_checkpoint(checkpoint).exists() == killed_in.startswith("second")
    assert ranking_checkpoint(checkpoint).exists() == (killed_in != "first")
    # Each of the 36 epochs is trained once in all.
    seen = _interrupt(monkeypatch, 36 - after + 1)
    resumed, _ = train_version(ratings, split, *words, "--resume")
    assert len(seen) == 36 - after
    assert resumed.metrics == whole.metrics
    assert_same_model(resumed.model, whole.model)


def _interrupt(monkeypatch, n_epochs):
    """Interrupt the process after so many epochs, of all trainings together -> the results of the epochs so far."""
    show, seen = ConsoleObserver.on_epoch, []

    def on_epoch(self, result):
        show(self, result)
        seen.append(result)
        if len(seen) == n_epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(ConsoleObserver, "on_epoch", on_epoch)
    return seen


def test_a_new_run_does_not_continue_the_second_training_of_an_earlier_one(ratings, split, tmp_path, monkeypatch):
    words = ("--checkpoint", str(tmp_path / "run.pt"))
    train_version(ratings, split, *words)
    other = ("--recipe", "p5", *words)
    _interrupt(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        train_version(ratings, split, *other)
    monkeypatch.undo()
    resumed, _ = train_version(ratings, split, *other, "--resume")
    whole, _ = train_version(ratings, split, "--recipe", "p5")
    assert_same_model(resumed.model, whole.model)


@pytest.mark.parametrize("export", ["refitted", "judged"])
def test_a_version_leaves_out_every_rated_item_and_is_judged_only_on_ratings_it_has_not_seen(
    table, split, tmp_path, export, capsys
):
    words = ["--dataset", str(table), "--recipe", "fast", "--epochs", "1", "--factors", "4", "--device", "cpu"]
    assert main([*words, "--output", str(tmp_path), "--name", "m", "--version", "1", "--export", export]) == 0
    version = read_version(tmp_path / "m" / "1")
    assert f"metrics: {version.manifest.metrics_protocol}\n" in capsys.readouterr().out
    assert version.manifest.refitted == (export == "refitted")
    rated = {tuple(line.split(",")[:2]) for line in table.read_text(encoding="utf-8").splitlines()[1:]}
    if export == "judged":
        users, items = set(split.train.user_ids), set(split.train.catalogue.item_ids)
        rated = {(user, item) for user, item in rated if user in users and item in items}
        assert len(rated) > version.manifest.rating_count == split.train.n_ratings
    assert rated_pairs(version) == rated

    page = tmp_path / "report.html"
    assert main(["report", str(version.path), "--html", str(page), "--dataset", str(table)]) == 0
    html = page.read_text(encoding="utf-8")
    # The errors are those that the judged model had, also after it was trained again.
    assert "<h2>Error by rating</h2>" in html
    assert version.manifest.metrics_protocol in html
