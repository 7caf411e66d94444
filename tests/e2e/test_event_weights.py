"""The server weighs the events of a new user as the trainer weighed those of the training data."""

import numpy as np
import pytest

from cofactor_server.ranking.event_weights import EventColumns, EventWeights
from cofactor_trainer.data.dataset import Catalogue, RatingsDataset
from cofactor_trainer.data.events.feedback import EventSettings, EventType
from cofactor_trainer.data.events.weights import weigh_events
from cofactor_trainer.export.manifest import create_manifest
from tests.support.synthetic import make_model

DAY = 86_400
TYPES = (EventType("buy", 5.0), EventType("return", 0.0, is_negative=True), EventType("view", 0.5))
N_ITEMS = 12


def draw_events(seed):
    """Draw 80 events of a user: items, types, counts, times."""
    random = np.random.default_rng(seed)
    kinds = random.choice(3, 80, p=[0.3, 0.05, 0.65])
    return random.integers(N_ITEMS, size=80), kinds, random.integers(1, 4, 80), random.integers(0, 300, 80) * DAY


@pytest.mark.parametrize("half_life", [0.0, 30.0 * DAY])
@pytest.mark.parametrize("log_weights", [False, True])
@pytest.mark.parametrize("weight_cap", [None, 0.0, 1.5])
def test_trainer_and_server_give_an_item_the_same_weight(half_life, log_weights, weight_cap):
    items, kinds, counts, times = draw_events(int(half_life) + 2 * log_weights + int(10 * (weight_cap or 0)))
    amounts = np.array([kind.weight for kind in TYPES])[kinds] * counts
    settings = EventSettings({"buy": 5.0, "view": 0.5}, ("return",), half_life, weight_cap, log_weights)
    events = RatingsDataset(
        "events",
        ["ann", "bob"],
        Catalogue([f"i{n:02}" for n in range(N_ITEMS)], [""] * N_ITEMS, [()] * N_ITEMS, np.zeros(N_ITEMS, np.int64)),
        np.zeros(80, np.int32),
        items.astype(np.int32),
        amounts.astype(np.float32),
        times.astype(np.float64),
        0.0,
        0.0,
        events=settings.describe(TYPES, float(times.max())),
    )
    pairs = weigh_events(events)
    manifest = create_manifest(make_model(objective="ranking", n_users=2, n_items=N_ITEMS), pairs, "m", "1")
    found = EventWeights(manifest.events).weigh(EventColumns(items, amounts, kinds == 1, times.astype(np.float64)))
    assert found.item_rows.tolist() == pairs.item_rows.tolist()
    np.testing.assert_allclose(found.weights, pairs.ratings, rtol=1e-5)
    assert found.negative_rows.tolist() == pairs.dismissed.item_rows.tolist()
    assert len(found.negative_rows)
