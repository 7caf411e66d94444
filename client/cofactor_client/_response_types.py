"""Plain values that the client returns for the recommender's responses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cofactor_client._catalog_types import Item, ServedModel
from cofactor_client._request_types import UserEmbedding


@dataclass(frozen=True)
class AppliedRule:
    """A rule that had a say in an item's place.

    Attributes:
        name: its name, or its place in the rule set if it has none, such as "caps[0]".
        kind: "boost", "pin", "cap" (it kept the item from a better place) or "guarantee" (the place was reserved).
        score_change: what a boost added to the score; 0 for other rules.
    """

    name: str
    kind: str
    score_change: float = 0.0


@dataclass(frozen=True)
class ScoredItem:
    """An item and its score.

    Attributes:
        item_id: the item's id.
        score: the value that the list is sorted by: a ranking score, or a cosine similarity.
        predicted_rating: on the model's scale; None from `similar_items` and from a ranking model.
        item: title and attributes; None with return_items=False.
        applied_rules: the rules that had a say in the place of the item, with explain_rules=True.
        is_exploration: True if the item has its place because of exploration_share, and not because of its score.
        propensity: the probability that such an item was drawn, for estimates by inverse propensity; None for others.
        probability: of interaction, with return_probabilities=True; `Model.probability_meaning` says what it is
            of. None for an item that the user has an event of.
    """

    item_id: str
    score: float
    predicted_rating: float | None
    # Typed as `Item | Any`, not `Item | None`, so that callers who use the default return_items=True need no check.
    item: Item | Any
    applied_rules: tuple[AppliedRule, ...] = ()
    is_exploration: bool = False
    propensity: float | None = None
    probability: float | None = None

    @property
    def title(self) -> str:
        """The item's title, or its id if there is none."""
        return (self.item.title if self.item else "") or self.item_id


@dataclass(frozen=True)
class EntryError:
    """The failure of one entry of a request whose other entries may have succeeded.

    Attributes:
        index: the entry's position, from 0.
        reason: a reason such as "USER_NOT_FOUND"; docs/errors.md lists them.
        message: one sentence that explains the failure.
    """

    index: int
    reason: str
    message: str


@dataclass(frozen=True)
class Predictions:
    """Predicted ratings. Iterate over it to get the ratings.

    Attributes:
        ratings: in the order of the items; NaN for the entries listed in `errors`.
        errors: the entries that failed, with allow_partial_success.
        model: the model that computed the response.
    """

    ratings: tuple[float, ...]
    errors: tuple[EntryError, ...]
    model: ServedModel

    def __iter__(self) -> Iterator[float]:
        return iter(self.ratings)

    def __len__(self) -> int:
        return len(self.ratings)


@dataclass(frozen=True)
class Recommendations:
    """One page of recommendations. Iterate over it to get its results.

    Attributes:
        results: best first.
        next_page_token: empty on the last page.
        recommendation_id: unique to this response, for the caller's own event log.
        missing_item_ids: candidates, and items of pins in `rules`, that the model does not know.
        is_fallback: True if this is for the average user, because the model does not know the user.
        model: the model that computed the response.
    """

    results: tuple[ScoredItem, ...]
    next_page_token: str
    recommendation_id: str
    missing_item_ids: tuple[str, ...]
    is_fallback: bool
    model: ServedModel

    def __iter__(self) -> Iterator[ScoredItem]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)


@dataclass(frozen=True)
class SimilarItems:
    """One page of similar items. Iterate over it to get its results.

    Attributes:
        results: by cosine similarity of the item factors, highest first.
        next_page_token: empty on the last page.
        missing_item_ids: candidates that the model does not know.
        model: the model that computed the response.
    """

    results: tuple[ScoredItem, ...]
    next_page_token: str
    missing_item_ids: tuple[str, ...]
    model: ServedModel

    def __iter__(self) -> Iterator[ScoredItem]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)


