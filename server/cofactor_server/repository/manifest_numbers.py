"""Refuse versions with numbers that no training gives: they would go into every response."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from cofactor.v1.manifest_pb2 import Calibration, EventFeedback, Manifest
from cofactor_server.arrays import AnyArray

# Far beyond any rating, bias or weight, and small enough that products of two stay finite in float32.
_LARGEST = 1e12
# Seconds of the years 1 to 9999, which google.protobuf.Timestamp can express.
_TIMES = (-62_135_596_800, 253_402_300_799)
# As in version_directory, which imports this module.
_RATINGS_AND_EVENTS_FORMAT = 3
_FINITE_TABLES = (
    *("user_factors", "user_bias", "item_factors", "item_bias", "item_log_popularity", "item_inverse_norms"),
    *("item_effect", "rated.ratings", "rated.weights", "user_prior_mean", "user_prior_precision"),
    *("ranking_prior_mean", "ranking_prior_covariance", "item_map"),
)


def check_numbers(manifest: Manifest) -> None:
    """Raise ValueError that names the first field of a manifest whose value makes no sense."""
    for name in ("rating_min", "rating_max", "global_bias", "default_popularity_weight"):
        _check_size(name, getattr(manifest, name))
    _check_ranking_part(manifest)
    if manifest.rating_min > manifest.rating_max:
        raise ValueError("manifest.json has a rating_min above its rating_max")
    if manifest.HasField("rating_range"):
        low, high = manifest.rating_range.low, manifest.rating_range.high
        _check_size("rating_range", low)
        _check_size("rating_range", high)
        if not low < high:
            raise ValueError("manifest.json has a rating_range whose low is not below its high")
    for field in ("profile_features", "item_features"):
        for feature in getattr(manifest, field):
            if feature.WhichOneof("kind") == "numeric":
                _check_size(f"{field} {feature.key}", feature.numeric.mean)
                _check_size(f"{field} {feature.key}", feature.numeric.scale)
                _check_size(f"{field} {feature.key}", feature.numeric.lowest)
                _check_size(f"{field} {feature.key}", feature.numeric.highest)
                has_range = feature.numeric.HasField("lowest") and feature.numeric.HasField("highest")
                if has_range and feature.numeric.lowest > feature.numeric.highest:
                    raise ValueError(f"manifest.json has {field} {feature.key} with a lowest above its highest")
    if manifest.rating_count < 0:
        raise ValueError("manifest.json has a negative rating_count")
    _check_time("train_time", manifest.train_time.seconds)
    if manifest.HasField("events"):
        _check_events(manifest.events)
    if manifest.HasField("calibration"):
        _check_calibration(manifest.calibration)
    for label in manifest.item_map_labels:
        _check_size("item_map_labels", label.x)
        _check_size("item_map_labels", label.y)
    _check_kind(manifest)


def _check_kind(manifest: Manifest) -> None:
    """Raise ValueError if the format version, the objective and the events of a manifest contradict each other."""
    learnt_both = manifest.HasField("events") and manifest.objective != "ranking"
    if learnt_both and (manifest.format_version < _RATINGS_AND_EVENTS_FORMAT or not manifest.ranking_factor_count):
        raise ValueError(
            f"manifest.json has events and the objective {manifest.objective!r}; it must be 'ranking', or the version "
            f"must have format {_RATINGS_AND_EVENTS_FORMAT} and a ranking part"
        )
    if manifest.format_version == _RATINGS_AND_EVENTS_FORMAT and not learnt_both:
        raise ValueError(
            f"manifest.json has format {_RATINGS_AND_EVENTS_FORMAT}, and does not predict ratings and rank by events"
        )


def _check_time(field: str, seconds: int) -> None:
    if not _TIMES[0] <= seconds <= _TIMES[1]:
        raise ValueError(f"manifest.json has a {field} outside the years 1 to 9999")


def _check_calibration(calibration: Calibration) -> None:
    """Raise ValueError if probabilities would not be numbers, or would fall with the score."""
    for kind in ("known_users", "new_users"):
        curve = getattr(calibration, kind)
        for name in ("intercept", "share_weight", "activity_weight"):
            _check_size(f"calibration.{kind}.{name}", getattr(curve, name))
        if curve.share_weight <= 0:
            raise ValueError(f"manifest.json has a calibration.{kind}.share_weight that is not above 0")


def _check_events(events: EventFeedback) -> None:
    """Raise ValueError for event types that are repeated or without a weight, and for negative settings."""
    names = [kind.name for kind in events.types]
    if len(set(names)) != len(names):
        raise ValueError("manifest.json names a type of events twice")
    if all(kind.negative for kind in events.types):
        raise ValueError("manifest.json has no type of events that is not negative")
    for kind in events.types:
        _check_size(f"events.types {kind.name}", kind.weight)
        if not kind.negative and kind.weight <= 0:
            raise ValueError(f"manifest.json has the weight {kind.weight:g} in events.types {kind.name}")
    if not events.fold_in_scale > 0:
        raise ValueError("manifest.json has no events.fold_in_scale above 0")
    for name in ("half_life_seconds", "weight_cap", "fold_in_scale", "rating_weight", "recency_boost"):
        _check_size(f"events.{name}", getattr(events, name))
        if getattr(events, name) < 0:
            raise ValueError(f"manifest.json has a negative events.{name}")
    if not 0 <= events.recency_decay <= 1:
        raise ValueError("manifest.json has an events.recency_decay outside 0 to 1")
    _check_time("events.newest_event_time", events.newest_event_time.seconds)


def _check_ranking_part(manifest: Manifest) -> None:
    """Raise ValueError for a ranking part without orders, and for orders that use a part that does not exist."""
    if not 0 <= manifest.ranking_factor_count != 1:  # one column holds the biases
        raise ValueError(f"manifest.json has the ranking_factor_count {manifest.ranking_factor_count}")
    for field in ("default_order", "new_user_order"):
        if manifest.HasField(field) != (manifest.ranking_factor_count > 0):
            raise ValueError(f"manifest.json needs {field} if and only if it has a ranking part")
        order = getattr(manifest, field)
        for name in ("rating_weight", "ranking_weight", "popularity_weight"):
            _check_size(f"{field}.{name}", getattr(order, name))
        if min(order.rating_weight, order.ranking_weight) < 0:
            raise ValueError(f"manifest.json has a negative weight of a logit in {field}")
    for name in ("rating_popularity_slope", "ranking_popularity_slope"):
        _check_size(name, getattr(manifest, name))


def _check_size(field: str, value: float) -> None:
    if not (math.isfinite(value) and abs(value) <= _LARGEST):
        raise ValueError(f"manifest.json has the number {value:g} in {field}")


def check_table_numbers(tables: Mapping[str, AnyArray]) -> None:
    """Raise ValueError that names the first table with a number that is not finite, or with a negative count."""
    for name in _FINITE_TABLES:
        # The sum is finite only if every element is finite. Unlike isfinite(table), it needs no array of flags.
        if name in tables and not np.isfinite(np.sum(tables[name], dtype=np.float64)):
            raise ValueError(f"table {name} holds a number that is not finite")
    counts = tables["item_rating_counts"]
    if len(counts) and counts.min() < 0:
        raise ValueError("table item_rating_counts holds a negative number")
