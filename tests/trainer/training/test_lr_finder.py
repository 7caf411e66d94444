"""The learning-rate range test suggests a rate that trains well."""

from dataclasses import replace

import pytest
import torch

from cofactor_trainer.__main__ import main
from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data.movielens import load_embedded_small
from cofactor_trainer.data.splits import random_split
from cofactor_trainer.training.lr_finder import HIGHEST, LOWEST, find_learning_rate
from cofactor_trainer.training.train import train
from tests.support.synthetic import make_dataset

RECIPE = replace(RECIPES["p7"], batch_size=512)


@pytest.fixture(scope="module")
def split():
    return random_split(load_embedded_small())


def test_rates_rise_until_the_loss_diverges(split):
    curve = find_learning_rate(split.train, RECIPE)
    assert curve.rates[0] == pytest.approx(LOWEST)
    assert list(curve.rates) == sorted(curve.rates)
    assert curve.rates[-1] <= HIGHEST
    assert len(curve.losses) == len(curve.rates)
    assert min(curve.losses) < curve.losses[0]
    assert curve.losses[-1] > min(curve.losses)
    assert curve.suggestion == pytest.approx(curve.rates[curve.losses.index(min(curve.losses))] / 10)


def test_the_suggestion_trains_better_than_a_tenth_or_ten_times_of_it(split):
    suggestion = find_learning_rate(split.train, RECIPE).suggestion
    losses = [
        train(split.train, split.validation, replace(RECIPE, learning_rate=suggestion * factor))
        .history[-1]
        .validation_loss
        for factor in (0.1, 1, 10)
    ]
    assert losses[1] == min(losses)


def test_a_range_test_is_reproducible_and_leaves_the_callers_random_numbers_alone():
    ratings = make_dataset()
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    assert find_learning_rate(ratings, RECIPE) == find_learning_rate(ratings, RECIPE)
    assert torch.equal(torch.rand(2), expected)


def test_the_command_prints_and_plots_the_curve_and_suggests_a_rate(tmp_path, capsys):
    plot = tmp_path / "curve.html"
    flags = ["--recipe", "p7", "--batch-size", "512", "--device", "cpu", "--steps", "60"]
    assert main(["lr-find", *flags, "--plot", str(plot)]) == 0
    output = capsys.readouterr().out
    assert "learning rate      loss" in output
    assert "suggestion: --learning-rate" in output
    page = plot.read_text(encoding="utf-8")
    assert "Learning-rate range test of p7" in page
    assert 'src="http' not in page
    assert main(["lr-find", *flags[:-1], "5"]) == 2
    assert "--steps is 5" in capsys.readouterr().err
