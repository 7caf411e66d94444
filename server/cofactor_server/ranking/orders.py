"""The orders in which a version can rank items: the weights of its logits and of popularity in the score."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from cofactor.v1 import manifest_pb2
from cofactor.v1.recommender_pb2 import RecommendRequest
from cofactor_server.arrays import FloatArray

# A popularity_penalty of 1 takes off at least this much per unit of log popularity, also where scores do not rise with
# popularity. Otherwise a penalty would do nothing there, or even favour popular items.
SMALLEST_SLOPE = 0.05
# The weight of RANKING_POPULARITY_CORRECTED in a model that does not correct by default.
USUAL_POPULARITY_WEIGHT = 1.0


@dataclass(slots=True, eq=False)
class Order:
    """The weights in score = rating_weight * rating logit + ranking_weight * ranking logit + popularity_weight * p.

    p is log(rating count + 1). Objects are never changed; freezing them would slow down requests with a penalty.

    Attributes:
        weights: (1, 2) the first two weights, as the graph takes them for one user.
        popularity: (1,) the third one.
    """

    rating_weight: float = 1.0
    ranking_weight: float = 0.0
    popularity_weight: float = 0.0
    weights: FloatArray = field(init=False)
    popularity: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.weights = np.array([[self.rating_weight, self.ranking_weight]], dtype=np.float32)
        self.popularity = np.array([self.popularity_weight], dtype=np.float32)

    @property
    def is_by_rating(self) -> bool:
        """Return True if the items are ordered by predicted rating and nothing else."""
        return self.popularity_weight == 0 and self.ranking_weight == 0 and self.rating_weight > 0


BY_RATING = Order()
# The orders of one kind of user by RecommendRequest.Ranking.
OrdersByRanking: TypeAlias = dict[int, Order]


class Orders:
    """The orders of one version, made once.

    Attributes:
        known: for users of the training data.
        new: for users who were folded in or sent as an embedding, and for the average user.
        has_ranking_part: True if the version orders by a logit of its own.
    """

    def __init__(self, manifest: manifest_pb2.Manifest) -> None:
        self.has_ranking_part = manifest.ranking_factor_count > 0
        self._rating_slope = manifest.rating_popularity_slope
        self._ranking_slope = manifest.ranking_popularity_slope
        weight = manifest.default_popularity_weight
        self._others: OrdersByRanking = {
            RecommendRequest.RANKING_POPULARITY_CORRECTED: Order(1.0, 0.0, weight or USUAL_POPULARITY_WEIGHT),
            RecommendRequest.RANKING_PREDICTED_RATING: BY_RATING,
        }
        if self.has_ranking_part:
            self.known = self._with_default(_from_message(manifest.default_order))
            self.new = self._with_default(_from_message(manifest.new_user_order))
        else:
            self.known = self.new = self._with_default(Order(1.0, 0.0, weight))

    def _with_default(self, order: Order) -> OrdersByRanking:
        return {RecommendRequest.RANKING_UNSPECIFIED: order, **self._others}

    def penalised(self, order: Order, penalty: float) -> Order:
        """Return the order with `penalty` times its growth with popularity taken off the weight of popularity."""
        weight = order.popularity_weight - penalty * self.popularity_slope(order)
        return Order(order.rating_weight, order.ranking_weight, weight)

    def popularity_slope(self, order: Order) -> float:
        """Return how much the average user's score grows per unit of log popularity.

        It is 1 in versions without a ranking part, which do not say how their logits grow.
        """
        if not self.has_ranking_part:
            return 1.0
        slope = order.rating_weight * self._rating_slope + order.ranking_weight * self._ranking_slope
        return max(SMALLEST_SLOPE, slope + order.popularity_weight)


def _from_message(order: manifest_pb2.Order) -> Order:
    return Order(order.rating_weight, order.ranking_weight, order.popularity_weight)
