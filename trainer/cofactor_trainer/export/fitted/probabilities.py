"""Calibrate the probabilities of a version that learnt from events."""

from __future__ import annotations

import logging

import numpy as np

from cofactor.v1 import manifest_pb2
from cofactor_trainer.data.splits import Split
from cofactor_trainer.evaluation.calibration import FEWEST_HITS, cross_fitted_error, find_candidates, fit_curve
from cofactor_trainer.export.fitted.folded_users import FoldedUsers
from cofactor_trainer.export.held_out_measures import n_sampled_users
from cofactor_trainer.scoring.calibration import Calibration, Curve
from cofactor_trainer.scoring.trained_model import TrainedModel

logger = logging.getLogger(__name__)

# Three numbers are fitted: more users would take longer and change little.
MOST_USERS, MOST_NEW_USERS = 5_000, 1_000


def calibrate(model: TrainedModel, split: Split, meaning: str) -> tuple[Calibration | None, dict[str, float]]:
    """Fit the probabilities of a model that learnt from the events of ``split.train`` on those of ``split.validation``.

    The curve of new users is fitted on users of the train part who are folded in from their events, as servers do it.

    Returns:
        The calibration, None if too few held-out events are among the best items, and the calibration errors of the
        first ten, as metrics of the manifest.
    """
    users = np.random.default_rng(0).permutation(split.train.n_users)
    most_users = min(MOST_USERS, n_sampled_users(split))
    known, new = np.sort(users[:most_users]), np.sort(users[: min(MOST_NEW_USERS, most_users)])
    curves: list[Curve] = []
    errors: dict[str, float] = {}
    for metric, of_users, order in (
        ("calibration_error@10", known, model.order),
        ("new_user_calibration_error@10", new, model.new_user_order),
    ):
        fitted = model if of_users is known else FoldedUsers(model, split.train).fold_in(split.train, new)
        pairs = find_candidates(fitted, split, of_users, order)
        curve, error = fit_curve(pairs), cross_fitted_error(pairs)
        if curve is None:
            logger.warning(
                "the version has no probabilities of interaction: %d held-out events are among the best items of their "
                "users, and calibration needs %d; hold out more with --validation-fraction",
                pairs.n_hits,
                FEWEST_HITS,
            )
            return None, {}
        curves.append(curve)
        errors |= {} if error is None else {metric: error}
    return Calibration(curves[0], curves[1], meaning), errors


def calibration_entry(calibration: Calibration) -> manifest_pb2.Calibration:
    """Convert a calibration to its manifest message."""
    return manifest_pb2.Calibration(
        known_users=_curve_entry(calibration.known_users),
        new_users=_curve_entry(calibration.new_users),
        meaning=calibration.meaning,
    )


def calibration_of(manifest: manifest_pb2.Manifest) -> Calibration | None:
    """Return the calibration of a version; None if it has none."""
    if not manifest.HasField("calibration"):
        return None
    entry = manifest.calibration
    return Calibration(_curve(entry.known_users), _curve(entry.new_users), entry.meaning)


def _curve_entry(curve: Curve) -> manifest_pb2.Calibration.Curve:
    return manifest_pb2.Calibration.Curve(
        intercept=curve.intercept, share_weight=curve.share_weight, activity_weight=curve.activity_weight
    )


def _curve(entry: manifest_pb2.Calibration.Curve) -> Curve:
    return Curve(entry.intercept, entry.share_weight, entry.activity_weight)
