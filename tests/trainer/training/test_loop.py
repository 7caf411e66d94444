"""Training is reproducible, reaches its targets, and the collapsed model predicts the same as the trained one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cofactor_trainer.architectures import dot_product
from cofactor_trainer.architectures.factory import build_model
from cofactor_trainer.architectures.optimizer import DecayGroup, FlatAdamW, one_cycle
from cofactor_trainer.architectures.recipes import RECIPES, Recipe, embedding_size, resolve_range
from cofactor_trainer.data.movielens import load_embedded_small
from cofactor_trainer.data.splits import random_split
from cofactor_trainer.errors import RecipeError, TrainerError
from cofactor_trainer.scoring.numpy_scorer import predict_ratings
from cofactor_trainer.training.train import train
from tests.support.synthetic import make_dataset

FAMILIES = {
    "plain": Recipe("plain", "dot-product", n_factors=6, rating_range=None),
    "range": Recipe("range", "dot-product", n_factors=6, rating_range="auto"),
    "bias": Recipe("bias", "dot-product-bias", n_factors=6, rating_range="auto", centred=True, bias_weight_decay=0.01),
    "net": Recipe(
        "net", "neural-network", n_factors=None, rating_range="auto", hidden_layers=(12, 6), embedding_dropout=0.2
    ),
    "net without norm": Recipe(
        "norm", "neural-network", n_factors=5, hidden_layers=(8,), batch_norm=False, hidden_dropout=0.5
    ),
}
family = pytest.mark.parametrize("recipe", FAMILIES.values(), ids=FAMILIES.keys())


@pytest.fixture(scope="module")
def split():
    return random_split(make_dataset())


@family
def test_the_same_seed_gives_the_same_model_bit_for_bit(split, recipe):
    first, second = (train(split.train, split.validation, recipe, seed=3).model for _ in range(2))
    other = train(split.train, split.validation, recipe, seed=4).model
    for name in ("user_factors", "user_bias", "item_factors", "item_bias"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    for layer, same in zip(first.layers, second.layers, strict=True):
        assert np.array_equal(layer.weight, same.weight)
        assert np.array_equal(layer.bias, same.bias)
    assert not np.array_equal(first.user_factors, other.user_factors)


def test_training_leaves_the_callers_random_numbers_alone(split):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train(split.train, None, FAMILIES["bias"], seed=3)
    assert torch.equal(torch.rand(3), expected)


@family
def test_the_collapsed_model_predicts_the_same_as_the_training_model(split, recipe):
    torch.manual_seed(0)
    model = build_model(recipe, split.train, resolve_range(recipe, split.train))
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    with torch.no_grad():
        users, items = torch.from_numpy(split.train.user_rows), torch.from_numpy(split.train.item_rows)
        model.train()
        model.logits(users, items)  # moves the running statistics of batch normalisation
        model.eval()
        expected = model.ratings(model.logits(users, items))
        folded = model.fold(split.train)
    np.testing.assert_allclose(predict_ratings(folded, split.train), expected.numpy(), atol=2e-5)


@family
def test_unknown_rows_are_the_means_of_the_users_and_of_the_rare_items(split, recipe):
    collapsed = train(split.train, None, replace(recipe, epochs=1)).model
    counts = split.train.item_rating_counts()
    rare = counts <= max(2, counts.min())
    for rows, mean_of in ((collapsed.user_factors, slice(None)), (collapsed.user_bias, slice(None))):
        np.testing.assert_allclose(rows[-1], rows[:-1][mean_of].mean(0), atol=1e-6)
    for rows in (collapsed.item_factors, collapsed.item_bias):
        np.testing.assert_allclose(rows[-1], rows[:-1][rare].mean(0), atol=1e-6)


@pytest.mark.parametrize("name", ["plain", "range", "bias"])
@pytest.mark.parametrize("n_slices", [1, 4])
def test_the_closed_form_gradient_equals_that_of_autograd(split, name, n_slices, monkeypatch):
    monkeypatch.setattr(dot_product, "_CACHED_RATINGS", 49 // n_slices + 1)
    recipe = FAMILIES[name]
    torch.manual_seed(0)
    model = build_model(recipe, split.train, resolve_range(recipe, split.train))
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.5
        parameter.grad = torch.zeros_like(parameter)
    batch = slice(0, 50)
    users, items = torch.from_numpy(split.train.user_rows)[batch], torch.from_numpy(split.train.item_rows)[batch]
    ratings = torch.from_numpy(split.train.ratings)[batch]
    loss = model.accumulate_gradient(users, items, ratings)
    closed = [parameter.grad.clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = None
    expected_loss = torch.nn.functional.mse_loss(model.ratings(model.logits(users, items)), ratings)
    expected_loss.backward()
    torch.testing.assert_close(loss, expected_loss.detach())
    for gradient, parameter in zip(closed, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-6, rtol=1e-4)


def test_flat_adamw_takes_the_same_steps_as_torch():
    def parameters():
        torch.manual_seed(0)
        return [torch.nn.Parameter(torch.randn(4, 3)), torch.nn.Parameter(torch.randn(5))]

    ours, theirs = parameters(), parameters()
    flat = FlatAdamW([DecayGroup([ours[0]], 0.1), DecayGroup([ours[1]], 0.0)])
    groups = [{"params": [theirs[0]], "weight_decay": 0.1}, {"params": [theirs[1]], "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.99), eps=1e-5)
    for _ in range(5):
        flat.zero_grad()
        reference.zero_grad()
        for parts in (ours, theirs):
            ((parts[0] ** 2).sum() + (parts[1] ** 3).sum()).backward()
        flat.step(0.01, 0.9)
        reference.step()
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.data, expected.data)


def test_one_cycle_starts_low_peaks_after_a_quarter_and_ends_near_zero():
    assert one_cycle(0.0, 1.0) == pytest.approx((1 / 25, 0.95))
    assert one_cycle(0.25, 1.0) == pytest.approx((1.0, 0.85))
    assert one_cycle(1.0, 1.0) == pytest.approx((1e-5, 0.95))
    assert one_cycle(0.125, 1.0)[0] == pytest.approx((1 / 25 + 1) / 2)


def test_embedding_sizes_are_the_published_ones():
    assert (embedding_size(944), embedding_size(1665)) == (74, 102)


def test_a_range_that_does_not_hold_the_ratings_is_refused_unless_allowed(split):
    with pytest.raises(RecipeError, match=r"does not hold the ratings.*--rating-range"):
        train(split.train, None, RECIPES["p11"])
    stuck = train(split.train, split.validation, RECIPES["p11"], allow_misfit_range=True)
    assert stuck.history[-1].validation_loss > 4


def test_a_diverging_loss_is_an_error_with_a_remedy(split):
    with pytest.raises(TrainerError, match="lower the learning rate"):
        train(split.train, None, replace(FAMILIES["plain"], learning_rate=1e30))


def test_an_observer_receives_all_progress_and_every_epoch(split):
    class Recorder:
        def __init__(self):
            self.progress, self.epochs = [], []

        def on_progress(self, trained, total):
            self.progress.append((trained, total))

        def on_epoch(self, result):
            self.epochs.append(result)

    recorder = Recorder()
    result = train(split.train, split.validation, FAMILIES["bias"], observer=recorder)
    assert tuple(recorder.epochs) == result.history
    assert [epoch.epoch for epoch in recorder.epochs] == [1, 2, 3, 4, 5]
    assert recorder.epochs[-1].rmse == pytest.approx(recorder.epochs[-1].validation_loss ** 0.5)
    assert recorder.progress[-1][0] == recorder.progress[-1][1] == 5 * split.train.n_ratings


@pytest.mark.parametrize(("name", "target"), [("dot-bias", 0.750), ("p7", 0.765)])
def test_recipes_reach_their_target_on_movielens_small(name, target):
    split = random_split(load_embedded_small())
    result = train(split.train, split.validation, RECIPES[name])
    assert result.history[-1].validation_loss <= target
    assert result.history[-1].train_loss < result.history[0].train_loss
