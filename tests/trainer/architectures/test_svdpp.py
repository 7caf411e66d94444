"""Models with implicit feedback: they collapse exactly, leave out a rating's own pair in training, and use features."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cofactor_trainer.architectures.factory import build_model
from cofactor_trainer.architectures.recipes import Recipe, resolve_range
from cofactor_trainer.architectures.svdpp import SvdppModel, implicit_feedback
from cofactor_trainer.data.dataset import Catalogue
from cofactor_trainer.data.features import item_features, user_features
from cofactor_trainer.data.splits import random_split
from cofactor_trainer.scoring.numpy_scorer import predict_ratings
from cofactor_trainer.training.train import train
from tests.support.synthetic import make_dataset, with_profiles

DOT = Recipe("dot", "implicit-dot-product", n_factors=5, rating_range="auto", centred=True, side_information=True)
NETWORK = replace(DOT, name="net", model="implicit-neural-network", hidden_layers=(8, 4), embedding_dropout=0.2)
FAMILIES = (DOT, replace(DOT, name="no side", side_information=False), NETWORK, replace(NETWORK, model="hybrid"))
family = pytest.mark.parametrize("recipe", FAMILIES, ids=["dot", "dot without side", "net", "hybrid"])


@pytest.fixture(scope="module")
def split():
    return random_split(with_profiles(make_dataset()))


def untrained(recipe, ratings) -> SvdppModel:
    torch.manual_seed(0)
    model = build_model(recipe, ratings, resolve_range(recipe, ratings))
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    return model


@family
def test_the_collapsed_model_predicts_the_same_ratings(split, recipe):
    model = untrained(recipe, split.train)
    users, items = torch.from_numpy(split.train.user_rows), torch.from_numpy(split.train.item_rows)
    with torch.no_grad():
        model.train()
        model.logits(users, items)  # updates the running statistics of batch normalisation
        model.eval()
        expected = model.ratings(model.logits(users, items))
        collapsed = model.collapse(split.train)
    np.testing.assert_allclose(predict_ratings(collapsed, split.train), expected.numpy(), atol=2e-5)


@family
def test_the_same_seed_gives_the_same_model_bit_for_bit(split, recipe):
    first, second, other = (train(split.train, None, replace(recipe, epochs=2), seed=s).model for s in (3, 3, 4))
    for name in ("user_factors", "user_bias", "item_factors", "item_bias"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert not np.array_equal(first.user_factors, other.user_factors)


@family
def test_decay_groups_have_every_parameter_once(split, recipe):
    model = untrained(recipe, split.train)
    grouped = [id(p) for group in model.decay_groups() for p in group.parameters]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


@family
def test_a_rating_in_training_is_predicted_without_its_own_feedback(split, recipe):
    """Its logit equals that of a model with the same parameters whose ratings lack this one."""
    ratings = split.train
    without_first = replace(
        ratings, user_rows=ratings.user_rows[1:], item_rows=ratings.item_rows[1:], ratings=ratings.ratings[1:]
    )
    model, other = untrained(recipe, ratings), untrained(recipe, without_first)
    other.load_state_dict({**other.state_dict(), **dict(model.named_parameters())})
    model.train()
    if model.has_network:
        model.network.eval()
    other.eval()
    pair = torch.from_numpy(ratings.user_rows[:1]), torch.from_numpy(ratings.item_rows[:1])
    # The training model scales its sums by the count that includes the rating; give the other model the same scale.
    for side, other_side in ((model.users, other.users), (model.items, other.items)):
        other_side.sums.load_state_dict({**other_side.sums.state_dict(), "weights": side.sums.weights})
    with torch.no_grad():
        offset = model.global_bias - other.global_bias  # the mean rating differs
        torch.testing.assert_close(model.logits(*pair), other.logits(*pair) + offset, atol=1e-5, rtol=1e-5)


def test_implicit_sums_and_their_gradient_equal_those_of_a_dense_matrix():
    pairs = replace(
        make_dataset(3, 4),
        user_rows=np.array([0, 0, 0, 2], np.int32),
        item_rows=np.array([3, 0, 1, 1], np.int32),
        ratings=np.ones(4, np.float32),
    )
    sums, _ = implicit_feedback(pairs)
    vectors = torch.randn(4, 2, requires_grad=True)
    dense = torch.zeros(3, 4)
    dense[0, [0, 1, 3]] = 3**-0.5
    dense[2, 1] = 1.0
    torch.testing.assert_close(sums(vectors), dense @ vectors)
    target = torch.randn(3, 2)
    (gradient,) = torch.autograd.grad((sums(vectors) * target).sum(), vectors)
    torch.testing.assert_close(gradient, dense.T @ target)


def test_genres_have_unit_length_and_numbers_are_binned():
    years = np.array([0, 1950, 1990, 1995])
    catalogue = Catalogue(list("abcd"), list("abcd"), [(), ("War",), ("Comedy", "War"), ("Comedy",)], years)
    features = item_features(catalogue)
    np.testing.assert_allclose(features[:, :2], [[0, 0], [0, 1], [0.5**0.5, 0.5**0.5], [1, 0]], atol=1e-7)
    np.testing.assert_array_equal(features[:, 2:].sum(1), [0, 1, 1, 1])
    assert len({tuple(row) for row in features[1:, 2:]}) == 3
    answers = pd.DataFrame({"age": [20, 60, None] * 5, "work": ["x", None, "y"] * 5})
    np.testing.assert_array_equal(user_features(answers, 15).sum(1), [2, 1, 1] * 5)
    assert user_features(None, 3).shape == (3, 0)


def test_identifiers_and_rare_answers_are_not_features():
    """One-hot identifiers of 100,000 users would take 40 GB and predict nothing."""
    n_users = 1200
    answers = pd.DataFrame(
        {
            "work": ["x", "y", "z"] * (n_users // 3 - 1) + ["rare"] * 3,
            "mail": [f"{user}@example.org" for user in range(n_users)],
            "street": [f"street {user // 5}" for user in range(n_users)],
        }
    )
    features = user_features(answers, n_users)
    np.testing.assert_array_equal(features, [*np.tile(np.eye(3), (n_users // 3 - 1, 1)), *np.zeros((3, 3))])


def test_side_information_predicts_where_ratings_are_few(split):
    """The ratings depend on the genre only, which features learn from other items."""
    n_users, n_items = 60, 40
    genres = [("War",) if item % 2 else ("Comedy",) for item in range(n_items)]
    dataset = make_dataset(n_users, n_items)
    likes_war = dataset.item_rows % 2 == dataset.user_rows % 2
    ratings = np.where(likes_war, 5.0, 1.0).astype(np.float32)
    catalogue = replace(dataset.catalogue, genres=genres)
    parts = random_split(replace(dataset, ratings=ratings, catalogue=catalogue, rating_min=1.0, rating_max=5.0))
    recipe = replace(DOT, epochs=25, learning_rate=0.03, weight_decay=0.5, side_weight_decay=0.1)
    errors = [
        train(parts.train, parts.validation, replace(recipe, side_information=known), seed=1).history[-1]
        for known in (True, False)
    ]
    assert errors[0].validation_loss < 0.8 * errors[1].validation_loss


def test_the_batch_size_grows_to_limit_the_steps_of_an_epoch():
    limited = replace(DOT, batch_size=64, steps_per_epoch=10)
    assert [limited.batch_size_for(n) for n in (100, 640, 641, 5000)] == [64, 64, 65, 500]
    assert replace(DOT, batch_size=64).batch_size_for(5000) == 64
