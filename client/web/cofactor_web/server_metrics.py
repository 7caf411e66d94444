"""Digest of the server's Prometheus metrics, for the page of the operators."""

from __future__ import annotations

import math
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

_TIMEOUT_S = 3.0
_MOST_BYTES = 8 * 2**20
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
# Cumulative counts of a histogram by upper bound.
Buckets = dict[float, float]


class MetricsUnreadable(Exception):  # noqa: N818 (named after the problem)
    """The metrics could not be read; str() is one sentence for people."""


def read_digest(url: str) -> dict[str, Any]:
    """Return what the server has counted since its start. Raises MetricsUnreadable."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:  # noqa: S310 (the settings allow http only)
            text = response.read(_MOST_BYTES).decode("utf-8")
        families = {family.name: family for family in text_string_to_metric_families(text)}
    except (OSError, ValueError) as error:
        raise MetricsUnreadable(f"the metrics of the server cannot be read: {error}") from None
    return digest(families)


def digest(families: dict[str, Metric]) -> dict[str, Any]:
    """Return the digest of some families of metrics, by name."""
    samples = {name: family.samples for name, family in families.items()}
    return {
        "takenAt": time.time(),
        "queueDepth": _sum(samples.get("cofactor_queue_depth", ())),
        "workers": _sum(samples.get("cofactor_workers", ())),
        "memoryBytes": _sum(samples.get("cofactor_memory_bytes", ())),
        "cache": _by_label(samples.get("cofactor_cache_requests", ()), "outcome"),
        "methods": _methods(samples),
        "versions": _versions(samples),
        "canaries": _canaries(samples),
        "shadow": _shadow(samples),
    }


def _methods(samples: dict[str, list[Sample]]) -> list[dict[str, Any]]:
    codes: dict[str, dict[str, float]] = defaultdict(dict)
    for sample in _totals(samples.get("cofactor_requests", ())):
        codes[sample.labels["method"]][sample.labels["code"]] = sample.value
    seconds = [s for s in samples.get("cofactor_request_seconds", ()) if s.labels.get("stage") == "total"]
    latencies = _histograms(seconds, ("method",))
    return [
        {"method": method, "codes": counts, "latencySeconds": _quantiles(latencies.get((method,), {}))}
        for method, counts in sorted(codes.items())
    ]


def _versions(samples: dict[str, list[Sample]]) -> list[dict[str, Any]]:
    """Return the loaded and the refused versions."""
    current = {_version(s) for s in samples.get("cofactor_model_current", ()) if s.value}
    loaded = {_version(s): s.value for s in samples.get("cofactor_model_load_timestamp_seconds", ())}
    refused = {_version(s) for s in samples.get("cofactor_model_refused", ()) if s.value}
    return [
        {
            "model": model,
            "version": version,
            "state": "REFUSED" if (model, version) in refused else "READY",
            "isCurrent": (model, version) in current,
            "loadedAt": loaded.get((model, version)),
        }
        for model, version in sorted(loaded.keys() | refused)
    ]


def _canaries(samples: dict[str, list[Sample]]) -> list[dict[str, Any]]:
    """Return the requests that canaries got, and those that stayed with the current version."""
    codes: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    labels = ("model", "version", "role")
    for sample in _totals(samples.get("cofactor_canary_requests", ())):
        codes[tuple(sample.labels[label] for label in labels)][sample.labels["code"]] = sample.value
    latencies = _histograms(samples.get("cofactor_canary_seconds", ()), labels)
    return [
        {
            **dict(zip(labels, share, strict=True)),
            "codes": found,
            "latencySeconds": _quantiles(latencies.get(share, {})),
        }
        for share, found in sorted(codes.items())
    ]


def _shadow(samples: dict[str, list[Sample]]) -> list[dict[str, Any]]:
    """Return how far the shadow versions agree with what was served."""
    outcomes: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for sample in _totals(samples.get("cofactor_shadow_requests", ())):
        outcomes[_version(sample)][sample.labels["outcome"]] = sample.value
    overlaps = samples.get("cofactor_shadow_overlap", [])
    sums = {_version(s): s.value for s in overlaps if s.name.endswith("_sum")}
    counts = {_version(s): s.value for s in overlaps if s.name.endswith("_count")}
    latencies = _histograms(samples.get("cofactor_shadow_seconds", ()), ("model", "version"))
    return [
        {
            "model": key[0],
            "version": key[1],
            "outcomes": found,
            "meanOverlap": sums[key] / counts[key] if counts.get(key) else None,
            "latencySeconds": _quantiles(latencies.get(key, {})),
        }
        for key, found in sorted(outcomes.items())
    ]


def _totals(samples: Iterable[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.name.endswith("_total")]


def _by_label(samples: Iterable[Sample], label: str) -> dict[str, float]:
    return {sample.labels[label]: sample.value for sample in _totals(samples)}


def _sum(samples: Iterable[Sample]) -> float:
    return math.fsum(sample.value for sample in samples)


def _version(sample: Sample) -> tuple[str, str]:
    return sample.labels["model"], sample.labels["version"]


def _histograms(samples: Iterable[Sample], labels: tuple[str, ...]) -> dict[tuple[str, ...], Buckets]:
    found: dict[tuple[str, ...], Buckets] = defaultdict(dict)
    for sample in samples:
        if sample.name.endswith("_bucket"):
            found[tuple(sample.labels[label] for label in labels)][float(sample.labels["le"])] = sample.value
    return found


def _quantiles(buckets: Buckets) -> dict[str, float | None]:
    return {name: quantile(buckets, share) for name, share in _QUANTILES.items()}


def quantile(buckets: Buckets, share: float) -> float | None:
    """Return a quantile of a histogram, as Prometheus estimates it; None for an empty one.

    The values of a bucket count as spread evenly over it. A quantile in the last bucket, which has no upper end, is the
    lower end of that bucket.
    """
    total = buckets.get(math.inf, 0.0)
    if not total:
        return None
    wanted, below, low = share * total, 0.0, 0.0
    for high, count in sorted(buckets.items()):
        if count >= wanted:
            if math.isinf(high):
                return low
            return low + (high - low) * (wanted - below) / (count - below) if count > below else high
        below, low = count, high
    return low
