"""The ranking model learns tastes, collapses to plain vectors, and its sampled softmax estimates the full one."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from cofactor_trainer.__main__ import main
from cofactor_trainer.architectures import sampled_softmax, softmax_ranking
from cofactor_trainer.architectures.batches import rating_tensors, user_batches
from cofactor_trainer.architectures.factory import build_model
from cofactor_trainer.architectures.optimizer import FlatAdamW
from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data.splits import per_user_split
from cofactor_trainer.evaluation import validation_loss as losses
from cofactor_trainer.evaluation.evaluate import evaluate_ranking
from cofactor_trainer.evaluation.validation_loss import validation_loss
from cofactor_trainer.scoring.numpy_scorer import predict_all_logits
from cofactor_trainer.scoring.ranking_part import mean_ranking, reduce_rank
from cofactor_trainer.training.train import train
from tests.support.synthetic import make_dataset, make_model

RECIPE = replace(RECIPES["ranking"], n_factors=16, batch_size=16)


@pytest.fixture(scope="module")
def tastes():
    """Half of the users rate only even items, the others only odd ones; there is nothing else to learn."""
    dataset = make_dataset(120, 60, ratings_per_user=16)
    items = dataset.item_rows - (dataset.item_rows + dataset.user_rows) % 2
    items = np.where(items < 0, 1, items)
    keep = np.sort(np.unique(np.stack([dataset.user_rows, items]), axis=1, return_index=True)[1])
    columns = {"user_rows": dataset.user_rows[keep], "item_rows": items[keep]}
    return per_user_split(replace(dataset, **columns, ratings=np.full(len(keep), 4.5, np.float32)), seed=1)


def test_items_that_similar_users_rated_score_highest(tastes):
    model = train(tastes.train, tastes.validation, RECIPE, seed=1).model
    scores = predict_all_logits(model, np.arange(tastes.train.n_users))
    parities = np.array([int(item_id[1:]) % 2 for item_id in tastes.train.catalogue.item_ids])
    users = np.array([int(user_id[1:]) % 2 for user_id in tastes.train.user_ids])
    own = np.where(parities[None] == users[:, None], scores, np.nan)
    others = np.where(parities[None] != users[:, None], scores, np.nan)
    assert (np.nanmean(own, 1) > np.nanmean(others, 1)).mean() > 0.98
    assert model.objective == "ranking"
    assert model.rating_range is None


def test_the_validation_loss_falls_below_chance(tastes):
    history = train(tastes.train, tastes.validation, RECIPE, seed=1).history
    assert history[-1].validation_loss < min(history[0].validation_loss, np.log(tastes.train.n_items)) - 0.05
    assert history[-1].rmse is None


def test_the_same_seed_gives_the_same_model_bit_for_bit(tastes):
    recipe = replace(RECIPE, epochs=3)
    first, second, other = (train(tastes.train, None, recipe, seed=s).model for s in (3, 3, 4))
    for name in ("user_factors", "item_factors", "item_bias"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert not np.array_equal(first.user_factors, other.user_factors)


def test_a_user_collapses_to_the_own_vector_plus_the_weighted_history():
    dataset = make_dataset(8, 9, ratings_per_user=4)
    torch.manual_seed(0)
    model = build_model(RECIPE, dataset, None)
    model.user_factors.data = torch.randn_like(model.user_factors)
    with torch.no_grad():
        collapsed = model.collapse(dataset)
    rated = dataset.user_rows == 2
    weights = 0.1 + 1.2 * (dataset.ratings[rated] - 0.5) / 4.5
    history = model.history_factors.detach().numpy()[dataset.item_rows[rated]]
    expected = model.user_factors.detach().numpy()[2] + (weights[:, None] * history).sum(0) / rated.sum() ** 0.5
    np.testing.assert_allclose(collapsed.user_factors[2], expected, atol=1e-6)
    np.testing.assert_allclose(collapsed.user_factors[-1], collapsed.user_factors[:-1].mean(0), atol=1e-6)


def test_the_sampled_softmax_ranks_like_the_full_one(tastes, monkeypatch):
    full = train(tastes.train, tastes.validation, RECIPE, seed=1)
    monkeypatch.setattr(softmax_ranking, "SAMPLED_FROM_ITEMS", 10)
    monkeypatch.setattr(sampled_softmax, "SAMPLED_ITEMS", 10)
    sampled = train(tastes.train, tastes.validation, RECIPE, seed=1)
    assert sampled.history[-1].validation_loss == pytest.approx(full.history[-1].validation_loss, abs=0.05)
    ndcgs = [evaluate_ranking(run.model, tastes).ndcg for run in (full, sampled)]
    assert ndcgs[1] == pytest.approx(ndcgs[0], abs=0.05)


def test_the_corrected_sum_over_a_sample_estimates_the_sum_over_the_catalogue(monkeypatch):
    dataset = make_dataset(200, 300)
    model = build_model(RECIPE, dataset, None)
    monkeypatch.setattr(softmax_ranking, "SAMPLED_FROM_ITEMS", 10)
    monkeypatch.setattr(sampled_softmax, "SAMPLED_ITEMS", 40)
    scores = torch.randn(dataset.n_items)
    columns = [torch.from_numpy(column) for column in (dataset.user_rows, dataset.item_rows, dataset.ratings)]
    torch.manual_seed(0)
    sums = []
    for _ in range(60):
        for users, items, _ in user_batches(*columns, 16):
            candidates, corrections = model._candidates(items, len(users.unique()))
            assert torch.isin(items, candidates).all()
            sums.append(float((scores[candidates] - corrections).exp().sum()))
    assert np.mean(sums) == pytest.approx(float(scores.exp().sum()), rel=0.03)


def test_user_batches_have_every_user_once_with_all_ratings():
    dataset = make_dataset(50, 30)
    columns = [torch.from_numpy(column) for column in (dataset.user_rows, dataset.item_rows, dataset.ratings)]
    batches = list(user_batches(*columns, 8))
    users = [set(batch[0].tolist()) for batch in batches]
    assert [len(some) for some in users] == [8] * 6 + [1]
    assert len(set.union(*users)) == 49
    together = {(u, i, r) for batch in batches for u, i, r in zip(*(c.tolist() for c in batch), strict=True)}
    assert together == set(zip(*(c.tolist() for c in columns), strict=True))


def test_the_loss_of_a_ranking_model_is_the_cross_entropy(tastes):
    model = train(tastes.train, None, replace(RECIPE, epochs=1), seed=1).model
    pairs = tastes.validation
    logits = torch.from_numpy(predict_all_logits(model, pairs.user_rows))
    expected = torch.nn.functional.cross_entropy(logits.double(), torch.from_numpy(pairs.item_rows).long())
    assert validation_loss(model, pairs) == pytest.approx(float(expected), rel=1e-5)


def test_collapsing_processes_the_ratings_in_parts(monkeypatch):
    dataset = make_dataset(100, 90, ratings_per_user=40)
    torch.manual_seed(0)
    model = build_model(RECIPE, dataset, None)
    model.user_factors.data = torch.randn_like(model.user_factors)
    with torch.no_grad():
        at_once = model.collapse(dataset)
        monkeypatch.setattr(softmax_ranking, "RATINGS_AT_ONCE", 64)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            in_parts = model.collapse(dataset)
    np.testing.assert_array_equal(in_parts.user_factors, at_once.user_factors)
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert 64 * 16 * 4 <= largest < dataset.n_ratings * 16 * 4 / 2


def test_the_validation_loss_processes_the_users_in_parts(monkeypatch):
    n_users, n_items = 200, 50_000
    model = make_model(n_users=n_users, n_items=n_items, n_factors=2, objective="ranking")
    pairs = make_dataset(n_users, n_items, ratings_per_user=3)
    at_once = validation_loss(model, pairs)
    monkeypatch.setattr(losses, "_SCORES_AT_ONCE", 7 * n_items, raising=False)
    tracemalloc.start()
    try:
        in_parts = validation_loss(model, pairs)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert in_parts == pytest.approx(at_once, rel=1e-7)
    assert peak < n_users * n_items * 4 / 2


def test_the_objective_chooses_the_recipe_and_must_match_a_named_one(tmp_path, capsys):
    rows = "".join(f"u{u},i{i},{1 + (u * i) % 5}\n" for u in range(12) for i in range(8) if (u + i) % 3)
    path = tmp_path / "ratings.csv"
    path.write_text("user,item,rating\n" + rows)
    common = ["--dataset", str(path), "--columns", "user,item,rating", "--epochs", "1", "--device", "cpu"]
    assert main(["train", *common, "--objective", "ranking", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "ranking").is_dir()
    assert main(["train", *common, "--objective", "ranking", "--recipe", "fast"]) == 2
    assert "recipe fast is for the objective rating" in capsys.readouterr().err


def test_the_gradients_by_hand_equal_those_of_autograd(monkeypatch):
    """The sampled softmax uses autograd; with every item in the sample it is the same loss."""
    dataset = make_dataset(60, 50, ratings_per_user=10)
    recipe = replace(RECIPE, side_information=True, history_weights=(0.7, 1.3), history_power=0.6)
    torch.manual_seed(0)
    model = build_model(recipe, dataset, None)
    assert model.features.shape[1] > 0
    optimiser = FlatAdamW(model.decay_groups())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)

    def gradients():
        torch.manual_seed(1)
        optimiser.zero_grad()
        batch = next(iter(model.batches(*rating_tensors(dataset, "cpu"), 16)))
        loss = float(model.accumulate_gradient(*batch))
        return loss, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    loss, by_hand = gradients()
    monkeypatch.setattr(softmax_ranking, "SAMPLED_FROM_ITEMS", 0)
    monkeypatch.setattr(model, "_candidates", lambda *_: (torch.arange(50), torch.zeros(())))
    expected_loss, by_autograd = gradients()
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for name, expected in by_autograd.items():
        assert expected.abs().max() > 0, name
        assert torch.allclose(by_hand[name], expected, atol=1e-5 * float(expected.abs().max())), name


def test_the_mean_of_rankings_and_its_reduction_keep_the_scores():
    first, second = (make_model(objective="ranking", rating_range=None, seed=seed) for seed in (1, 2))
    users = np.arange(40)
    expected = (predict_all_logits(first, users) + predict_all_logits(second, users)) / 2
    expected -= (first.user_bias[:-1, None] + first.global_bias + second.user_bias[:-1, None] + second.global_bias) / 2

    def centred(scores):
        return scores - scores.mean(1, keepdims=True)

    mean = mean_ranking([first, second])
    assert mean.n_dot_factors == 16
    for model in (mean, reduce_rank(mean, 16)):
        assert np.allclose(centred(predict_all_logits(model, users)), centred(expected), atol=1e-5)
    # Half of the factors are the best approximation by as many.
    half = reduce_rank(mean, 8)
    assert half.item_factors.shape[1] == 8
    exact = centred(mean.user_factors[:-1] @ mean.item_factors[:-1].T)
    exact -= exact.mean(0)
    values = np.linalg.svd(exact, compute_uv=False)
    error = centred(predict_all_logits(half, users)) - centred(expected)
    assert np.linalg.norm(error - error.mean(0)) == pytest.approx(np.linalg.norm(values[8:]), rel=1e-4)
