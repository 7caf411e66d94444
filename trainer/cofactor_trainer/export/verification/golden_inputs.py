"""Draw the golden inputs: typical inputs and edge cases on which every graph is compared with torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.profile_regression import ProfileModel, encode_profiles
from cofactor_trainer.scoring.trained_model import TrainedModel

GraphInputs = Mapping[str, Tensor]

# Users of a batch. In plain torch every user takes much memory if the catalogue is large.
BATCH = 3


class GoldenInputSampler:
    """Sampler of golden inputs that draws the same ones for the same model."""

    def __init__(self, model: TrainedModel) -> None:
        self.model = model
        self.n_users = len(model.user_bias) - 1
        self.n_items = len(model.item_bias) - 1
        self.random = np.random.default_rng(0)
        self._queries = 0

    def sample(self) -> dict[str, Sequence[GraphInputs]]:
        """Draw the inputs of every graph but embed_user, by graph name."""
        return {
            "predict": [self._predict(1, 1), self._predict(5, 5), self._predict(1, 7)],
            "recommend": self._recommend(),
            "similar_items": self._similar_items(),
            "similarity": [self._similarity(1, 1), self._similarity(3, 7)],
        }

    def sample_embed_user(self, dataset: RatingsDataset, profile: ProfileModel | None) -> Sequence[GraphInputs]:
        """Draw the inputs of embed_user.

        The histories have no rating, one, five, different numbers in one batch, more ratings than there are factors,
        and twenty ratings that are all the highest. With a profile model all but the first have sign-up answers.
        """
        low, high = dataset.rating_min, dataset.rating_max
        if dataset.rated is not None:
            low, high = dataset.rated.rating_min, dataset.rated.rating_max
        elif dataset.events is not None:
            high = float(dataset.ratings.max())
        many = min(self.n_items, self.model.user_factors.shape[1] + 20)
        histories = [
            self._histories([0], 1, low, high),
            self._histories([1], 1, low, high),
            self._histories([5], 5, low, high),
            self._histories([0, 1, 2, min(9, self.n_items)], 12, low, high),
            self._histories([many], many, low, high),
            self._histories([min(20, self.n_items)], 20, high, high),
        ]
        if dataset.rated is not None:
            histories = self._with_events(histories, float(dataset.ratings.max()))
        if profile is None or dataset.profiles is None:
            return histories
        answers = encode_profiles(profile.features, dataset.profiles).astype(np.float32)
        users = [self.random.integers(0, len(answers), len(history["item_rows"])) for history in histories]
        return [
            {**history, "profile": torch.from_numpy(answers[rows] * (number > 0))}
            for number, (history, rows) in enumerate(zip(histories, users, strict=True))
        ]

    def _with_events(self, histories: Sequence[GraphInputs], heaviest: float) -> list[GraphInputs]:
        """Add events to histories: none, one, as many as there are ratings, and other numbers of them."""
        counts = [[0], [1], [3], [4, 0, 1, min(9, self.n_items)], [0], [min(20, self.n_items)]]
        events = [self._histories(n, max(*n, 1), 0.0, heaviest) for n in counts]
        return [
            {**history, "event_rows": event["item_rows"], "event_weights": event["ratings"]}
            for history, event in zip(histories, events, strict=True)
        ]

    def _items(self, count: int) -> Tensor:
        return torch.from_numpy(self.random.integers(0, self.n_items, count))

    def _users(self, count: int) -> dict[str, Tensor]:
        """Draw trained users; the last of several is the unknown user."""
        rows = self.random.integers(0, self.n_users + 1, count)
        rows[-1] = self.n_users if count > 1 else rows[-1]
        return {
            "user_factors": torch.from_numpy(self.model.user_factors[rows]),
            "user_bias": torch.from_numpy(self.model.user_bias[rows]),
        }

    def _predict(self, n_users: int, n_items: int) -> GraphInputs:
        item_rows = self._items(n_items)
        item_rows[0] = self.n_items
        return {**self._users(n_users), "item_rows": item_rows}

    def _recommend(self) -> Sequence[GraphInputs]:
        nothing = torch.full((BATCH, 1), self.n_items)
        some = torch.stack([self._items(6) for _ in range(BATCH)])
        some[0, 2:] = self.n_items
        largest = min(self.n_items, 1000)
        everything = torch.arange(self.n_items)[None]
        return [
            self._query(1, nothing[:1], 10, [0.0]),
            self._query(1, some[1:2], 10, [1.0]),
            self._query(BATCH, some, 10, [1.0, 0.0, -0.5]),
            self._query(1, everything, 3, [1.0]),
            self._query(1, everything[:, 2:], 5, [0.0]),
            self._query(1, some[:1], largest, [1.0]),
            self._query(BATCH, nothing, 1, [0.0, 0.0, 0.0]),
        ]

    def _query(self, n_users: int, excluded_rows: Tensor, k: int, popularity_weight: Sequence[float]) -> GraphInputs:
        query = {
            **self._users(n_users),
            "popularity_weight": torch.tensor(popularity_weight),
            "excluded_rows": excluded_rows,
            "k": torch.tensor([min(k, self.n_items)]),
        }
        if not self.model.n_ranking_factors:
            return query
        # The model's own order, the ranking logit alone, and the predicted rating, in turn from query to query.
        own = self.model.order
        orders = [[own.rating_weight, own.ranking_weight], [0.0, 1.0], [1.0, 0.0]]
        first, self._queries = self._queries, self._queries + 1
        return {**query, "order_weights": torch.tensor([orders[(first + user) % 3] for user in range(n_users)])}

    def _similar_items(self) -> Sequence[GraphInputs]:
        nothing = torch.tensor([self.n_items])
        return [
            {"item_rows": rows, "excluded_rows": excluded, "k": torch.tensor([min(k, self.n_items)])}
            for rows, excluded, k in [
                (self._items(1), nothing, 10),
                (self._items(4), self._items(5), 10),
                (self._items(1), torch.arange(self.n_items), 3),
                (self._items(2), nothing, 1000),
            ]
        ]

    def _similarity(self, n_items: int, n_candidates: int) -> GraphInputs:
        return {"item_rows": self._items(n_items), "candidate_rows": self._items(n_candidates)}

    def _histories(self, counts: Sequence[int], width: int, low: float, high: float) -> GraphInputs:
        """Draw one history of distinct items per count, padded with n_items to width.

        A history has at most as many items as the catalogue.
        """
        item_rows = np.full((len(counts), width), self.n_items)
        for row, count in zip(item_rows, np.minimum(counts, self.n_items), strict=True):
            row[:count] = self.random.choice(self.n_items, count, replace=False)
        ratings = self.random.uniform(low, high, item_rows.shape).astype(np.float32)
        return {"item_rows": torch.from_numpy(item_rows), "ratings": torch.from_numpy(ratings)}