@dataclass(frozen=True)
class NewUser:
    """A new user that the server folded in.

    Attributes:
        embedding: pass it as the user of any other call except `explain`.
        fit_rmse: root mean square error of the embedding on the given ratings; 0 if there are none.
        used_rating_count: number of ratings it was made from.
        missing_item_ids: items of ratings and events that the model does not know, with skip_unknown_items.
        ignored_profile_keys: sign-up answers that the model does not use.
        model: the model that computed the response.
        used_event_count: number of events that were used, negative ones included.
    """

    embedding: UserEmbedding
    fit_rmse: float
    used_rating_count: int
    missing_item_ids: tuple[str, ...]
    ignored_profile_keys: tuple[str, ...]
    model: ServedModel
    used_event_count: int = 0


@dataclass(frozen=True)
class Contribution:
    """The contribution of one rated item, or item of the user's events, to a prediction.

    Attributes:
        item_id: the rated item.
        rating: the user's rating of it; the weight of its events if the model learnt from events only.
        contribution: the amount that it adds to `Explanation.interaction`.
    """

    item_id: str
    rating: float
    contribution: float


@dataclass(frozen=True)
class RankingReason:
    """A rated item, or item of events, as a reason for the place of an item in the list, together with similar ones.

    Attributes:
        item_id: the rated item.
        rating: the user's rating of it; the weight of its events if the model learnt from events only.
        contribution: the amount that this rating and those that `similar_rating_count` counts add to the ranking score.
        own_contribution: the part of `contribution` that comes from this rating alone.
        similar_rating_count: number of ratings of similar items that move the score in the same direction and are no
            reasons of their own.
        event_weight: the weight of its events if the model learnt from ratings and events; 0 in other models. The
            rating is then 0 for an item without one.
    """

    item_id: str
    rating: float
    contribution: float
    own_contribution: float
    similar_rating_count: int
    event_weight: float = 0.0


@dataclass(frozen=True)
class RankingScore:
    """The parts of the score that orders the list.

    The ranking score is the sum of item_part, user_part, the contributions of `reasons`, other_part and unexplained. It
    is also rating_weight * `Explanation.score` + ranking_weight * ranking_logit + `Explanation.popularity`.

    Attributes:
        rating_weight: weight of `Explanation.score`.
        ranking_weight: weight of ranking_logit; 0 if the model has no ranking part.
        ranking_logit: logit of the model's ranking part; 0 if it has none.
        item_part: the score for the average user, or for a user with the same profile and without ratings.
        user_part: the same for all items; it does not change their order.
        reasons: the ratings that move the item up or down the list, largest absolute contribution first.
        other_part: sum of the contributions of the ratings that are in no reason.
        other_rating_count: number of these ratings.
        unexplained: the part that does not follow from the ratings.
    """

    rating_weight: float
    ranking_weight: float
    ranking_logit: float
    item_part: float
    user_part: float
    reasons: tuple[RankingReason, ...]
    other_part: float
    other_rating_count: int
    unexplained: float


@dataclass(frozen=True)
class Explanation:
    """The parts of a prediction, and of the score that orders the list.

    Attributes:
        score: global_bias + user_bias + item_bias + interaction, before the sigmoid.
        global_bias: the same for every user and item.
        user_bias: depends on the user only.
        item_bias: depends on the item only.
        interaction: depends on the user and the item together.
        contributions: the rated items that `interaction` comes from, largest absolute value first.
        remainder: the part of `interaction` that the listed items do not explain:
            average_interaction + other_contributions + unexplained.
        predicted_rating: on the model's scale; None for a ranking model.
        model: the model that computed the response.
        ranking_score: the score that orders the results of `recommend` with the same `ranking` and popularity_penalty.
        popularity: the part of `ranking_score` that depends on the item's rating count only.
        average_interaction: `interaction` of a user with the same profile and without ratings.
        other_contributions: sum of the contributions of the rated items that are not listed.
        other_rating_count: number of these items.
        unexplained: the part that follows neither from the average user nor from the ratings.
        ranking: the parts of `ranking_score`; None from a server that does not send them, such as 0.1.
    """

    score: float
    global_bias: float
    user_bias: float
    item_bias: float
    interaction: float
    contributions: tuple[Contribution, ...]
    remainder: float
    predicted_rating: float | None
    model: ServedModel
    ranking_score: float = 0.0
    popularity: float = 0.0
    average_interaction: float = 0.0
    other_contributions: float = 0.0
    other_rating_count: int = 0
    unexplained: float = 0.0
    ranking: RankingScore | None = None
