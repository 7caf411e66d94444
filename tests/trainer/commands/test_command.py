"""The command cofactor-train, end to end."""

import argparse
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.commands.split_flags import split_dataset
from cofactor_trainer.commands.two_trainings import manifest_metrics
from cofactor_trainer.data.rating_files import read_ratings
from cofactor_trainer.training.train import train
from tests.test_layers import import_graph


@pytest.fixture(scope="module")
def ratings(tmp_path_factory):
    random = np.random.default_rng(5)
    users, items = random.integers(0, 60, 2000), random.integers(0, 40, 2000)
    pairs = sorted(set(zip(users.tolist(), items.tolist(), strict=True)))
    lines = [f"u{u},i{i},{np.clip(round(3 + (u % 5 - 2) / 2 + (i % 7 - 3) / 3), 1, 5)}" for u, i in pairs]
    path = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    path.write_text("user_id,item_id,rating\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_train_prints_the_dataset_and_the_epochs_and_writes_a_version(ratings, tmp_path, capsys):
    flags = [
        "--dataset",
        str(ratings),
        "--output",
        str(tmp_path),
        "--name",
        "films",
        "--version",
        "7",
        "--factors",
        "8",
    ]
    checkpoint = tmp_path / "run.pt"
    # A weight decay that is given is used as it is, and the model is not mixed with biases alone.
    flags += ["--patience", "3", "--checkpoint", str(checkpoint), "--weight-decay", "2.25"]
    assert main([*flags, "--epochs", "3", "--batch-size", "64", "--device", "cpu"]) == 0
    assert checkpoint.is_file()
    output = capsys.readouterr().out
    assert re.search(r"dataset: ratings.csv, [\d,]+ ratings of 1 to 5 by 60 users of 40 items .* held out", output)
    assert re.search(r"epoch +train loss +validation loss +RMSE +time", output)
    rows = re.findall(r"^ +(\d) +(\d\.\d{4}) +(\d\.\d{4}) +(\d\.\d{4}) +[\d.]+ s$", output, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1][3]) == pytest.approx(float(rows[-1][2]) ** 0.5, abs=1e-4)
    manifest = json.loads((tmp_path / "films" / "7" / "manifest.json").read_text())
    assert manifest["metrics"]["mse"] == pytest.approx(float(rows[-1][2]), abs=1e-4)
    assert manifest["hyperparameters"]["n_factors"] == "8"
    assert manifest["hyperparameters"]["seed"] == "42"


def test_all_ratings_train_if_none_is_held_out(ratings):
    dataset = read_ratings(ratings)
    assert split_dataset(dataset, argparse.Namespace(validation_fraction=0.0, split_seed=1)) is None
    result = train(dataset, None, replace(RECIPES["dot-bias"], epochs=1))
    assert result.history[0].validation_loss is None
    assert set(manifest_metrics(result, None)) == {"train_loss"}


def test_a_version_has_no_ranking_metrics_if_no_held_out_rating_is_relevant(ratings, tmp_path, capsys, caplog):
    flags = ["--dataset", str(ratings), "--recipe", "ranking", "--scale", "0,20", "--epochs", "1", "--device", "cpu"]
    assert main([*flags, "--output", str(tmp_path), "--version", "1", "--factors", "8"]) == 0
    assert "the version has no ranking metrics: no held-out rating" in caplog.text
    manifest = json.loads((tmp_path / "ranking" / "1" / "manifest.json").read_text())
    assert set(manifest["metrics"]) == {"train_loss"}


def test_evaluate_leaves_out_ranking_metrics_if_no_held_out_rating_is_relevant(ratings, capsys):
    flags = ["--dataset", str(ratings), "--scale", "0,20", "--epochs", "1", "--device", "cpu"]
    assert main(["evaluate", *flags]) == 0
    output = capsys.readouterr().out
    assert "no ranking metrics: no held-out rating is relevant" in output
    assert re.search(r"RMSE\W+-\W+\d\.\d{4}\W+\d\.\d{4}", output)
    assert main(["evaluate", *flags, "--json"]) == 0
    measures = json.loads(capsys.readouterr().out)["measures"]
    assert measures["popularity"] == {}
    assert set(measures["dot-bias"]) == {"mse", "rmse", "mae"}


def test_sub_commands_do_not_import_each_other():
    names = ("evaluate", "export", "lr_find", "publish", "report", "search", "train")
    modules = {f"cofactor_trainer.commands.{name}" for name in names}
    graph = import_graph("trainer/cofactor_trainer")
    assert [module for module in modules if graph[module] & modules] == []
    assert modules <= graph.keys()
