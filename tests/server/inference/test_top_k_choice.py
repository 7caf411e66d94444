"""Test how --batching and --approximate decide how a version finds the top k."""

from __future__ import annotations

import pytest

from cofactor_server.config import ServerConfig
from cofactor_server.inference import top_k_choice
from cofactor_server.inference.ann_index import ApproximateTopK
from cofactor_server.inference.catalogue_top_k import CatalogueTopK
from cofactor_server.inference.dynamic_batching import DynamicBatcher
from cofactor_server.inference.engine import Engine
from cofactor_server.inference.execution_providers import CPU
from cofactor_server.ranking.item_scorer import ItemScorer
from cofactor_server.ranking.orders import BY_RATING
from cofactor_server.repository.version_directory import open_version_directory


@pytest.fixture
def choose(monkeypatch):
    """Return a function that chooses for a version, with the result of the measurement given."""

    def choose(version, *, pays=False, **settings):
        monkeypatch.setattr(top_k_choice, "batching_pays", lambda *_: pays)
        directory = open_version_directory(version)
        engine = Engine(directory, [CPU], must_use_first=True)
        config = ServerConfig(models="", provider="cpu", **settings)
        return top_k_choice.choose_top_k(directory, engine, ItemScorer(engine, directory.tables), BY_RATING, config)

    return choose


@pytest.mark.parametrize(
    ("batching", "pays", "kind", "coalesces_calls"),
    [
        ("auto", True, DynamicBatcher, False),
        ("auto", False, CatalogueTopK, True),
        ("on", False, DynamicBatcher, False),
        ("off", True, CatalogueTopK, False),
    ],
)
def test_a_version_batches_or_coalesces_calls_but_never_both(
    dot_version, choose, batching, pays, kind, coalesces_calls
):
    choice = choose(dot_version, pays=pays, batching=batching)
    assert type(choice.top_k) is kind
    assert choice.coalesces_calls is coalesces_calls


def test_an_approximate_version_does_not_coalesce_calls(indexed_version, choose):
    choice = choose(indexed_version, approximate=True)
    assert type(choice.top_k) is ApproximateTopK
    assert not choice.coalesces_calls


def test_a_batch_has_no_more_users_than_configured(dot_version, choose):
    assert choose(dot_version, max_batch_size=5).top_k.max_batch_size == 5
