"""Find out how much more the latest items of a new user should count."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from cofactor_trainer.data.dataset import Float64Array, RatingsDataset
from cofactor_trainer.data.events.feedback import EventFeedback
from cofactor_trainer.data.splits import Split
from cofactor_trainer.errors import InputError
from cofactor_trainer.evaluation.evaluate import judge_recommendations
from cofactor_trainer.evaluation.metrics import ndcg_by_user
from cofactor_trainer.export.fitted.folded_users import FoldedUsers
from cofactor_trainer.scoring.trained_model import TrainedModel

BOOSTS, DECAYS = (4.0, 8.0, 16.0, 32.0), (0.5, 0.7, 0.8, 0.9)
MOST_USERS = 1_000
FEWEST_USERS = 30
_NORMAL_95 = 1.96


@dataclass(frozen=True)
class FittedRecency:
    """The weight of the latest items, and its gain.

    Attributes:
        boost: 0 if nothing is better than no boost, beyond chance.
        decay: 0 without a boost.
        gain: gain in NDCG@10 of the last items.
        margin: half of its 95 % interval.
        n_users: number of users.
    """

    boost: float
    decay: float
    gain: float
    margin: float
    n_users: int

    def describe(self) -> str:
        """Say what was found, in one line."""
        gain = f"{self.gain:+.4f} ± {self.margin:.4f} of NDCG@10 on the last events of {self.n_users:,} users"
        if not self.boost:
            return f"recency: not used, because the latest events tell no more than others ({gain})"
        return (
            f"recency: the latest item of a new user counts {1 + self.boost:g} times as much, and the boost falls to "
            f"{self.decay:g} of itself with every newer item ({gain})"
        )

    def apply(self, feedback: EventFeedback) -> EventFeedback:
        """Add the boost to the rule of weights."""
        return replace(feedback, recency_boost=self.boost, recency_decay=self.decay)


def fit_recency(model: TrainedModel, train: RatingsDataset) -> FittedRecency:
    """Choose the boost and the decay by which users, folded in without their last item, find it best.

    The model knows these last items from its training. All candidates profit from that alike.

    Raises:
        InputError: the events have no times, or there are too few users with two items.
    """
    split = _last_items(train)
    users = np.unique(split.validation.user_rows).astype(np.int64)
    folded_users, feedback = FoldedUsers(model, train), train.events
    assert feedback is not None

    def judge(boost: float, decay: float) -> Float64Array:
        events = replace(feedback, recency_boost=boost, recency_decay=decay)
        folded = folded_users.fold_in(replace(split.train, events=events), users)
        judged = judge_recommendations(folded, split, order=model.new_user_order, threshold=0.0)
        return ndcg_by_user(judged.hits, judged.n_relevant)

    plain = judge(0.0, 0.0)
    best = max(
        ((boost, decay, judge(boost, decay)) for boost, decay in itertools.product(BOOSTS, DECAYS)),
        key=lambda found: float(found[2].mean()),
    )
    difference = best[2] - plain
    gain, margin = float(difference.mean()), float(_NORMAL_95 * difference.std(ddof=1) / np.sqrt(len(difference)))
    if gain <= margin:
        return FittedRecency(0.0, 0.0, gain, margin, len(users))
    return FittedRecency(best[0], best[1], gain, margin, len(users))


def _last_items(train: RatingsDataset) -> Split:
    """Hold out the newest item of each of a sample of the users who have two or more; users and items keep their rows.

    Raises:
        InputError: the events have no times, or there are too few such users.
    """
    if train.timestamps is None:
        raise InputError(
            f"--recency needs times, but the events of {train.name} have none: name their column with --columns, or "
            "leave out --recency"
        )
    order = np.lexsort((train.timestamps, train.user_rows))
    counts = np.bincount(train.user_rows, minlength=train.n_users)
    lasts = order[np.cumsum(counts)[counts > 1] - 1]
    if len(lasts) < FEWEST_USERS:
        raise InputError(
            f"--recency needs {FEWEST_USERS} users with two items or more, and {train.name} has {len(lasts)}: leave it "
            "out"
        )
    sample = np.random.default_rng(0).permutation(lasts)[:MOST_USERS]
    is_held_out = np.zeros(train.n_ratings, bool)
    is_held_out[sample] = True
    # A rated row that is held out would still be in the ratings, which take no part in the order of items.
    return Split(train.select_ratings(~is_held_out), train.select_ratings(is_held_out))
